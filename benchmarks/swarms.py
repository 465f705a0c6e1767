"""Row 10: one seed and several fetchers, each behind a slow link of its own, beside the same files from one nginx."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import NAME, Bench, Series, quiet_environment
from benchmarks.dataset import MIB, DataSet, model
from benchmarks.measuring import ProgramFailed, Run, median, run
from benchmarks.networks import (
    TCP_SHARE,
    Load,
    LoadMeter,
    given,
    limited_network,
    seeding,
    sent_bytes,
    tracking,
    web_serving,
)
from benchmarks.peers import MissingProgram, find
from benchmarks.row import Row, unmeasured
from namespaces import Host

RATE = 100_000_000
SIZE = 256 * MIB
FETCHERS = 8
_COUNTS = (1, 2, 4, FETCHERS)
_MOST = 1.2
_LEAST_ROUNDS, _MOST_ROUNDS = 3, 5
_SERIES_ROUNDS = 3
_SECONDS = 1800.0
_WORK = "`fetch` by 8 at once from 1 seed, 100 Mbit/s up and down each, {} MiB"
_AGAINST = "the bound max(F/u_s, F/d_min, N·F/(u_s+Σu_i)); one nginx with 8 curls"
_GOAL = "≤ 1.2 x the bound until all are done"


@dataclass(frozen=True, slots=True)
class Distribution:
    """One distribution to all: the seconds that each fetcher took, and what it cost.

    `sent` are the bytes that left the source's link, headers included. `given` is what the seed and `received` what
    each fetcher counts as payload, both as multiples of the release; None where nobody counts.
    """

    seconds: tuple[float, ...]
    sent: int
    load: Load
    given: float | None = None
    received: float | None = None

    @property
    def last(self) -> float:
        """The seconds until the last fetcher was done."""
        return max(self.seconds)


@dataclass(frozen=True, slots=True)
class Laboratory:
    """Distributes `data` from one host to others, each behind a link of `rate` bits a second either way."""

    weightswarm: Path
    environment: Mapping[str, str]
    data: DataSet
    work: Path
    rate: int = RATE

    def bound(self, fetchers: int) -> float:
        """Return the seconds in which nobody can do it, even if all that links carry were payload."""
        link = self.rate / 8
        return max(self.data.size / link, fetchers * self.data.size / (link + fetchers * link))

    def by_swarm(self, fetchers: int) -> Distribution:
        """Let `fetchers` start at once, with a seed that has sent nothing yet and a tracker where there is one."""
        environment = {**self.environment, "WEIGHTSWARM_NETWORK": "lan"}
        with ExitStack() as stack:
            seed, *others = stack.enter_context(limited_network(fetchers + 1, self.rate))
            tracker: list[str] = []
            if (url := self._track(stack, seed)) is not None:
                tracker = ["--tracker", url]
            command = [str(self.weightswarm), "seed", str(self.data.folder), "--name", NAME, *tracker]
            with seeding(seed, command, self.work / "seed", environment) as (magnet,):
                fetch = [str(self.weightswarm), "fetch", magnet, "--name", NAME, "--json", "--quiet", "--cache-dir"]
                commands = {host: [*fetch, str(self._cache(stack, host))] for host in others}
                done, sent, load = _together(seed, commands, environment)
        received = sum(json.loads(each.stdout)["downloaded"] for each in done) / self.data.size / fetchers
        return Distribution(tuple(each.seconds for each in done), sent, load, given(self.work / "seed"), received)

    def by_nginx(self, fetchers: int) -> Distribution:
        """Let `fetchers` start at once, each a curl that gets all files from one nginx. Raises `MissingProgram`."""
        paths = [str(file.relative_to(self.data.folder)) for file in self.data.files]
        curl = [str(find("curl")), "-q", "--silent", "--show-error", "--fail", "--create-dirs"]
        with ExitStack() as stack:
            source, *others = stack.enter_context(limited_network(fetchers + 1, self.rate))
            url = stack.enter_context(web_serving(source, self.data.folder, self.work / "web", self.environment))
            commands = {}
            for host in others:
                folder = self._cache(stack, host)
                wanted = [word for path in paths for word in ("--output", str(folder / path), f"{url}/{path}")]
                commands[host] = [*curl, *wanted]
            done, sent, load = _together(source, commands, self.environment)
        return Distribution(tuple(each.seconds for each in done), sent, load)

    def _track(self, stack: ExitStack, host: Host) -> str | None:
        """Run a tracker for the release on `host` and return its announce URL; None where opentracker is missing."""
        where: list[str | Path] = [self.data.folder, "--output", self.work]
        publish = [self.weightswarm, "publish", *where, "--name", NAME, "--quiet"]
        magnet = run(publish, environment=self.environment).stdout
        info_hashes = re.findall(r"urn:btih:(\w{40})", magnet) + re.findall(r"urn:btmh:1220(\w{64})", magnet)
        try:
            return stack.enter_context(tracking(host, info_hashes, self.work / "tracker", self.environment))
        except MissingProgram:
            return None

    def _cache(self, stack: ExitStack, host: Host) -> Path:
        """Return where `host` puts what it fetches: nothing is there yet, nor when `stack` has ended."""
        folder = self.work / f"fetched-{host.address}"
        shutil.rmtree(folder, ignore_errors=True)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        return folder


def _together(
    source: Host, commands: Mapping[Host, Sequence[str]], environment: Mapping[str, str]
) -> tuple[list[Run], int, Load]:
    """Run each host's command, all at once; return the runs, the bytes that `source` sent meanwhile, and the load."""

    def one(host: Host) -> Run:
        return run([*host.prefix, *commands[host]], environment=environment, timeout=_SECONDS)

    before, meter = sent_bytes(source), LoadMeter()
    with ThreadPoolExecutor(len(commands)) as pool:
        done = list(pool.map(one, commands))
    return done, sent_bytes(source) - before, meter.read()


