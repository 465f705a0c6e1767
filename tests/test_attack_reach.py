"""A stranger's link, torrent, tracker or redirect leads nobody into private networks: a canary there sees no hit.

All of this runs at `--network public`, in a namespace whose only way out leads to nobody.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest

import canary
from hostile import NAME, NOWHERE, refused, release_of, wait_until
from namespaces import Host, network
from running import CommandLine, Outcome, Seeder
from weightswarm import reach
from weightswarm.errors import NetworkFailure
from weightswarm.magnet import PeerAddress
from weightswarm.metainfo import bdecode, bencode
from weightswarm.reach import Network, Refused, check_stranger, connect, is_closed
from weightswarm.registry import download_metainfo
from weightswarm.swarm.filtering import MAX_OPENED, AddressFilter
from weightswarm.swarm.network import MAX_PEERS, MAX_TRACKERS, MAX_WEB_SEEDS, NetworkOptions, Sieve
from weightswarm.swarm.resolving import MAX_THREADS, Resolver
from weightswarm.webseed import Failed, Limits, Upstream

OUTSIDE = "203.0.113.9"
"""Stands for the rest of the world: a documentation address (RFC 5737), which nothing of ours treats as special."""

INSIDE_NAME = "inside.example"
SERVER = f"http://{OUTSIDE}:{canary.SERVER_PORT}"
Figure = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Trap:
    """A host with a canary on all its addresses."""

    host: Host
    log: Path

    @property
    def inside(self) -> str:
        """A private address of the host."""
        return self.host.address

    def lines(self) -> set[str]:
        """Return each kind of thing that was noted."""
        return set(self.log.read_text().splitlines()) - {"ready"}

    def hits(self) -> set[str]:
        """Return what reached the canary, the hostile server left out."""
        return {line for line in self.lines() if not line.startswith("server ")}


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A namespace with a public, a private, a link-local and other addresses."""
    with network(hosts=1) as (plain,):
        for address in (OUTSIDE, *canary.CLOSED[1:]):
            subprocess.run(["ip", "-netns", plain.name, "address", "add", f"{address}/32", "dev", "lo"], check=True)
        yield plain


@pytest.fixture
def trap(host: Host, tmp_path: Path) -> Iterator[Trap]:
    """The canary, and names that resolve to where it is."""
    etc, log = tmp_path / "etc", tmp_path / "canary.log"
    etc.mkdir()
    # Nobody answers there, at once: libtorrent looks names up one after the other, its DHT's first node among them.
    (etc / "resolv.conf").write_text("nameserver 127.0.0.53\noptions timeout:1 attempts:1\n")
    (etc / "hosts").write_text(f"127.0.0.1 localhost\n{host.address} {INSIDE_NAME}\n")
    with log.open("a") as output:
        command = [*host.prefix, sys.executable, "-u", canary.__file__, OUTSIDE, host.address]
        process = subprocess.Popen(command, stdout=output)
    try:
        wait_until(lambda: "ready" in log.read_text(), "the canary did not start")
        with (named := replace(host, etc=etc)).commands():
            yield Trap(named, log)
    finally:
        process.kill()
        process.wait()


def fetched(cli: CommandLine, *arguments: str | Path, seconds: int = 3) -> Outcome:
    """Fetch at `public`, to no avail."""
    return cli("fetch", *arguments, "--network", "public", "--timeout", f"{seconds}")


def torrent_with(model: Path, target: Path, **outer: object) -> Path:
    """Write a torrent of a model that says something else around its info dict."""
    document = bdecode(release_of(model).metainfo.data)
    document.update({key.replace("_", "-").encode(): value for key, value in outer.items()})
    target.write_bytes(bencode(document))
    return target


