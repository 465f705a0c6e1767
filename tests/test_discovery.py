"""Peers are found in each way there is: the link itself, a tracker, the DHT, local discovery and peer exchange."""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import libtorrent as lt
import pytest

from conftest import make_model
from hostile import NAME, fetch_json, loopback_session, wait_until
from namespaces import network
from running import CommandLine, Seeder
from weightswarm.magnet import InfoHash, MagnetLink, parse_magnet

PRIVATE_DHT = {
    "enable_dht": True,
    "dht_restrict_routing_ips": False,
    "dht_restrict_search_ips": False,
    "dht_ignore_dark_internet": False,
    "dht_prefer_verified_node_ids": False,
    "dht_enforce_node_id": False,
}
MAX_ANNOUNCES = 100


def test_the_printed_link_alone_is_enough_on_loopback(
    cli: CommandLine, seeder: Seeder, model: Path, tmp_path: Path
) -> None:
    seeding = seeder(model, "--name", NAME)
    assert f"&x.pe=127.0.0.1:{seeding.port}" in seeding.magnet

    fetched_whole(cli, model, seeding.magnet, "--timeout", "30")


def test_peer_is_enough_where_the_link_names_nobody(cli: CommandLine, seeder: Seeder, model: Path) -> None:
    seeding = seeder(model, "--name", NAME)

    fetched_whole(cli, model, without_peers(seeding.magnet), "--peer", f"localhost:{seeding.port}", "--timeout", "30")


def test_a_tracker_brings_peers_together(cli: CommandLine, seeder: Seeder, model: Path) -> None:
    with tracker() as (url, ports):
        seeding = seeder(model, "--name", NAME, "--tracker", url)
        magnet = without_peers(seeding.magnet)
        wait_until(lambda: seeding.port in ports, "the seeder did not announce itself")

        fetched_whole(cli, model, magnet, "--timeout", "30")

        assert parse_magnet(magnet).trackers == (url,)
        assert ports - {seeding.port}, "the fetching side announced itself too"


def test_a_tracker_given_to_fetch_alone_is_asked(cli: CommandLine, seeder: Seeder, model: Path) -> None:
    with tracker() as (url, ports):
        seeding = seeder(model, "--name", NAME, "--tracker", url)
        bare = replace(parse_magnet(seeding.magnet), trackers=(), peers=())
        wait_until(lambda: seeding.port in ports, "the seeder did not announce itself")

        fetched_whole(cli, model, str(bare), "--tracker", url, "--timeout", "30")


@pytest.mark.parametrize("digest", ["v1", "v2"])
def test_a_bare_info_hash_is_found_in_a_private_dht(cli: CommandLine, seeder: Seeder, model: Path, digest: str) -> None:
    with dht(nodes=4) as ports:
        seeding = seeder(model, "--name", NAME, "--dht-node", f"127.0.0.1:{ports[0]}")

        magnet = bare(seeding.magnet, digest)
        # The two sides know different nodes: only a look-up among them can bring the one to the other.
        fetched_whole(cli, model, magnet, "--dht-node", f"127.0.0.1:{ports[-1]}", "--timeout", "40")


def test_a_seeder_of_another_model_is_dht_node_enough(
    cli: CommandLine, seeder: Seeder, model: Path, tmp_path: Path
) -> None:
    other = make_model(tmp_path / "other", size=100_000, seed=8)
    # Somebody is the first node: what it is pointed to does not exist.
    first = seeder(other, "--name", "org/other", "--dht-node", "127.0.0.1:1")
    node = f"127.0.0.1:{first.port}"
    seeding = seeder(model, "--name", NAME, "--dht-node", node)

    fetched_whole(cli, model, bare(seeding.magnet, "v1"), "--dht-node", node, "--timeout", "40")


def test_without_any_way_to_a_peer_the_fetch_ends_with_code_4(cli: CommandLine, seeder: Seeder, model: Path) -> None:
    """The counterpart of every test here: a running seeder that nobody points to is not found."""
    seeding = seeder(model, "--name", NAME)

    outcome = cli("fetch", without_peers(seeding.magnet), "--timeout", "3")

    assert outcome.code == 4, outcome.stderr


@pytest.mark.namespaces
def test_two_machines_on_one_network_find_each_other_by_local_discovery(
    cli: CommandLine, seeder: Seeder, model: Path
) -> None:
    with network(hosts=2) as (here, there):
        with here.commands():
            seeding = seeder(model, "--name", NAME, "--network", "lan")
        link = parse_magnet(seeding.magnet)
        assert (link.peers, link.trackers) == ((), ())

        with there.commands():
            fetched_whole(cli, model, seeding.magnet, "--network", "lan", "--timeout", "20")


