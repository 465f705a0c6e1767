"""`--network` says how far a session reaches and the limits how fast: what is bound, sent and asked for, measured."""

from __future__ import annotations

import ipaddress
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from conftest import make_model
from hostile import NAME, NOWHERE, refused, wait_until
from namespaces import GATEWAY, name_server, network
from running import CommandLine, Seeder

LOCAL_DISCOVERY_PORT = 6771
# Documentation addresses and names (RFC 5737, RFC 2606), one of each kind that a link or a user can name.
OUTSIDE_NAMES = {"tracker.example", "weights.example", "peer.example"}
OUTSIDE_IN_RELEASE = (
    *("--tracker", "http://203.0.113.1/announce"),
    *("--tracker", "udp://tracker.example:6969/announce"),
    *("--web-seed", "http://203.0.113.2/weights/"),
    *("--web-seed", "http://weights.example/"),
)
OUTSIDE_PEERS = ("203.0.113.3:6881", "peer.example:6881")
OUTSIDE_DHT_NODE = ("--dht-node", "203.0.113.4:6881")


# --- what is bound ---------------------------------------------------------------------------------------------------


def test_a_seeder_at_loopback_has_sockets_on_loopback_alone(seeder: Seeder, model: Path) -> None:
    seeding = seeder(model, "--name", NAME, "--dht-node", "127.0.0.1:1")

    sockets = sockets_of(seeding.process.pid)

    assert ("tcp", "127.0.0.1", seeding.port) in sockets
    assert {host for _, host, _ in sockets} == {"127.0.0.1"}


def test_a_fetch_at_loopback_has_sockets_on_loopback_alone(cli: CommandLine) -> None:
    process = cli.start("fetch", NOWHERE, "--timeout", "60")
    try:
        wait_until(lambda: bool(sockets_of(process.pid)), "nothing was bound")
        assert {host for _, host, _ in sockets_of(process.pid)} == {"127.0.0.1"}
    finally:
        process.kill()
        process.communicate()


@pytest.mark.namespaces
def test_loopback_refuses_to_listen_anywhere_else(cli: CommandLine, model: Path) -> None:
    with network(hosts=1) as (host,), host.commands():
        outcome = cli("seed", model, "--name", NAME, "--listen", f"{host.address}:0", "--seed-time", "1")

    refused(outcome, 2, "loopback", host.address)


@pytest.mark.namespaces
def test_one_port_serves_every_address_of_the_machine(seeder: Seeder, model: Path) -> None:
    """Local discovery, peer exchange and handshakes have room for one port: another one at another address is lost."""
    with network(hosts=1) as (host,), host.commands():
        # A lane is at another port, and has a word of its own in the handshake.
        seeding = seeder(model, "--name", NAME, "--network", "lan", "--no-lane")
        sockets = sockets_of(seeding.process.pid)

    assert {address for kind, address, _ in sockets if kind == "tcp"} >= {"127.0.0.1", host.address}
    assert len({port for _, _, port in sockets} - {LOCAL_DISCOVERY_PORT}) == 1


@pytest.mark.parametrize("command", ["seed", "fetch"])
def test_a_used_port_is_one_clear_error(cli: CommandLine, model: Path, command: str) -> None:
    with used_port() as port:
        listen = ("--listen", f"127.0.0.1:{port}")
        if command == "seed":
            outcome = cli("seed", model, "--name", NAME, *listen, "--seed-time", "1")
        else:
            outcome = cli("fetch", NOWHERE, *listen, "--timeout", "1")

    refused(outcome, 1, f"127.0.0.1:{port}", "in use")
    assert "Hint: " in outcome.stderr
    assert "--listen" in outcome.stderr.partition("Hint: ")[2]


# --- what is sent and asked for --------------------------------------------------------------------------------------


@pytest.mark.namespaces
def test_at_loopback_no_packet_leaves_and_no_name_is_looked_up(cli: CommandLine, seeder: Seeder, model: Path) -> None:
    with network(hosts=1) as (plain,), name_server(plain) as (host, asked), host.commands():
        try_everything(cli, seeder, model, "loopback")

        assert host.sent_packets() == 0
        assert host.neighbours() == set()
        assert asked() == []


