"""Starting and stopping other people's programs on loopback: trackers, BitTorrent clients, and nginx."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urlencode

import pytest

_START_SECONDS = 20.0
_START_ATTEMPTS = 3
_LOG_TAIL = 4000

_QBITTORRENT_SETTINGS = """\
[LegalNotice]
Accepted=true

[BitTorrent]
Session\\DHTEnabled=false
Session\\LSDEnabled=false
Session\\PeXEnabled=false
Session\\QueueingSystemEnabled=false
Session\\Interface=lo
Session\\InterfaceName=lo
Session\\InterfaceAddress=127.0.0.1
Session\\Port={peer_port}

[Network]
PortForwardingEnabled=false

[Preferences]
Connection\\ResolvePeerCountries=false
WebUI\\Enabled=true
WebUI\\Address=127.0.0.1
WebUI\\Port={web_port}
WebUI\\LocalHostAuth=false
WebUI\\UseUPnP=false
"""

_NGINX_SETTINGS = """\
daemon off;
master_process off;
pid "{folder}/pid";
error_log stderr error;
{user}
events {{ }}
http {{
    log_format asked "$request_uri $status";
    access_log "{folder}/asked" asked;
    gzip on;
    gzip_types *;
    gzip_min_length 1;
    client_body_temp_path "{folder}/body";
    proxy_temp_path "{folder}/proxy";
    fastcgi_temp_path "{folder}/fastcgi";
    uwsgi_temp_path "{folder}/uwsgi";
    scgi_temp_path "{folder}/scgi";
    server {{ listen 127.0.0.1:{port}; root "{files}"; }}
}}
"""

ARIA2_OPTIONS = (
    "--no-conf",
    "--interface=127.0.0.1",
    "--disable-ipv6",
    "--enable-dht=false",
    "--enable-dht6=false",
    "--bt-enable-lpd=false",
    "--enable-peer-exchange=false",
    "--seed-time=0",
    "--file-allocation=none",
)
"""Loopback alone, no search for peers but by tracker, and no seeding afterwards."""

_TRANSMISSION_SETTINGS = {
    "bind-address-ipv4": "127.0.0.1",
    "bind-address-ipv6": "::1",
    "dht-enabled": False,
    "lpd-enabled": False,
    "pex-enabled": False,
    "utp-enabled": False,
    "port-forwarding-enabled": False,
    "rpc-bind-address": "127.0.0.1",
}
_TRANSMISSION_SEEDS = 6

# No torrent has this info-hash: a peer that is announced for it disturbs nobody.
_PROBE = 40 * "0"

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def require(program: str, package: str) -> str:
    """Return the path of `program`, or skip the test and name the Debian package that brings it."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not here: install the Debian package {package}")
    return found


def free_port() -> int:
    """Return a loopback port that is free for TCP and UDP alike."""
    for _ in range(100):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port = int(tcp.getsockname()[1])
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free for both TCP and UDP")


class Program:
    """A running program whose output goes to a log file, which every failure quotes."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.name = Path(command[0]).name
        self._log = folder / "log"
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def wait_until(self, what: str, condition: Callable[[], bool], timeout: float) -> None:
        """Return once `condition` holds; fail when the program ends before or the time is over."""
        deadline = time.monotonic() + timeout
        while not condition():
            if self._process.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self._process.returncode}, not {what}\n{self._tail()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.name}: not {what} after {timeout:g} s\n{self._tail()}")
            time.sleep(0.05)

    def wait_for_success(self, timeout: float) -> None:
        """Return once it has ended well."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {timeout:g} s\n{self._tail()}") from None
        assert code == 0, f"{self.name} ended with {code}\n{self._tail()}"

    def stop(self) -> None:
        """End it at once: nothing that it would still save matters."""
        self._process.kill()
        self._process.wait(10)

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-_LOG_TAIL:]


@dataclass(frozen=True, slots=True)
class Tracker:
    """An opentracker that serves the info-hashes it was started for, by HTTP and by UDP at one port."""

    program: Program
    port: int

    @property
    def http(self) -> str:
        """Its announce URL by HTTP."""
        return f"http://127.0.0.1:{self.port}/announce"

    @property
    def udp(self) -> str:
        """Its announce URL by UDP (BEP 15)."""
        return f"udp://127.0.0.1:{self.port}/announce"

    def wait_for_leecher(self, info_hash: str, timeout: float = 30) -> None:
        """Wait until a peer that lacks something has announced itself for `info_hash`."""
        self._wait_for(info_hash, b"10:incompletei1e", timeout)

    def wait_for_seeder(self, info_hash: str, timeout: float = 30) -> None:
        """Wait until a peer that has everything has announced itself for `info_hash`."""
        self._wait_for(info_hash, b"8:completei1e", timeout)

    def announce(self, info_hash: str, port: int) -> bool:
        """Say that a peer that lacks something listens at 127.0.0.1:`port`; return whether it was heard."""
        query = f"info_hash={quote(bytes.fromhex(info_hash))}&peer_id={'-WS0000-':0<20}&port={port}&left=1&compact=1"
        return b"failure reason" not in _ask(f"{self.http}?{query}")

    def _wait_for(self, info_hash: str, counted: bytes, timeout: float) -> None:
        url = f"http://127.0.0.1:{self.port}/scrape?info_hash={quote(bytes.fromhex(info_hash))}"
        self.program.wait_until("told of such a peer", lambda: counted in _ask(url), timeout)


