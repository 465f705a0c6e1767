"""Networks to test in: hosts in network namespaces of their own, joined by a bridge that leads nowhere else."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

import running

_PREFIX = "weightswarm-test"
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Host:
    """A namespace with loopback and `eth0`, both up. Its default route ends at a neighbour that never answers."""

    name: str
    address: str

    @property
    def prefix(self) -> list[str]:
        """What to put before a command so that it runs here."""
        return ["ip", "netns", "exec", self.name]

    @contextmanager
    def commands(self) -> Iterator[None]:
        """Every `weightswarm` process that is started meanwhile runs here."""
        with mock.patch.object(running, "COMMAND", [*self.prefix, *running.COMMAND]):
            yield

    def read(self, path: str) -> str:
        """Return a file of `/proc` or `/etc` as processes here see it."""
        return _output([*self.prefix, "cat", path])

    def sent_packets(self) -> int:
        """Return how many frames left through `eth0`: ARP requests for whoever was to be reached count too."""
        (link,) = json.loads(_output(["ip", "-netns", self.name, "-json", "-statistics", "link", "show", "eth0"]))
        return int(link["stats64"]["tx"]["packets"])


@contextmanager
def network(hosts: int) -> Iterator[list[Host]]:
    """Yield hosts on one bridge, at 10.77.0.1 and up; everything is removed at the end."""
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
            _ip("-netns", host.name, "link", "set", "lo", "up")
            _ip("-netns", host.name, "address", "add", f"{host.address}/24", "dev", "eth0")
            _ip("-netns", host.name, "link", "set", "eth0", "up")
            _ip("-netns", host.name, "route", "add", "default", "via", "10.77.0.254")
            made.append(host)
        yield made


@contextmanager
def resolver(host: Host, address: str) -> Iterator[None]:
    """Processes that are started in `host` meanwhile ask the name server at `address`."""
    folder = Path("/etc/netns") / host.name
    folder.mkdir(parents=True)
    try:
        (folder / "resolv.conf").write_text(f"nameserver {address}\noptions timeout:1 attempts:1\n")
        # Names are looked up in files and at the name server alone, whatever else this machine has configured.
        (folder / "nsswitch.conf").write_text("hosts: files dns\n")
        yield
    finally:
        shutil.rmtree(folder)
        if not any(folder.parent.iterdir()):
            folder.parent.rmdir()


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
            shutil.rmtree(Path("/etc/netns") / name, ignore_errors=True)


def _ip(*arguments: str) -> None:
    _output(["ip", *arguments])


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout
