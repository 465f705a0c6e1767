"""A listening socket with connections bounded in number, a thread each; and requests read off one, bounded as well."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

_PART = 16 * 1024
_ACCEPT_PAUSE = 0.1
_MAX_ACCEPT_FAILURES = 600


class Connection(Protocol):
    """Somebody who connected."""

    def serve(self) -> None:
        """Serve it to its end, and close it."""

    def hang_up(self) -> None:
        """End what it does, from another thread."""


C = TypeVar("C", bound=Connection)


class Listener(Generic[C]):
    """Serves at most `most` connections at once, as `make` makes them, of hosts that are `welcome`; hangs up on others.

    Threads are called `name`. `port` is where it listens.
    """

    def __init__(
        self,
        listening: socket.socket,
        make: Callable[[socket.socket], C],
        welcome: Callable[[str], bool],
        *,
        most: int,
        name: str,
    ) -> None:
        self.port: int = listening.getsockname()[1]
        self._socket = listening
        self._make = make
        self._welcome = welcome
        self._most = most
        self._name = name
        self._open: dict[C, threading.Thread] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._accept, name=name, daemon=True)
        self._thread.start()

    def hang_up(self, chosen: Callable[[C], bool], seconds: float) -> None:
        """End these connections, and wait at most so long for their threads to see it."""
        _join(self._end(chosen), seconds)

    def close(self, seconds: float) -> None:
        """Listen no more, and hang up on all, as `hang_up` does."""
        with self._lock:
            self._closed = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        _join([*self._end(lambda _: True), self._thread], seconds)

    def _end(self, chosen: Callable[[C], bool]) -> list[threading.Thread]:
        with self._lock:
            ended = {each: thread for each, thread in self._open.items() if chosen(each)}
        for connection in ended:
            connection.hang_up()
        return [*ended.values()]

    def _accept(self) -> None:
        failures = 0
        while failures < _MAX_ACCEPT_FAILURES:
            try:
                client, (host, *_) = self._socket.accept()
            except OSError:
                if self._closed:
                    return
                # Such as too many open files: that passes.
                failures += 1
                time.sleep(_ACCEPT_PAUSE)
                continue
            failures = 0
            connection = self._make(client)
            thread = threading.Thread(target=self._serve, args=(connection,), name=self._name, daemon=True)
            with self._lock:
                taken = not self._closed and len(self._open) < self._most and self._welcome(host)
                if taken:
                    self._open[connection] = thread
            try:
                if taken:
                    thread.start()
                else:
                    client.close()
            except RuntimeError:
                # There are too many threads: that passes too.
                self._forget(connection)
                client.close()

    def _serve(self, connection: C) -> None:
        try:
            connection.serve()
        finally:
            self._forget(connection)

    def _forget(self, connection: C) -> None:
        with self._lock:
            self._open.pop(connection, None)


def read_request(client: socket.socket, pending: bytearray, *, most: int, seconds: float) -> bytes | None:
    """Return the next request's head (RFC 9112), to its empty line; None when none comes in time, in so many bytes.

    `pending` keeps what came after it. Raises `OSError`.
    """
    until = time.monotonic() + seconds
    while (end := pending.find(b"\r\n\r\n")) < 0:
        if len(pending) > most or (left := until - time.monotonic()) <= 0:
            return None
        client.settimeout(left)
        if not (data := client.recv(_PART)):
            return None
        pending += data
    request = bytes(pending[: end + 4])
    del pending[: end + 4]
    return request


def _join(threads: list[threading.Thread], seconds: float) -> None:
    until = time.monotonic() + seconds
    for thread in threads:
        if thread.is_alive():
            thread.join(max(0.0, until - time.monotonic()))
