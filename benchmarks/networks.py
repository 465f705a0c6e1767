"""Hosts behind links of a given rate, each in a network namespace, and the servers that releases need among them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import namespaces
from benchmarks.measuring import ProgramFailed
from benchmarks.peers import MissingProgram, find
from benchmarks.servers import serving
from namespaces import Host

_FRAME_BYTES = 1514
TCP_SHARE = 1448 / _FRAME_BYTES
"""What TCP leaves of an Ethernet link for payload: 1448 of the 1514 bytes that the limit counts for a full frame."""

_LEAST_BURST_BYTES = 256 * 1024
_BURST_MILLISECONDS = 20
_QUEUE_MILLISECONDS = 50
_MOST_SEGMENTS = 44
_PEER_PORT = 6881
_TRACKER_PORT = 6969
_WEB_PORT = 8080
_SEED_SECONDS = 600.0
_KNOCK = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1).close()"
_NGINX = """\
daemon off;
worker_processes auto;
pid "{folder}/pid";
error_log stderr error;
user root;
events {{ worker_connections 512; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    client_body_temp_path "{folder}/body";
    proxy_temp_path "{folder}/proxy";
    fastcgi_temp_path "{folder}/fastcgi";
    uwsgi_temp_path "{folder}/uwsgi";
    scgi_temp_path "{folder}/scgi";
    server {{
        listen {address}:{port};
        root "{files}";
    }}
}}
"""


class NotPermitted(ProgramFailed):
    """This machine does not let us make the network that is needed."""


@contextmanager
def limited_network(hosts: int, rate: int, *, multicast: bool = True) -> Iterator[list[Host]]:
    """Yield hosts on one bridge, each behind a link of `rate` bits a second in either direction.

    Raises `MissingProgram`, `NotPermitted`.
    """
    tc = find("tc")
    with ExitStack() as stack:
        try:
            made = stack.enter_context(namespaces.network(hosts, multicast=multicast))
        except (pytest.skip.Exception, AssertionError) as reason:
            raise NotPermitted(str(reason)) from None
        switch = _switch_of(made[0])
        for number, host in enumerate(made, 1):
            # A full queue drops what the stack hands over as one frame, up to 64 KiB. On a slow link that starves whom
            # it hits, as no real link would; so a frame may take a millisecond at most.
            segments = max(1, min(_MOST_SEGMENTS, rate // 8 // 1000 // _FRAME_BYTES))
            _output("ip", "-netns", host.name, "link", "set", "eth0", "gso_max_segs", str(segments))
            _limit(tc, host.name, "eth0", rate)
            _limit(tc, switch, f"port{number}", rate)
        yield made


def _switch_of(host: Host) -> str:
    """Return the namespace with the bridge of `host`'s network: another one that the same process made."""
    ours = host.name.rpartition("-")[0]
    for line in _output("ip", "netns", "list").splitlines():
        name = line.split()[0]
        if name.rpartition("-")[0] == ours and '"bridge"' in _output("ip", "-netns", name, "-json", "link", "show"):
            return name
    raise NotPermitted("the network's bridge is not to be found")


def _limit(tc: Path, namespace: str, device: str, rate: int) -> None:
    # Real links do not wait for a core: what one held up here for some milliseconds may be made up for. And the bucket
    # must hold what the stack hands over as one frame.
    burst = max(_LEAST_BURST_BYTES, rate // 8 * _BURST_MILLISECONDS // 1000)
    shape = ("rate", f"{rate}bit", "burst", str(burst), "latency", f"{_QUEUE_MILLISECONDS}ms")
    _output(str(tc), "-netns", namespace, "qdisc", "add", "dev", device, "root", "tbf", *shape)


def sent_bytes(host: Host) -> int:
    """Return how many bytes `host` has sent, headers of TCP, IP and Ethernet included."""
    (link,) = json.loads(_output("ip", "-netns", host.name, "-json", "-statistics", "link", "show", "eth0"))
    return int(link["stats64"]["tx"]["bytes"])


@contextmanager
def seeding(
    host: Host, command: Sequence[str | Path], folder: Path, environment: Mapping[str, str]
) -> Iterator[list[str]]:
    """Run `weightswarm seed …`, given as `command`, on `host`; yield its magnets, which name the host's address.

    Once the block has ended, `given` tells from `folder` what it gave.
    """
    where, output = f"{host.address}:{_PEER_PORT}", folder / "stdout"

    def ready() -> bool:
        return output.exists() and output.read_bytes().endswith(b"\n")

    words = [*host.prefix, *command, "--listen", where, "--advertise", where]
    with serving(words, folder, environment, ready, timeout=_SEED_SECONDS):
        yield output.read_text().split()


def given(folder: Path) -> float:
    """Return what the seed that ran in `folder` gave by its own account, as a multiple of its release."""
    found = re.findall(r"given, ratio ([\d.]+)", (folder / "stderr").read_text())
    if not found:
        raise ProgramFailed("the seed did not say what it gave")
    return float(found[-1])


@contextmanager
def tracking(host: Host, info_hashes: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Run opentracker for info-hashes in hex on `host`, and yield its announce URL. Raises `MissingProgram`."""
    opentracker = shutil.which("opentracker")
    if opentracker is None:
        raise MissingProgram("opentracker is missing (Debian package opentracker)")
    folder.mkdir(parents=True, exist_ok=True)
    # v2 ones go by their first 40 digits (BEP 52).
    (folder / "whitelist").write_text("".join(f"{digest[:40]}\n" for digest in info_hashes))
    # Started by root it makes this folder its root and becomes nobody, who must be able to read it.
    folder.chmod(0o755)
    port = str(_TRACKER_PORT)
    where = ["-i", host.address, "-P", port, "-p", port, "-d", str(folder)]
    command = [*host.prefix, opentracker, *where, "-u", "nobody", "-w", "whitelist"]
    with serving(command, folder, environment, lambda: _answers(host, _TRACKER_PORT)):
        yield f"http://{host.address}:{port}/announce"


@contextmanager
def web_serving(host: Host, files: Path, folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Serve the folder `files` by nginx on `host`, and yield its URL, without a slash at the end.

    Raises `MissingProgram`.
    """
    nginx = find("nginx")
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "nginx.conf"
    settings.write_text(_NGINX.format(folder=folder, address=host.address, port=_WEB_PORT, files=files))
    command = [*host.prefix, str(nginx), "-p", str(folder), "-e", "stderr", "-c", str(settings)]
    with serving(command, folder, environment, lambda: _answers(host, _WEB_PORT)):
        yield f"http://{host.address}:{_WEB_PORT}"


def _answers(host: Host, port: int) -> bool:
    command = [*host.prefix, sys.executable, "-c", _KNOCK, host.address, str(port)]
    return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0


@dataclass(frozen=True, slots=True)
class Load:
    """Which parts of all cores' time were busy, and stolen: given to others by the hypervisor."""

    busy: float
    stolen: float

    def __str__(self) -> str:
        return f"cores {self.busy:.0%} busy, {self.stolen:.0%} stolen"


class LoadMeter:
    """Measures the load since it was made. All hosts share this machine's cores."""

    def __init__(self) -> None:
        self._start = _ticks()

    def read(self) -> Load:
        """Return the load so far."""
        user, nice, system, idle, waiting, hard, soft, stolen = (
            now - then for then, now in zip(self._start, _ticks(), strict=True)
        )
        busy = user + nice + system + hard + soft
        total = max(1, busy + idle + waiting + stolen)
        return Load(busy / total, stolen / total)


def _ticks() -> list[int]:
    return [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode != 0:
        raise NotPermitted(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
