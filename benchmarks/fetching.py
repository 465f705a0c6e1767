"""Rows 4 to 6: fetching a model over loopback, against bare libtorrent, aria2c, `hf download` and curl."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.dataset import model
from benchmarks.fetchers import fetchers
from benchmarks.measuring import cpu, interleaved, median_seconds, ratio, shown
from benchmarks.row import Row, unmeasured


def measure(bench: Bench) -> list[Row]:
    """Measure all in turns, with one seeder beside them."""
    data = model(bench.work / "model", bench.size)
    with fetchers(bench, data) as works:
        bench.say("fetch over loopback")
        works.warm_up()
        failures: dict[str, str] = {}
        runs = interleaved(bench.pairs, works.all(), between=works.clear, failures=failures)
    size = data.size
    work = "`fetch` over loopback, from magnet to path"
    rows = []
    for number, peers, against, goal, most in (
        ("4", ["libtorrent"], "bare libtorrent with the same settings, no SHA-256", "≤ 1.25 x its time", 1.25),
        ("5", ["aria2c"], "`aria2c` by BitTorrent v1, then `openssl dgst`", "≤ 0.6 x its time", 0.6),
        ("6", ["hf", "curl"], "the faster of `hf download` and `curl` from nginx, then `openssl dgst`",
         "≤ 1.0 x its time", 1.0),
    ):  # fmt: skip
        missing = list(dict.fromkeys(failures[peer] for peer in ("weightswarm", *peers) if peer in failures))
        there = [peer for peer in peers if peer in runs]
        if "weightswarm" in failures or not there:
            rows.append(unmeasured(number, work, against, goal, "; ".join(missing)))
            continue
        ours = runs["weightswarm"]
        fastest = min(there, key=lambda peer: median_seconds(runs[peer]))
        theirs = runs[fastest]
        times = ratio(ours, theirs)
        remarks = [cpu(ours, theirs)]
        if len(peers) > 1:
            remarks += [f"{peer}: {shown(runs[peer], size)}, ratio {ratio(ours, runs[peer])}" for peer in there]
        # Against one of two the faster is not known.
        met = times.median <= most if not missing or times.median > most else None
        remark = "; ".join([*remarks, *missing])
        rows.append(Row(number, work, against, shown(ours, size), shown(theirs, size), str(times), goal, met, remark))
    return rows
