"""A server's bytes as they come off its connection, with a bound on what it may send and hold back."""

from __future__ import annotations

import io
import socket
import ssl
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_HEADER_BYTES = 32 * 1024
_NO_HEADER = "it sent no whole header in time"
_HEADER_BUFFER = 16 * 1024
_MAX_AROUND = 2 * 1024 * 1024
"""Most bytes about chunks (RFC 9112 section 7.1: sizes, extensions, trailers) beyond as many as the chunks hold."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a server may take. The whole of an answer's header has `header_seconds`, redirects and connecting
    included; a body that sends less than `slow_bytes`, or nothing, for `slow_seconds` is cut off."""

    header_seconds: float = 10.0
    slow_seconds: float = 10.0
    slow_bytes: int = 10 * 1024


class Misbehaved(Exception):
    """The server sent what no honest one sends; the message says what."""


class NoRanges(Misbehaved):
    """The server sends whole files, whatever is asked for."""

    def __init__(self) -> None:
        super().__init__("it serves no ranges")


class Failed(Exception):
    """The server could not be reached or has no such range now. `status` is what to pass on.

    `wait` is how many seconds it asked us to let pass.
    """

    def __init__(self, status: int, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.wait = wait


class Watched(io.RawIOBase):
    """A socket's bytes, with a budget and a deadline for the header and a least rate for the body.

    `file` is what `http.client` reads from, and `given` counts the bytes of chunks that it made of that.
    """

    def __init__(self, connection: socket.socket, deadline: float, pace: Pace) -> None:
        self.connection = connection
        self._pace = pace
        self.file = io.BufferedReader(self, _HEADER_BUFFER)
        self._deadline: float | None = deadline
        self._left = MAX_HEADER_BYTES
        self._waited = 0.0
        self._got = 0
        self.given = 0
        self._read = 0
        self._drained = False
        self._waits_for_all = False

    def makefile(self, _mode: str) -> io.BufferedReader[Watched]:
        """Return `file`: all that `http.client` wants of a socket."""
        return self.file

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
            if self._read > 2 * self.given + _MAX_AROUND:
                # Such as trailers, which http.client reads until they end.
                raise Misbehaved("it sends more about its chunks than in them")
            self.connection.settimeout(self._pace.slow_seconds)
        count = self._receive(view, 0)
        self._read += count
        return count

    def fill(self, view: memoryview, *, whole: bool) -> int:
        """Fill `view` with what comes next of the body; 0 at its end. With `whole` it is filled to its end, unless that
        takes too long."""
        if not self._drained:
            # What came with the header.
            part = self.file.read1(len(view))
            self._drained = len(part) < len(view) or len(view) >= _HEADER_BUFFER
            view[: len(part)] = part
            return len(part)
        if not whole:
            self.connection.settimeout(self._pace.slow_seconds)
            return self._receive(view, 0)
        if isinstance(self.connection, ssl.SSLSocket):
            return self._fill_by_records(view)
        if not self._waits_for_all:
            # The kernel waits, and returns once for many packets.
            self.connection.settimeout(None)
            patience = struct.pack("@ll", *_split(self._pace.slow_seconds))
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
            self._waits_for_all = True
        return self._receive(view, socket.MSG_WAITALL)

    def _fill_by_records(self, view: memoryview) -> int:
        """TLS gives one record at a time, 16 KiB at most."""
        self.connection.settimeout(self._pace.slow_seconds)
        until = time.monotonic() + self._pace.slow_seconds
        filled = 0
        while filled < len(view) and time.monotonic() < until:
            if not (count := self._receive(view[filled:], 0)):
                break
            filled += count
        return filled

    def _receive(self, view: memoryview, flags: int) -> int:
        started = time.monotonic()
        try:
            count = self.connection.recv_into(view, 0, flags)
        except (OSError, ValueError) as error:
            if not isinstance(error, TimeoutError | BlockingIOError):
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
        if self._waited >= self._pace.slow_seconds:
            if self._got < self._pace.slow_bytes:
                raise Failed(503, f"it sent {self._got:,} bytes in {self._waited:.0f} seconds")
            self._got, self._waited = 0, 0.0


def _split(seconds: float) -> tuple[int, int]:
    return int(seconds), int(seconds % 1 * 1_000_000)
