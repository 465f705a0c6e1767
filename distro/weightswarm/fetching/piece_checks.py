"""Checking single pieces on disk against a torrent's own hashes: v2 roots where they are known, else v1 digests."""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path

from weightswarm.errors import SourceChanged
from weightswarm.hashing import Worker
from weightswarm.metainfo import Metainfo, PieceMap

_Span = tuple[str, int | None, int, int]


class PieceChecks:
    """Says which pieces are wrong. `files` maps indices of `metainfo.files` to where those stand that are wanted."""

    def __init__(self, metainfo: Metainfo, files: Mapping[int, Path], pieces: PieceMap) -> None:
        self._metainfo = metainfo
        self._files = files
        self._map = pieces
        self._length = metainfo.piece_length
        self._v1 = bool(metainfo.v1_pieces)
        self._starts = _starts(metainfo) if metainfo.info_hash.v2 is None else []

    def known(self, piece: int) -> bool:
        """Tell whether a piece can be checked: its hash is known, and all of its files are wanted."""
        indices = self._map.files_of(piece)
        if any(index not in self._files for index in indices):
            return False
        return self._metainfo.info_hash.v2 is None or self._v2(piece) is not None or self._v1

    def wrong(self, worker: Worker, pieces: Sequence[int]) -> list[int]:
        """Return those of `pieces`, all `known`, that do not hold the torrent's bytes. Raises `StorageFailure`."""
        return [piece for piece in pieces if not self._right(worker, piece)]

    def _right(self, worker: Worker, piece: int) -> bool:
        try:
            if self._metainfo.info_hash.v2 is None:
                (digests,) = worker.call("packed", [(self._spans(piece), self._length)])
                return bool(digests == [self._v1_digest(piece)])
            return self._right_in_file(worker, piece)
        except SourceChanged:
            # Shorter than it must be for this piece.
            return False

    def _right_in_file(self, worker: Worker, piece: int) -> bool:
        """Check a piece of a v2 or hybrid torrent, which is one file's."""
        (index,) = self._map.files_of(piece)
        size = self._metainfo.files[index].size
        offset = (piece - self._map.pieces_of(index).start) * self._length
        length = min(self._length, size - offset)
        # A file within one piece has a root of its own, over its own blocks alone.
        span: _Span = (os.fspath(self._files[index]), size if size <= self._length else None, offset, length)
        root = self._v2(piece)
        # A pad file fills up the v1 piece; the last one of all may be left as it is.
        filled = (piece + 1) * self._length <= sum(size for _, size in self._metainfo.v1_spans)
        arguments = (0, span, self._length, False, False, root is None, filled)
        ((_, roots, digests),) = worker.call("pieces", [arguments])
        return bool(roots == [root] if root is not None else digests == [self._v1_digest(piece)])

    def _v2(self, piece: int) -> bytes | None:
        """Return a piece's root by the v2 hashes, None where they are not known."""
        (index,) = self._map.files_of(piece)
        file = self._metainfo.files[index]
        if file.pieces_root is None:
            return None
        root = bytes.fromhex(file.pieces_root)
        if file.size <= self._length:
            return root
        number = piece - self._map.pieces_of(index).start
        layer = self._metainfo.piece_layers.get(root, b"")
        return layer[32 * number : 32 * number + 32] or None

    def _v1_digest(self, piece: int) -> bytes:
        return self._metainfo.v1_pieces[20 * piece : 20 * piece + 20]

    def _spans(self, piece: int) -> list[_Span]:
        """Return what a piece of a v1 torrent is made of; a pad file has no path."""
        begin, end = piece * self._length, (piece + 1) * self._length
        spans: list[_Span] = []
        # From the last one that begins before the piece; empty files among them give nothing.
        for number in range(max(0, bisect_right(self._starts, begin) - 1), bisect_left(self._starts, end)):
            (index, size), start = self._metainfo.v1_spans[number], self._starts[number]
            first, last = max(begin, start), min(end, start + size)
            if first < last:
                path = "" if index is None else os.fspath(self._files[index])
                spans.append((path, None, first - start, last - first))
        return spans


def _starts(metainfo: Metainfo) -> list[int]:
    starts, position = [], 0
    for _, size in metainfo.v1_spans:
        starts.append(position)
        position += size
    return starts