def spellings(host: str) -> list[str]:
    """Return ways to write a private address, and 127.0.0.1, that a URL may use."""
    number = int(ip_address(host))
    return [host, "127.0.0.1", "localhost", "LOCALHOST.", "127.1", "0x7f000001", str(number), "0.0.0.0", "[::1]",
            f"[::ffff:{host}]", "169.254.169.254", "100.64.0.9", "192.168.9.9", INSIDE_NAME]  # fmt: skip


# --- what a link or torrent names ------------------------------------------------------------------------------------


@pytest.mark.namespaces
def test_a_link_that_names_private_addresses_reaches_none(cli: CommandLine, trap: Trap, figure: Figure) -> None:
    hosts = spellings(trap.inside)
    trackers = [
        f"{scheme}://{host}:{port}/announce" for host in hosts for scheme in ("http", "udp") for port in (7000, 22)
    ]
    web_seeds = [f"http://{host}:7000/" for host in hosts]
    peers = [f"{host}:{port}" for host in hosts for port in (7000, 22)]
    link = NOWHERE + "".join((*(f"&tr={t}" for t in trackers), *(f"&ws={w}" for w in web_seeds)))
    link += "".join(f"&x.pe={p}" for p in peers)
    torrents = [f"xs=http://{trap.inside}:7000/x", f"xs=http://{INSIDE_NAME}:7000/x", f"xs={SERVER}/torrent/x.torrent"]
    link += f"&{'&'.join(torrents)}&as=http://{trap.inside}:7000/"

    outcome = fetched(cli, link)

    refused(outcome, 4, "metadata")
    assert trap.hits() == set()
    assert trap.lines() == {"server /torrent/x.torrent"}, "the open one was asked, and its redirect not followed"
    assert outcome.stderr.count("the swarm is asked") == 4
    assert outcome.stderr.count("Not asked, though") == 1
    assert trap.inside in outcome.stderr
    figure("closed addresses named by strangers, none reached", len(trackers) + len(web_seeds) + len(peers) + 4)


@pytest.mark.namespaces
def test_a_torrent_that_names_private_addresses_reaches_none(
    cli: CommandLine, trap: Trap, model: Path, tmp_path: Path, figure: Figure
) -> None:
    hosts = spellings(trap.inside)
    http = [f"http://{host}:7000/announce".encode() for host in hosts]
    torrent = torrent_with(
        model, tmp_path / "t.torrent", announce=http[0], announce_list=[http, [f"udp://{trap.inside}:7000".encode()]],
        url_list=[*http, b"file:///etc/passwd", b"ftp://127.0.0.1/"], httpseeds=http,
        nodes=[[host.strip("[]").encode(), 7000] for host in (*hosts, OUTSIDE)],
    )  # fmt: skip

    outcome = fetched(cli, torrent)

    refused(outcome, 4, "No progress")
    assert trap.hits() == set()
    assert outcome.stderr.count("Not asked, though") == 1
    figure("closed addresses named by strangers, none reached", 4 * len(hosts) + 3)


@pytest.mark.namespaces
def test_what_the_user_names_himself_is_reached(cli: CommandLine, trap: Trap, model: Path, tmp_path: Path) -> None:
    """The counterpart: the canary sees who comes, by address and by a name that leads to it."""
    torrent = torrent_with(model, tmp_path / "t.torrent")
    for host in (trap.inside, INSIDE_NAME):
        trap.log.write_text("")
        own = ("-t", f"http://{host}:7000/announce", "-t", f"udp://{host}:7001", "-w", f"http://{host}:7002/")
        peers = ("--peer", f"{host}:7003", "--peer", f"{host}:22", "--dht-node", f"{host}:7000")
        # On a busy machine the DHT may not be asked within three seconds.
        refused(fetched(cli, torrent, *own, *peers, seconds=8), 4)

        tcp = {f"tcp {trap.inside} {port}" for port in (7000, 7002, 7003, 22)}
        assert trap.hits() >= {*tcp, "udp any 7001", "udp any 7000"}


# --- redirects, and what others hand out -----------------------------------------------------------------------------


