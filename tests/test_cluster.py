"""One model to the nodes of a cluster: an origin, a tracker, and eight nodes that know the magnet and nobody else."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest import mock

import pytest
from benchmarks import dataset, networks
from benchmarks.measuring import ProgramFailed

import running
from conftest import make_model
from counterparts import require
from faults import MIB, Source
from hostile import NAME, contents, release_of, staged_weights, wait_until
from namespaces import Host
from running import CommandLine, Seeder, Seeding
from weightswarm.magnet import parse_magnet

RATE = 50_000_000
"""Bits a second of each node's link, either way."""

SIZE = 64 * MIB
NODES = 8
MOST_FROM_ORIGIN = 2.0
_INTERVAL = "_ANNOUNCE_SECONDS"

Figure = Callable[[str, float], None]


@dataclass
class Cluster:
    """An origin that seeds, a tracker on a host of its own, and nodes with a cache each."""

    origin: Host
    nodes: list[Host]
    data: dataset.DataSet
    digests: dict[str, str]
    magnet: str
    seeding: Seeding
    cli: CommandLine
    start_tracker: Callable[[], str]
    stop_tracker: Callable[[], None]
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def bound(self) -> float:
        """The seconds that one node's link takes for the model: nobody can have it sooner."""
        return self.data.size * 8 / RATE

    def fetch(self, number: int, *arguments: str, magnet: str | None = None) -> subprocess.Popen[str]:
        """Start a fetch on a node."""
        with self.nodes[number].commands():
            process = self.cli.start(
                "fetch", magnet or self.magnet, "--name", NAME, "--json", "-q", "--cache-dir", self.cache(number),
                *arguments,
            )  # fmt: skip
        self.running.append(process)
        return process

    def cache(self, number: int) -> Path:
        """Return a node's own cache."""
        return self.cli.folder / f"node-{number}"

    def on_disk(self, number: int) -> int:
        """Return the bytes of an unfinished fetch that a node's disk holds."""
        files = (self.cache(number) / ".locks" / "weightswarm").glob("*/files/**/*")
        return sum(file.stat().st_blocks * 512 for file in files if file.is_file())

    def whole(self, process: subprocess.Popen[str]) -> int:
        """Wait for a fetch, hold all it placed against the model's SHA-256, and return the bytes it downloaded."""
        stdout, stderr = process.communicate(timeout=90)
        assert process.returncode == 0, stderr
        self.check(Path(json.loads(stdout)["path"]))
        return int(json.loads(stdout)["downloaded"])

    def check(self, snapshot: Path) -> None:
        """Hold a snapshot against the model's SHA-256."""
        found = {p.relative_to(snapshot).as_posix(): p for p in snapshot.rglob("*") if p.is_file()}
        assert {path: _sha256(file) for path, file in found.items()} == self.digests

    def stop(self) -> None:
        """End what still runs."""
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.communicate()


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def cluster(tmp_path: Path, seeder: Seeder, size: int = SIZE, nodes: int = NODES) -> Iterator[Cluster]:
    """Yield a cluster in which nobody hears of another but from the tracker, an opentracker."""
    require("opentracker", "opentracker")
    environment = {**os.environ, "WEIGHTSWARM_NETWORK": "lan"}
    data = dataset.model(tmp_path / "model", size)
    found = release_of(data.folder).metainfo.info_hash
    with ExitStack() as stack:
        try:
            origin, host, *others = stack.enter_context(networks.limited_network(nodes + 2, RATE, multicast=False))
        except ProgramFailed as reason:
            pytest.skip(f"NOT TESTED: {reason}")
        hashes = [digest for digest in (found.v1, found.v2) if digest is not None]
        tracker = stack.enter_context(ExitStack())

        def start_tracker() -> str:
            return tracker.enter_context(networks.tracking(host, hashes, tmp_path / "tracker", environment))

        url, cli = start_tracker(), CommandLine(tmp_path)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("WEIGHTSWARM_NETWORK", "lan")
            with origin.commands():
                seeding = seeder(data.folder, "--name", NAME, "--tracker", url)
            assert parse_magnet(seeding.magnet).peers == ()
            made = Cluster(
                origin, others, data, data.digests(), seeding.magnet, seeding, cli, start_tracker, tracker.close
            )
            stack.callback(made.stop)
            yield made


def given_by(made: Cluster) -> float:
    """End the origin and return what it gave by its own account, as a multiple of the model."""
    return float(made.seeding.stop().stderr.rpartition("ratio ")[2])


@pytest.mark.namespaces
@pytest.mark.counterpart
def test_eight_nodes_at_once_take_the_model_twice_from_the_origin_at_most_though_the_tracker_dies(
    tmp_path: Path, seeder: Seeder, figure: Figure
) -> None:
    with cluster(tmp_path, seeder) as made:
        alone = made.fetch(0, "--timeout", "2", magnet=str(replace(parse_magnet(made.magnet), trackers=())))
        assert alone.wait(30) == 4, "it found the origin without the tracker"

        before, started = networks.sent_bytes(made.origin), time.monotonic()
        fetches = [made.fetch(number) for number in range(NODES)]
        wait_until(lambda: all(made.on_disk(number) > MIB for number in range(NODES)), "not all nodes began")
        made.stop_tracker()
        assert any(fetch.poll() is None for fetch in fetches), "the tracker did not die midway"
        for fetch in fetches:
            fetch.wait(90)
        seconds = time.monotonic() - started
        sent = (networks.sent_bytes(made.origin) - before) / made.data.size
        received = [made.whole(fetch) for fetch in fetches]
        given = given_by(made)

    assert sent <= MOST_FROM_ORIGIN
    assert given <= MOST_FROM_ORIGIN
    assert max(received) <= 1.1 * made.data.size
    figure("x the model left the origin's link for 8 nodes at once", round(sent, 2))
    figure("x the least possible time until 8 nodes at once had it", round(seconds / made.bound, 2))


