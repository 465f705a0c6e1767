"""Which pieces have come by HTTP, and from which servers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Container, Iterable

from weightswarm.metainfo import PieceMap


class Coverage:
    """The wanted bytes of a torrent, piece by piece. `files` are the indices of those that are wanted."""

    def __init__(self, pieces: PieceMap, files: Collection[int]) -> None:
        self._map = pieces
        self._files = files
        self._missing: dict[int, int] = {}
        # File by file: looking up which files a piece holds takes longer, and small files have a piece each.
        for index in sorted(files):
            for piece in pieces.pieces_of(index):
                begin, end = pieces.span(index, piece)
                self._missing[piece] = self._missing.get(piece, 0) + end - begin
        self._givers: dict[int, set[int]] = defaultdict(set)
        self.total = sum(self._missing.values())
        self.done = 0

    @property
    def complete(self) -> bool:
        """Whether all wanted bytes are there."""
        return self.done == self.total

    @property
    def pieces(self) -> Collection[int]:
        """The pieces that hold wanted bytes."""
        return self._missing.keys()

    def spans(self, piece: int) -> list[tuple[int, int, int]]:
        """Return the wanted bytes of a piece: file, first byte, byte after the last."""
        return [span for span in self._map.spans_of(piece) if span[0] in self._files]

    def brought(self, giver: int, file: int, first: int, end: int) -> list[int]:
        """Take note of bytes on disk from a server; return the pieces that are whole now."""
        whole = []
        for piece, count in self._map.parts_of(file, first, end):
            self._missing[piece] -= count
            self._givers[piece].add(giver)
            if not self._missing[piece]:
                whole.append(piece)
        self.done += end - first
        return whole

    def found(self, pieces: Iterable[int]) -> None:
        """Take note of whole pieces that are on disk already."""
        for piece in pieces:
            self.done += self._missing[piece]
            self._missing[piece] = 0

    def givers(self, piece: int) -> frozenset[int]:
        """Return the servers that gave bytes of a piece."""
        return frozenset(self._givers[piece])

    def given_by(self, giver: int) -> list[int]:
        """Return the pieces that a server gave bytes of."""
        return [piece for piece, givers in self._givers.items() if giver in givers]

    def lost(self, piece: int, right: Container[int]) -> list[tuple[int, int, int]]:
        """Forget a whole piece but for the bytes of files that are `right`; return those that must come again."""
        spans = [span for span in self.spans(piece) if span[0] not in right]
        self._missing[piece] = sum(end - first for _, first, end in spans)
        self.done -= self._missing[piece]
        del self._givers[piece]
        return spans

    def missing(self) -> list[tuple[int, int, int]]:
        """Return what is to come when nothing is on its way, in as few spans as possible."""
        spans: list[tuple[int, int, int]] = []
        for index in sorted(self._files):
            for piece in self._map.pieces_of(index):
                if self._missing[piece]:
                    first, end = self._map.span(index, piece)
                    if spans and spans[-1][0] == index and spans[-1][2] == first:
                        spans[-1] = (index, spans[-1][1], end)
                    else:
                        spans.append((index, first, end))
        return spans
