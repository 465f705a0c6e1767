"""Row 16: fetching from an nginx alone, by `-w` with nobody else in the swarm and by `--http-only`, against curl.

On one machine, where cores decide, and through a link of 1 Gbit/s.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks.bench import NAME, Bench
from benchmarks.dataset import DataSet, model
from benchmarks.hub_stub import hub
from benchmarks.link import RATE
from benchmarks.measuring import ProgramFailed, Run, cpu, interleaved, ratio, run, shown
from benchmarks.networks import limited_network, web_serving
from benchmarks.peers import find
from benchmarks.row import Row, unmeasured

_WORKS = {
    "16a": ("`fetch -w`, no peer answers", ()),
    "16b": ("`fetch --http-only`", ("--http-only",)),
}
_LINK_WORK = "`fetch --http-only` through a link of 1 Gbit/s"
_AGAINST = "`curl --parallel` of the same files from the same nginx, no hash"
_GOAL = "≥ 0.9 x as fast"
_LEAST = 0.9


def measure(bench: Bench) -> list[Row]:
    """Fetch and download in turns, each into a folder that was not there."""
    return [*_here(bench), _through_link(bench)]


def _here(bench: Bench) -> list[Row]:
    data = model(bench.work / "model", bench.size)
    with hub(data, bench.work / "hub", bench.environment) as web:
        published = bench.run("publish", data.folder, "--name", NAME, "-o", bench.work, "--json", "--quiet")
        torrent = Path(json.loads(published.stdout)["torrent"])
        works = _Works(bench, torrent, web.files_url, _urls(data, f"{web.url}/plain"), bench.work / "fetched")
        bench.say("fetch from nginx")
        works.clear()
        works.curl()
        failures: dict[str, str] = {}
        runs = interleaved(bench.pairs, works.all(), between=works.clear, failures=failures)
    return [_row(number, work, number, data, runs, failures) for number, (work, _) in _WORKS.items()]


def _through_link(bench: Bench) -> Row:
    data = model(bench.work / "model", bench.size)
    bench = replace(bench, environment={**bench.environment, "WEIGHTSWARM_NETWORK": "lan"})
    failures: dict[str, str] = {}
    try:
        with ExitStack() as stack:
            source, sink = stack.enter_context(limited_network(2, RATE))
            url = stack.enter_context(web_serving(source, data.folder.parent, bench.work / "web", bench.environment))
            published = bench.run("publish", data.folder, "--name", NAME, "-o", bench.work, "--json", "--quiet")
            torrent = Path(json.loads(published.stdout)["torrent"])
            plain = _urls(data, f"{url}/{data.folder.name}")
            works = _Works(bench, torrent, f"{url}/", plain, bench.work / "fetched", tuple(sink.prefix))
            bench.say("fetch from nginx through a link")
            works.clear()
            works.curl()
            both = {"16c": lambda: works.fetch("--http-only"), "curl": works.curl}
            runs = interleaved(bench.pairs, both, between=works.clear, failures=failures)
    except ProgramFailed as reason:
        return unmeasured("16c", _LINK_WORK, _AGAINST, _GOAL, str(reason))
    return _row("16c", _LINK_WORK, "16c", data, runs, failures)


def _urls(data: DataSet, base: str) -> dict[str, str]:
    """Return where each file is, by its path."""
    paths = [file.relative_to(data.folder).as_posix() for file in data.files]
    return {path: f"{base}/{path}" for path in paths}


def _row(number: str, work: str, name: str, data: DataSet, runs: dict[str, list[Run]], failures: dict[str, str]) -> Row:
    missing = [failures[each] for each in (name, "curl") if each in failures]
    if missing:
        return unmeasured(number, work, _AGAINST, _GOAL, "; ".join(missing))
    ours, theirs = runs[name], runs["curl"]
    times = ratio(theirs, ours)
    figures = shown(ours, data.size), shown(theirs, data.size), str(times)
    return Row(number, work, _AGAINST, *figures, _GOAL, times.median >= _LEAST, cpu(ours, theirs))


@dataclass(frozen=True, slots=True)
class _Works:
    """Fetches `torrent` from `web_seed`, and downloads `files`, path to URL, into `folder`; on the host of `prefix`."""

    bench: Bench
    torrent: Path
    web_seed: str
    files: dict[str, str]
    folder: Path
    prefix: tuple[str, ...] = ()

    def all(self) -> dict[str, Callable[[], Run]]:
        """Return the works by their names."""
        ours = {number: partial(self.fetch, *options) for number, (_, options) in _WORKS.items()}
        return {**ours, "curl": self.curl}

    def clear(self) -> None:
        """Remove what was fetched, and wait until the disk has nothing left to write."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        os.sync()

    def fetch(self, *options: str) -> Run:
        """Fetch into a cache, every file hashed and synced."""
        where: list[str | Path] = ["-w", self.web_seed, "--name", NAME, "--cache-dir", self.folder, "--quiet"]
        fetch = [*self.prefix, str(self.bench.weightswarm), "fetch", self.torrent, *where, *options]
        done = run(fetch, environment=self.bench.environment)
        if not Path(done.stdout.strip()).is_dir():
            raise ProgramFailed(f"weightswarm fetch printed no path: {done.stdout[:200]!r}")
        return done

    def curl(self) -> Run:
        """Download all files at once."""
        configuration = self.folder.parent / "curl.conf"
        files = [f'url = "{url}"\noutput = "{path}"\n' for path, url in self.files.items()]
        configuration.write_text("".join(files))
        options = ["-q", "--silent", "--show-error", "--fail", "--create-dirs", "--parallel"]
        where = ["--output-dir", str(self.folder), "--config", str(configuration)]
        return run([*self.prefix, find("curl"), *options, *where], environment=self.bench.environment)
