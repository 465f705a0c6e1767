"""Private torrents (BEP 27): peers are asked of their own trackers, and of nobody else: no DHT, exchange, local search.

Each test has a public torrent beside the private one, with which everything that is counted does happen.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import weightswarm
from hostile import LOOPBACK, contents, wait_until
from namespaces import network
from running import CommandLine, Seeder
from samples import write_files
from torrent_makers import KIB, LIBTORRENT_FLAGS, TRACKER, by_libtorrent
from torrent_seeding import seeded
from weightswarm import PeerAddress
from weightswarm.errors import SwarmTimeout
from weightswarm.metainfo import Metainfo, bdecode, bencode, magnet_of, parse_metainfo

KINDS = ("v1", "v2", "hybrid")
FILES = {"model.bin": bytes(range(256)) * 800, "config.json": b"{}\n"}
_LIVES_SECONDS = 60.0
_LISTENING = """
import socket, struct
group = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
group.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
group.bind(("", 6771))
group.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("4s4s",
    socket.inet_aton("239.192.152.143"), socket.inet_aton("{address}")))
group.settimeout(20)
print("ready", flush=True)
try:
    for _ in range(50):
        print(group.recv(2000).decode("ascii", "replace").replace("\\r\\n", " "), flush=True)
except TimeoutError:
    pass
"""


def topic(metainfo: Metainfo) -> str:
    """Return what a swarm goes by: the v1 info-hash, or the first 40 digits of the v2 one (BEP 52)."""
    return metainfo.info_hash.v1 or str(metainfo.info_hash.v2)[:40]


def topics(metainfo: Metainfo) -> set[str]:
    """Return all that a torrent's swarm may go by."""
    return {digest[:40] for digest in metainfo.info_hash.digests}


@dataclass
class DhtNode:
    """A node of the DHT (BEP 5) that knows no other, remembers what it was asked, and says who has it in `holders`."""

    asked: list[tuple[str, str, float]] = field(default_factory=list)
    holders: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._closing = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def address(self) -> PeerAddress:
        """Where it answers."""
        return PeerAddress("127.0.0.1", self._socket.getsockname()[1])

    def heard(self, query: str | None = None) -> set[str]:
        """Return the info-hashes that it was asked for."""
        return {digest for kind, digest, _ in self.asked if query in (None, kind)}

    def close(self) -> None:
        """Stop."""
        self._closing = True
        self._thread.join(5)
        self._socket.close()

    def _serve(self) -> None:
        ends = time.monotonic() + _LIVES_SECONDS
        while not self._closing and time.monotonic() < ends:
            if not select.select([self._socket], [], [], 0.05)[0]:
                continue
            data, sender = self._socket.recvfrom(2000)
            message = bdecode(data)
            if message.get(b"y") == b"q":
                self._socket.sendto(bencode(self._answer(message)), sender)

    def _answer(self, message: dict[bytes, Any]) -> dict[bytes, Any]:
        said: dict[bytes, Any] = {b"id": b"weightswarm test nod", b"nodes": b"", b"token": b"t"}
        if (digest := message[b"a"].get(b"info_hash")) is not None:
            self.asked.append((message[b"q"].decode(), digest.hex(), time.monotonic()))
            if (port := self.holders.get(digest.hex())) is not None:
                said[b"values"] = [socket.inet_aton("127.0.0.1") + struct.pack(">H", port)]
        return {b"t": message[b"t"], b"y": b"r", b"r": said}


@pytest.fixture
def node() -> Iterator[DhtNode]:
    """A node of a private DHT on loopback."""
    running = DhtNode()
    yield running
    running.close()


def made(folder: Path, kind: str, *, private: bool) -> tuple[Path, Metainfo]:
    """Make a torrent as qBittorrent does; return it and what it is. The two of a kind differ in their flag alone."""
    source, torrent = write_files(folder / "model", FILES), folder / f"{kind}-{private}.torrent"
    by_libtorrent(source, torrent, 16 * KIB, LIBTORRENT_FLAGS[kind], private=private)
    metainfo = parse_metainfo(torrent.read_bytes())
    assert metainfo.private is private
    return torrent, metainfo


def both_in_cache(tmp_path: Path, kind: str) -> dict[bool, Metainfo]:
    """Fetch a private and a public torrent into the cache, as `org/True` and `org/False`."""
    found = {}
    for private in (True, False):
        torrent, metainfo = made(tmp_path, kind, private=private)
        with seeded(metainfo, tmp_path / "model") as (_, options):
            chosen = replace(options, name=f"org/{private}", trust_magnet=True)
            assert contents(weightswarm.fetch(str(torrent), options=chosen).path) == FILES
        found[private] = metainfo
    return found


@contextmanager
def both_seeded(seeder: Seeder, *arguments: str) -> Iterator[int]:
    """Seed both with one command; yield its port."""
    seeding = seeder("org/True", "org/False", *arguments, releases=2)
    try:
        yield int(seeding.magnet.rpartition(":")[2]) if "x.pe=" in seeding.magnet else 0
    finally:
        seeding.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_tells_the_dht_of_no_private_torrent(seeder: Seeder, tmp_path: Path, node: DhtNode, kind: str) -> None:
    torrents = both_in_cache(tmp_path, kind)

    with both_seeded(seeder, "--dht-node", str(node.address)):
        public = topics(torrents[False])
        wait_until(lambda: bool(public & node.heard("announce_peer")), "the public one is not announced")
        # The private one began before it.
        time.sleep(0.5)

    assert not topics(torrents[True]) & node.heard()


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_offers_peer_exchange_for_no_private_torrent(seeder: Seeder, tmp_path: Path, kind: str) -> None:
    torrents = both_in_cache(tmp_path, kind)

    with both_seeded(seeder) as port:
        offered = {private: extensions(port, metainfo) for private, metainfo in torrents.items()}

    assert b"ut_pex" in offered[False]
    assert b"ut_pex" not in offered[True]
    # libtorrent, and so qBittorrent, gives a private torrent's metadata to nobody: a magnet alone will not do.
    assert b"ut_metadata" in offered[False]
    assert b"ut_metadata" not in offered[True]