@dataclass(frozen=True, slots=True)
class QBittorrent:
    """A qbittorrent-nox, spoken to through its web interface at `port`."""

    program: Program
    port: int
    downloads: Path
    peer_port: int

    def seed(self, torrent: Path, folder: Path, torrents: int = 1, timeout: float = 60) -> None:
        """Take on a torrent whose files are below `folder`; return once it gives that, and so `torrents`, away."""
        boundary = "torrent"
        parts = [("savepath", "", str(folder).encode()), ("torrents", '; filename="it.torrent"', torrent.read_bytes())]
        body = b"".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + data + b"\r\n"
            for name, more, data in parts
        )
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        url = f"http://127.0.0.1:{self.port}/api/v2/torrents/add"
        answer = _ask(url, body + f"--{boundary}--\r\n".encode(), headers)
        assert answer == b"Ok.", f"{torrent}: {answer!r}"
        self.program.wait_until("seeding what is there", lambda: self._seeds(torrents), timeout)

    def download(self, magnet: str, timeout: float = 60) -> None:
        """Download what a magnet link names, below `downloads`, and return once its own check says it is whole."""
        form = urlencode({"urls": magnet, "savepath": str(self.downloads)}).encode()
        answer = _ask(f"http://127.0.0.1:{self.port}/api/v2/torrents/add", form)
        assert answer == b"Ok.", answer
        self.program.wait_until("seeding what it downloaded", self._seeds, timeout)

    def _seeds(self, torrents: int = 1) -> bool:
        found = json.loads(_ask(f"http://127.0.0.1:{self.port}/api/v2/torrents/info"))
        return len(found) == torrents and all(torrent["state"] in ("uploading", "stalledUP") for torrent in found)


@dataclass(frozen=True, slots=True)
class Transmission:
    """A transmission-daemon, spoken to by RPC at `port`.

    Version 3.00 takes 127.0.0.0/8 for no address of a peer: it dials nobody there, and waits to be dialled.
    """

    program: Program
    port: int
    downloads: Path

    def add(self, torrent: Path) -> None:
        """Take on a torrent: what `downloads` holds of it is checked and kept, the rest is downloaded."""
        self._call("torrent-add", {"filename": str(torrent), "download-dir": str(self.downloads)})

    def wait_until_seeding(self, timeout: float = 60) -> None:
        """Wait until its only torrent is whole and offered to others."""
        self.program.wait_until("seeding", self._seeds, timeout)

    def _seeds(self) -> bool:
        torrents = self._call("torrent-get", {"fields": ["status"]})["torrents"]
        return [torrent["status"] for torrent in torrents] == [_TRANSMISSION_SEEDS]

    def _call(self, method: str, arguments: dict[str, Any]) -> Any:
        url = f"http://127.0.0.1:{self.port}/transmission/rpc"
        body = json.dumps({"method": method, "arguments": arguments}).encode()
        try:
            _ask(url, body)
        except urllib.error.HTTPError as error:
            # A call without the session's id is refused, and told the id: web pages cannot read that, and forge none.
            session = error.headers["X-Transmission-Session-Id"]
            error.close()
        answer = json.loads(_ask(url, body, {"X-Transmission-Session-Id": session}))
        assert answer["result"] == "success", answer
        return answer["arguments"]


@dataclass(frozen=True, slots=True)
class Nginx:
    """An nginx that serves a folder, compressed where a client takes that."""

    program: Program
    port: int
    log: Path

    @property
    def url(self) -> str:
        """Where the folder is."""
        return f"http://127.0.0.1:{self.port}/"

    def asked(self) -> list[str]:
        """Return what was asked for so far: path and status."""
        return self.log.read_text().splitlines()


class Server(Protocol):
    """A program that answers at a TCP port."""

    @property
    def program(self) -> Program: ...

    @property
    def port(self) -> int: ...


S = TypeVar("S", bound=Server)


