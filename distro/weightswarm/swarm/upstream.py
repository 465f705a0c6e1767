"""One range of one file from a web seed, with a bound on everything the server may send or hold back."""

from __future__ import annotations

import base64
import http.client
import io
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urljoin, urlsplit

from weightswarm.reach import Endpoint, Network, Refused, Unreachable, check_stranger, connect, split_url
from weightswarm.version import __version__

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_HEADER_BYTES = 32 * 1024
MAX_REDIRECTS = 5
HEADER_SECONDS = 10.0
"""The whole of an answer's header has this long, redirects and connecting included."""

_CHUNK = 256 * 1024
_SLOW_SECONDS = 10.0
_SLOW_BYTES = 10 * 1024
_SKIP_SECONDS = 10.0
_MAX_SKIP = 16 * 1024 * 1024
_NO_HEADER = "it sent no whole header in time"
_SCHEMES = ("http", "https")


class Misbehaved(Exception):
    """The server sent what no honest one sends; the message says what."""


class Failed(Exception):
    """The server could not be reached or has no such range now. `status` is what to pass on."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may meet: the network level, and the hosts that the user himself named."""

    network: Network
    named: frozenset[Endpoint]


class Watched(io.RawIOBase):
    """A socket's bytes, with a budget and a deadline for the header and a least rate for the body."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self.connection = connection
        self._deadline: float | None = deadline
        self._left = MAX_HEADER_BYTES
        self._waited = 0.0
        self._got = 0

    def readable(self) -> bool:
        return True

    def body_begins(self) -> None:
        """The header is through: from here on the rate counts."""
        self._deadline = None

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        if self._deadline is not None:
            if self._left <= 0:
                raise Misbehaved(f"it sends a header of more than {MAX_HEADER_BYTES:,} bytes")
            # What is read ahead of the body counts too: so ask for no more than a header's worth.
            view = view[: self._left]
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise Failed(503, _NO_HEADER)
            self.connection.settimeout(left)
        else:
            self.connection.settimeout(_SLOW_SECONDS)
        started = time.monotonic()
        try:
            count = self.connection.recv_into(view)
        except (OSError, ValueError) as error:
            if not isinstance(error, TimeoutError):
                raise Failed(503, "the connection broke") from None
            if self._deadline is None:
                raise Failed(503, "it stalled") from None
            raise Failed(503, _NO_HEADER) from None
        self._count(count, time.monotonic() - started)
        return count

    def _count(self, count: int, waited: float) -> None:
        if self._deadline is not None:
            self._left -= count
            return
        self._got += count
        self._waited += waited
        if self._waited > _SLOW_SECONDS:
            if self._got < _SLOW_BYTES:
                raise Failed(503, f"it sent {self._got:,} bytes in {self._waited:.0f} seconds")
            self._got, self._waited = 0, 0.0


class Upstream:
    """Connections to one web seed, kept open between requests. For one thread at a time.

    `close` may come from any thread; what waits then fails.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._connection: socket.socket | None = None
        self._leads_to: tuple[str, Endpoint] | None = None
        self._targets: dict[str, str] = {}
        self.closed = False

    def close(self) -> None:
        """Hang up."""
        self.closed = True
        self._hang_up()

    def read(self, url: str, first: int, last: int) -> Iterator[bytes]:
        """Yield nothing but the bytes `first` to `last` of the file at `url`, in parts, after one empty part that says
        they are coming. Raises `Misbehaved`, `Failed`.
        """
        response, stream, skip = self._ask(url, first, last)
        yield b""
        stream.body_begins()
        left = last - first + 1
        whole = False
        through = time.monotonic() + _SKIP_SECONDS
        try:
            while left > 0:
                asked = min(_CHUNK, skip or left)
                part = response.read1(asked)
                if not part:
                    raise Failed(503, "it ended early")
                if len(part) > asked:
                    # http.client takes a chunk's size at its word, a negative one too, and then reads on for ever.
                    raise Misbehaved("it sends more than was asked for")
                if skip:
                    if time.monotonic() > through:
                        raise Failed(503, "it serves no ranges, and takes too long to come to the one asked for")
                    skip -= len(part)
                else:
                    left -= len(part)
                    yield part
            whole = response.length == 0 and not response.will_close
        except http.client.HTTPException as error:
            raise Misbehaved(f"it sends no proper HTTP ({type(error).__name__})") from None
        finally:
            if not whole:
                self._hang_up()

    def _ask(self, url: str, first: int, last: int) -> tuple[http.client.HTTPResponse, Watched, int]:
        """Return the answer to a range request, where its body begins, and how many bytes come before the range."""
        target = self._targets.get(url, url)
        try:
            return self._follow(url, target, first, last)
        except Failed:
            if target == url or self.closed:
                raise
            # What a redirect led to may have expired: the server is asked anew.
            del self._targets[url]
            return self._follow(url, url, first, last)

    def _follow(self, url: str, target: str, first: int, last: int) -> tuple[http.client.HTTPResponse, Watched, int]:
        deadline = time.monotonic() + HEADER_SECONDS
        for _ in range(MAX_REDIRECTS + 1):
            response, stream = self._request(target, url, first, last, deadline)
            if response.status in (301, 302, 303, 307, 308):
                location = response.headers.get("Location", "")
                self._hang_up()
                try:
                    target = urljoin(target, location)
                except ValueError:
                    raise Misbehaved(f"it redirects to {location[:100]}, which is no URL") from None
                continue
            skip = self._judge(response, first, last)
            if target != url and len(self._targets) < 10_000:
                self._targets[url] = target
            return response, stream, skip
        raise Misbehaved(f"it redirects more than {MAX_REDIRECTS} times")

    def _judge(self, response: http.client.HTTPResponse, first: int, last: int) -> int:
        """Return how many bytes come before the range. Raises `Failed`, `Misbehaved`."""
        if response.status not in (200, 206):
            self._hang_up()
            raise Failed(response.status if 400 <= response.status < 600 else 502, f"it answered {response.status}")
        if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
            raise Misbehaved("it sends an encoding that nobody asked for")
        if response.status == 206:
            if not response.headers.get("Content-Range", "").startswith(f"bytes {first}-{last}/"):
                raise Misbehaved("it sends another range than was asked for")
            if response.length not in (None, last - first + 1):
                raise Misbehaved("it sends another length than was asked for")
            return 0
        if response.length is not None and response.length <= last:
            raise Misbehaved("its file is shorter than the torrent's")
        if first > _MAX_SKIP:
            raise Misbehaved("it serves no ranges")
        # A server without ranges sends the whole file; what comes before the range is read and dropped.
        return first

    def _request(
        self, target: str, origin: str, first: int, last: int, deadline: float
    ) -> tuple[http.client.HTTPResponse, Watched]:
        found = split_url(target, _SCHEMES)
        if found is None:
            raise Misbehaved(f"it redirects to {target[:100]}, which is no http or https URL")
        parts, endpoint = found
        reused = self._connection is not None and self._leads_to == (parts.scheme, endpoint)
        connection = self._connect(parts.scheme, endpoint, deadline) if not reused else self._connection
        assert connection is not None
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        host = f"[{endpoint[0]}]" if ":" in endpoint[0] else endpoint[0]
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}:{endpoint[1]}" if parts.port else f"Host: {host}",
                 f"User-Agent: weightswarm/{__version__}", "Accept-Encoding: identity",
                 f"Range: bytes={first}-{last}"]  # fmt: skip
        lines += _credentials(target, origin)
        stream = Watched(connection, deadline)
        try:
            connection.settimeout(max(0.05, deadline - time.monotonic()))
            connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("ascii", "strict"))
            response = http.client.HTTPResponse(cast("Any", _Readable(stream)), method="GET")
            response.begin()
        except UnicodeEncodeError:
            raise Misbehaved("its URL is not ASCII") from None
        except (OSError, http.client.HTTPException, Failed) as error:
            self._hang_up()
            if reused and not self.closed and not isinstance(error, TimeoutError):
                # A server may close a connection that was kept open at any moment.
                return self._request(target, origin, first, last, deadline)
            if isinstance(error, http.client.HTTPException) and not isinstance(error, http.client.RemoteDisconnected):
                raise Misbehaved(f"it sends no proper HTTP ({type(error).__name__})") from None
            raise error if isinstance(error, Failed) else Failed(503, "the connection broke") from None
        except Misbehaved:
            self._hang_up()
            raise
        return response, stream

    def _connect(self, scheme: str, endpoint: Endpoint, deadline: float) -> socket.socket:
        self._hang_up()
        named = endpoint in self.limits.named
        try:
            if not named:
                check_stranger(scheme, endpoint, self.limits.network)
            connection = connect(endpoint, self.limits.network, named=named, deadline=deadline)
        except Refused as error:
            raise Misbehaved(f"it leads to {endpoint[0]}:{endpoint[1]}: {error}") from None
        except Unreachable as error:
            raise Failed(503, str(error)) from None
        if scheme == "https":
            try:
                connection = _certificates().wrap_socket(connection, server_hostname=endpoint[0])
            except (OSError, ValueError) as error:  # ssl.SSLError among them, and names that no certificate can have
                connection.close()
                raise Failed(503, f"no secure connection ({type(error).__name__})") from None
        if self.closed:
            connection.close()
            raise Failed(503, "closed")
        self._connection, self._leads_to = connection, (scheme, endpoint)
        return connection

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(OSError):
                # Closing alone would leave a thread that reads from it where it waits.
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


class _Readable:
    """What `http.client` takes for a socket: something that makes a file."""

    def __init__(self, stream: Watched) -> None:
        self._file = io.BufferedReader(stream, 16 * 1024)

    def makefile(self, _mode: str) -> io.BufferedReader[Watched]:
        return self._file


@cache
def _certificates() -> ssl.SSLContext:
    return ssl.create_default_context()


def _credentials(target: str, origin: str) -> list[str]:
    """Return the header for user and password in the origin's URL; no other server ever gets them."""
    parts, asked = urlsplit(origin), urlsplit(target)
    if parts.username is None or (parts.scheme, parts.hostname, parts.port) != (
        asked.scheme,
        asked.hostname,
        asked.port,
    ):
        return []
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return [f"Authorization: Basic {base64.b64encode(pair.encode()).decode()}"]
