"""Checking single pieces on disk against a torrent's own hashes: v2 roots where they are known, else v1 digests."""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path

from weightswarm.errors import SourceChanged
from weightswarm.hashing import Worker, piece_digests, piece_roots
from weightswarm.metainfo import HashedPieces, Metainfo, PieceMap, hashed_pieces
from weightswarm.verifying import Expectation

_Span = tuple[str, int | None, int, int]
_SHA1 = 20


class PieceChecks:
    """Says which pieces are wrong. `files` maps indices of `metainfo.files` to where those stand that are wanted."""

    def __init__(self, metainfo: Metainfo, files: Mapping[int, str | Path], pieces: PieceMap) -> None:
        self._metainfo = metainfo
        self._files = files
        self._map = pieces
        self._length = metainfo.piece_length
        # In v1 torrents files share pieces; in others each piece is one file's.
        self._packed = metainfo.info_hash.v2 is None
        self._hashed = {} if self._packed else hashed_pieces(metainfo, set(files))
        self._starts = _starts(metainfo) if self._packed else []

    def known(self, piece: int) -> bool:
        """Tell whether a piece can be checked: its hash is known, and all of its files are wanted."""
        indices = self._map.files_of(piece)
        if any(index not in self._files for index in indices):
            return False
        return self._packed or all(index in self._hashed for index in indices)

    def wrong(self, worker: Worker, pieces: Sequence[int]) -> list[int]:
        """Return those of `pieces`, all `known`, that do not hold the torrent's bytes. Raises `StorageFailure`."""
        try:
            found = self._found(worker, pieces)
        except SourceChanged:
            # A file is shorter than it must be for a piece of these.
            return [*pieces] if len(pieces) == 1 else [bad for piece in pieces for bad in self.wrong(worker, [piece])]
        return [piece for piece, digests in zip(pieces, found, strict=True) if digests != [self._digest(piece)]]

    def _found(self, worker: Worker, pieces: Sequence[int]) -> list[list[bytes]]:
        """Return what each piece hashes to: many small ones cost one message to a worker, not one each."""
        if self._packed:
            return worker.call("packed", [(self._spans(piece), self._length) for piece in pieces])
        indices = [self._map.files_of(piece)[0] for piece in pieces]
        looked = [(self._files[i], self._hashed[i], range(p, p + 1)) for i, p in zip(indices, pieces, strict=True)]
        if all(hashed.v2 for _, hashed, _ in looked):
            return piece_roots(worker, [(path, *hashed.span(run), hashed.length) for path, hashed, run in looked])
        return [digests_on_disk(path, hashed, run, worker) for path, hashed, run in looked]

    def _digest(self, piece: int) -> bytes:
        if self._packed:
            return self._metainfo.v1_pieces[_SHA1 * piece : _SHA1 * (piece + 1)]
        return self._hashed[self._map.files_of(piece)[0]].digest(piece)

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


def digests_on_disk(path: str | Path, pieces: HashedPieces, numbers: range, worker: Worker) -> list[bytes]:
    """Return what pieces that follow each other in a file hash to. Raises `SourceChanged`, `StorageFailure`."""
    pad = pieces.padded and numbers.stop == pieces.numbers.stop
    return piece_digests(worker, path, *pieces.span(numbers), pieces.length, v2=pieces.v2, pad=pad)


def _starts(metainfo: Metainfo) -> list[int]:
    starts, position = [], 0
    for _, size in metainfo.v1_spans:
        starts.append(position)
        position += size
    return starts


def whole_files(metainfo: Metainfo, expectations: Mapping[int, Expectation], pieces: PieceMap) -> frozenset[int]:
    """Return the pieces that are all of a file whose SHA-256 is known; v1 files share theirs with others."""
    if metainfo.info_hash.v2 is None:
        return frozenset()
    each = [pieces.pieces_of(index) for index, expected in expectations.items() if expected.sha256 is not None]
    return frozenset(run[0] for run in each if len(run) == 1)
