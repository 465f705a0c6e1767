"""The seed's side: a small HTTP server for neighbours (RFC 9110, single ranges alone), bounded in every way.

It answers `GET /INFO-HASH?peer=ID` with a `Range` over the release's files laid end to end. Whoever is further away
than this machine or its own network is hung up on.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
from collections.abc import Iterable
from contextlib import suppress
from functools import partial

from weightswarm.lane.admission import REST_SECONDS, Lane
from weightswarm.listening import Listener, read_request
from weightswarm.reach import is_near

MAX_CONNECTIONS = 32
_MAX_REQUEST = 4096
_REQUEST_SECONDS = 10.0
"""A connection that has sent no whole request for so long is closed."""

_SEND_SECONDS = 10
_SLICE = 4 * 1024 * 1024
_CLOSE_SECONDS = 2.0
_REQUEST = re.compile(rb"GET /([0-9a-f]{40}|[0-9a-f]{64})\?peer=([0-9a-f]{40}) HTTP/1\.1\r\n")
_RANGE = re.compile(rb"\r\nRange: bytes=([0-9]{1,18})-([0-9]{1,18})\r\n", re.IGNORECASE)


class LaneServer:
    """Listens at `host`, every address where it is empty, on a free port. Raises `OSError` where it cannot."""

    def __init__(self, host: str) -> None:
        self._lanes: dict[str, Lane] = {}
        self._lock = threading.Lock()
        self._listener = Listener(_listen(host), partial(_Connection, self), is_near, most=MAX_CONNECTIONS, name="lane")
        self.port = self._listener.port

    def offer(self, info_hashes: Iterable[str], lane: Lane) -> None:
        """Give a release by these digests of its info-hash."""
        with self._lock:
            self._lanes |= dict.fromkeys(info_hashes, lane)

    def withdraw(self, lane: Lane) -> None:
        """Give a release no more, and hang up on whoever takes it."""
        lane.close()
        with self._lock:
            self._lanes = {digest: each for digest, each in self._lanes.items() if each is not lane}
        self._listener.hang_up(lambda each: each.lane is lane, _CLOSE_SECONDS)

    def close(self) -> None:
        """Hang up, within two seconds. Whom a disk holds up longer asks nobody who else is there, and sends nothing."""
        with self._lock:
            for lane in self._lanes.values():
                lane.close()
        self._listener.close(_CLOSE_SECONDS)

    def find(self, digest: str) -> Lane | None:
        """Return the lane of a release."""
        return self._lanes.get(digest)


class _Connection:
    """One neighbour's connection: its requests are answered one after the other. `lane` is whose bytes leave by it."""

    def __init__(self, server: LaneServer, client: socket.socket) -> None:
        self.lane: Lane | None = None
        self._client = client
        self._server = server
        self._asked: set[tuple[Lane, bytes]] = set()

    def serve(self) -> None:
        pending = bytearray()
        try:
            # While it sends, the kernel waits, and gives up on who takes nothing for so long.
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", _SEND_SECONDS, 0))
            while (request := self._next_request(pending)) is not None:
                if not self._answer(request):
                    return
        except OSError:
            return
        finally:
            self._client.close()
            for lane, peer in self._asked:
                lane.disconnected(peer)

    def hang_up(self) -> None:
        """End what it does, from another thread: its own closes it, since a number in use must stay its own."""
        with suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)

    def _next_request(self, pending: bytearray) -> bytes | None:
        request = read_request(self._client, pending, most=_MAX_REQUEST, seconds=_REQUEST_SECONDS)
        self._client.settimeout(None)
        return request

    def _answer(self, request: bytes) -> bool:
        """Answer one request; return whether the connection is still good."""
        asked, span = _REQUEST.match(request), _RANGE.search(request)
        if asked is None or span is None:
            return self._refuse("400 Bad Request")
        lane, peer = self._server.find(asked[1].decode()), bytes.fromhex(asked[2].decode())
        if lane is None:
            return self._refuse("404 Not Found")
        first, last = int(span[1]), int(span[2])
        if not first <= last < lane.layout.total:
            return self._refuse("416 Range Not Satisfiable")
        if (lane, peer) not in self._asked:
            self._asked.add((lane, peer))
            lane.connected(peer)
        if not lane.enter(peer):
            return self._refuse("503 Service Unavailable", f"Retry-After: {REST_SECONDS:.0f}\r\n")
        self.lane = lane
        try:
            return self._give(lane, first, last + 1)
        finally:
            self.lane = None
            lane.leave(peer)

    def _give(self, lane: Lane, first: int, end: int) -> bool:
        # Header and small files share packets.
        self._client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        self._client.sendall(
            f"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-{end - 1}/{lane.layout.total}\r\n"
            f"Content-Length: {end - first}\r\n\r\n".encode()
        )
        whole = all(self._give_file(lane, *span) for span in lane.layout.spans(first, end))
        self._client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        return whole

    def _give_file(self, lane: Lane, index: int, position: int, end: int) -> bool:
        """Send bytes of a file; return whether all of them went, and are what was hashed."""
        file = lane.files[index]
        descriptor = os.open(file.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            while position < end:
                if not lane.still_open() or not file.is_at(descriptor):
                    return False
                sent = os.sendfile(self._client.fileno(), descriptor, position, min(_SLICE, end - position))
                if not sent:
                    return False
                lane.count(sent)
                position += sent
            return True
        finally:
            os.close(descriptor)

    def _refuse(self, status: str, more: str = "") -> bool:
        head = f"HTTP/1.1 {status}\r\n{more}Content-Length: 0\r\nConnection: close\r\n\r\n"
        self._client.sendall(head.encode())
        return False


def _listen(host: str) -> socket.socket:
    if host:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, 0), family=family, backlog=MAX_CONNECTIONS)
    if socket.has_dualstack_ipv6():
        with suppress(OSError):
            return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=MAX_CONNECTIONS)
    return socket.create_server(("", 0), backlog=MAX_CONNECTIONS)
