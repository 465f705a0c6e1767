"""Web seeds by way of a relay on loopback: libtorrent asks us for ranges, and we ask the servers.

libtorrent follows any redirect, takes headers without end and forgets a server whose signed address expired. What comes
through here has passed `upstream`'s bounds; piece hashes are checked by libtorrent as ever.
"""

from __future__ import annotations

import re
import secrets
import socket
import threading
import time
from contextlib import suppress
from functools import partial
from urllib.parse import urlsplit

from weightswarm.errors import without_passwords
from weightswarm.listening import Listener, read_request
from weightswarm.reach import Network
from weightswarm.swarm.complaints import Complaints
from weightswarm.webseed import MISSING, Failed, Limits, Misbehaved, Upstream, WebSeed, in_folder, is_hub_folder

MAX_CONNECTIONS = 32
_MAX_REQUEST = 16 * 1024
_SEND_SECONDS = 60.0
_MAX_PAUSE = 60.0
_HOLD_SECONDS = 10.0
"""How long libtorrent is kept waiting for a byte, besides what a server's own answer takes."""
_REQUEST = re.compile(rb"GET /([0-9a-f]{32})/([0-9]{1,9})(/[!->@-~]*)? HTTP/1\.1\r\n")
_RANGE = re.compile(rb"\r\nRange: bytes=([0-9]{1,18})-([0-9]{1,18})\r\n", re.IGNORECASE)


class Relay:
    """Listens from the first web seed on. `address` is where; `complaints` tells what was left out, and why.

    `passed` counts the bytes that web seeds gave.
    """

    def __init__(self, network: Network, limits: Limits) -> None:
        self.limits = limits
        self.passed = 0
        # Outside loopback the session's address filter lets this one address of 127/8 through, which nobody can guess,
        # and the gateway to a proxy takes no other for ours.
        here = network is Network.LOOPBACK and limits.route.proxy is None
        host = "127.0.0.1" if here else f"127.{_byte()}.{_byte()}.{_byte()}"
        if limits.route.proxy is None and limits.route.interface is not None:
            # What is bound to an interface reaches no loopback, but the interface's own address.
            host = limits.route.interface.addresses[0]
        self.address = host
        self._token = secrets.token_hex(16)
        self._web_seeds: list[WebSeed] = []
        self._ended = threading.Event()
        self.complaints = Complaints()
        self._listener: Listener[_Connection] | None = None
        self._lock = threading.Lock()

    def through(self, url: str) -> str:
        """Return the address by which libtorrent reaches the web seed at `url`."""
        if self._listener is None:
            family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
            listening = socket.create_server((self.address, 0), family=family, backlog=MAX_CONNECTIONS)
            own = ("127.0.0.1", self.address)
            self._listener = Listener(
                listening, partial(_Connection, self), own.__contains__, most=MAX_CONNECTIONS, name="relay"
            )
        numbers = {each.url: number for number, each in enumerate(self._web_seeds)}
        number = numbers.get(url, len(self._web_seeds))
        if number == len(self._web_seeds):
            self._web_seeds.append(WebSeed(number, url))
        # BEP 19: to a URL that ends in a slash the torrent's names are appended, and to every one of a folder's.
        path = urlsplit(url).path
        slash = "/" if path.endswith("/") or not path or is_hub_folder(url) else ""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self._listener.port}/{self._token}/{number}{slash}"

    def close(self) -> None:
        """Hang up on both sides; threads end by themselves."""
        self._ended.set()
        if self._listener is not None:
            self._listener.close(0.0)

    # --- what connections ask of it ------------------------------------------------------------------------------

    def upstream(self) -> Upstream:
        return Upstream(self.limits)

    def find(self, token: bytes, number: int) -> WebSeed | None:
        known = secrets.compare_digest(token, self._token.encode()) and number < len(self._web_seeds)
        return self._web_seeds[number] if known else None

    def tell(self, web_seed: WebSeed) -> None:
        """Say once why a web seed is left out."""
        words = f"The web seed {web_seed.shown} is left out: {web_seed.left_out}"
        self.complaints.say(("left out", web_seed.number), words)

    def tell_missing(self, web_seed: WebSeed, url: str, status: int) -> None:
        """Say of the first file that a web seed lacks where it was looked for: the folder may be the wrong one."""
        shown = without_passwords(url)[:300]
        self.complaints.say(("missing", web_seed.number), f"A web seed has no {shown}: it answered {status}")

    def wait(self, seconds: float) -> None:
        """Return after so many seconds, or at the end."""
        self._ended.wait(seconds)

    def count(self, size: int) -> None:
        with self._lock:
            self.passed += size


