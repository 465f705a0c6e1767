"""The ways to fetch a data set from servers on this machine: weightswarm, bare libtorrent, aria2c, hf and curl."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks import programs
from benchmarks.bench import NAME, Bench
from benchmarks.dataset import DataSet
from benchmarks.hub_stub import Hub, hub
from benchmarks.measuring import ProgramFailed, Run, run
from benchmarks.peers import find, openssl_digests
from benchmarks.servers import seeding
from counterparts import ARIA2_OPTIONS, free_port

_ARIA2_OPTIONS = (
    *ARIA2_OPTIONS,
    "--bt-max-peers=0",
    "--check-integrity=false",
    "--disk-cache=64M",
    "--summary-interval=0",
    "--console-log-level=error",
)


@contextmanager
def fetchers(bench: Bench, data: DataSet) -> Iterator[Fetchers]:
    """Serve a data set by magnet, as a v1 torrent and over HTTP until the block ends. Raises `ProgramFailed`."""
    work = bench.work / "fetchers"
    with ExitStack() as stack:
        seed = stack.enter_context(seeding(bench, work / "seed", data.folder, "--name", NAME))
        stub, v1_torrent, missing = None, None, ""
        try:
            stub = stack.enter_context(hub(data, work / "hub", bench.environment))
            v1_torrent = _seed_v1(bench, data, stub, stack)
        except ProgramFailed as error:
            missing = str(error)
        digests = tuple(data.digests().values())
        yield Fetchers(bench, data, digests, seed.magnets[0], v1_torrent, stub, work / "fetched", missing)


def _seed_v1(bench: Bench, data: DataSet, stub: Hub, stack: ExitStack) -> Path:
    """Seed it as a v1 torrent as well, which aria2c can read, and return a torrent file that leads to the seed."""
    release = [str(data.folder), "--name", NAME, "--v1-only"]
    seed = stack.enter_context(seeding(bench, bench.work / "fetchers" / "seed-v1", *release))
    stub.tell_peer(int(seed.magnets[0].rpartition("x.pe=127.0.0.1:")[2]))
    output = bench.work / "fetchers" / "torrent"
    published = bench.run("publish", *release, "-t", stub.announce, "-o", output, "--json", "--quiet")
    return Path(json.loads(published.stdout)["torrent"])


@dataclass(frozen=True, slots=True)
class Fetchers:
    """The ways to fetch one data set over loopback, each into `folder`; peers' files are hashed at the end of each.

    `missing` says why there is no hub or no v1 torrent.
    """

    bench: Bench
    data: DataSet
    digests: tuple[str, ...]
    magnet: str
    v1_torrent: Path | None
    hub: Hub | None
    folder: Path
    missing: str

    def all(self) -> dict[str, Callable[[], Run]]:
        """Return the works by their names."""
        return {
            "weightswarm": self.weightswarm,
            "weightswarm --no-lane": self.by_bittorrent,
            "libtorrent": self.libtorrent,
            "aria2c": self.aria2c,
            "hf": self.hf,
            "curl": self.curl,
        }

    def clear(self) -> None:
        """Remove what was fetched, and wait until the disk has nothing left to write."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        os.sync()

    def warm_up(self) -> None:
        """Fetch once by either torrent: seeders hash each piece before they first send it."""
        for fetch in (self.weightswarm, self.by_bittorrent, self.aria2c):
            self.clear()
            # What fails here fails again where it is measured, and is named there.
            with suppress(ProgramFailed):
                fetch()

    def by_bittorrent(self) -> Run:
        """Fetch by magnet into a cache, all payload by BitTorrent."""
        return self.weightswarm("--no-lane")

    def weightswarm(self, *options: str) -> Run:
        """Fetch by magnet into a cache."""
        done = self.bench.run("fetch", self.magnet, "--name", NAME, "--cache-dir", self.folder, "--quiet", *options)
        if not Path(done.stdout.strip()).is_dir():
            raise ProgramFailed(f"weightswarm fetch printed no path: {done.stdout[:200]!r}")
        return done

    def libtorrent(self) -> Run:
        """Fetch by magnet, on libtorrent's word."""
        return run([sys.executable, programs.BARE_FETCH, self.magnet, self.folder], environment=self.bench.environment)

    def aria2c(self) -> Run:
        """Fetch the v1 torrent, then hash."""
        if self.v1_torrent is None:
            raise ProgramFailed(self.missing)
        where = [f"--listen-port={free_port()}", f"--dir={self.folder}"]
        fetched = run([find("aria2c"), *_ARIA2_OPTIONS, *where, self.v1_torrent], environment=self.bench.environment)
        return fetched.then(self._hashed())

    def hf(self) -> Run:
        """Download from the Hub's stub, then hash the cache's blobs."""
        environment = self._hub.environment(self.bench.environment, self.folder)
        fetched = run([find("hf"), "download", NAME, "--quiet"], environment=environment)
        return fetched.then(self._hashed("hub"))

    def curl(self) -> Run:
        """Download all files at once from nginx, then hash."""
        configuration = self.folder.parent / "curl.conf"
        files = [f'url = "{self._hub.url}/plain/{path}"\noutput = "{path}"\n' for path in self._hub.paths]
        configuration.write_text("".join(files))
        options = ["-q", "--silent", "--show-error", "--fail", "--create-dirs"]
        where = ["--parallel", "--output-dir", str(self.folder), "--config", str(configuration)]
        return run([find("curl"), *options, *where], environment=self.bench.environment).then(self._hashed())

    @property
    def _hub(self) -> Hub:
        if self.hub is None:
            raise ProgramFailed(self.missing)
        return self.hub

    def _hashed(self, below: str = ".") -> Run:
        folder = self.folder / below
        blobs = next(folder.glob("models--*/blobs"), folder)
        return openssl_digests(blobs, self.digests, self.bench.environment)