@pytest.mark.namespaces
def test_redirects_into_private_networks_are_not_followed(
    cli: CommandLine, trap: Trap, model: Path, tmp_path: Path
) -> None:
    torrent = torrent_with(
        model, tmp_path / "t.torrent", announce=f"{SERVER}/announce/redirect".encode(),
        url_list=[f"{SERVER}/seed/".encode(), f"{SERVER}/name/".encode(), f"{SERVER}/low/".encode()],
    )  # fmt: skip

    outcome = fetched(cli, torrent)

    refused(outcome, 4, "No progress")
    assert trap.hits() == set()
    assert {"server /announce/redirect"} < trap.lines(), "the server was asked, and its redirect not followed"
    assert any("/seed/" in line for line in trap.lines())
    assert any("/name/" in line for line in trap.lines())
    assert any("/low/" in line for line in trap.lines())
    assert f"The web seed {SERVER}/seed/ is left out: it leads to {trap.inside}:7000" in outcome.stderr


@pytest.mark.namespaces
def test_the_url_of_a_torrent_may_not_redirect_into_a_private_network(cli: CommandLine, trap: Trap) -> None:
    outcome = fetched(cli, f"{SERVER}/torrent/x.torrent")

    refused(outcome, 1, "redirects", trap.inside)
    assert trap.hits() == set()
    assert trap.lines() == {"server /torrent/x.torrent"}

    refused(fetched(cli, f"http://{INSIDE_NAME}:7000/x.torrent"), 1, "no connection")
    assert trap.hits() == {f"tcp {trap.inside} 7000"}, "what the user typed himself is asked"


@pytest.mark.namespaces
def test_peers_that_a_tracker_or_a_peer_hands_out_are_dialled_in_the_open_alone(cli: CommandLine, trap: Trap) -> None:
    outcome = fetched(cli, f"{NOWHERE}&tr={SERVER}/announce")

    refused(outcome, 4, "metadata")
    # The open ones are dialled: the tracker's answer arrived, and what the peer it named says of others (BEP 11).
    assert trap.hits() == {f"tcp {OUTSIDE} 7000", f"tcp {OUTSIDE} 7003"}
    assert "server exchanged" in trap.lines()
    assert outcome.stderr.count("left alone at --network public") == 1


@pytest.mark.namespaces
def test_at_lan_private_addresses_are_open_and_the_clouds_own_is_not(cli: CommandLine, trap: Trap) -> None:
    hosts = (trap.inside, "169.254.169.254", "127.0.0.1")
    link = NOWHERE + "".join(f"&tr=http://{host}:7000/announce&x.pe={host}:7000" for host in hosts)

    refused(cli("fetch", link, "--network", "lan", "--timeout", "3"), 4)

    assert trap.hits() == {f"tcp {trap.inside} 7000"}


@pytest.mark.namespaces
def test_who_comes_from_near_by_himself_is_let_in_at_public(cli: CommandLine, seeder: Seeder, model: Path) -> None:
    """A laboratory's machines find and serve each other at the default level too: nobody else named them."""
    with network(hosts=2) as (first, second):
        with first.commands():
            seeding = seeder(model, "--name", NAME, "--network", "public", "--listen", "0.0.0.0:7100")
        with second.commands():
            link = seeding.magnet.partition("&x.pe=")[0]
            cli.ok("fetch", link, "--network", "public", "--peer", f"{first.address}:7100", "--timeout", "50")
            cli.ok("fetch", link, "--network", "public", "--timeout", "50", "--local-dir", "by-local-discovery")


