"""Piece layers out of the merkle trees that libtorrent keeps of a torrent: a magnet's metadata lacks them (BEP 52)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weightswarm.hashing import BLOCK, DIGEST, layer_root, piece_layer
from weightswarm.metainfo import Metainfo


def piece_layers(metainfo: Metainfo, trees: Sequence[dict[bytes, Any]]) -> dict[bytes, bytes] | None:
    """Return the piece layers by `pieces root`; None unless all are known and right.

    `trees` are those of libtorrent's resume data, in the order of `metainfo.files`.
    """
    layers: dict[bytes, bytes] = {}
    wanted: set[bytes] = set()
    blocks_per_piece = metainfo.piece_length // BLOCK
    for file in metainfo.files:
        if file.pieces_root is None or file.size <= metainfo.piece_length:
            continue
        root = bytes.fromhex(file.pieces_root)
        wanted.add(root)
        if root in layers:
            # Of files of equal content libtorrent asks for the hashes of one.
            continue
        tree = trees[file.index]
        layer = _layer(-(-file.size // BLOCK), blocks_per_piece, tree.get(b"hashes", b""), tree.get(b"mask", b""))
        if layer is not None and layer_root(layer, blocks_per_piece) == root:
            layers[root] = layer
    return layers if layers.keys() == wanted else None


def _layer(blocks: int, blocks_per_piece: int, hashes: bytes, mask: bytes) -> bytes | None:
    """Read a file's piece layer off its sparse tree: `mask` has a bit for each node, breadth first, that is in
    `hashes`. libtorrent keeps the piece layer until it knows every block, then the blocks alone."""
    leaves = 1 << (blocks - 1).bit_length()
    pieces = -(-blocks // blocks_per_piece)
    row = _row(leaves // blocks_per_piece - 1, pieces, hashes, mask)
    if row is not None:
        return row
    row = _row(leaves - 1, blocks, hashes, mask)
    return None if row is None else piece_layer(row, blocks_per_piece)


def _row(first: int, count: int, hashes: bytes, mask: bytes) -> bytes | None:
    """Return `count` nodes from the node `first` on; None when one of them is missing."""
    bits = int.from_bytes(mask, "big")
    width = len(mask) * 8
    wanted = (bits >> (width - first - count)) & ((1 << count) - 1) if first + count <= width else 0
    if wanted.bit_count() != count:
        return None
    before = (bits >> (width - first)).bit_count()
    row = hashes[before * DIGEST : (before + count) * DIGEST]
    return row if row and len(row) == count * DIGEST else None
