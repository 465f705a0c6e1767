"""Seeing that a piece is on disk: where its file had a hole, it has none any more.

The swarm engine tells when a piece was hashed, which is before it is written, and its flush stops all other writing
until it is through, while what comes meanwhile is kept in memory without a bound. A look costs none of that.
"""

from __future__ import annotations

import os
from pathlib import Path

from weightswarm.metainfo import PieceMap
from weightswarm.storage import first_gap, has_data, open_regular, shows_holes

_PAGE = 4096
_SOON_SECONDS = 0.1
_LATE_SECONDS = 2.0
_FEW_BYTES = 8 * 1024 * 1024
"""So little may stay with the swarm engine for long; a flush takes a moment then, and a kill costs no more."""


class Holes:
    """Which pieces nothing stood of when a download began. It sees a page once the page is written: that all bytes are
    right only their hash can tell.

    `folder` is where the files are, `files` their paths by index. Made before anything writes to them.
    """

    def __init__(self, folder: Path, files: dict[int, Path], pieces: PieceMap) -> None:
        self._files = files
        self._pieces = pieces
        self._waiting: dict[int, float] = {}
        self._empty: set[int] = set()
        if shows_holes(folder):
            self._empty = {piece for index in files for piece in pieces.pieces_of(index)}
            for index in files:
                self._empty -= self._begun(index)

    def watch(self, piece: int, now: float) -> bool:
        """Look out for a piece, and return whether that can be done: for one that was a hole, once."""
        if piece not in self._empty:
            return False
        self._empty.remove(piece)
        self._waiting[piece] = now
        return True

    def forget(self, piece: int) -> None:
        """What stands there now may be anything: a hole tells no more."""
        self._empty.discard(piece)
        self._waiting.pop(piece, None)

    def look(self, now: float) -> tuple[set[int], set[int]]:
        """Return the watched pieces that are on disk, and those that need a flush. Neither is watched any longer.

        The engine writes when enough has come together, and a file system may keep a hole where zeros are written.
        """
        ready: set[int] = set()
        by_file: dict[int, list[int]] = {}
        for piece in self._waiting:
            by_file.setdefault(self._pieces.files_of(piece)[0], []).append(piece)
        for index, pieces in by_file.items():
            ready |= self._written(index, pieces)
        few = max(1, _FEW_BYTES // self._pieces.piece_length)
        patience = _SOON_SECONDS if len(self._waiting) - len(ready) <= few else _LATE_SECONDS
        overdue = {p for p, since in self._waiting.items() if p not in ready and now - since > patience}
        for piece in ready | overdue:
            del self._waiting[piece]
        return ready, overdue

    def _begun(self, index: int) -> set[int]:
        """Return the pieces of a file that are no holes, or that a page of another piece would hide."""
        pieces = self._pieces.pieces_of(index)
        unclear = {p for p in pieces if len(self._pieces.files_of(p)) > 1 or self._pieces.span(index, p)[0] % _PAGE}
        try:
            descriptor = open_regular(self._files[index])
        except FileNotFoundError:
            return unclear
        except OSError:
            return set(pieces)
        try:
            if os.fstat(descriptor).st_size == 0:
                return unclear
            return {piece for piece in pieces if has_data(descriptor, *self._pieces.span(index, piece))} | unclear
        finally:
            os.close(descriptor)

    def _written(self, index: int, pieces: list[int]) -> set[int]:
        try:
            descriptor = open_regular(self._files[index])
        except OSError:
            return set()
        try:
            spans = {piece: self._pieces.span(index, piece) for piece in pieces}
            return {piece for piece, (begin, end) in spans.items() if first_gap(descriptor, begin) >= end}
        except OSError:
            return set()
        finally:
            os.close(descriptor)
