"""BEP 52's merkle trees: SHA-256 over 16 KiB blocks, padded with zero leaves to a power of two.

Hashes are 32 bytes each; many are laid end to end.
"""

from __future__ import annotations

from hashlib import sha256

from weightswarm.hashing.sha import tree_root

BLOCK = 16 * 1024
DIGEST = 32
SHA1 = 20
ZERO_HASH = bytes(DIGEST)

_zero_roots = [ZERO_HASH]


def zero_root(leaves: int) -> bytes:
    """Return the root over `leaves` (a power of two) zero leaves: what stands for a missing piece."""
    height = leaves.bit_length() - 1
    while len(_zero_roots) <= height:
        _zero_roots.append(sha256(_zero_roots[-1] * 2).digest())
    return _zero_roots[height]


def file_root(leaves: bytes) -> bytes:
    """Return the `pieces root` of a file no longer than a piece: the tree of just its own blocks, one at least."""
    return tree_root(leaves, 1 << (len(leaves) // DIGEST - 1).bit_length(), ZERO_HASH)


def piece_layer(leaves: bytes, blocks_per_piece: int) -> bytes:
    """Return the subtree root of each piece, given the block hashes from a piece's boundary on."""
    size = DIGEST * blocks_per_piece
    if size == DIGEST:
        return leaves
    roots = [tree_root(leaves[i : i + size], blocks_per_piece, ZERO_HASH) for i in range(0, len(leaves), size)]
    return b"".join(roots)


def layer_root(layer: bytes, blocks_per_piece: int) -> bytes:
    """Return the `pieces root` of a file longer than one piece from its piece layer (BEP 52)."""
    return tree_root(layer, 1 << (len(layer) // DIGEST - 1).bit_length(), zero_root(blocks_per_piece))
