"""Which files of a torrent a magnet link selects: `so=0,2,4-6` (BEP 53)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

MAX_RANGES = 1024
_RANGE = re.compile(r"([0-9]{1,7})(?:-([0-9]{1,7}))?")


@dataclass(frozen=True, slots=True)
class FileSelection:
    """Indices into a torrent's file list, as ranges from first to last, in order and apart from each other."""

    ranges: tuple[tuple[int, int], ...]

    def __contains__(self, index: int) -> bool:
        return any(first <= index <= last for first, last in self.ranges)

    def __str__(self) -> str:
        return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in self.ranges)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read `0,2,4-6`; None for anything else, and for more than 1,024 ranges."""
        parts = [_RANGE.fullmatch(part.strip()) for part in text.split(",", MAX_RANGES)]
        ranges = [(int(m[1]), int(m[2] or m[1])) for m in parts if m is not None]
        if len(ranges) != len(parts) or len(parts) > MAX_RANGES or any(last < first for first, last in ranges):
            return None
        merged: list[tuple[int, int]] = []
        for first, last in sorted(ranges):
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
            else:
                merged.append((first, last))
        return cls(tuple(merged))