def test_a_peer_that_only_another_peer_knows_is_reached_by_exchange(
    cli: CommandLine, seeder: Seeder, model: Path
) -> None:
    torrent = cli.folder / cli.ok("publish", model, "--name", NAME, "--json").json["torrent"]
    seeding = seeder(model, "--name", NAME)

    with crawling_peer(torrent, seeding.port, cli.folder / "crawling") as (port, status):
        fetched_whole(cli, model, without_peers(seeding.magnet), "--peer", f"127.0.0.1:{port}", "--timeout", "30")
        assert status().progress < 0.5, "what it did not have came from the peer that nobody else had named"


# --- links and results -----------------------------------------------------------------------------------------------


def without_peers(magnet: str) -> str:
    """Return the link without its `x.pe` addresses."""
    return str(replace(parse_magnet(magnet), peers=()))


def bare(magnet: str, digest: str) -> str:
    """Return a link that says nothing but the info-hash of one version."""
    return str(MagnetLink(InfoHash(**{digest: getattr(parse_magnet(magnet).info_hash, digest)})))


def fetched_whole(cli: CommandLine, model: Path, *arguments: str) -> None:
    """Fetch, which must succeed, and compare every file with the model's."""
    fetched = fetch_json(cli, *arguments)
    names = sorted(path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file())
    assert filecmp.cmpfiles(model, fetched["path"], names, shallow=False) == (names, [], [])
    assert fetched["downloaded"] >= sum((model / name).stat().st_size for name in names)


# --- those who bring peers together ----------------------------------------------------------------------------------


@contextmanager
def tracker() -> Iterator[tuple[str, set[int]]]:
    """Run an HTTP tracker (BEP 3, BEP 23) on loopback; yield its announce URL and the ports announced so far."""
    swarms: dict[bytes, set[int]] = {}
    ports: set[int] = set()

    class Tracker(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query, encoding="latin-1")
            info_hash, port = query["info_hash"][0].encode("latin-1"), int(query["port"][0])
            swarm = swarms.setdefault(info_hash, set())
            others = sorted(swarm - {port})
            if query.get("event") == ["stopped"]:
                swarm.discard(port)
            elif len(ports) < MAX_ANNOUNCES:
                swarm.add(port)
                ports.add(port)
            peers = b"".join(bytes([127, 0, 0, 1]) + other.to_bytes(2, "big") for other in others)
            body = b"d8:intervali60e5:peers%d:%se" % (len(peers), peers)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Tracker)
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/announce", ports
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def dht(nodes: int) -> Iterator[list[int]]:
    """Run a DHT of nodes that all know each other, on loopback; yield their ports."""
    sessions = [loopback_session(**PRIVATE_DHT) for _ in range(nodes)]
    ports = [session.listen_port() for session in sessions]
    for session in sessions:
        for port in ports:
            if port != session.listen_port():
                session.add_dht_node(("127.0.0.1", port))
    wait_until(lambda: all(known_nodes(session) >= nodes - 1 for session in sessions), "the DHT did not come together")
    try:
        yield ports
    finally:
        for session in sessions:
            session.pause()


def known_nodes(session: lt.session) -> int:
    """Return how many nodes a session's DHT has in its routing table."""
    session.post_session_stats()
    for _ in range(100):
        session.wait_for_alert(100)
        for alert in session.pop_alerts():
            if isinstance(alert, lt.session_stats_alert):
                return int(alert.values["dht.dht_nodes"])
    raise AssertionError("libtorrent did not post its statistics")


@contextmanager
def crawling_peer(torrent: Path, seed: int, folder: Path) -> Iterator[tuple[int, Callable[[], lt.torrent_status]]]:
    """Run a peer that loads from the seeder at port `seed`, slower than any test; yield its port and its status."""
    session = loopback_session()
    parameters = lt.add_torrent_params()
    parameters.ti = lt.torrent_info(torrent.read_bytes())
    parameters.save_path = str(folder)
    # Minutes for the whole, and still a handshake in a moment.
    parameters.download_limit = 20_000
    parameters.peers = [("127.0.0.1", seed)]
    handle = session.add_torrent(parameters)
    under_way = lt.peer_info.connecting | lt.peer_info.handshake

    def connected() -> bool:
        return any(not peer.flags & under_way for peer in handle.get_peer_info())

    wait_until(connected, "the crawling peer did not reach the seeder")
    try:
        yield session.listen_port(), handle.status
    finally:
        session.pause()
