"""BEP 52's merkle trees: SHA-256 over 16 KiB blocks, padded with zero leaves to a power of two."""

from __future__ import annotations

from hashlib import sha256

# Hash processes import this: what they do not need costs them their start (see `computing`).
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

BLOCK = 16 * 1024
ZERO_HASH = bytes(32)

_zero_roots = [ZERO_HASH]


def zero_root(leaves: int) -> bytes:
    """Return the root over `leaves` (a power of two) zero leaves: what stands for a missing piece."""
    height = leaves.bit_length() - 1
    while len(_zero_roots) <= height:
        _zero_roots.append(sha256(_zero_roots[-1] * 2).digest())
    return _zero_roots[height]


def merkle_root(hashes: Sequence[bytes], width: int, filler: bytes = ZERO_HASH) -> bytes:
    """Return the root over `hashes` (32 bytes each), padded with `filler` to `width`, a power of two."""
    level = list(hashes)
    while width > 1:
        if len(level) % 2:
            level.append(filler)
        level = [sha256(level[i] + level[i + 1]).digest() for i in range(0, len(level), 2)]
        filler = sha256(filler + filler).digest()
        width //= 2
    return level[0] if level else filler


def piece_layer(leaves: Sequence[bytes], blocks_per_piece: int) -> list[bytes]:
    """Return the subtree root of each piece, given the block hashes from a piece's boundary on."""
    return [
        merkle_root(leaves[i : i + blocks_per_piece], blocks_per_piece) for i in range(0, len(leaves), blocks_per_piece)
    ]


def layer_root(layer: Sequence[bytes], blocks_per_piece: int) -> bytes:
    """Return the `pieces root` of a file longer than one piece from its piece layer (BEP 52)."""
    width = 1 << (len(layer) - 1).bit_length()
    return merkle_root(layer, width, zero_root(blocks_per_piece))
