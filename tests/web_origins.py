"""Web servers for tests: a folder served as told, and a Hub with a store beside it whose signed URLs soon expire.

An `Origin` answers from a folder and has `faults`: functions that may answer a request instead, each until it is used
up. A `HubStub` is two of them: `GET /ORG/MODEL/resolve/REV/FILE` leads to `/signed/FILE?Expires=…&Signature=…` at the
other, which serves ranges while the signature holds and 403 after that.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
_PART = 64 * 1024


@dataclass(slots=True)
class Asked:
    """One request: where, with which headers (names in lower case), and the range of bytes it asked for."""

    path: str
    headers: dict[str, str]
    span: tuple[int, int] | None

    @property
    def size(self) -> int:
        """How many bytes it asked for."""
        return 0 if self.span is None else self.span[1] - self.span[0] + 1


class Handler(BaseHTTPRequestHandler):
    """Answers for its server's `Origin`."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Let the first fault that wants it answer, else the origin."""
        origin: Origin = self.server.origin  # type: ignore[attr-defined]
        span = _RANGE.fullmatch(self.headers.get("Range", ""))
        asked = Asked(
            self.path,
            {key.lower(): value for key, value in self.headers.items()},
            (int(span[1]), int(span[2])) if span else None,
        )
        with origin.lock:
            origin.asked.append(asked)
            fault = next((each for each in origin.faults if each.wants(asked)), None)
            if fault is not None:
                fault.left -= 1
        with suppress(ConnectionError):
            (origin.answer if fault is None else fault.answer)(self, asked)

    def refuse(self, status: int, **headers: str) -> None:
        """Send a status and no body; header names are written with `_` for `-`."""
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def give(self, data: memoryview, asked: Asked, *, most: int | None = None, rate: float = 0) -> None:
        """Send the range that was asked for, or all; no more of it than `most`, at `rate` bytes a second."""
        first, last = asked.span or (0, len(data) - 1)
        self.send_response(206 if asked.span else 200)
        if asked.span:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        end = last + 1 if most is None else min(last + 1, first + most)
        for start in range(first, end, _PART):
            part = data[start : min(end, start + _PART)]
            self.wfile.write(part)
            if rate:
                time.sleep(len(part) / rate)
        if end <= last:
            self.close_connection = True


Answer = Callable[[Handler, Asked], None]


@dataclass(slots=True)
class Fault:
    """Answers `left` requests that match `path` instead of the origin, after letting `after` of them pass."""

    answer: Answer
    left: int = 1_000_000
    path: str = ""
    after: int = 0

    def wants(self, asked: Asked) -> bool:
        """Tell whether this request is its own."""
        if self.path not in asked.path or self.left <= 0:
            return False
        if self.after > 0:
            self.after -= 1
            return False
        return True


