"""Row 12: how long the command takes to start, and the library to be imported."""

from __future__ import annotations

import sys
from collections.abc import Callable

from benchmarks.bench import Bench
from benchmarks.measuring import Run, interleaved, median, run
from benchmarks.row import Row

_TIMES_PAIRS = 4


def measure(bench: Bench) -> list[Row]:
    """Start each 4 times as often as other rows run: 20 times by default."""
    bench.say("start-up")
    works: dict[str, Callable[[], Run]] = {
        "help": lambda: bench.run("--help"),
        "import": lambda: run([sys.executable, "-c", "import weightswarm"], environment=bench.environment),
        "python": lambda: run([sys.executable, "-c", "pass"], environment=bench.environment),
    }
    for work in works.values():
        work()
    runs = interleaved(_TIMES_PAIRS * bench.pairs, works)
    milliseconds = {name: [1000 * each.seconds for each in each_runs] for name, each_runs in runs.items()}
    base = milliseconds["python"]
    rows = []
    for number, name, what, most in (
        ("12a", "help", "`weightswarm --help`", 100),
        ("12b", "import", "`import weightswarm`", 60),
    ):
        more = [mine - python for mine, python in zip(milliseconds[name], base, strict=True)]
        shown = f"+{median(more):.0f} ms ({min(more):.0f} to {max(more):.0f})"
        ours, theirs = f"{median(milliseconds[name]):.0f} ms", f"{median(base):.0f} ms"
        goal, met, remark = f"≤ {most} ms more", median(more) <= most, f"medians of {len(more)}"
        rows.append(Row(number, what, "`python -c pass`", ours, theirs, shown, goal, met, remark))
    return rows