# --- the rules themselves --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1",
     "169.254.169.254", "169.254.0.1", "192.0.0.192", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1",
     "255.255.255.255", "::", "::1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::10.0.0.1", "64:ff9b::10.0.0.1",
     "64:ff9b::169.254.169.254", "64:ff9b:1::1", "2002:a00:1::", "2002:7f00:1::1", "2001::1", "fc00::1",
     "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "localhost", "LocalHost", "localhost.",
     "a.localhost"],
)  # fmt: skip
def test_what_is_not_the_internet_is_closed_at_public(address: str, figure: Figure) -> None:
    assert is_closed(address, Network.PUBLIC)
    with pytest.raises(Refused):
        check_stranger("http", (address, 7000), Network.PUBLIC)
    figure("kinds of closed addresses", 1)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "172.15.255.255", "172.32.0.0", "100.63.255.255", "100.128.0.0", "169.253.255.255",
     "11.0.0.0", "192.167.255.255", "223.255.255.255", "2606:4700::1", "64:ff9b::8.8.8.8", "2002:808:808::", "2a00::1"],
)  # fmt: skip
def test_the_internet_is_open_at_public(address: str) -> None:
    assert not is_closed(address, Network.PUBLIC)


@pytest.mark.parametrize(("address", "closed"), [
    ("10.0.0.1", False), ("192.168.1.1", False), ("169.254.3.3", False), ("fd00::1", False), ("fe80::1", False),
    ("127.0.0.1", True), ("::1", True), ("0.0.0.0", True), ("169.254.169.254", True), ("fd00:ec2::254", True),
    ("100.100.100.200", True), ("::ffff:127.0.0.1", True), ("64:ff9b::127.0.0.1", True), ("224.0.0.1", True),
])  # fmt: skip
def test_at_lan_neighbours_are_open_and_this_machine_is_not(address: str, closed: bool) -> None:
    assert is_closed(address, Network.LAN) is closed


@pytest.mark.parametrize(("scheme", "port", "fine"), [
    ("http", 80, True), ("https", 443, True), ("http", 22, False), ("http", 1023, False), ("http", 1024, True),
    ("udp", 80, False), ("udp", 1023, False), ("udp", 6969, True), ("peer", 443, False), ("peer", 6881, True),
    ("http", 0, False),
])  # fmt: skip
def test_ports_of_other_services_are_closed_to_strangers(scheme: str, port: int, fine: bool) -> None:
    if fine:
        check_stranger(scheme, ("8.8.8.8", port), Network.PUBLIC)
        return
    with pytest.raises(Refused, match=f"port {port}"):
        check_stranger(scheme, ("8.8.8.8", port), Network.PUBLIC)