class Counterparts:
    """Starts other programs, each in a folder of its own below `folder`, and remembers them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[Program] = []

    def opentracker(self, *info_hashes: str) -> Tracker:
        """Start a tracker for these info-hashes; a v2 one goes by its first 40 digits (BEP 52)."""
        executable = require("opentracker", "opentracker")
        folder = self._folder("opentracker")
        whitelist = folder / "whitelist"
        whitelist.write_text("".join(f"{digest[:40]}\n" for digest in (*info_hashes, _PROBE)))
        # Started by root it makes this folder its root and becomes nobody, who must be able to read it.
        folder.chmod(0o755)
        whitelist.chmod(0o644)

        def start() -> Tracker:
            port = free_port()
            # UDP is bound first, so that both are there once TCP answers.
            where = ["-d", str(folder), "-i", "127.0.0.1", "-P", str(port), "-p", str(port)]
            return Tracker(self._run([executable, *where, "-u", "nobody", "-w", whitelist.name], folder), port)

        tracker = self._started(start)
        # Its whitelist is read by a thread of its own, which may be later than its first answer.
        tracker.program.wait_until("serving its whitelist", partial(tracker.announce, _PROBE, 1), _START_SECONDS)
        return tracker

    def qbittorrent(self) -> QBittorrent:
        """Start a qbittorrent-nox."""
        executable = require("qbittorrent-nox", "qbittorrent-nox")
        folder = self._folder("qbittorrent")
        settings = folder / "qBittorrent" / "config" / "qBittorrent.conf"
        settings.parent.mkdir(parents=True)

        def start() -> QBittorrent:
            port, peer_port = free_port(), free_port()
            settings.write_text(_QBITTORRENT_SETTINGS.format(peer_port=peer_port, web_port=port))
            program = self._run([executable, f"--profile={folder}"], folder)
            return QBittorrent(program, port, folder / "downloads", peer_port)

        return self._started(start)

    def aria2(self, torrent: Path, timeout: float = 60) -> Path:
        """Download a torrent with aria2c and return the folder it downloaded into."""
        executable = require("aria2c", "aria2")
        folder = self._folder("aria2")
        where = [f"--listen-port={free_port()}", f"--dir={folder / 'downloads'}"]
        self._run([executable, *ARIA2_OPTIONS, *where, str(torrent)], folder).wait_for_success(timeout)
        return folder / "downloads"

    def transmission(self) -> Transmission:
        """Start a transmission-daemon."""
        executable = require("transmission-daemon", "transmission-daemon")
        folder = self._folder("transmission")

        def start() -> Transmission:
            port = free_port()
            settings = {**_TRANSMISSION_SETTINGS, "rpc-port": port, "peer-port": free_port()}
            (folder / "settings.json").write_text(json.dumps(settings))
            program = self._run([executable, "--foreground", "--config-dir", str(folder)], folder)
            return Transmission(program, port, folder / "downloads")

        return self._started(start)

    def transmission_create(self, source: Path, torrent: Path, *trackers: str) -> None:
        """Make a torrent of a folder with transmission-create."""
        executable = require("transmission-create", "transmission-cli")
        folder = self._folder("transmission-create")
        announce = [argument for url in trackers for argument in ("--tracker", url)]
        command = [executable, *announce, "--outfile", str(torrent), str(source)]
        self._run(command, folder).wait_for_success(30)

    def nginx(self, files: Path) -> Nginx:
        """Start an nginx that serves the folder `files`."""
        executable = require("nginx", "nginx-light")
        folder = self._folder("nginx")
        settings = folder / "nginx.conf"
        # Workers of a server that root starts could not enter a temporary folder.
        user = "user root;" if os.geteuid() == 0 else ""

        def start() -> Nginx:
            port = free_port()
            settings.write_text(_NGINX_SETTINGS.format(folder=folder, files=files, port=port, user=user))
            command = [executable, "-p", str(folder), "-e", "stderr", "-c", str(settings)]
            return Nginx(self._run(command, folder), port, folder / "asked")

        return self._started(start)

    def stop_all(self) -> None:
        """End what still runs."""
        for program in self.running:
            program.stop()

    def _folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _run(self, command: list[str], folder: Path) -> Program:
        program = Program(command, folder)
        self.running.append(program)
        return program

    def _started(self, start: Callable[[], S]) -> S:
        """Start a server and wait until it answers; another process may take its port first, hence a few attempts."""
        for attempt in range(1, _START_ATTEMPTS + 1):
            server = start()
            try:
                server.program.wait_until("ready", partial(_answers, server.port), _START_SECONDS)
            except AssertionError:
                server.program.stop()
                if attempt == _START_ATTEMPTS:
                    raise
            else:
                return server
        raise AssertionError("no attempt was made")


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _ask(url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> bytes:
    """Return what an HTTP server here answers, past any proxy that the environment names."""
    request = urllib.request.Request(url, body, headers or {})
    with _DIRECT.open(request, timeout=10) as answer:
        return bytes(answer.read())
