"""Rows 7 and 8: fetching through a link of 1 Gbit/s, and how soon after the last block the path is there."""

from __future__ import annotations

import json
import os
import shutil
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import programs
from benchmarks.bench import NAME, Bench
from benchmarks.dataset import DataSet, model
from benchmarks.measuring import ProgramFailed, Run, cpu, interleaved, median, ratio, run, shown
from benchmarks.networks import TCP_SHARE, Load, LoadMeter, limited_network, seeding, web_serving
from benchmarks.peers import find
from benchmarks.row import Row, unmeasured
from namespaces import Host

RATE = 1_000_000_000
_LEAST_SHARE = 0.95
_MOST_TAIL = 0.02
_WORK = "`fetch` through a link of 1 Gbit/s, from magnet to path"
_AGAINST = "what the link carries of TCP's payload"
_GOAL = "≥ 0.95 of line rate"
_TAIL_WORK = "in that: from the last block received to the path printed, 4 shards"
_TAIL_AGAINST = "the whole fetch"
_TAIL_GOAL = "≤ 2 %"
_WATCH = Path(programs.__file__).with_name("link_watch.py")


def measure(bench: Bench) -> list[Row]:
    """Fetch by magnet, and copy with curl from nginx, in turns."""
    data = model(bench.work / "model", bench.size)
    environment = {**bench.environment, "WEIGHTSWARM_NETWORK": "lan"}
    failures: dict[str, str] = {}
    with ExitStack() as stack:
        try:
            source, sink = stack.enter_context(limited_network(2, RATE))
            command: list[str | Path] = [bench.weightswarm, "seed", data.folder, "--name", NAME]
            (magnet,) = stack.enter_context(seeding(source, command, bench.work / "seed", environment))
        except ProgramFailed as reason:
            return _unmeasured(str(reason))
        fetching = _Fetching(bench.weightswarm, environment, sink, magnet, bench.work / "fetched")
        works = {"fetch": fetching.run}
        try:
            url = stack.enter_context(web_serving(source, data.folder, bench.work / "web", environment))
            works["copy"] = _Copying(data, environment, sink, url, fetching.folder).run
        except ProgramFailed as reason:
            failures["copy"] = str(reason)
        bench.say("fetch through a link")
        try:
            fetching.warm_up()
        except ProgramFailed as reason:
            return _unmeasured(str(reason))
        meter = LoadMeter()
        runs = interleaved(bench.pairs, works, between=fetching.clear, failures=failures)
        load = meter.read()
    if "fetch" in failures:
        return _unmeasured(failures["fetch"])
    missing = failures.get("copy", "")
    return [_speed(data.size, runs["fetch"], runs.get("copy", []), missing, load), _tail(fetching.timings)]


@dataclass(slots=True)
class _Fetching:
    """Fetches by magnet on `sink` into `folder`. `timings` are pairs of seconds, one pair a run: from the start to the
    last block, and to the path."""

    weightswarm: Path
    environment: dict[str, str]
    sink: Host
    magnet: str
    folder: Path
    timings: list[tuple[float, float]] = field(default_factory=list)

    def run(self) -> Run:
        """Fetch; the time of the run is that to the path."""
        fetch = [self.weightswarm, "fetch", self.magnet, "--name", NAME, "--cache-dir", self.folder, "--quiet"]
        watched = [*self.sink.prefix, sys.executable, str(_WATCH), *map(str, fetch)]
        done = run(watched, environment=self.environment)
        seen = json.loads(done.stdout)
        if not Path(seen["line"]).is_dir():
            raise ProgramFailed(f"weightswarm fetch printed no path: {done.stdout[:200]}")
        self.timings.append((seen["arrived"], seen["printed"]))
        return Run(seen["printed"], seen["cpu"], seen["line"], done.stderr, done.read_bytes)

    def warm_up(self) -> None:
        """Fetch once without a record: the seed hashes each piece before it first sends it."""
        self.clear()
        self.run()
        self.timings.clear()

    def clear(self) -> None:
        """Remove what was fetched, and wait until the disk has nothing left to write."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.sync()


@dataclass(frozen=True, slots=True)
class _Copying:
    """Copies the same files with one curl over one connection: what TCP makes of the link, in the same run."""

    data: DataSet
    environment: dict[str, str]
    sink: Host
    url: str
    folder: Path

    def run(self) -> Run:
        """Copy into `folder`."""
        paths = [str(file.relative_to(self.data.folder)) for file in self.data.files]
        wanted = [word for path in paths for word in ("--output", str(self.folder / path), f"{self.url}/{path}")]
        options = ["-q", "--silent", "--show-error", "--fail", "--create-dirs"]
        return run([*self.sink.prefix, find("curl"), *options, *wanted], environment=self.environment)


def _speed(size: int, ours: list[Run], copies: list[Run], missing: str, load: Load) -> Row:
    share = median([size * 8 / each.seconds / RATE for each in ours])
    of_payload = share / TCP_SHARE
    remarks = [
        f"{share:.1%} of the nominal 10⁹ bit/s, of which Ethernet, IP and TCP leave {TCP_SHARE:.1%} for payload",
        f"{ratio(copies, ours)} of curl's speed; {cpu(ours, copies)}" if copies else missing,
        str(load),
    ]
    theirs = f"{RATE * TCP_SHARE / 8 / 2**20:.0f} MiB/s" + (f"; curl {shown(copies, size)}" if copies else "")
    met = of_payload >= _LEAST_SHARE
    return Row("7", _WORK, _AGAINST, shown(ours, size), theirs, f"{of_payload:.3f}", _GOAL, met, "; ".join(remarks))


def _tail(timings: list[tuple[float, float]]) -> Row:
    tail = median([printed - arrived for arrived, printed in timings])
    whole = median([printed for _, printed in timings])
    shares = [(printed - arrived) / printed for arrived, printed in timings]
    share = median(shares)
    shown_share = f"{share:.1%} ({min(shares):.1%} to {max(shares):.1%})"
    ours, theirs = f"{tail:.2f} s", f"{whole:.2f} s"
    remark = "seen from outside, by what arrives at the network interface"
    return Row("8", _TAIL_WORK, _TAIL_AGAINST, ours, theirs, shown_share, _TAIL_GOAL, share <= _MOST_TAIL, remark)


def _unmeasured(reason: str) -> list[Row]:
    return [
        unmeasured("7", _WORK, _AGAINST, _GOAL, reason),
        unmeasured("8", _TAIL_WORK, _TAIL_AGAINST, _TAIL_GOAL, reason),
    ]
