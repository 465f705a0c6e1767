"""A row of the results: what was measured, against what, and whether the goal was met."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FOLDERS = re.compile(r"/(?:[^\s/:'\"]+/)+")


@dataclass(frozen=True, slots=True)
class Row:
    """`ours`, `theirs` and `ratio` are text with units; `met` is None when the row could not be measured."""

    number: str
    work: str
    against: str
    ours: str
    theirs: str
    ratio: str
    goal: str
    met: bool | None
    remark: str = ""


def unmeasured(number: str, work: str, against: str, goal: str, reason: str) -> Row:
    """Return the row for what could not be measured, and why. Of paths in the reason only the names are kept."""
    return Row(number, work, against, "", "", "", goal, None, _FOLDERS.sub("…/", reason))