class _Connection:
    """One connection from libtorrent: its requests are answered one after the other."""

    def __init__(self, relay: Relay, client: socket.socket) -> None:
        self._client = client
        self._relay = relay
        self._upstream = relay.upstream()

    def serve(self) -> None:
        pending = bytearray()
        try:
            self._client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while (request := self._next_request(pending)) is not None:
                if not self._answer(request):
                    return
        except OSError:
            return
        finally:
            self.hang_up()

    def hang_up(self) -> None:
        """Hang up on both sides."""
        self._upstream.close()
        with suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)
        self._client.close()

    def _next_request(self, pending: bytearray) -> bytes | None:
        request = read_request(self._client, pending, most=_MAX_REQUEST, seconds=_SEND_SECONDS)
        self._client.settimeout(_SEND_SECONDS)
        return request

    def _answer(self, request: bytes) -> bool:
        """Answer one request; return whether the connection is still good."""
        asked, span = _REQUEST.match(request), _RANGE.search(request)
        web_seed = None if asked is None else self._relay.find(asked[1], int(asked[2]))
        if asked is None or span is None or web_seed is None:
            return self._refuse(404, 0)
        first, last = int(span[1]), int(span[2])
        if web_seed.left_out or last < first:
            return self._refuse(404, _MAX_PAUSE)
        return self._pass_on(web_seed, _target(web_seed.url, (asked[3] or b"").decode("ascii")), first, last)

    def _pass_on(self, web_seed: WebSeed, url: str, first: int, last: int) -> bool:
        """Send a range, going on where a server broke off; return whether the connection is still good.

        What passes is waited for here: libtorrent takes every status of an error to mean that the file is not there,
        and asks that server for it no more. What takes longer it is told by a connection that closes.
        """
        position, begun = first, False
        until = time.monotonic() + _HOLD_SECONDS
        while not web_seed.left_out:
            if (pause := web_seed.pause) > 0:
                if time.monotonic() + pause > until:
                    return False
                self._relay.wait(pause)
            before = position
            try:
                for part in self._upstream.read(url, position, last):
                    if not begun:
                        begun = True
                        self._client.sendall(_head(first, last))
                        continue
                    self._client.sendall(part)
                    position += len(part)
                    self._relay.count(len(part))
                web_seed.succeeded()
                return True
            except Misbehaved as error:
                web_seed.left_out = web_seed.left_out or str(error)
            except Failed as error:
                if error.status in MISSING:
                    self._relay.tell_missing(web_seed, url, error.status)
                    break
                if self._upstream.closed:
                    return False
                web_seed.failed(error, position - before)
            if position > before:
                until = time.monotonic() + _HOLD_SECONDS
        if web_seed.left_out:
            self._relay.tell(web_seed)
        return not begun and self._refuse(404, _MAX_PAUSE)

    def _refuse(self, status: int, pause: float) -> bool:
        retry = f"Retry-After: {max(1, round(pause))}\r\n"
        self._client.sendall(f"HTTP/1.1 {status} -\r\n{retry}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
        return False


def _head(first: int, last: int) -> bytes:
    length = last - first + 1
    return f"HTTP/1.1 206 -\r\nContent-Length: {length}\r\nContent-Range: bytes {first}-{last}/*\r\n\r\n".encode()


def _target(base: str, rest: str) -> str:
    """Return where the file is: the web seed's URL, and after it what libtorrent appended, the torrent's name first."""
    if is_hub_folder(base):
        name, slash, path = rest[1:].partition("/")
        rest = f"/{path if slash else name}"
    return in_folder(base, rest)


def _byte() -> int:
    return 1 + secrets.randbelow(254)
