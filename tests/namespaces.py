"""Networks to test in: hosts in network namespaces of their own, joined by a bridge that leads nowhere else."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import pytest

import running

GATEWAY = "10.77.0.254"
"""Where a host's default route leads: nobody is there, and asking for it shows that somebody wanted out."""

_PREFIX = "weightswarm-test"
_NAME_SERVER = "127.0.0.53"
_OVERLAY = 'for file in "$0"/*; do mount --bind "$file" "/etc/${file##*/}"; done; exec "$@"'
_ANSWERING = """
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 53))
server.settimeout(120)
print("ready")
for _ in range(10_000):
    query, asker = server.recvfrom(512)
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    print(".".join(labels))
    server.sendto(query[:2] + bytes([0x81, 0x83]) + query[4:], asker)
"""
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Host:
    """A namespace with loopback and `eth0`, both up."""

    name: str
    address: str
    etc: Path | None = None

    @property
    def prefix(self) -> list[str]:
        """What to put before a command so that it runs here, with the files of `etc` in place of this machine's."""
        inside = ["ip", "netns", "exec", self.name]
        # `ip netns exec` gives the command mounts of its own: nobody else sees these, and they end with it.
        return inside if self.etc is None else [*inside, "sh", "-ec", _OVERLAY, str(self.etc)]

    @contextmanager
    def commands(self) -> Iterator[None]:
        """Every `weightswarm` process that is started meanwhile runs here."""
        with mock.patch.object(running, "COMMAND", [*self.prefix, *running.COMMAND]):
            yield

    def neighbours(self) -> set[str]:
        """Return the addresses that anybody here tried to reach, the gateway's for all that is further away."""
        found = json.loads(_output(["ip", "-netns", self.name, "-json", "neighbour", "show"]) or "[]")
        return {entry["dst"] for entry in found}

    def sent_packets(self) -> int:
        """Return how many frames left through `eth0`: ARP requests for whoever was to be reached count too."""
        (link,) = json.loads(_output(["ip", "-netns", self.name, "-json", "-statistics", "link", "show", "eth0"]))
        return int(link["stats64"]["tx"]["packets"])


@contextmanager
def network(hosts: int, *, multicast: bool = True) -> Iterator[list[Host]]:
    """Yield hosts on one bridge, at 10.77.0.1 and up; everything is removed at the end.

    Without `multicast` the bridge passes none on, as routers between racks do: local discovery is heard nowhere.
    """
    _need_namespaces()
    _remove_orphans()
    with ExitStack() as stack:
        switch = stack.enter_context(_namespace())
        _ip("-netns", switch, "link", "add", "bridge", "type", "bridge", "mcast_snooping", "0")
        _ip("-netns", switch, "link", "set", "bridge", "up")
        made = []
        for number in range(1, hosts + 1):
            host = Host(stack.enter_context(_namespace()), f"10.77.0.{number}")
            # IPv6 speaks without being asked (router solicitation, duplicate detection), which would be counted.
            _output([*host.prefix, "sh", "-c", "for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 >$f; done"])
            port = f"port{number}"
            _ip("-netns", switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host.name)
            _ip("-netns", switch, "link", "set", port, "master", "bridge", "up")
            if not multicast:
                _ip("-netns", switch, "link", "set", port, "type", "bridge_slave", "mcast_flood", "off")
            _ip("-netns", host.name, "link", "set", "lo", "up")
            _ip("-netns", host.name, "address", "add", f"{host.address}/24", "dev", "eth0")
            _ip("-netns", host.name, "link", "set", "eth0", "up")
            _ip("-netns", host.name, "route", "add", "default", "via", GATEWAY)
            made.append(host)
        yield made


@contextmanager
def name_server(host: Host) -> Iterator[tuple[Host, Callable[[], list[str]]]]:
    """Run a name server that knows no name on `host`'s own loopback.

    Yield the host as one that asks it, and a function that lists the names asked for.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix=host.name)))
        log, etc = folder / "log", folder / "etc"
        etc.mkdir()
        (etc / "resolv.conf").write_text(f"nameserver {_NAME_SERVER}\noptions timeout:1 attempts:1\n")
        if Path("/etc/nsswitch.conf").exists():
            (etc / "nsswitch.conf").write_text("hosts: files dns\n")
        with log.open("w") as output:
            command = [*host.prefix, sys.executable, "-u", "-c", _ANSWERING, _NAME_SERVER]
            process = subprocess.Popen(command, stdout=output)
        stack.callback(process.wait)
        stack.callback(process.kill)
        deadline = time.monotonic() + 20
        while "ready" not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, "the name server did not start"
            time.sleep(0.02)
        yield replace(host, etc=etc), lambda: log.read_text().split()[1:]


@contextmanager
def silent_name_server(host: Host) -> Iterator[Host]:
    """Yield `host` as one whose name server takes every question and never answers."""
    silent = "import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('127.0.0.53', 53))\nprint(1)\n"
    with TemporaryDirectory(prefix=host.name) as folder:
        (Path(folder) / "resolv.conf").write_text(f"nameserver {_NAME_SERVER}\n")
        if Path("/etc/nsswitch.conf").exists():
            (Path(folder) / "nsswitch.conf").write_text("hosts: files dns\n")
        command = [*host.prefix, sys.executable, "-u", "-c", silent + "time.sleep(120)"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"1\n"
            try:
                yield replace(host, etc=Path(folder))
            finally:
                process.kill()


@contextmanager
def _namespace() -> Iterator[str]:
    name = f"{_PREFIX}-{os.getpid()}-{next(_numbers)}"
    _ip("netns", "add", name)
    try:
        yield name
    finally:
        _ip("netns", "delete", name)


def _need_namespaces() -> None:
    if shutil.which("ip") is None:
        pytest.skip("the program `ip` (Debian package iproute2) is not installed")
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    probe = f"{_PREFIX}-{os.getpid()}-{next(_numbers)}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, timeout=20, check=False)
    if made.returncode != 0:
        pytest.skip(f"network namespaces are not permitted here: {made.stderr.strip()}")
    _ip("netns", "delete", probe)


def _remove_orphans() -> None:
    """Remove what a test run left that was killed before it could clean up."""
    for line in _output(["ip", "netns", "list"]).splitlines():
        name = line.split()[0]
        if name.startswith(f"{_PREFIX}-") and not Path("/proc", name.split("-")[2]).exists():
            # Another worker may be faster.
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, timeout=20, check=False)


def _ip(*arguments: str) -> None:
    _output(["ip", *arguments])


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout
