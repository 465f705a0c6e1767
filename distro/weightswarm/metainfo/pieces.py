"""Which bytes of which file a piece holds."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Iterator

from weightswarm.metainfo.read import Metainfo


class PieceMap:
    """Where a torrent's files lie over its pieces; indices are those of `Metainfo.files`."""

    def __init__(self, metainfo: Metainfo) -> None:
        self.piece_length = metainfo.piece_length
        self._sizes = tuple(file.size for file in metainfo.files)
        self._offsets = _aligned(metainfo) if metainfo.info_hash.v2 is not None else _listed(metainfo)

    def offset_of(self, index: int) -> int:
        """Return where a file begins, in bytes of the torrent's pieces laid end to end."""
        return self._offsets[index]

    def pieces_of(self, index: int) -> range:
        """Return the pieces that hold bytes of a file; none when it is empty."""
        if not self._sizes[index]:
            return range(0)
        offset = self._offsets[index]
        return range(offset // self.piece_length, (offset + self._sizes[index] - 1) // self.piece_length + 1)

    def files_of(self, piece: int) -> tuple[int, ...]:
        """Return the files that have bytes in a piece."""
        last = bisect_right(self._offsets, (piece + 1) * self.piece_length - 1)
        found = []
        for index in range(last - 1, -1, -1):
            if self._sizes[index] and self._offsets[index] + self._sizes[index] <= piece * self.piece_length:
                break
            if self._sizes[index]:
                found.append(index)
        return tuple(reversed(found))

    def span(self, index: int, piece: int) -> tuple[int, int]:
        """Return where in a file a piece's bytes of it begin and end."""
        start = piece * self.piece_length - self._offsets[index]
        return max(0, start), min(self._sizes[index], start + self.piece_length)

    def spans_of(self, piece: int) -> tuple[tuple[int, int, int], ...]:
        """Return what a piece holds: of each file in it the first byte, and the byte after the last."""
        return tuple((index, *self.span(index, piece)) for index in self.files_of(piece))

    def parts_of(self, index: int, first: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the pieces that hold the bytes from `first` to before `end` of a file, each with how many it holds."""
        position, last = self._offsets[index] + first, self._offsets[index] + end
        while position < last:
            piece = position // self.piece_length
            part = min(last, (piece + 1) * self.piece_length) - position
            yield piece, part
            position += part

    def prefix(self, index: int, have: Container[int], known: int = 0) -> int:
        """Return how many bytes from a file's start on lie in pieces of `have`, given that `known` bytes do."""
        size, offset = self._sizes[index], self._offsets[index]
        piece = (offset + known) // self.piece_length
        while known < size and piece in have:
            piece += 1
            known = min(size, piece * self.piece_length - offset)
        return known


def _aligned(metainfo: Metainfo) -> tuple[int, ...]:
    """v2 files each start a piece (BEP 52)."""
    offsets, position = [], 0
    for file in metainfo.files:
        offsets.append(position)
        position += -(-file.size // metainfo.piece_length) * metainfo.piece_length
    return tuple(offsets)


def _listed(metainfo: Metainfo) -> tuple[int, ...]:
    """v1 files follow each other, pad files among them (BEP 3, BEP 47)."""
    offsets, position = [], 0
    for index, size in metainfo.v1_spans:
        if index is not None:
            offsets.append(position)
        position += size
    return tuple(offsets)
