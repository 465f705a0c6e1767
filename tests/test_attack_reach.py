"""A stranger's link, torrent, tracker or redirect leads nobody into private networks: a canary there sees no hit.

All of this runs at `--network public`, in a namespace whose only way out leads to nobody.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

import pytest

import canary
from hostile import NAME, NOWHERE, refused, release_of, wait_until
from namespaces import Host, network
from running import CommandLine, Outcome
from weightswarm.metainfo import bdecode, bencode
from weightswarm.reach import Network, Refused, check_stranger, connect, is_closed
from weightswarm.swarm.network import MAX_PEERS, MAX_TRACKERS, MAX_WEB_SEEDS, NetworkOptions, Sieve
from weightswarm.swarm.resolving import MAX_THREADS
from weightswarm.magnet import PeerAddress

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


def fetched(cli: CommandLine, *arguments: str | Path) -> Outcome:
    """Fetch at `public`, to no avail."""
    return cli("fetch", *arguments, "--network", "public", "--timeout", "3")


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
    link += "".join(
        (*(f"&x.pe={p}" for p in peers), f"&xs=http://{trap.inside}:7000/x", f"&as=http://{trap.inside}:7000/")
    )

    outcome = fetched(cli, link)

    refused(outcome, 4, "metadata")
    assert trap.hits() == set()
    assert outcome.stderr.count("Not asked, though") == 1
    assert trap.inside in outcome.stderr
    figure("closed addresses named by strangers, none reached", len(trackers) + len(web_seeds) + len(peers) + 2)


@pytest.mark.namespaces
def test_a_torrent_that_names_private_addresses_reaches_none(
    cli: CommandLine, trap: Trap, model: Path, tmp_path: Path, figure: Figure
) -> None:
    hosts = spellings(trap.inside)
    http = [f"http://{host}:7000/announce".encode() for host in hosts]
    torrent = torrent_with(
        model, tmp_path / "t.torrent", announce=http[0], announce_list=[http, [b"udp://%s:7000" % trap.inside.encode()]],
        url_list=[*http, b"file:///etc/passwd", b"ftp://127.0.0.1/"], httpseeds=http,
        nodes=[[host.strip("[]").encode(), 7000] for host in hosts],
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
        refused(fetched(cli, torrent, *own, "--peer", f"{host}:7003", "--peer", f"{host}:22"), 4)

        tcp = {f"tcp {trap.inside} {port}" for port in (7000, 7002, 7003, 22)}
        assert trap.hits() >= {*tcp, "udp any 7001"}


# --- redirects, and what others hand out -----------------------------------------------------------------------------


@pytest.mark.namespaces
def test_redirects_into_private_networks_are_not_followed(
    cli: CommandLine, trap: Trap, model: Path, tmp_path: Path
) -> None:
    torrent = torrent_with(
        model, tmp_path / "t.torrent", announce=f"{SERVER}/announce/redirect".encode(),
        url_list=[f"{SERVER}/seed/".encode(), f"{SERVER}/name/".encode()],
    )  # fmt: skip

    outcome = fetched(cli, torrent)

    refused(outcome, 4, "No progress")
    assert trap.hits() == set()
    assert {"server /announce/redirect"} < trap.lines(), "the server was asked, and its redirect not followed"
    assert any("/seed/" in line for line in trap.lines())
    assert any("/name/" in line for line in trap.lines())
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
def test_peers_that_a_tracker_hands_out_are_dialled_in_the_open_alone(cli: CommandLine, trap: Trap) -> None:
    outcome = fetched(cli, f"{NOWHERE}&tr={SERVER}/announce")

    refused(outcome, 4, "metadata")
    assert trap.hits() == {f"tcp {OUTSIDE} 7000"}, "the open one is dialled: the tracker's answer arrived"
    assert outcome.stderr.count("left alone at --network public") == 1


@pytest.mark.namespaces
def test_at_lan_private_addresses_are_open_and_the_clouds_own_is_not(cli: CommandLine, trap: Trap) -> None:
    hosts = (trap.inside, "169.254.169.254", "127.0.0.1")
    link = NOWHERE + "".join(f"&tr=http://{host}:7000/announce&x.pe={host}:7000" for host in hosts)

    refused(cli("fetch", link, "--network", "lan", "--timeout", "3"), 4)

    assert trap.hits() == {f"tcp {trap.inside} 7000"}
