"""`python -m benchmarks`: measure, and write results and pictures."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import (
    fetching,
    link,
    machine,
    many_files,
    many_releases,
    memory,
    peers,
    publishing,
    revision,
    sizes,
    startup,
    swarms,
    verifying,
    web_seed,
)
from benchmarks.bench import Bench, Series, quiet_environment
from benchmarks.measuring import ProgramFailed
from benchmarks.plots import draw
from benchmarks.results import Measured, Results, read_results
from benchmarks.row import Row, unmeasured

_UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_PLOTS = "plots"
_LEAST_SIZE = 2**20
# What goes wrong in one group must not cost the others' figures.
_FAILURES = (ProgramFailed, OSError, ValueError, AssertionError, subprocess.SubprocessError)


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that are measured together."""

    name: str
    numbers: tuple[str, ...]
    measure: Callable[[Bench], list[Row]]


GROUPS = (
    Group("publishing", ("1", "2", "3"), publishing.measure),
    Group("fetching", ("4", "5", "6"), fetching.measure),
    Group("link", ("7", "8"), link.measure),
    Group("verifying", ("9",), verifying.measure),
    Group("swarms", ("10",), swarms.measure),
    Group("revision", ("11",), revision.measure),
    Group("startup", ("12",), startup.measure),
    Group("memory", ("13",), memory.measure),
    Group("many_files", ("14",), many_files.measure),
    Group("many_releases", ("15",), many_releases.measure),
    Group("web_seed", ("16",), web_seed.measure),
)
PLOTS: dict[str, Callable[[Bench], list[Series]]] = {"sizes": sizes.series, "fetchers": swarms.series}


def main() -> None:
    """Measure what was asked for. A row that could not be measured says so in the results."""
    arguments = _arguments()
    if arguments.work is None:
        with tempfile.TemporaryDirectory(prefix="weightswarm-bench-") as folder:
            _bench(arguments, Path(folder))
    else:
        arguments.work.mkdir(parents=True, exist_ok=True)
        _bench(arguments, arguments.work.absolute())


def _bench(arguments: argparse.Namespace, work: Path) -> None:
    wanted: set[str] = arguments.only
    weightswarm = Path(sys.executable).with_name("weightswarm")
    bench = Bench(arguments.size, arguments.pairs, work, weightswarm, quiet_environment(work))
    results = read_results(arguments.output)
    results.machine = machine.describe(bench) | peers.versions() | {"latest run": machine.now()}
    for group in GROUPS:
        if wanted & set(group.numbers):
            results.take_rows(group.numbers, _measured(bench, group))
            results.write(arguments.output)
    if _PLOTS in wanted:
        for plot, series in PLOTS.items():
            _plot(bench, results, plot, series)
            results.write(arguments.output)
    draw(results.series, arguments.output)
    results.write(arguments.output)


def _measured(bench: Bench, group: Group) -> list[Measured]:
    bench.say(f"rows {', '.join(group.numbers)}")
    before = machine.cpu_times()
    own = _own(bench, group.name)
    try:
        rows = group.measure(own)
    except _FAILURES as error:
        reason = f"{type(error).__name__}: {error}"
        rows = [unmeasured(number, group.name, "", "", reason) for number in group.numbers]
    finally:
        shutil.rmtree(own.work, ignore_errors=True)
    stolen = machine.cpu_times().stolen_since(before)
    for row in rows:
        bench.say(f"  {row.number}: {row.ours} / {row.theirs} = {row.ratio} ({row.goal}; met: {row.met}) {row.remark}")
    return [Measured(row, machine.now(), bench.size, bench.pairs, stolen) for row in rows]


def _plot(bench: Bench, results: Results, plot: str, measure: Callable[[Bench], list[Series]]) -> None:
    own = _own(bench, plot)
    try:
        results.take_series(plot, measure(own))
    except _FAILURES as error:
        bench.say(f"no new curves of {plot}: {type(error).__name__}: {error}")
    finally:
        shutil.rmtree(own.work, ignore_errors=True)


def _own(bench: Bench, name: str) -> Bench:
    """Return the bench with a folder, caches included, that is this group's alone."""
    work = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=bench.work))
    return replace(bench, work=work, environment=quiet_environment(work))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--size", type=_size, default="2GiB", help="bytes of the data set, as 64MiB (default: 2GiB)")
    parser.add_argument("--pairs", type=_pairs, default=5, help="how often each program of a row runs (default: 5)")
    parser.add_argument(
        "--only",
        type=_only,
        default=_everything(),
        metavar="1,4,plots",
        help="rows, with those that are measured together; plots",
    )
    parser.add_argument("--work", type=Path, help="where data goes (default: a temporary folder)")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="where results go")
    return parser.parse_args()


def _size(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]iB)?", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size like 64MiB")
    size = int(float(found[1]) * _UNITS[found[2] or ""])
    if size < _LEAST_SIZE:
        raise argparse.ArgumentTypeError("the data set must have 1 MiB at least")
    return size


def _pairs(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no count")
    return int(text)


def _only(text: str) -> set[str]:
    wanted = set(text.split(","))
    if unknown := wanted - _everything():
        raise argparse.ArgumentTypeError(f"there is no row {', '.join(sorted(unknown))}")
    return wanted


def _everything() -> set[str]:
    return {number for group in GROUPS for number in group.numbers} | {_PLOTS}


if __name__ == "__main__":
    main()