@pytest.mark.namespaces
@pytest.mark.counterpart
def test_three_of_eight_nodes_killed_midway_cost_the_others_nothing_and_go_on_from_their_disks(
    tmp_path: Path, seeder: Seeder, figure: Figure
) -> None:
    """The nodes start one after another, as machines do."""
    victims = (1, 4, 6)
    others = [number for number in range(NODES) if number not in victims]
    with cluster(tmp_path, seeder) as made:
        before, fetches, started = networks.sent_bytes(made.origin), [], 0.0
        for number in range(NODES):
            started = time.monotonic()
            fetches.append(made.fetch(number))
            time.sleep(0.3)
        held = {}
        for number in victims:
            wait_until(lambda at=number: made.on_disk(at) > made.data.size // 3, "it got nothing")  # type: ignore[misc]
            fetches[number].send_signal(signal.SIGKILL)
            assert fetches[number].wait(10) == -signal.SIGKILL, "it was through before it was killed"
            held[number] = made.on_disk(number)
        for number in others:
            fetches[number].wait(90)
        seconds = time.monotonic() - started
        received = [made.whole(fetches[number]) for number in others]
        again = [made.fetch(number) for number in victims]
        missing = [made.whole(fetch) for fetch in again]
        sent = (networks.sent_bytes(made.origin) - before) / made.data.size

    assert max(received) <= 1.1 * made.data.size
    twice = [got + held[number] - made.data.size for number, got in zip(victims, missing, strict=True)]
    # What several peers are asked for towards the end comes twice, in a fetch that nobody killed too.
    assert max(twice) <= made.data.size / 8
    assert sent <= NODES / 2
    figure("x the least possible time for 5 nodes of 8, the others killed midway", round(seconds / made.bound, 2))
    figure("MiB came again to 3 nodes that were killed midway", round(sum(max(0, each) for each in twice) / MIB, 2))
    figure("x the model left the origin's link for 8 nodes, 3 of them killed", round(sent, 2))


@pytest.mark.namespaces
@pytest.mark.counterpart
def test_a_node_that_seeds_on_serves_who_comes_later_when_the_origin_is_gone(tmp_path: Path, seeder: Seeder) -> None:
    with cluster(tmp_path, seeder, size=8 * MIB, nodes=2) as made:
        first = made.fetch(0, "--seed", "--seed-ratio", "1", "--seed-time", "60")
        wait_until(lambda: bool(list(made.cache(0).glob("models--*/refs/main"))), "the first node did not get it")
        made.seeding.stop()

        assert made.whole(made.fetch(1, "--timeout", "30")) == made.data.size
        # And it ends well: a job's step that seeded on is a success.
        made.whole(first)


@pytest.mark.namespaces
@pytest.mark.counterpart
def test_a_tracker_that_was_started_again_and_knows_nobody_is_told_again_of_the_origin(
    tmp_path: Path, seeder: Seeder
) -> None:
    """opentracker keeps nothing over a restart, and asks to be told every half hour."""
    hurried = f"import weightswarm.swarm.session as s, weightswarm.cli.start as c; s.{_INTERVAL} = 2.0; c.main()"
    command = mock.patch.object(running, "COMMAND", [sys.executable, "-c", hurried])
    with command, cluster(tmp_path, seeder, size=MIB, nodes=1) as made:
        made.stop_tracker()
        made.start_tracker()
        made.whole(made.fetch(0, "--timeout", "20"))


def test_of_four_processes_on_one_cache_one_downloads_and_when_it_is_killed_another_goes_on(
    tmp_path: Path, cli: CommandLine, hub: Path, figure: Figure
) -> None:
    """Nodes that share a file system need one download; all print the path."""
    folder = make_model(tmp_path / "model", 8 * MIB)
    source = Source(release_of(folder), rate=4 * MIB)
    fetches = [cli.start("fetch", source.magnet, "--name", NAME, "--json", "--timeout", "30") for _ in range(4)]
    try:
        wait_until(lambda: staged_weights(hub, 2 * MIB) is not None, "nothing arrived in staging")
        (killed,) = [fetch for fetch in fetches if fetch.pid in lock_holders(hub)]
        killed.kill()
        fetches.remove(killed)
        results = []
        for fetch in fetches:
            stdout, stderr = fetch.communicate(timeout=60)
            assert fetch.returncode == 0, stderr
            assert "Another fetch of this release runs; waiting." in stderr
            results.append(json.loads(stdout))
    finally:
        for fetch in (*fetches, killed):
            fetch.kill()
            fetch.communicate()
        source.session.pause()
    (path,) = {result["path"] for result in results}
    assert contents(Path(path)) == contents(folder)
    size = sum(map(len, contents(folder).values()))
    downloaded = sorted(result["downloaded"] for result in results)
    assert downloaded[:2] == [0, 0]
    assert 0 < downloaded[2] < size - MIB
    again = source.given - size
    assert again <= MIB
    figure("MiB came again when one of four fetches on one cache was killed", round(max(0, again) / MIB, 2))


def lock_holders(hub: Path) -> set[int]:
    """Return who holds a lock in a cache, as the kernel lists them."""
    inodes = {file.stat().st_ino for file in (hub / ".locks" / "weightswarm").glob("*.lock")}
    # 1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF
    words = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return {int(each[4]) for each in words if each[1] == "FLOCK" and int(each[5].rpartition(":")[2]) in inodes}