def test_what_is_judged_is_what_is_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is looked up once: an answer that changes between check and connection (DNS rebinding) changes nothing."""
    answers = iter(["127.0.0.1", "8.8.8.8"])
    asked = []

    def resolver(host: str, port: int, **_: object) -> list[object]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    with pytest.raises(Refused, match=r"127\.0\.0\.1 is not open"):
        connect(("rebinding.example", 7000), Network.PUBLIC, named=False, deadline=time.monotonic() + 5)
    assert asked == ["rebinding.example"]


def test_of_twenty_thousand_a_bounded_number_is_used(figure: Figure) -> None:
    named = PeerAddress("10.0.0.1", 22)
    sieve = Sieve(NetworkOptions(trackers=("http://10.0.0.1/own",), peers=(named,)))
    many = range(20_000)

    trackers = sieve.trackers([*(f"udp://t{i}.example:6969" for i in many), "http://10.0.0.1/own"])
    web_seeds = sieve.web_seeds(f"https://w{i}.example/" for i in many)
    peers = sieve.peers(PeerAddress(f"9.9.{i // 250}.{i % 250}", 6881) for i in many)

    assert (len(trackers), len(web_seeds), len(peers)) == (MAX_TRACKERS, MAX_WEB_SEEDS, MAX_PEERS + 1)
    assert trackers[0] == "http://10.0.0.1/own", "the user's own come first"
    assert peers[0] == named
    assert sieve.summary() == (
        "Not asked, though the link or torrent names it: 19,937 trackers beyond the first; 19,968 web seeds beyond the"
        " first; 19,800 peers beyond the first"
    )
    assert sieve.summary() == "", "said once"
    figure("surplus trackers, web seeds and peers left out", 59_705)


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://t.example/", "ws://t.example/", "wss://t.example/", "gopher://t.example:7000/",
     "http://", "http://[::1", "http://t.example:x/", "udp://"],
)  # fmt: skip
def test_no_other_scheme_is_asked_even_if_the_user_names_it(url: str) -> None:
    sieve = Sieve(NetworkOptions(trackers=(url,), web_seeds=(url,)))

    assert (sieve.trackers([url]), sieve.web_seeds([url])) == ([], [])
    assert url in sieve.summary()


def test_names_are_looked_up_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: hanging.wait(20) and [])
    before = threading.active_count()
    resolver: Resolver[None] = Resolver()

    resolver.ask((PeerAddress(f"p{i}.example", 6881) for i in range(500)), None)

    assert threading.active_count() - before <= MAX_THREADS
    hanging.set()


# --- credentials -----------------------------------------------------------------------------------------------------


def test_credentials_in_a_url_go_to_its_own_server_alone(tmp_path: Path) -> None:
    with recording(None) as (target, seen_there), recording(f"{target}/file") as (origin, seen_here):
        url = origin.replace("http://", "http://user:secret@")
        source = Upstream(Limits(Network.LOOPBACK, frozenset()))
        with suppress(Failed):
            list(source.read(f"{url}/file", 0, 3))
        source.close()
        with pytest.raises(NetworkFailure, match="404"):
            download_metainfo(f"{url}/x.torrent", timeout=10, network=Network.LOOPBACK)

    assert [headers.get("Authorization") for headers in seen_here] == ["Basic dXNlcjpzZWNyZXQ="] * 2
    assert [headers.get("Authorization") for headers in seen_there] == [None] * 2


def test_a_password_of_netrc_goes_to_nobody_whom_a_stranger_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine\ndefault login me password mine\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    # As if it were a host of the internet: no test may ask one.
    monkeypatch.setattr(reach, "is_closed", lambda _host, _network: False)
    with recording(None) as (target, seen_there), recording(f"{target}/x.torrent") as (origin, seen_here):
        for named in (True, False):
            with pytest.raises(NetworkFailure, match="404"):
                download_metainfo(f"{origin}/x.torrent", timeout=10, network=Network.PUBLIC, named=named)

    assert [headers.get("Authorization") for headers in seen_here] == ["Basic bWU6bWluZQ==", None]
    assert [headers.get("Authorization") for headers in seen_there] == [None, None]


@contextmanager
def recording(redirect: str | None) -> Iterator[tuple[str, list[Message]]]:
    """Run a server that notes headers and redirects, or knows nothing."""
    seen: list[Message] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers)
            self.send_response(404 if redirect is None else 302)
            self.send_header("Location", redirect or "")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_only_the_user_opens_this_machine_and_a_clouds_metadata(figure: Figure) -> None:
    filtering = AddressFilter(Network.PUBLIC, "127.1.2.3")
    for address in ("127.0.0.1", "169.254.169.254", "100.100.100.200", "::1", "fd00:ec2::254", "0.0.0.0"):
        assert not filtering.open(address, named=False), address
        assert filtering.rules.access(address) == 1
        assert filtering.open(address, named=True), address
        assert filtering.rules.access(address) == 0
    assert filtering.open("192.168.1.2", named=False), "a neighbour who comes by himself"
    figure("kinds of closed addresses", 1)


def test_who_comes_by_himself_uses_up_nobody_elses_room() -> None:
    filtering = AddressFilter(Network.PUBLIC, "127.1.2.3")
    opened = [filtering.open(f"10.0.{number // 250}.{number % 250 + 1}", named=False) for number in range(2000)]
    assert sum(opened) == MAX_OPENED
    assert filtering.open("10.1.0.1", named=True)
