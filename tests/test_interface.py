"""With `--interface` all traffic goes by it, though the routing table would send it elsewhere. And what it may be."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import outside
from conftest import make_model
from frames import leaving
from hostile import NAME, NOWHERE, refused, wait_until
from namespaces import Host, name_server, network
from running import CommandLine, Seeder
from weightswarm import Network, NetworkOptions, PeerAddress
from weightswarm.dialling import Interface
from weightswarm.errors import InvalidInput

SERVICE = "203.0.113.9"
"""Where everything is: an address to which two ways lead."""

OWN = "10.78.0.1"
PEER_PORT, INNER_PORT = 7000, 7001


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    """Two hosts on a bridge, and a second cable between them. By default all goes over the bridge."""
    with network(hosts=2) as (here, there):
        for command in (
            f"link add eth1 netns {here.name} type veth peer name eth1 netns {there.name}",
            f"-n {here.name} address add {OWN}/24 dev eth1",
            f"-n {here.name} link set eth1 up",
            f"-n {there.name} address add 10.78.0.2/24 dev eth1",
            f"-n {there.name} link set eth1 up",
            f"-n {there.name} address add {SERVICE}/32 dev lo",
            f"-n {here.name} route replace default via {there.address} dev eth0",
            f"-n {here.name} route add default via 10.78.0.2 dev eth1 metric 100",
        ):
            subprocess.run(["ip", *command.split()], check=True)
        yield here, there


@dataclass(frozen=True, slots=True)
class World:
    """`magnet` and `torrent` can be had at `SERVICE`; `watch` tells by which interface."""

    here: Host
    magnet: str
    torrent: str
    eth0: Callable[[], set[str]]
    eth1: Callable[[], set[str]]


@pytest.fixture
def world(hosts: tuple[Host, Host], tmp_path: Path, cli: CommandLine, seeder: Seeder) -> Iterator[World]:
    """A seed, a tracker and a web seed at `SERVICE`."""
    plain, there = hosts
    model = make_model(tmp_path / "model", size=300_000)
    folder = tmp_path / "served"
    folder.mkdir()
    server = f"http://{SERVICE}:{outside.PORT}"
    published = cli.ok("publish", model, "--name", NAME, "-o", folder, "-t", f"{server}/announce", "--json").json
    Path(published["torrent"]).rename(folder / "x.torrent")
    (folder / "web").mkdir()
    (folder / "web" / "model").symlink_to(model)
    with there.commands():
        seeder(model, "--name", NAME, "--network", "loopback", "--listen", f"127.0.0.1:{INNER_PORT}")
    log = tmp_path / "outside.log"
    with log.open("w") as output:
        command = [
            *there.prefix,
            sys.executable,
            "-u",
            outside.__file__,
            SERVICE,
            str(folder),
            str(PEER_PORT),
            str(INNER_PORT),
        ]
        process = subprocess.Popen(command, stdout=output)
    try:
        wait_until(lambda: "ready" in log.read_text(), "the world did not start")
        with (
            name_server(plain) as (here, _),
            leaving(here, "eth0", tmp_path / "eth0") as eth0,
            leaving(here, "eth1", tmp_path / "eth1") as eth1,
        ):
            yield World(here, published["magnet"], f"{server}/x.torrent", eth0, eth1)
    finally:
        process.kill()
        process.wait()


def fetch_all(world: World, cli: CommandLine, *interface: str) -> None:
    """Fetch by magnet from a peer, and by URL from a web seed."""
    options = ("--name", NAME, "--network", "public", "--timeout", "15", "--peer", f"{SERVICE}:{PEER_PORT}", *interface)
    with world.here.commands():
        cli.ok("fetch", world.magnet, *options)
        web = ("-w", f"http://{SERVICE}:{outside.PORT}/web/", "--local-dir", "plain", "--cache-dir", "other")
        cli.ok("fetch", world.torrent, *options, *web)


@pytest.mark.namespaces
def test_all_traffic_goes_by_the_interface_that_is_named(world: World, cli: CommandLine) -> None:
    """The DHT and local discovery too; ports are not mapped then."""
    fetch_all(world, cli, "--interface", "eth1")

    assert world.eth0() == set()
    assert {f"tcp {SERVICE} {PEER_PORT}", f"tcp {SERVICE} {outside.PORT}"} <= world.eth1()


@pytest.mark.namespaces
def test_without_it_the_routing_table_decides(world: World, cli: CommandLine) -> None:
    """The counterpart: what is counted is there to be counted."""
    fetch_all(world, cli)

    assert {f"tcp {SERVICE} {PEER_PORT}", f"tcp {SERVICE} {outside.PORT}"} <= world.eth0()


@pytest.mark.namespaces
def test_an_address_is_what_all_traffic_comes_from(world: World, cli: CommandLine, tmp_path: Path) -> None:
    """An address alone says whom it comes from; by which way it goes is the routing table's."""
    subprocess.run(["ip", "-n", world.here.name, "rule", "add", "from", OWN, "table", "7"], check=True)
    route = [
        "ip",
        "-n",
        world.here.name,
        "route",
        "replace",
        "default",
        "via",
        "10.78.0.2",
        "dev",
        "eth1",
        "table",
        "7",
    ]
    subprocess.run(route, check=True)
    try:
        fetch_all(world, cli, "--interface", OWN)
    finally:
        subprocess.run(["ip", "-n", world.here.name, "rule", "del", "from", OWN, "table", "7"], check=True)

    assert {line for line in world.eth0() if line.startswith("tcp")} == set()
    assert {f"tcp {SERVICE} {PEER_PORT}", f"tcp {SERVICE} {outside.PORT}"} <= world.eth1()


@pytest.mark.namespaces
def test_a_seed_listens_at_the_interface_alone(world: World, seeder: Seeder, tmp_path: Path) -> None:
    with world.here.commands():
        seeding = seeder(tmp_path / "model", "--name", NAME, "--network", "lan", "--interface", "eth1")
        listening = ["ip", "netns", "exec", world.here.name, "cat", "/proc/net/tcp"]
        table = subprocess.run(listening, capture_output=True, text=True, check=True).stdout.splitlines()[1:]
        addresses = {line.split()[1].split(":")[0] for line in table if line.split()[3] == "0A"}
        assert seeding.process.poll() is None
    # 10.78.0.1, each byte in the machine's order.
    assert addresses == {"01004E0A"}


def test_an_interface_that_is_not_there_is_one_line_that_names_those_that_are(cli: CommandLine) -> None:
    for given in ("nowhere0", "", "x" * 40, "203.0.113.200", "2001:db8::1"):
        outcome = cli("fetch", NOWHERE, "--interface", given)
        assert outcome.code == 2
        assert "--interface" in outcome.stderr
        assert "lo (127.0.0.1)" in outcome.stderr


def test_at_loopback_the_one_interface_is_lo(cli: CommandLine, seeder: Seeder, model: Path) -> None:
    seeding = seeder(model, "--name", NAME, "--interface", "lo")
    cli.ok("fetch", seeding.magnet, "--name", NAME, "--interface", "127.0.0.1")
    with pytest.raises(InvalidInput, match="leaves by no interface but lo"):
        NetworkOptions(network=Network.LOOPBACK, interface=Interface("eth9", ("10.0.0.1",)))
    with pytest.raises(InvalidInput, match="is not at the interface"):
        NetworkOptions(listen=PeerAddress("10.0.0.2", 1), interface=Interface("eth9", ("10.0.0.1",)))
    refused(cli("fetch", NOWHERE, "--interface", "lo", "--proxy", "http://192.0.2.1:1"), 2, "asks no other machine")
