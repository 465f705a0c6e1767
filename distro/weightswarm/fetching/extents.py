"""Which ranges of files are still to come by HTTP, and which connection brings which. Shared by threads."""

from __future__ import annotations

import threading
import time
from bisect import insort
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field

from weightswarm.lane import Layout

EXTENT = 64 * 1024 * 1024
"""Most bytes for one request: so few that a lost connection costs little, so many that requests cost nothing."""

_STEAL_SECONDS = 1.0
_LEAST_STOLEN = 64 * 1024


@dataclass(slots=True, eq=False)
class Extent:
    """Bytes of a file that one connection brings: those from `position` to before `end` are still to come.

    What is `claimed` of them is on its way to the disk.
    """

    file: int
    position: int
    end: int
    claimed: int = 0
    first: int = 0
    begun: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.first = self.claimed = self.position

    @property
    def rate(self) -> float:
        """Bytes a second since it was taken."""
        return (self.position - self.first) / max(1e-6, time.monotonic() - self.begun)


class Extents:
    """What is to come. An extent that is taken is given back in the end, with what is left of it."""

    def __init__(self) -> None:
        self._pending: dict[int, list[tuple[int, int]]] = {}
        self._taken: set[Extent] = set()
        self._busy: Counter[int] = Counter()
        self._changed = threading.Condition()
        self.ended = False

    def add(self, spans: Iterable[tuple[int, int, int]]) -> None:
        """Ask for more: of files, by index, the bytes from the first number to before the second."""
        with self._changed:
            for file, first, end in spans:
                insort(self._pending.setdefault(file, []), (first, end))
            self._changed.notify_all()

    def take(self, lacking: Container[int], rate: float) -> Extent | None:
        """Return what to bring next, none when nothing is left for who is `lacking` these files.

        At the end the rest of what others bring is shared: the slower one is than `rate`, in bytes a second, the more
        is taken from it.
        """
        with self._changed:
            file = None if self.ended else self._next_file(lacking)
            if file is None:
                return None if self.ended else self._steal(lacking, rate)
            return self._cut(file, EXTENT)

    def take_run(self, layout: Layout, most_files: int) -> list[Extent]:
        """Return what to bring next of files that follow each other, for one request: what is left of one, and the next
        ones, as far as nobody brings them. Nothing when nothing is left."""
        with self._changed:
            file = None if self.ended else self._next_file(())
            taken: list[Extent] = []
            left = EXTENT
            while file is not None and left > 0 and len(taken) < most_files:
                taken.append(last := self._cut(file, left))
                left -= last.end - last.position
                file = layout.after(file) if last.end == layout.size(file) else None
                if file not in self._pending or self._busy[file] or self._pending[file][0][0]:
                    file = None
            return taken

    def take_file(self, lacking: Container[int]) -> list[Extent]:
        """Return all that is to come of one file that nobody else brings, in order, for who sends whole files."""
        with self._changed:
            file = None if self.ended else self._next_file(lacking)
            if file is None or self._busy[file]:
                return []
            return [self._take(Extent(file, *span)) for span in self._pending.pop(file)]

    def give_back(self, extents: Sequence[Extent]) -> None:
        """Take back what was not brought."""
        with self._changed:
            for extent in extents:
                self._taken.remove(extent)
                self._busy[extent.file] -= 1
                if extent.position < extent.end:
                    insort(self._pending.setdefault(extent.file, []), (extent.position, extent.end))
            self._changed.notify_all()

    def claim(self, extent: Extent, most: int) -> int:
        """Return how many bytes to write at the extent's position now, 0 when it is done. No other connection gets
        those."""
        with self._changed:
            count = 0 if self.ended else min(most, extent.end - extent.position)
            extent.claimed = extent.position + count
            return count

    def wait(self, seconds: float) -> None:
        """Return when something changed, or after so many seconds."""
        with self._changed:
            if not self.ended:
                self._changed.wait(seconds)

    def wait_for_end(self, seconds: float) -> None:
        """Return after so many seconds, or at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self.ended, seconds)

    def end(self) -> None:
        """Nothing is taken or claimed any more."""
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    # --- with the lock held --------------------------------------------------------------------------------------

    def _cut(self, file: int, most: int) -> Extent:
        """Take the first bytes to come of a file."""
        spans = self._pending[file]
        first, end = spans.pop(0)
        if end - first > most:
            insort(spans, (first + most, end))
            end = first + most
        if not spans:
            del self._pending[file]
        return self._take(Extent(file, first, end))

    def _take(self, extent: Extent) -> Extent:
        self._taken.add(extent)
        self._busy[extent.file] += 1
        return extent

    def _next_file(self, lacking: Container[int]) -> int | None:
        """Return the first file that nobody brings, else the one that fewest do: files are hashed side by side."""
        least: int | None = None
        for file in self._pending:
            if file in lacking:
                continue
            if not self._busy[file]:
                return file
            if least is None or self._busy[file] < self._busy[least]:
                least = file
        return least

    def _steal(self, lacking: Container[int], rate: float) -> Extent | None:
        now = time.monotonic()
        # What has just begun has no rate yet.
        slow = [each for each in self._taken if each.file not in lacking and now - each.begun > _STEAL_SECONDS]
        slowest = max(slow, key=lambda each: (each.end - each.claimed) / max(1.0, each.rate), default=None)
        if slowest is None:
            return None
        left, theirs = slowest.end - slowest.claimed, max(1.0, slowest.rate)
        if left < _LEAST_STOLEN or left / theirs < _STEAL_SECONDS:
            return None
        kept = int(left * theirs / (theirs + (rate or theirs)))
        middle = slowest.claimed + (kept if kept >= _LEAST_STOLEN else 0)
        stolen = Extent(slowest.file, middle, slowest.end)
        slowest.end = middle
        return self._take(stolen)