@pytest.mark.namespaces
def test_at_lan_the_same_link_asks_those_it_names_and_nobody_else(
    cli: CommandLine, seeder: Seeder, model: Path
) -> None:
    """The counterpart of the test before: what it counts is there to be counted."""
    with network(hosts=1) as (plain,), name_server(plain) as (host, asked), host.commands():
        try_everything(cli, seeder, model, "lan")

        assert host.sent_packets() > 0
        assert host.neighbours() == {GATEWAY}
        assert set(asked()) == OUTSIDE_NAMES


@pytest.mark.namespaces
def test_lan_speaks_to_the_local_network_alone(cli: CommandLine) -> None:
    """No DHT of the world, no port mapping at the gateway: only the multicast of local discovery."""
    with network(hosts=1) as (plain,), name_server(plain) as (host, asked), host.commands():
        assert cli("fetch", NOWHERE, "--network", "lan", "--timeout", "3").code == 4

        assert host.sent_packets() > 0
        assert host.neighbours() == set()
        assert asked() == []


def try_everything(cli: CommandLine, seeder: Seeder, model: Path, reach: str) -> None:
    """Seed one release and fetch another, by torrent and by link: each names every kind of outside address."""
    peers = [argument for peer in OUTSIDE_PEERS for argument in ("--peer", peer)]
    options = ("--network", reach, *OUTSIDE_DHT_NODE, *peers)
    published = cli.ok("publish", model, "--name", "org/unseeded", *OUTSIDE_IN_RELEASE, "--json").json
    link = published["magnet"] + "".join(f"&x.pe={peer}" for peer in OUTSIDE_PEERS)
    seeding = seeder(model, "--name", NAME, *OUTSIDE_IN_RELEASE, *options)
    fetches = [
        cli.start("fetch", source, "--timeout", "3", "--local-dir", f"unseeded-{number}", *options)
        for number, source in enumerate((published["torrent"], link))
    ]
    try:
        for fetch in fetches:
            stderr = fetch.communicate(timeout=60)[1]
            assert fetch.returncode == 4, stderr
    finally:
        for fetch in fetches:
            fetch.kill()
            fetch.communicate()
    assert seeding.stop().code == 130


# --- how fast --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limited", ["upload", "download"])
def test_a_limit_slows_the_transfer(cli: CommandLine, seeder: Seeder, tmp_path: Path, limited: str) -> None:
    model = make_model(tmp_path / "small", size=1_000_000)
    limit = (f"--{limited}-limit", "300k")
    seeding = seeder(model, "--name", NAME, *(limit if limited == "upload" else ()))

    process = cli.start("fetch", seeding.magnet, *(limit if limited == "download" else ()))
    try:
        assert process.stderr is not None
        # The clock starts with the payload: how long a busy machine takes to start Python does not count.
        assert any(line.startswith("Downloading: ") for line in process.stderr)
        started = time.monotonic()
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()

    assert process.returncode == 0
    # 3.4 seconds by the limit; without it this takes a blink.
    assert time.monotonic() - started > 2


# --- looking from outside --------------------------------------------------------------------------------------------


def sockets_of(pid: int) -> set[tuple[str, str, int]]:
    """Return protocol, local address and port of each IP socket of a process, as the kernel lists them."""
    links = set()
    with suppress(FileNotFoundError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                links.add(os.readlink(descriptor))
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in links:
                host, _, port = fields[1].partition(":")
                # Hex words of four bytes, each in the machine's byte order (little-endian).
                packed = bytes.fromhex(host)
                words = b"".join(packed[i : i + 4][::-1] for i in range(0, len(packed), 4))
                found.add((table.rstrip("6"), str(ipaddress.ip_address(words)), int(port, 16)))
    return found


@contextmanager
def used_port() -> Iterator[int]:
    """Yield a loopback port at which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])
