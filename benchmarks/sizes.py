"""The curves of time against size: fetch and publish, and curl and aria2c each followed by OpenSSL."""

from __future__ import annotations

import shutil
from dataclasses import replace

from benchmarks.bench import NAME, Bench, Series
from benchmarks.dataset import GIB, model
from benchmarks.fetchers import fetchers
from benchmarks.measuring import Run, interleaved, median_seconds

_FACTORS = (0.125, 0.25, 0.5, 1, 2, 4)
_MOST_RUNS = 3
_LABELS = {
    "weightswarm": "weightswarm fetch",
    "curl": "curl + openssl",
    "aria2c": "aria2c + openssl",
    "publish": "weightswarm publish",
}


def series(bench: Bench) -> list[Series]:
    """Measure from an eighth of the size to four times the size, at most three runs each."""
    points: dict[str, list[tuple[float, float]]] = {name: [] for name in _LABELS}
    for factor in _FACTORS:
        size = int(bench.size * factor)
        bench.say(f"time against size: {size / GIB:g} GiB")
        for name, runs in _at(replace(bench, size=size, work=bench.work / str(size))).items():
            points[name].append((size / GIB, median_seconds(runs)))
    return [Series("sizes", _LABELS[name], tuple(each)) for name, each in points.items() if each]


def _at(bench: Bench) -> dict[str, list[Run]]:
    data = model(bench.work / "model", bench.size)

    def publish() -> Run:
        output = bench.work / "published"
        return bench.run("publish", data.folder, "--name", NAME, "--rehash", "-o", output, "--quiet")

    failures: dict[str, str] = {}
    with fetchers(bench, data) as ways:
        ways.warm_up()
        works = {name: work for name, work in ways.all().items() if name in _LABELS}
        works["publish"] = publish
        runs = interleaved(min(bench.pairs, _MOST_RUNS), works, between=ways.clear, failures=failures)
    for name, reason in failures.items():
        bench.say(f"no curve for {name}: {reason}")
    shutil.rmtree(bench.work)
    return runs