def measure(bench: Bench) -> list[Row]:
    """Distribute by swarm several times, and by nginx once."""
    rounds = max(_LEAST_ROUNDS, min(bench.pairs, _MOST_ROUNDS))
    laboratory = _laboratory(bench)
    work = _WORK.format(laboratory.data.size // MIB)
    try:
        swarm, nginx, missing = _rounds(bench, laboratory, FETCHERS, rounds)
    except ProgramFailed as reason:
        return [unmeasured("10", work, _AGAINST, _GOAL, str(reason))]
    bound = laboratory.bound(FETCHERS)
    times = [each.last / bound for each in swarm]
    last = median([each.last for each in swarm])
    theirs = f"bound {bound:.2f} s"
    remarks = [
        f"{median(times) * TCP_SHARE:.2f} x what the bound is with the headers of TCP, IP and Ethernet",
        f"the seed gave {_span([each.given or 0 for each in swarm])} x the release",
        f"fetchers received {_span([each.received or 0 for each in swarm])} x",
        f"cores {_percent([each.load.busy for each in swarm])} busy"
        f" and {_percent([each.load.stolen for each in swarm])} stolen",
    ]
    if nginx:
        web = median([each.last for each in nginx])
        theirs += f"; nginx {web:.2f} s"
        remarks.insert(0, f"{web / last:.1f} x as fast as one nginx")
    else:
        remarks.append(missing)
    if shutil.which("opentracker") is None:
        remarks.append("without a tracker: opentracker is missing (Debian package opentracker)")
    met = median(times) <= _MOST
    return [Row("10", work, _AGAINST, f"{last:.2f} s", theirs, _span(times), _GOAL, met, "; ".join(remarks))]


def series(bench: Bench) -> list[Series]:
    """Return the time until the last is done against the number of fetchers, by swarm and by nginx."""
    laboratory = _laboratory(bench)
    curves: dict[str, list[tuple[float, float]]] = {"swarm": [], "one nginx": [], "bound": []}
    for fetchers in _COUNTS:
        swarm, nginx, missing = _rounds(bench, laboratory, fetchers, min(bench.pairs, _SERIES_ROUNDS))
        curves["swarm"].append((fetchers, median([each.last for each in swarm])))
        if nginx:
            curves["one nginx"].append((fetchers, median([each.last for each in nginx])))
        else:
            bench.say(f"no point for nginx: {missing}")
        curves["bound"].append((fetchers, laboratory.bound(fetchers)))
    return [Series("fetchers", label, tuple(points)) for label, points in curves.items() if points]


def _laboratory(bench: Bench) -> Laboratory:
    data = model(bench.work / "model", min(bench.size, SIZE))
    return Laboratory(bench.weightswarm, bench.environment, data, bench.work)


def _rounds(
    bench: Bench, laboratory: Laboratory, fetchers: int, count: int
) -> tuple[list[Distribution], list[Distribution], str]:
    """Return `count` distributions by swarm, one by nginx, whose link sets its time, and why there is none of that."""
    swarm, nginx, missing = [], [], ""
    bench.say(f"{fetchers} fetchers: nginx")
    try:
        nginx.append(laboratory.by_nginx(fetchers))
    except ProgramFailed as reason:
        missing = str(reason)
    for _ in range(count):
        bench.say(f"{fetchers} fetchers: swarm")
        swarm.append(laboratory.by_swarm(fetchers))
    return swarm, nginx, missing


def _span(values: Sequence[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _percent(values: Sequence[float]) -> str:
    return f"{median(values):.0%}"


def main() -> None:
    """Distribute a release to several fetchers at once and show every figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.swarms", description=main.__doc__)
    parser.add_argument("--fetchers", type=int, default=FETCHERS)
    parser.add_argument("--size", default="256MiB", help="of the release, in MiB (default: 256MiB)")
    parser.add_argument("--rate", type=float, default=RATE / 1e6, help="of each link, in Mbit/s (default: 100)")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--nginx", action="store_true", help="the same by nginx, in turns")
    default = Path(sys.executable).with_name("weightswarm")
    parser.add_argument("--weightswarm", type=Path, default=default, help="the command (default: this environment's)")
    parser.add_argument("--work", type=Path, help="a folder to work in (default: a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        work = Path(folder).absolute()
        data = model(work / "model", int(options.size.removesuffix("MiB")) * MIB)
        command = options.weightswarm.absolute()
        laboratory = Laboratory(command, quiet_environment(work), data, work, int(options.rate * 1e6))
        bound = laboratory.bound(options.fetchers)
        _say(f"bound {bound:.2f} s; {bound / TCP_SHARE:.2f} s with headers")
        for _ in range(options.runs):
            _show("swarm", laboratory.by_swarm(options.fetchers), laboratory, bound)
            if options.nginx:
                _show("nginx", laboratory.by_nginx(options.fetchers), laboratory, bound)


def _show(name: str, each: Distribution, laboratory: Laboratory, bound: float) -> None:
    _say(f"{name}: done after {', '.join(f'{seconds:.2f}' for seconds in sorted(each.seconds))} s")
    carried = each.sent * TCP_SHARE / laboratory.data.size
    _say(f"  last: {each.last / bound:.3f} x the bound; the source's link carried {carried:.2f} x the release")
    if each.given is not None:
        _say(f"  payload: the seed gave {each.given:.2f} x, each fetcher received {each.received:.3f} x")
    _say(f"  {each.load}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
