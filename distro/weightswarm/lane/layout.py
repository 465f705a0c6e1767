"""Where files lie in a lane: end to end in the torrent's order, without pad files, so that one range spans many."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate


class Layout:
    """`sizes` are those of `Metainfo.files`, in bytes, `total` is their sum."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._starts = list(accumulate(sizes, initial=0))
        self.total = self._starts.pop()
        self._sizes = sizes

    def start(self, index: int) -> int:
        """Return where a file begins."""
        return self._starts[index]

    def size(self, index: int) -> int:
        """Return how many bytes a file has."""
        return self._sizes[index]

    def after(self, index: int) -> int | None:
        """Return the file whose bytes follow those of a file; None when it is the last that has any."""
        following = range(index + 1, len(self._sizes))
        return next((each for each in following if self._sizes[each]), None)

    def spans(self, first: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield what lies from the byte `first` to before `end`: of each file that has bytes there its index, the first
        of them, and the one after the last."""
        index = bisect_right(self._starts, first) - 1
        while first < end:
            begin = first - self._starts[index]
            stop = min(self._sizes[index], end - self._starts[index])
            if begin < stop:
                yield index, begin, stop
                first = self._starts[index] + stop
            index += 1
