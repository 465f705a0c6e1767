"""The results: `results.json`, which keeps rows of earlier runs, and `RESULTS.md`, drawn from it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.bench import Series
from benchmarks.row import Row

_JSON = "results.json"
_MARKDOWN = "RESULTS.md"
_HEADER = ("#", "work", "against", "ours", "theirs", "ratio", "goal", "met", "remarks")
_INTRODUCTION = """\
# Results

What `make bench` measured: weightswarm beside its peers, on the same files in the same run. The programs of a row run
in turns (A B, B A, …); times are medians of whole processes, from start to exit; ratios are medians of the ratios turn
by turn, with the lowest and the highest. Where the goal is to be so many times as fast, the ratio is their time over
ours; where it is to take so many times its time, ours over theirs. CPU time that others took from the machine meanwhile
is told below.
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """A row, when it was measured, on how large a data set, and the share of CPU time others took meanwhile."""

    row: Row
    date: str
    size: int
    pairs: int
    stolen: float


@dataclass(slots=True)
class Results:
    """All rows and curves there are, and the machine of the latest run."""

    machine: dict[str, str] = field(default_factory=dict)
    rows: dict[str, Measured] = field(default_factory=dict)
    series: list[Series] = field(default_factory=list)

    def take_rows(self, numbers: Iterable[str], rows: Iterable[Measured]) -> None:
        """Put `rows` in the place of those whose numbers start with one of `numbers`: 2 stands for 2a and 2b."""
        replaced = set(numbers)
        kept = {number: each for number, each in self.rows.items() if leading_number(number) not in replaced}
        self.rows = kept | {each.row.number: each for each in rows}

    def take_series(self, plot: str, series: Iterable[Series]) -> None:
        """Put `series` in the place of a plot's curves."""
        self.series = [each for each in self.series if each.plot != plot] + list(series)

    def write(self, folder: Path) -> None:
        """Write both files."""
        folder.mkdir(parents=True, exist_ok=True)
        document = {
            "machine": self.machine,
            "rows": [asdict(each) for each in self._sorted()],
            "series": [asdict(each) for each in self.series],
        }
        (folder / _JSON).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        (folder / _MARKDOWN).write_text(self._markdown(folder))

    def _sorted(self) -> list[Measured]:
        return sorted(self.rows.values(), key=lambda each: (int(leading_number(each.row.number)), each.row.number))

    def _markdown(self, folder: Path) -> str:
        parts = [_INTRODUCTION, _table(("machine", ""), self.machine.items()), ""]
        rows = [_cells(each.row) for each in self._sorted()]
        parts += [_table(_HEADER, rows), ""]
        parts += ["## When", ""]
        when = [
            (each.row.number, each.date, _size(each.size), str(each.pairs), f"{each.stolen:.0%}")
            for each in self._sorted()
        ]
        parts += [_table(("#", "measured", "size", "pairs", "CPU time stolen"), when), ""]
        pictures = sorted({each.plot for each in self.series})
        parts += [f"![{plot}]({plot}.png)\n" for plot in pictures if (folder / f"{plot}.png").exists()]
        return "\n".join(parts)


def leading_number(number: str) -> str:
    """Return the row's number without the letter of its part."""
    found = re.match(r"\d+", number)
    return found[0] if found else "0"


def read_results(folder: Path) -> Results:
    """Return what earlier runs left in `folder`, nothing when there were none."""
    try:
        document: Mapping[str, Any] = json.loads((folder / _JSON).read_text())
    except FileNotFoundError:
        return Results()
    rows = [Measured(**{**each, "row": Row(**each["row"])}) for each in document["rows"]]
    series = [Series(each["plot"], each["label"], tuple(map(tuple, each["points"]))) for each in document["series"]]
    return Results(dict(document["machine"]), {each.row.number: each for each in rows}, series)


def _cells(row: Row) -> tuple[str, ...]:
    met = {True: "yes", False: "**no**", None: "not measured"}[row.met]
    return row.number, row.work, row.against, row.ours, row.theirs, row.ratio, row.goal, met, row.remark


def _size(size: int) -> str:
    return f"{size / 2**30:g} GiB" if size >= 2**30 else f"{size / 2**20:g} MiB"


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
