"""Row 16: fetching from an nginx alone, by `-w` with nobody else in the swarm and by `--http-only`, against curl."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import NAME, Bench
from benchmarks.dataset import DataSet, model
from benchmarks.hub_stub import Hub, hub
from benchmarks.measuring import ProgramFailed, Run, cpu, interleaved, ratio, run, shown
from benchmarks.peers import find
from benchmarks.row import Row, unmeasured

_WORKS = {
    "16a": ("`fetch -w`, no peer answers", ()),
    "16b": ("`fetch --http-only`", ("--http-only",)),
}
_AGAINST = "`curl --parallel` of the same files from the same nginx, no hash"
_GOAL = "≥ 0.9 x as fast"
_LEAST = 0.9


def measure(bench: Bench) -> list[Row]:
    """Fetch and download in turns, each into a folder that was not there."""
    data = model(bench.work / "model", bench.size)
    with hub(data, bench.work / "hub", bench.environment) as web:
        published = bench.run("publish", data.folder, "--name", NAME, "-o", bench.work, "--json", "--quiet")
        torrent = Path(json.loads(published.stdout)["torrent"])
        works = _Works(bench, data, web, torrent, bench.work / "fetched")
        bench.say("fetch from nginx")
        works.clear()
        works.curl()
        failures: dict[str, str] = {}
        runs = interleaved(bench.pairs, works.all(), between=works.clear, failures=failures)
    rows = []
    for number, (work, _) in _WORKS.items():
        missing = [failures[name] for name in (number, "curl") if name in failures]
        if missing:
            rows.append(unmeasured(number, work, _AGAINST, _GOAL, "; ".join(missing)))
            continue
        ours, theirs = runs[number], runs["curl"]
        times = ratio(theirs, ours)
        figures = shown(ours, data.size), shown(theirs, data.size), str(times)
        rows.append(Row(number, work, _AGAINST, *figures, _GOAL, times.median >= _LEAST, cpu(ours, theirs)))
    return rows


@dataclass(frozen=True, slots=True)
class _Works:
    bench: Bench
    data: DataSet
    web: Hub
    torrent: Path
    folder: Path

    def all(self) -> dict[str, Callable[[], Run]]:
        """Return the works by their names."""
        ours: dict[str, Callable[[], Run]] = {
            number: lambda options=options: self.fetch(*options)  # type: ignore[misc]
            for number, (_, options) in _WORKS.items()
        }
        return {**ours, "curl": self.curl}

    def clear(self) -> None:
        """Remove what was fetched, and wait until the disk has nothing left to write."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        os.sync()

    def fetch(self, *options: str) -> Run:
        """Fetch into a cache, every file hashed and synced."""
        where: list[str | Path] = ["-w", self.web.files_url, "--name", NAME, "--cache-dir", self.folder, "--quiet"]
        done = self.bench.run("fetch", self.torrent, *where, *options)
        if not Path(done.stdout.strip()).is_dir():
            raise ProgramFailed(f"weightswarm fetch printed no path: {done.stdout[:200]!r}")
        return done

    def curl(self) -> Run:
        """Download all files at once."""
        configuration = self.folder.parent / "curl.conf"
        files = [f'url = "{self.web.url}/plain/{path}"\noutput = "{path}"\n' for path in self.web.paths]
        configuration.write_text("".join(files))
        options = ["-q", "--silent", "--show-error", "--fail", "--create-dirs", "--parallel"]
        where = ["--output-dir", str(self.folder), "--config", str(configuration)]
        return run([find("curl"), *options, *where], environment=self.bench.environment)
