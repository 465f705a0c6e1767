"""The lane: a lone neighbour is given to by HTTP, whoever else comes ends that, and nothing wrong gets in by it."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import libtorrent as lt
import pytest

import endless
import weightswarm
from conftest import make_model
from faults import MIB, Source
from hostile import (
    LOOPBACK,
    NAME,
    WEIGHTS,
    contents,
    fetch_json,
    flip_byte,
    loopback_session,
    peer_of,
    refused,
    release_of,
    staged_weights,
    wait_until,
    with_manifest,
)
from namespaces import network
from running import CommandLine, Seeder
from weightswarm import FetchOptions, FetchResult, NetworkOptions, PublishOptions, Release, seeding
from weightswarm.dialling import Interface, Proxy
from weightswarm.fetching import neighbours
from weightswarm.lane import MAX_CONNECTIONS, GivenFile, Lane, LaneServer, Layout, admission, client_version, lane_port
from weightswarm.lane import serving as lane_serving
from weightswarm.metainfo import TorrentOptions, TorrentVersion
from weightswarm.progress import Note, Progress
from weightswarm.reach import is_near
from weightswarm.scheduling import Schedule, parse_window
from weightswarm.seeding import SeededRelease, SeedOptions
from weightswarm.swarm import settings as swarm_settings

SIZE = 24 * MIB
HASH, PEER = "ab" * 20, "cd" * 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes a moment."""
    return make_model(tmp_path_factory.mktemp("lane") / "model", SIZE)


@dataclass
class Seeded:
    """A seed in this process. `lanes` are what it offers; `asked` counts requests that were let in."""

    magnet: str = ""
    lanes: list[Lane] = field(default_factory=list)
    entered: int = 0
    ended: list[SeededRelease] = field(default_factory=list)

    @property
    def by_lane(self) -> int:
        """Bytes that left by lanes."""
        return sum(lane.given for lane in self.lanes)


@pytest.fixture
def seed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Seeded]]:
    """Seeds in a thread, until the test ends or `stop` is called."""
    threads: list[tuple[threading.Event, threading.Thread]] = []

    def start(folder: Path, network: NetworkOptions = LOOPBACK, **options: Any) -> Seeded:
        found = Seeded()
        stop, ready = threading.Event(), threading.Event()

        class Noted(Lane):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments)
                found.lanes.append(self)

            def enter(self, peer: bytes) -> bool:
                found.entered += (entered := super().enter(peer))
                return entered

        def on_ready(releases: list[SeededRelease]) -> None:
            found.magnet = str(releases[0].magnet)
            ready.set()

        def run() -> None:
            chosen = SeedOptions(network, seconds=90)
            found.ended = weightswarm.seed([folder], name=NAME, options=chosen, on_ready=on_ready, stop=stop, **options)

        monkeypatch.setattr(seeding, "Lane", Noted)
        threads.append((stop, threading.Thread(target=run)))
        threads[-1][1].start()
        assert ready.wait(60)
        return found

    def end() -> None:
        for stop, thread in threads:
            stop.set()
            thread.join(20)
            assert not thread.is_alive()

    start.end = end  # type: ignore[attr-defined]
    yield start
    end()


def fetched(
    magnet: str, cache: Path, options: NetworkOptions = LOOPBACK, timeout: float = 30, **more: Any
) -> tuple[FetchResult, list[Progress | Note]]:
    """Fetch in this process; return the result and what was reported."""
    said: list[Progress | Note] = []
    chosen = FetchOptions(name=NAME, timeout=timeout, network=options, **more)
    return weightswarm.fetch(magnet, cache_dir=cache, options=chosen, report=said.append), said


def total_of(folder: Path) -> int:
    """Return the bytes of a model."""
    return sum(map(len, contents(folder).values()))


