"""Rows 4 to 6: fetching a model over loopback, against bare libtorrent, aria2c, `hf download` and curl."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.bench import Bench
from benchmarks.dataset import model
from benchmarks.fetchers import fetchers
from benchmarks.measuring import Run, cpu, interleaved, median_seconds, ratio, shown
from benchmarks.row import Row, unmeasured

_OURS = {
    "a": ("weightswarm", "`fetch` over loopback, from magnet to path"),
    "b": ("weightswarm --no-lane", "`fetch --no-lane` over loopback: by BitTorrent alone"),
}


@dataclass(frozen=True, slots=True)
class _Rival:
    """Who does the same, and how much of their time ours may take at most."""

    number: str
    names: tuple[str, ...]
    against: str
    most: float


_RIVALS = (
    _Rival("4", ("libtorrent",), "bare libtorrent with the same settings, no SHA-256", 1.25),
    _Rival("5", ("aria2c",), "`aria2c` by BitTorrent v1, then `openssl dgst`", 0.6),
    _Rival("6", ("hf", "curl"), "the faster of `hf download` and `curl` from nginx, then `openssl dgst`", 1.0),
)


def measure(bench: Bench) -> list[Row]:
    """Measure all in turns, with one seeder beside them."""
    data = model(bench.work / "model", bench.size)
    with fetchers(bench, data) as works:
        bench.say("fetch over loopback")
        works.warm_up()
        failures: dict[str, str] = {}
        runs = interleaved(bench.pairs, works.all(), between=works.clear, failures=failures)
    return [
        _row(f"{rival.number}{letter}", ours, work, rival, runs, failures, data.size)
        for rival in _RIVALS
        for letter, (ours, work) in _OURS.items()
    ]


def _row(
    number: str,
    ours: str,
    work: str,
    rival: _Rival,
    runs: Mapping[str, list[Run]],
    failures: Mapping[str, str],
    size: int,
) -> Row:
    goal = f"≤ {rival.most} x its time"
    missing = list(dict.fromkeys(failures[name] for name in (ours, *rival.names) if name in failures))
    there = [name for name in rival.names if name in runs]
    if ours in failures or not there:
        return unmeasured(number, work, rival.against, goal, "; ".join(missing))
    mine = runs[ours]
    fastest = min(there, key=lambda name: median_seconds(runs[name]))
    times = ratio(mine, runs[fastest])
    remarks = [cpu(mine, runs[fastest])]
    if len(rival.names) > 1:
        remarks += [f"{name}: {shown(runs[name], size)}, ratio {ratio(mine, runs[name])}" for name in there]
    # Against one of two the faster is not known.
    met = times.median <= rival.most if not missing or times.median > rival.most else None
    remark = "; ".join([*remarks, *missing])
    figures = shown(mine, size), shown(runs[fastest], size), str(times)
    return Row(number, work, rival.against, *figures, goal, met, remark)