@dataclass(slots=True)
class Origin:
    """A server of `folder` at `url`, and what it was asked."""

    folder: Path
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    answer: Answer = field(init=False)

    def __post_init__(self) -> None:
        self.answer = self.give_file

    def file(self, path: str) -> memoryview | None:
        """Return what it serves at a path."""
        found = self.folder / unquote(urlsplit(path).path).lstrip("/")
        return memoryview(found.read_bytes()) if found.is_file() else None

    def give_file(self, handler: Handler, asked: Asked) -> None:
        """Serve a file, or 404."""
        data = self.file(asked.path)
        if data is None:
            handler.refuse(404)
        else:
            handler.give(data, asked)

    @property
    def asked_bytes(self) -> int:
        """How many bytes all requests asked for together."""
        return sum(asked.size for asked in self.asked)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is none."""


@contextmanager
def origin(folder: Path, *faults: Fault) -> Iterator[Origin]:
    """Serve a folder on loopback."""
    served = Origin(folder, faults=list(faults))
    server = _Server(("127.0.0.1", 0), Handler)
    server.origin = served  # type: ignore[attr-defined]
    served.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(slots=True)
class HubStub:
    """`hub` answers with redirects to `store`. A signature holds for `seconds`; with `token`, only its bearer gets one.

    The store cuts off `cuts` answers of more than `cut_at` bytes, and hangs up once their signature has expired.
    `denied` counts what it refused because of that.
    """

    hub: Origin
    store: Origin
    name: str
    revision: str
    seconds: float
    token: str | None = None
    cuts: int = 0
    cut_at: int = 0
    denied: int = 0

    @property
    def folder_url(self) -> str:
        """Where the release's files are."""
        return f"{self.hub.url}{self.name}/resolve/{self.revision}/"

    def redirect(self, handler: Handler, asked: Asked) -> None:
        """The hub's answer."""
        path = urlsplit(asked.path).path
        prefix = f"/{self.name}/resolve/{self.revision}/"
        if self.token is not None and asked.headers.get("authorization") != f"Bearer {self.token}":
            handler.refuse(403 if "authorization" in asked.headers else 401)
        elif not path.startswith(prefix) or self.store.file(path.removeprefix(prefix)) is None:
            handler.refuse(404)
        else:
            file = path.removeprefix(prefix)
            expires = f"{time.time() + self.seconds:.3f}"
            handler.refuse(
                302, Location=f"{self.store.url}signed/{file}?Expires={expires}&Signature={_sign(file, expires)}"
            )

    def give_signed(self, handler: Handler, asked: Asked) -> None:
        """The store's answer."""
        parts = urlsplit(asked.path)
        fields = parse_qs(parts.query)
        file = parts.path.removeprefix("/signed/")
        expires = fields.get("Expires", ["0"])[0]
        data = self.store.file(file)
        if data is None or fields.get("Signature") != [_sign(file, expires)]:
            handler.refuse(403)
        elif float(expires) < time.time():
            self.denied += 1
            handler.refuse(403)
        elif self.cuts and asked.size > self.cut_at:
            self.cuts -= 1
            handler.give(data, asked, most=self.cut_at)
            time.sleep(max(0.0, float(expires) - time.time()))
        else:
            handler.give(data, asked)


@contextmanager
def hub_stub(
    folder: Path, name: str, revision: str, *, seconds: float = 3600, token: str | None = None
) -> Iterator[HubStub]:
    """Serve a folder as the Hub serves a repository."""
    with origin(folder) as hub, origin(folder) as store:
        stub = HubStub(hub, store, name, revision, seconds, token)
        hub.answer, store.answer = stub.redirect, stub.give_signed
        yield stub


# --- faults ----------------------------------------------------------------------------------------------------------


def status(code: int, **headers: str) -> Answer:
    """Nothing but a status."""
    return lambda handler, _asked: handler.refuse(code, **headers)


def cut(served: Origin, most: int) -> Answer:
    """No more than so many bytes of what was asked for."""
    return lambda handler, asked: handler.give(_data(served, asked), asked, most=most)


def stall(served: Origin, most: int) -> Answer:
    """So many bytes, and then silence."""

    def answer(handler: Handler, asked: Asked) -> None:
        handler.give(_data(served, asked), asked, most=most)
        handler.wfile.flush()
        time.sleep(5)

    return answer


def lie(served: Origin, offset: int = 0) -> Answer:
    """The right answer with one bit flipped in each range that reaches `offset`."""

    def answer(handler: Handler, asked: Asked) -> None:
        data = bytearray(_data(served, asked))
        place = max(offset, asked.span[0] if asked.span else 0)
        if place < len(data):
            data[place] ^= 1
        handler.give(memoryview(data), asked)

    return answer


def another_range(served: Origin) -> Answer:
    """The range before, and called so."""

    def answer(handler: Handler, asked: Asked) -> None:
        first, last = asked.span or (1, 1)
        handler.give(_data(served, asked), Asked(asked.path, asked.headers, (max(0, first - 1), max(0, last - 1))))

    return answer


def whole_file(served: Origin, most: int | None = None) -> Answer:
    """All of the file, whatever range was asked for."""
    return lambda handler, asked: handler.give(_data(served, asked), Asked(asked.path, asked.headers, None), most=most)


def slowly(served: Origin, rate: float) -> Answer:
    """So many bytes a second."""
    return lambda handler, asked: handler.give(_data(served, asked), asked, rate=rate)


def _data(served: Origin, asked: Asked) -> memoryview:
    path = asked.path.removeprefix("/signed")
    data = served.file(path)
    assert data is not None, path
    return data


def _sign(file: str, expires: str) -> str:
    return hmac.new(b"a secret", f"{file} {expires}".encode(), hashlib.sha256).hexdigest()
