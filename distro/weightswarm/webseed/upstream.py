"""One range of one file from a web seed, with a bound on everything the server may send or hold back."""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, cast
from urllib.parse import unquote, urljoin, urlsplit

from weightswarm.dialling import DIRECT, Route, Unreachable
from weightswarm.errors import InvalidInput
from weightswarm.hub import Hub, hub_from_environment
from weightswarm.reach import Endpoint, Network, Refused, check_stranger, connect, split_url
from weightswarm.version import __version__
from weightswarm.webseed.address import in_folder
from weightswarm.webseed.waiting import retry_after
from weightswarm.webseed.watched import Failed, Misbehaved, NoRanges, Pace, Watched

MAX_REDIRECTS = 5
PACE = Pace()
_CHUNK = 256 * 1024
_SKIP_SECONDS = 10.0
_MAX_SKIP = 16 * 1024 * 1024
_SCHEMES = ("http", "https")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may meet: the network level, and the hosts that the user himself named; and by which way.

    `hub` is whose token goes to its own origin, none where no token is to go anywhere; and there for what is in the
    folders `web_seeds` alone: who fetches a stranger's torrent hands on what his own account may read, to its peers.
    """

    network: Network
    named: frozenset[Endpoint]
    hub: Hub | None = None
    route: Route = DIRECT
    web_seeds: tuple[str, ...] = ()

    def trusts(self, url: str) -> bool:
        """Tell whether a file is in a folder that the user himself named."""
        return any(url.startswith(in_folder(folder, "/")) for folder in self.web_seeds)


def limits_for(network: Network, named: frozenset[Endpoint], route: Route, web_seeds: tuple[str, ...] = ()) -> Limits:
    """Return the limits with the Hub that the environment names; one that it misnames gets no token."""
    with suppress(InvalidInput):
        return Limits(network, named, hub_from_environment(), route, web_seeds)
    return Limits(network, named, route=route)


class Upstream:
    """Connections to one web seed, kept open between requests. For one thread at a time.

    `close` may come from any thread; what waits then fails. At most `redirects` are followed.
    """

    def __init__(self, limits: Limits, pace: Pace | None = None, redirects: int = MAX_REDIRECTS) -> None:
        self.limits = limits
        self.pace = pace or PACE
        self._redirects = redirects
        self._connection: socket.socket | None = None
        self._leads_to: tuple[str, Endpoint] | None = None
        self._targets: dict[str, str] = {}
        self.closed = False

    def close(self) -> None:
        """Hang up."""
        self.closed = True
        self.hang_up()

    def read(self, url: str, first: int, last: int) -> Iterator[bytes | memoryview]:
        """Yield nothing but the bytes `first` to `last` of the file at `url`, in parts, after one empty part that says
        they are coming. A part is good until the next is asked for. Raises `Misbehaved`, `Failed`.
        """
        with self.open(url, first, last) as body:
            yield b""
            through = time.monotonic() + _SKIP_SECONDS
            buffer = memoryview(bytearray(_CHUNK))
            while (skip := first - body.position) > 0:
                if time.monotonic() > through:
                    raise Failed(503, "it serves no ranges, and takes too long to come to the one asked for")
                body.read_into(buffer[:skip])
            while (left := last + 1 - body.position) > 0:
                yield buffer[: body.read_into(buffer[:left])]

    def open(self, url: str, first: int, last: int, *, ranged: bool = True) -> Body:
        """Ask for the bytes `first` to `last` of the file at `url`; without `ranged` for the whole file, whose last
        byte must be `last`. Raises `Misbehaved`, `Failed`.

        What is given begins at its `position`: before `first` where the server serves no ranges.
        """
        span = (first, last) if ranged else None
        target = self._targets.get(url, url)
        try:
            return self._follow(url, target, first, last, span)
        except Failed as error:
            if target == url or self.closed or error.wait is not None:
                raise
            # What a redirect led to may have expired: the server is asked anew.
            del self._targets[url]
            return self._follow(url, url, first, last, span)

    def _follow(self, url: str, target: str, first: int, last: int, span: tuple[int, int] | None) -> Body:
        deadline = time.monotonic() + self.pace.header_seconds
        for _ in range(self._redirects + 1):
            response, stream = self._request(target, url, span, deadline)
            if response.status in (301, 302, 303, 307, 308):
                location = response.headers.get("Location", "")
                self.hang_up()
                try:
                    target = urljoin(target, location)
                except ValueError:
                    raise Misbehaved(f"it redirects to {location[:100]}, which is no URL") from None
                continue
            begins = self._judge(response, target, first, last, span)
            if target != url and len(self._targets) < 10_000:
                self._targets[url] = target
            stream.body_begins()
            return Body(self, response, stream, begins, last + 1)
        raise Misbehaved(f"it redirects more than {self._redirects} times")

    def _judge(
        self, response: http.client.HTTPResponse, target: str, first: int, last: int, span: tuple[int, int] | None
    ) -> int:
        """Return at which byte of the file the answer's body begins. Raises `Failed`, `Misbehaved`."""
        status = response.status
        if status not in (200, 206):
            wait = retry_after(response.headers.get("Retry-After")) if status in (429, 503) else None
            self.hang_up()
            reason = f"it answered {status}{self._denial(target) if status in (401, 403) else ''}"
            raise Failed(status if 400 <= status < 600 else 502, reason, wait)
        if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
            raise Misbehaved("it sends an encoding that nobody asked for")
        if status == 206:
            if span is None or not response.headers.get("Content-Range", "").startswith(f"bytes {first}-{last}/"):
                raise Misbehaved("it sends another range than was asked for")
            if response.length not in (None, last - first + 1):
                raise Misbehaved("it sends another length than was asked for")
            return first
        if response.length is not None and response.length <= last:
            raise Misbehaved("its file is shorter than the torrent's")
        if span is not None and first > _MAX_SKIP:
            raise NoRanges
        # A server without ranges sends the whole file; what comes before the range is read and dropped.
        return 0

    def _denial(self, target: str) -> str:
        """Say what to do where the Hub gives nothing: its terms are accepted on its pages, repository by repository."""
        hub = self.limits.hub
        if hub is None or not hub.owns(target):
            return ""
        if hub.token is not None and not self.limits.trusts(target):
            return " to nobody in particular: HF_TOKEN is sent for web seeds that you name yourself, as by `-w hub`"
        page = target.partition("/resolve/")[0]
        if hub.token is None:
            return f" to nobody in particular: set HF_TOKEN, of an account that accepted its terms at {page}"
        return f" to the account of HF_TOKEN, which must have accepted its terms at {page}"

    def _request(
        self, target: str, origin: str, span: tuple[int, int] | None, deadline: float
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
                 f"User-Agent: weightswarm/{__version__}", "Accept-Encoding: identity"]  # fmt: skip
        if span is not None:
            lines.append(f"Range: bytes={span[0]}-{span[1]}")
        lines += self._credentials(target, origin)
        stream = Watched(connection, deadline, self.pace)
        try:
            connection.settimeout(max(0.05, deadline - time.monotonic()))
            connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("ascii", "strict"))
            response = http.client.HTTPResponse(cast("Any", stream), method="GET")
            response.begin()
        except UnicodeEncodeError:
            raise Misbehaved("its URL is not ASCII") from None
        except (OSError, http.client.HTTPException, Failed) as error:
            self.hang_up()
            if reused and not self.closed and not isinstance(error, TimeoutError):
                # A server may close a connection that was kept open at any moment.
                return self._request(target, origin, span, deadline)
            if isinstance(error, http.client.HTTPException) and not isinstance(error, http.client.RemoteDisconnected):
                raise Misbehaved(f"it sends no proper HTTP ({type(error).__name__})") from None
            raise error if isinstance(error, Failed) else Failed(503, "the connection broke") from None
        except Misbehaved:
            self.hang_up()
            raise
        return response, stream

    def _connect(self, scheme: str, endpoint: Endpoint, deadline: float) -> socket.socket:
        self.hang_up()
        named = endpoint in self.limits.named
        try:
            if not named:
                check_stranger(scheme, endpoint, self.limits.network)
            connection = connect(endpoint, self.limits.network, named=named, deadline=deadline, route=self.limits.route)
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

    def hang_up(self) -> None:
        """Close the connection; the next request makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(OSError):
                # Closing alone would leave a thread that reads from it where it waits.
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _credentials(self, target: str, origin: str) -> list[str]:
        """Return the header for user and password in the web seed's own URL, or for the Hub's token where it is
        a file at the Hub; no other server ever gets them."""
        parts, asked = urlsplit(origin), urlsplit(target)
        if (parts.scheme, parts.hostname, parts.port) != (asked.scheme, asked.hostname, asked.port):
            return []
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            return [f"Authorization: Basic {base64.b64encode(pair.encode()).decode()}"]
        hub = self.limits.hub
        # Where its file moved to is for the Hub itself to say.
        may = hub is not None and hub.serves(origin) and self.limits.trusts(origin)
        token = hub.token_for(target) if hub is not None and may else None
        return [] if token is None else [f"Authorization: Bearer {token}"]


class Body:
    """The bytes of an answer, the next of which is the file's byte `position`. Leaving it early hangs up."""

    def __init__(
        self, upstream: Upstream, response: http.client.HTTPResponse, stream: Watched, begins: int, end: int
    ) -> None:
        self.position = begins
        self._upstream = upstream
        self._response = response
        self._stream = stream
        self._end = end
        self._reusable = not response.will_close and response.length == end - begins
        self._counted = response.length is not None

    def read_into(self, view: memoryview, *, whole: bool = False) -> int:
        """Put the next bytes into `view`, and return how many. `whole` waits until it is full, unless that takes too
        long. Raises `Failed`, also at the end, and `Misbehaved`."""
        view = view[: self._end - self.position]
        try:
            count = self._stream.fill(view, whole=whole) if self._counted else self._read_part(view)
        except http.client.HTTPException as error:
            raise Misbehaved(f"it sends no proper HTTP ({type(error).__name__})") from None
        if not count:
            raise Failed(503, "it ended early")
        self.position += count
        return count

    def _read_part(self, view: memoryview) -> int:
        part = self._response.read1(len(view))
        if len(part) > len(view):
            # http.client takes a chunk's size at its word, a negative one too, and then reads on for ever.
            raise Misbehaved("it sends more than was asked for")
        view[: len(part)] = part
        self._stream.given += len(part)
        return len(part)

    def __enter__(self) -> Body:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._reusable or self.position < self._end:
            self._upstream.hang_up()


@cache
def _certificates() -> ssl.SSLContext:
    return ssl.create_default_context()
