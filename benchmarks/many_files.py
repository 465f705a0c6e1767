"""Row 14: a model of thousands of small files, against the same bytes in four."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import NAME, Bench
from benchmarks.dataset import GIB, KIB, DataSet, equal_files
from benchmarks.measuring import Run, cpu, interleaved, ratio, shown
from benchmarks.row import Row
from benchmarks.servers import seeding

_FILE_SIZE = 64 * KIB
_FILES = 10_000
_FILES_AT = 2 * GIB
_FEW = 4
_MOST = 2.0


def measure(bench: Bench) -> list[Row]:
    """Publish, fetch and verify both: 10,000 files at 2 GiB, fewer at smaller sizes."""
    count = max(_FEW, _FILES * bench.size // _FILES_AT // _FEW * _FEW)
    many = _Model(bench, equal_files(bench.work / "many", count, _FILE_SIZE))
    few = _Model(bench, equal_files(bench.work / "few", _FEW, count * _FILE_SIZE // _FEW))
    bench.say(f"{count:,} files: publish")
    published = _compared(bench, many.publish, few.publish)
    with (
        seeding(bench, bench.work / "seed-many", many.data.folder, "--name", NAME) as seed_many,
        seeding(bench, bench.work / "seed-few", few.data.folder, "--name", NAME) as seed_few,
    ):

        def fetch_many() -> Run:
            return many.fetch(seed_many.magnets[0])

        def fetch_few() -> Run:
            return few.fetch(seed_few.magnets[0])

        fetch_many(), fetch_few()
        bench.say(f"{count:,} files: fetch")
        fetched = _compared(bench, fetch_many, fetch_few, between=os.sync)
    bench.say(f"{count:,} files: verify")
    verified = _compared(bench, many.verify, few.verify)
    size = many.data.size
    rows = []
    measured = (("14a", "publish", published), ("14b", "fetch", fetched), ("14c", "verify", verified))
    for number, command, runs in measured:
        ours, theirs = runs["many"], runs["few"]
        times = ratio(ours, theirs)
        work = f"`{command}` of {count:,} files of 64 KiB"
        goal = f"≤ {_MOST:g} x the time"
        met = times.median <= _MOST
        figures = shown(ours, size), shown(theirs, size), str(times)
        rows.append(Row(number, work, f"the same bytes in {_FEW} files", *figures, goal, met, cpu(ours, theirs)))
    return rows


def _compared(
    bench: Bench, many: Callable[[], Run], few: Callable[[], Run], *, between: Callable[[], None] | None = None
) -> dict[str, list[Run]]:
    return interleaved(bench.pairs, {"many": many, "few": few}, between=between)


@dataclass(slots=True)
class _Model:
    """A data set and what is done with it. Each fetch has a cache of its own, and nothing is removed before the end:
    ext4 looks every inode over that was freed within the last minute, which takes longer than the fetch itself."""

    bench: Bench
    data: DataSet
    fetches: int = 0

    @property
    def _cache(self) -> Path:
        return self.data.folder.with_name(f"{self.data.folder.name}-cached-{self.fetches}")

    def publish(self) -> Run:
        output = self.data.folder.with_name(f"{self.data.folder.name}-published")
        return self.bench.run("publish", self.data.folder, "--name", NAME, "--rehash", "-o", output, "--quiet")

    def fetch(self, magnet: str) -> Run:
        self.fetches += 1
        return self.bench.run("fetch", magnet, "--name", NAME, "--cache-dir", self._cache, "--quiet")

    def verify(self) -> Run:
        return self.bench.run("verify", NAME, "--cache-dir", self._cache, "--quiet")