# --- alone -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", TorrentVersion)
def test_a_lone_neighbour_gets_all_by_the_lane_and_every_byte_is_counted_once(
    seed: Any, tmp_path: Path, version: TorrentVersion
) -> None:
    model = make_model(tmp_path / "model", 3 * MIB)
    seeded = seed(model, publish_options=PublishOptions(version=version))
    result, said = fetched(seeded.magnet, tmp_path / "cache")
    assert contents(result.path) == contents(model)
    assert result.downloaded == seeded.by_lane - 1 == total_of(model), "and one byte to see whether it is open"
    assert result.from_web_seeds == 0
    assert {each.note for each in said if isinstance(each, Progress) and each.note} >= {"1 neighbour"}
    seed.end()
    assert seeded.ended[0].uploaded == seeded.by_lane, "nothing went by BitTorrent"


def test_who_knows_the_torrent_already_changes_to_the_lane_of_a_seed_that_he_meets(
    seed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By BitTorrent it takes three seconds, so that there is time to change on a busy machine too.
    slow = {"download_rate_limit": 32 * MIB, "upload_rate_limit": 0}
    monkeypatch.setattr(swarm_settings, "rate_settings", lambda _rates: slow)
    folder = make_model(tmp_path / "model", 96 * MIB)
    torrent = tmp_path / "release.torrent"
    torrent.write_bytes(release_of(folder).metainfo.data)
    seeded = seed(folder)
    host, _, port = peer_of(seeded.magnet).rpartition(":")
    known = replace(LOOPBACK, peers=(weightswarm.PeerAddress(host, int(port)),))
    result, _ = fetched(str(torrent), tmp_path / "cache", known)
    assert contents(result.path) == contents(folder)
    assert seeded.by_lane > total_of(folder) / 2
    assert result.downloaded < total_of(folder) * 1.2


def test_one_request_brings_thousands_of_files(seed: Any, tmp_path: Path, figure: Callable[[str, float], None]) -> None:
    model = tmp_path / "model"
    for number in range(2000):
        path = model / f"{number % 7}" / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(number % 900))
    seeded = seed(model)
    result, _ = fetched(seeded.magnet, tmp_path / "cache")
    assert contents(result.path) == contents(model)
    assert seeded.by_lane == total_of(model) + 1
    assert seeded.entered < 20
    figure("files that one request over a lane brought, on average", 2000 // seeded.entered)


def test_of_some_files_no_other_bytes_come(seed: Any, folder: Path, tmp_path: Path) -> None:
    seeded = seed(folder)
    result, _ = fetched(seeded.magnet, tmp_path / "cache", include=("tokenizer/*", "empty.txt"))
    assert sorted(contents(result.path)) == ["empty.txt", "tokenizer/vocab.txt"]
    assert seeded.by_lane == 40_000 + 1


def test_two_seeds_give_by_two_lanes_or_one(seed: Any, folder: Path, tmp_path: Path) -> None:
    first, second = seed(folder), seed(folder)
    result, _ = fetched(f"{first.magnet}&x.pe={peer_of(second.magnet)}", tmp_path / "cache")
    assert contents(result.path) == contents(folder)
    assert first.by_lane + second.by_lane in (total_of(folder) + 1, total_of(folder) + 2)


@pytest.mark.parametrize("version", TorrentVersion)
def test_a_torrent_without_a_manifest_comes_by_a_lane_with_every_piece_checked(
    folder: Path, tmp_path: Path, version: TorrentVersion
) -> None:
    release = release_of(folder, version)
    bare = replace(release, metainfo=with_manifest(release.metainfo, None))
    data = b"".join((folder / file.path).read_bytes() for file in bare.metainfo.files)

    def honest(client: socket.socket, first: int, last: int) -> None:
        give(client, first, last, data[first : last + 1])

    for harm in (honest, wrong_bytes):
        with lying_seed(folder, harm, bare) as (source, fake):
            cache = tmp_path / harm.__name__
            result, _ = fetched(source.magnet, cache, trust_magnet=True)
        assert contents(result.path) == contents(folder)
        assert len(fake.asked) > 1
        assert (source.given == 0) is (harm is honest)


def test_what_is_on_disk_already_does_not_come_again_by_the_lane(
    seed: Any, folder: Path, tmp_path: Path, cli: CommandLine, hub: Path
) -> None:
    """Killed in the middle, with what came by then."""
    seeded = seed(folder)
    for lane in seeded.lanes:
        slow_down(lane, 0.02)
    lane_serving._SLICE, before = 256 * 1024, lane_serving._SLICE
    try:
        process = cli.start("fetch", seeded.magnet, "--name", NAME)
        wait_until(lambda: staged_weights(hub, SIZE // 3) is not None, "nothing came")
        process.kill()
        process.communicate()
    finally:
        lane_serving._SLICE = before
    given = seeded.by_lane
    result = fetch_json(cli, seeded.magnet, "--name", NAME)
    assert contents(Path(result["path"])) == contents(folder)
    assert given + result["downloaded"] < SIZE * 1.5
    assert result["downloaded"] < SIZE * 0.8


def slow_down(lane: Lane, seconds: float) -> None:
    """Let a lane pause after each slice."""
    count = lane.count

    def slowly(size: int) -> None:
        count(size)
        time.sleep(seconds)

    lane.count = slowly  # type: ignore[method-assign]


# --- with others -----------------------------------------------------------------------------------------------------


def test_when_a_second_fetcher_stays_the_lane_is_withdrawn_and_both_get_all(
    seed: Any, folder: Path, tmp_path: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_serving, "_SLICE", 64 * 1024)
    monkeypatch.setattr(admission, "GRACE_SECONDS", 0.3)
    seeded = seed(folder)
    # Some 25 seconds for all of it.
    slow_down(seeded.lanes[0], 0.25)
    first = cli.start("fetch", seeded.magnet, "--cache-dir", tmp_path / "a", "--json")
    wait_until(lambda: seeded.by_lane > MIB, "the first does not take the lane")
    limit = ("--download-limit", "5M")
    second = cli.start("fetch", seeded.magnet, "--cache-dir", tmp_path / "b", "--json", *limit)
    for process in (first, second):
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        path = Path(re.search(r'"path": "([^"]+)"', out)[1])  # type: ignore[index]
        assert contents(path) == contents(folder)
    assert MIB < seeded.by_lane < SIZE, "it was withdrawn midway"


def test_who_wants_the_metadata_alone_does_not_end_a_lane() -> None:
    others: set[bytes] = set()
    lane = Lane([], lambda: {b"me", *others})
    assert lane.enter(b"me"), "who asks is no other, though its own connection may still stand"
    others.add(b"other")
    lane._next_look = 0
    assert lane.still_open()
    assert not lane.enter(b"other"), "one fetcher at a time"
    others.clear()
    lane._next_look = 0
    assert lane.still_open()
    assert lane._crowded_since is None


def test_who_has_hung_up_holds_the_lane_no_longer() -> None:
    lane = Lane([], set)
    lane.connected(b"first")
    lane.connected(b"first")
    assert lane.enter(b"first")
    lane.leave(b"first")
    lane.disconnected(b"first")
    assert not lane.enter(b"second"), "between two requests it is kept"
    lane.disconnected(b"first")
    assert lane.enter(b"second")


def test_fetches_one_after_the_other_each_take_the_lane(seed: Any, folder: Path, tmp_path: Path) -> None:
    seeded = seed(folder)
    for number in range(3):
        result, _ = fetched(seeded.magnet, tmp_path / f"cache{number}")
        assert contents(result.path) == contents(folder)
        # The byte of the probe besides.
        assert seeded.by_lane == (number + 1) * (total_of(folder) + 1)


def test_a_lane_that_was_withdrawn_stays_closed_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "GRACE_SECONDS", 0.0)
    others = {b"other"}
    lane = Lane([], lambda: others)
    assert not lane.enter(b"me")
    others.clear()
    assert lane.enter(b"me")
    others.add(b"other")
    lane._next_look = 0
    lane.still_open()
    lane._next_look = 0
    assert not lane.still_open()
    others.clear()
    assert not lane.enter(b"me")
    assert not lane.enter(b"other")


# --- who offers and takes none ---------------------------------------------------------------------------------------

WITHOUT = {
    "limit": replace(LOOPBACK, upload_limit=500_000_000, download_limit=500_000_000),
    "schedule": replace(LOOPBACK, schedule=Schedule((parse_window("00:00-00:01 up 1M"),))),
    "connections": replace(LOOPBACK, max_connections=50),
    "no": replace(LOOPBACK, lane=False),
}


@pytest.mark.parametrize("why", WITHOUT)
def test_no_lane_is_offered_with_limits(seed: Any, tmp_path: Path, why: str) -> None:
    model = make_model(tmp_path / "model")
    seeded = seed(model, WITHOUT[why])
    result, _ = fetched(seeded.magnet, tmp_path / "cache")
    assert contents(result.path) == contents(model)
    assert not seeded.lanes


def test_a_private_torrent_has_no_lane_and_its_fetcher_asks_none(seed: Any, folder: Path, tmp_path: Path) -> None:
    options = PublishOptions(torrent=TorrentOptions(private=True))
    assert not seed(folder, publish_options=options).lanes
    release = weightswarm.prepare(folder, name=NAME, options=options)
    torrent = tmp_path / "private.torrent"
    torrent.write_bytes(release.metainfo.data)
    with lying_seed(folder, refusal, release) as (source, fake):
        peer = weightswarm.PeerAddress.parse(peer_of(source.magnet))
        result, _ = fetched(str(torrent), tmp_path / "cache", replace(LOOPBACK, peers=(peer,)))
    assert contents(result.path) == contents(folder)
    assert not fake.asked


def test_beside_a_private_torrent_the_others_have_their_lanes(
    folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = weightswarm.prepare(
        model, name="org/private", options=PublishOptions(torrent=TorrentOptions(private=True))
    )
    public = release_of(folder)
    offered: list[tuple[str, ...]] = []
    monkeypatch.setattr(LaneServer, "offer", lambda _self, digests, _lane: offered.append(tuple(digests)))
    seeding.seed_releases([private, public], SeedOptions(LOOPBACK, seconds=0.2), on_ready=lambda _ready: None)
    assert offered == [public.metainfo.info_hash.digests]


@pytest.mark.parametrize("why", WITHOUT)
def test_no_lane_is_taken_with_limits(seed: Any, tmp_path: Path, why: str) -> None:
    model = make_model(tmp_path / "model")
    seeded = seed(model)
    result, _ = fetched(seeded.magnet, tmp_path / "cache", WITHOUT[why])
    assert contents(result.path) == contents(model)
    assert seeded.lanes
    assert not seeded.by_lane


def test_no_lane_goes_past_a_proxy_or_an_interface() -> None:
    for chosen in (
        replace(LOOPBACK, proxy=Proxy.parse("socks5://127.0.0.1:1080")),
        replace(LOOPBACK, interface=Interface.find("127.0.0.1")),
    ):
        assert not chosen.gives_by_lane
        assert not chosen.takes_by_lane
    assert LOOPBACK.gives_by_lane
    assert LOOPBACK.takes_by_lane


def test_the_command_line_says_no_to_lanes(cli: CommandLine, seeder: Seeder, model: Path, tmp_path: Path) -> None:
    with_lane, without = seeder(model, "--name", NAME), seeder(model, "--name", NAME, "--no-lane")
    told = cli.ok("fetch", with_lane.magnet, "--name", NAME, "--cache-dir", tmp_path / "a").stderr
    assert "1 neighbour" in told
    for number, (magnet, option) in enumerate(((with_lane.magnet, ["--no-lane"]), (without.magnet, []))):
        told = cli.ok("fetch", magnet, "--name", NAME, "--cache-dir", tmp_path / f"b{number}", *option).stderr
        assert "neighbour" not in told


# --- who is asked ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "port"),
    [
        (client_version(49152).encode(), 49152),
        (b"weightswarm/9.9.9 (http 1024)", 1024),
        (b"weightswarm/0.1.0 (http 1023)", None),
        (b"weightswarm/0.1.0 (http 65536)", None),
        (b"weightswarm/0.1.0 (http 080808)", None),
        (b"weightswarm/0.1.0 (http 8080) ", None),
        (b"weightswarm/0.1.0 (http 127.0.0.1:8080)", None),
        (b"weightswarm/0.1.0", None),
        (b"qBittorrent/4.6", None),
        (b"\xff\xfe(http 8080)", None),
        (b"", None),
    ],
)
def test_only_a_port_that_strangers_may_name_is_read_from_a_clients_name(client: bytes, port: int | None) -> None:
    assert lane_port(client) == port


@pytest.mark.parametrize(
    ("host", "near"),
    [
        *[(host, True) for host in ("127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.1.1", "169.254.7.7", "::1",
                                    "fd00::1", "fe80::1%eth0", "::ffff:192.168.1.1")],
        *[(host, False) for host in ("8.8.8.8", "172.32.0.1", "100.64.0.1", "0.0.0.0", "2001:db8::1", "::",
                                     "::ffff:8.8.8.8", "64:ff9b::a01:203", "localhost", "")],
    ],
)  # fmt: skip
def test_neighbours_are_those_at_loopback_private_and_link_local_addresses(host: str, near: bool) -> None:
    assert is_near(host) is near


@pytest.mark.namespaces
def test_on_a_local_network_a_neighbour_gets_it_by_the_lane(
    cli: CommandLine, seeder: Seeder, folder: Path, hub: Path
) -> None:
    with network(hosts=2) as (there, here):
        with there.commands():
            seeding = seeder(folder, "--name", NAME, "--network", "lan", "--advertise", f"{there.address}:7000",
                             "--listen", f"{there.address}:7000")  # fmt: skip
        with here.commands():
            told = cli.ok("fetch", seeding.magnet, "--name", NAME, "--network", "lan", "--timeout", "30").stderr
        assert "1 neighbour" in told
        assert re.search(r"ratio 1\.0\d", seeding.stop().stderr)


def test_who_refuses_for_now_is_asked_again_later_and_who_does_not_answer_never(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "_PAUSE_SECONDS", 0.0)
    metainfo = release_of(folder).metainfo
    digests = metainfo.info_hash.digests
    others = {b"other"}
    status = os.stat(folder / WEIGHTS)
    lane = Lane([GivenFile(folder / WEIGHTS, status.st_size, status.st_mtime_ns, status.st_ino)], lambda: others)
    made, empty = LaneServer("127.0.0.1"), LaneServer("127.0.0.1")
    made.offer(digests, lane)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ports = (made.port, empty.port, silent.getsockname()[1], 1)
        found = [weightswarm.PeerAddress("127.0.0.1", port) for port in ports]
        asked = neighbours.Neighbours(metainfo, LOOPBACK.network, b"m" * 20)
        assert asked.open_lanes(asked.wanted(found)) == []
        assert asked.wanted(found) == found[:1], "the others are silent, closed, or have no such release"
        others.clear()
        assert asked.open_lanes(asked.wanted(found)) == found[:1]
        asked.open_lanes(asked.wanted(found))
        assert asked.wanted(found) == [], "three times at most"
    made.close()
    empty.close()


# --- seeds that lie, break, or hang ----------------------------------------------------------------------------------


class FakeLane:
    """Listens where a seed says that its lane is; lets a fetcher in, and then does harm."""

    def __init__(self, folder: Path, release: Release, harm: endless.Answer) -> None:
        self.data = b"".join((folder / file.path).read_bytes() for file in release.metainfo.files)
        self.harm = harm
        self.asked: list[tuple[int, int]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._ended = False
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._ended = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while not self._ended:
            with suppress(OSError):
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            while match := re.search(rb"Range: bytes=(\d+)-(\d+)", client.recv(4096)):
                first, last = int(match[1]), int(match[2])
                self.asked.append((first, last))
                if last == 0:
                    give(client, first, last, self.data[:1])
                else:
                    self.harm(client, first, last)
                    return


def give(client: socket.socket, first: int, last: int, data: bytes) -> None:
    """Answer as a lane does."""
    head = f"HTTP/1.1 206 -\r\nContent-Range: bytes {first}-{last}/9\r\nContent-Length: {last - first + 1}\r\n\r\n"
    client.sendall(head.encode() + data)


def wrong_bytes(client: socket.socket, first: int, last: int) -> None:
    give(client, first, last, os.urandom(last + 1 - first))


def short_body(client: socket.socket, first: int, last: int) -> None:
    give(client, first, last, b"x" * 1000)


def refusal(client: socket.socket, _first: int, _last: int) -> None:
    client.sendall(b"HTTP/1.1 503 -\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def whole_files(client: socket.socket, _first: int, _last: int) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")
    endless._endless(client, b"x" * 65536)


HARMS = {
    **{name: endless.ANSWERS[name] for name in ("endless_headers", "endless_body", "dripping_headers", "silent")},
    **{each.__name__: each for each in (wrong_bytes, short_body, refusal, whole_files)},
}


@contextmanager
def lying_seed(folder: Path, harm: endless.Answer, release: Release | None = None) -> Iterator[tuple[Source, FakeLane]]:
    """A plain session that has the release, and names a lane that does harm."""
    release = release or release_of(folder)
    fake = FakeLane(folder, release, harm)
    source = Source(release, 0, handshake_client_version=client_version(fake.port))
    try:
        yield source, fake
    finally:
        source.session.pause()
        fake.close()


@pytest.mark.parametrize("harm", HARMS)
def test_after_a_lane_that_lies_breaks_or_hangs_the_swarm_brings_the_right_bytes(
    folder: Path, tmp_path: Path, harm: str, figure: Callable[[str, float], None]
) -> None:
    with lying_seed(folder, HARMS[harm]) as (source, fake):
        started = time.monotonic()
        result, said = fetched(source.magnet, tmp_path / "cache")
        assert contents(result.path) == contents(folder)
        assert len(fake.asked) > 1, "the lane was taken"
        assert len(fake.asked) < 30
        assert time.monotonic() - started < 30
    assert any(isinstance(each, Note) and "BitTorrent" in each.text for each in said)
    figure("lanes that lie, break or hang survived", 1)


def test_a_lane_that_breaks_off_now_and_then_goes_on_where_it_broke(folder: Path, tmp_path: Path) -> None:
    data = b"".join((folder / file.path).read_bytes() for file in release_of(folder).metainfo.files)

    def breaking(client: socket.socket, first: int, last: int) -> None:
        give(client, first, last, data[first : min(last + 1, first + 2 * MIB)])

    with lying_seed(folder, breaking) as (source, fake):
        result, _ = fetched(source.magnet, tmp_path / "cache")
        assert contents(result.path) == contents(folder)
        assert len(fake.asked) > SIZE / (2 * MIB)
        assert not source.given


def test_a_lane_leads_nowhere_else(folder: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.settimeout(0.0)
        port = elsewhere.getsockname()[1]

        def redirect(client: socket.socket, _first: int, _last: int) -> None:
            client.sendall(
                f"HTTP/1.1 302 -\r\nLocation: http://127.0.0.1:{port}/\r\nContent-Length: 0\r\n\r\n".encode()
            )

        with lying_seed(folder, redirect) as (source, fake):
            result, _ = fetched(source.magnet, tmp_path / "cache")
            assert len(fake.asked) > 1
        assert contents(result.path) == contents(folder)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


def test_a_seed_killed_midway_leaves_a_fetch_that_times_out_and_goes_on_from_its_disk(
    cli: CommandLine, seeder: Seeder, hub: Path, tmp_path: Path
) -> None:
    model = make_model(tmp_path / "model", 96 * MIB)
    seeding = seeder(model, "--name", NAME)
    process = cli.start("fetch", seeding.magnet, "--name", NAME, "--timeout", "3")
    wait_until(lambda: staged_weights(hub, MIB) is not None, "nothing came")
    process.send_signal(signal.SIGSTOP)
    seeding.process.kill()
    seeding.process.communicate()
    process.send_signal(signal.SIGCONT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 4, told
    assert "what came is kept" in told
    again = fetch_json(cli, seeder(model, "--name", NAME).magnet, "--name", NAME)
    assert contents(Path(again["path"])) == contents(model)
    assert again["downloaded"] < total_of(model)


def test_a_byte_that_flipped_unseen_at_the_seed_is_given_by_its_lane_and_placed_nowhere(
    cli: CommandLine, seeder: Seeder, model: Path
) -> None:
    seeding = seeder(model, "--name", NAME)
    flip_byte(model / WEIGHTS, keep_times=True)
    refused(cli("fetch", seeding.magnet, "--name", NAME, "--timeout", "4"), 4, "No progress")
    assert seeding.wait(10).code == 3


# --- strangers at a seed's lane --------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[LaneServer, Lane, bytes]]:
    """A lane with two files and an empty one between them."""
    files = []
    for name, data in (("a", b"0123456789"), ("b", b""), ("c", b"abcdef" * 100_000)):
        (tmp_path / name).write_bytes(data)
        status = os.stat(tmp_path / name)
        files.append(GivenFile(tmp_path / name, status.st_size, status.st_mtime_ns, status.st_ino))
    lane = Lane(files, set)
    made = LaneServer("127.0.0.1")
    made.offer([HASH], lane)
    yield made, lane, b"0123456789" + b"abcdef" * 100_000
    made.close()


def asking(port: int, text: bytes, seconds: float = 10) -> bytes:
    """Send a request, and return all that comes until the other side closes or says nothing more."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as client:
        got = bytearray()
        with suppress(OSError):
            client.sendall(text)
            client.shutdown(socket.SHUT_WR)
            while part := client.recv(1 << 20):
                got += part
        return bytes(got)


def request(first: int, last: int, info_hash: str = HASH, peer: str = PEER) -> bytes:
    return f"GET /{info_hash}?peer={peer} HTTP/1.1\r\nHost: x\r\nRange: bytes={first}-{last}\r\n\r\n".encode()


def test_a_range_gives_exactly_those_bytes_across_files(server: tuple[LaneServer, Lane, bytes]) -> None:
    made, lane, data = server
    for first, last in ((0, 0), (9, 10), (3, 500_000), (10, len(data) - 1), (0, len(data) - 1)):
        head, _, body = asking(made.port, request(first, last)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 206 ")
        assert f"Content-Range: bytes {first}-{last}/{len(data)}\r\n".encode() in head + b"\r\n"
        assert body == data[first : last + 1]
    assert lane.given == 1 + 2 + 499_998 + len(data) - 10 + len(data)


def test_two_requests_go_over_one_connection(server: tuple[LaneServer, Lane, bytes]) -> None:
    made, _, _ = server
    answer = asking(made.port, request(0, 4) + request(5, 9))
    assert answer.count(b"206 Partial") == 2
    assert answer.endswith(b"56789")


STRANGE = {
    b"": b"",
    b"\x13BitTorrent protocol" + bytes(48): b"",
    b"GET / HTTP/1.1\r\n\r\n": b"400",
    b"GET /" + HASH.encode() + b" HTTP/1.1\r\nRange: bytes=0-1\r\n\r\n": b"400",
    request(0, 1).replace(b"GET", b"POST"): b"400",
    request(0, 1).replace(b"Range", b"Strange"): b"400",
    request(0, 1).replace(b"0-1", b"-1"): b"400",
    request(0, 1).replace(b"0-1", b"0-1,3-4"): b"400",
    request(0, 1).replace(b"0-1", b"0-" + b"9" * 30): b"400",
    request(0, 1).replace(b"HTTP/1.1", b"HTTP/1.0"): b"400",
    request(0, 1, info_hash="AB" * 20): b"400",
    request(0, 1, info_hash="../" * 14): b"400",
    request(0, 1, info_hash="ee" * 20): b"404",
    request(0, 1, info_hash="ee" * 32): b"404",
    request(0, 600_010): b"416",
    request(5, 4): b"416",
    request(10**17, 10**17): b"416",
    b"GET " + b"x" * 100_000: b"",
    request(0, 1)[:-2] + b"X: " + b"x" * 100_000: b"",
    os.urandom(3000): b"",
}


def test_strange_requests_are_refused_and_do_no_harm(
    server: tuple[LaneServer, Lane, bytes], figure: Callable[[str, float], None]
) -> None:
    made, lane, _ = server
    for text, status in STRANGE.items():
        assert asking(made.port, text)[9:12] == status, text[:80]
        figure("strange requests to a lane", 1)
    assert not lane.given
    assert asking(made.port, request(0, 4)).endswith(b"01234")


def test_a_thousand_connections_that_say_nothing_are_bounded_and_the_seed_serves_on(
    cli: CommandLine, seeder: Seeder, model: Path, tmp_path: Path, figure: Callable[[str, float], None]
) -> None:
    seeding = seeder(model, "--name", NAME)
    port = lane_port_of(seeding.magnet)
    held: list[socket.socket] = []
    try:
        for _ in range(1000):
            held.append(socket.socket())
            held[-1].setblocking(False)
            # Whom the full queue does not take, the kernel tries again by itself.
            held[-1].connect_ex(("127.0.0.1", port))
        descriptors = Path(f"/proc/{seeding.process.pid}/fd")
        wait_until(lambda: len(list(descriptors.iterdir())) < MAX_CONNECTIONS + 60, "connections are not bounded")
        threads = len(list(Path(f"/proc/{seeding.process.pid}/task").iterdir()))
        assert threads < MAX_CONNECTIONS + 40
        result = fetch_json(cli, seeding.magnet, "--name", NAME)
        assert contents(Path(result["path"])) == contents(model), "by BitTorrent"
        figure("connections to a lane that said nothing", len(held))
    finally:
        for each in held:
            each.close()
    assert seeding.process.poll() is None
    started = time.monotonic()
    seeding.stop()
    assert time.monotonic() - started < 8


def lane_port_of(magnet: str) -> int:
    """Return where a seed's lane is, as the seed says to whoever connects."""
    session = loopback_session(close_redundant_connections=False)
    parameters = lt.parse_magnet_uri(magnet)
    parameters.save_path = "."
    parameters.flags |= lt.torrent_flags.upload_mode | lt.torrent_flags.default_dont_download
    handle = session.add_torrent(parameters)
    ports: list[int] = []

    def told() -> bool:
        ports.extend(port for peer in handle.get_peer_info() if (port := lane_port(peer.client)))
        return bool(ports)

    wait_until(told, "the seed names no lane")
    session.pause()
    return ports[0]


@pytest.mark.parametrize("harm", ["overwritten", "replaced", "shrunk", "gone", "a folder"])
def test_a_file_that_is_not_what_was_hashed_is_not_given(server: tuple[LaneServer, Lane, bytes], harm: str) -> None:
    made, lane, _ = server
    path = lane.files[2].path
    if harm == "overwritten":
        flip_byte(path, 5)
    elif harm == "replaced":
        data = path.read_bytes()
        path.rename(path.with_name("old"))
        path.write_bytes(data)
        os.utime(path, ns=(lane.files[2].mtime_ns, lane.files[2].mtime_ns))
    elif harm == "shrunk":
        os.truncate(path, 100)
    else:
        path.unlink()
        if harm == "a folder":
            path.mkdir()
    answer = asking(made.port, request(0, 1000))
    assert answer.partition(b"\r\n\r\n")[2] == b"0123456789", "the file before it, and the connection ends"


def test_a_lane_that_ends_hangs_up_at_once_and_waits_for_nobody(server: tuple[LaneServer, Lane, bytes]) -> None:
    made, first, _ = server
    path = first.files[0].path.with_name("large")
    path.touch()
    os.truncate(path, 64 * MIB)
    status = os.stat(path)
    lane = Lane([GivenFile(path, status.st_size, status.st_mtime_ns, status.st_ino)], set)
    made.offer(["ef" * 20], lane)
    with socket.create_connection(("127.0.0.1", made.port)) as client:
        client.sendall(request(0, 64 * MIB - 1, info_hash="ef" * 20))
        wait_until(lambda: lane.fetchers == 1, "it does not begin")
        started = time.monotonic()
        made.withdraw(lane)
        assert time.monotonic() - started < 2
        # Sooner than it gives up on who takes nothing.
        wait_until(lambda: not lane.fetchers, "it does not end", 5)
    assert asking(made.port, request(0, 1, info_hash="ef" * 20))[9:12] == b"404"
    assert asking(made.port, request(0, 1))[9:12] == b"206"


def test_files_end_to_end_are_cut_where_they_end() -> None:
    layout = Layout([3, 0, 0, 5, 1, 0])
    assert layout.total == 9
    assert [list(layout.spans(0, 9)), list(layout.spans(2, 4)), list(layout.spans(8, 9))] == [
        [(0, 0, 3), (3, 0, 5), (4, 0, 1)],
        [(0, 2, 3), (3, 0, 1)],
        [(4, 0, 1)],
    ]
    assert [layout.after(index) for index in range(6)] == [3, 3, 3, 4, None, None]