@pytest.mark.namespaces
def test_local_discovery_hears_of_no_private_torrent(seeder: Seeder, tmp_path: Path) -> None:
    torrents = both_in_cache(tmp_path, "hybrid")
    with network(hosts=2) as (host, neighbour):
        listening = subprocess.Popen(
            [*neighbour.prefix, sys.executable, "-c", _LISTENING.format(address=neighbour.address)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert listening.stdout is not None
        heard: list[str] = []
        try:
            assert listening.stdout.readline() == "ready\n"
            with host.commands(), both_seeded(seeder, "--network", "lan"):
                while not topics(torrents[False]) & {word for line in heard for word in line.lower().split()}:
                    heard.append(listening.stdout.readline())
                    assert heard[-1], "nothing more was heard"
        finally:
            listening.kill()
            heard += listening.communicate()[0].splitlines()
    assert not [line for line in heard for digest in topics(torrents[True]) if digest in line.lower()]


def test_a_fetch_by_torrent_asks_the_dht_for_public_ones_alone(cli: CommandLine, tmp_path: Path, node: DhtNode) -> None:
    torrents = {private: made(tmp_path, "hybrid", private=private) for private in (True, False)}
    fetches = [
        cli.start("fetch", torrent, "--trust-magnet", "--dht-node", str(node.address))
        for torrent, _ in torrents.values()
    ]
    try:
        wait_until(lambda: bool(topics(torrents[False][1]) & node.heard()), "the public one was not looked for")
        # The private one was started before it.
        time.sleep(0.5)
    finally:
        for fetch in fetches:
            fetch.kill()
            fetch.communicate()

    assert not topics(torrents[True][1]) & node.heard()


@pytest.mark.parametrize("private", [False, True], ids=["public", "private"])
def test_who_was_met_by_the_dht_is_not_asked_for_a_private_torrent_once_that_is_known(
    tmp_path: Path, node: DhtNode, private: bool
) -> None:
    """Until a magnet's metadata came nobody can know it; clients give none of a private torrent, a URL may (`xs`)."""
    torrent, metainfo = made(tmp_path, "v1", private=private)
    notes: list[str] = []
    with seeded(metainfo, tmp_path / "model") as (_, options), http_folder_later(torrent, node) as url:
        (peer,) = options.network.peers
        node.holders[topic(metainfo)] = peer.port
        alone = replace(options, timeout=7, network=replace(LOOPBACK, dht_nodes=(node.address,)), trust_magnet=True)
        link = str(replace(magnet_of(metainfo, trackers=()), exact_sources=(url,)))
        if private:
            with pytest.raises(SwarmTimeout):
                weightswarm.fetch(link, options=alone, report=lambda event: notes.append(str(event)))
            assert "The torrent is private" in "".join(notes)
        else:
            assert contents(weightswarm.fetch(link, options=alone).path) == FILES
    assert topic(metainfo) in node.heard()


@contextmanager
def http_folder_later(torrent: Path, node: DhtNode) -> Iterator[str]:
    """Serve a torrent once a fetch has asked the DHT for its peers and had a second to dial them."""

    class Late(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wait_until(lambda: bool(node.heard("get_peers") & node.holders.keys()), "the DHT was not asked", 8)
            time.sleep(0.5)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(torrent.read_bytes())

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Late)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/it.torrent"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_who_seeds_a_private_torrent_hears_that_a_magnet_will_not_do(cli: CommandLine, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "model", FILES)
    for flags, told in (["--private"], True), ([], False):
        said = cli.ok("publish", folder, "--name", "org/model", *flags, "-o", tmp_path / "out").stderr
        assert ("Hand on the .torrent" in said) is told


def test_the_trackers_of_a_private_torrent_are_its_own(cli: CommandLine, tmp_path: Path) -> None:
    torrent, _ = made(tmp_path, "hybrid", private=True)
    assert cli.ok("show", torrent, "--json").json["trackers"] == [TRACKER]


def extensions(port: int, metainfo: Metainfo) -> dict[bytes, int]:
    """Shake hands with a seed at `port` and return the extensions that it offers for a torrent (BEP 10)."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        reserved = bytes((0, 0, 0, 0, 0, 0x10, 0, 0x10 if metainfo.info_hash.v2 else 0))
        connection.sendall(b"\x13BitTorrent protocol" + reserved + bytes.fromhex(topic(metainfo)) + os.urandom(20))
        stream = connection.makefile("rb")
        assert len(stream.read(68)) == 68
        for _ in range(10):
            (length,) = struct.unpack(">I", stream.read(4))
            message = stream.read(length)
            if message[:2] == b"\x14\0":
                found: dict[bytes, int] = bdecode(message[2:])[b"m"]
                return found
    raise AssertionError("no extended handshake came")
