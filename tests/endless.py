"""Servers that never end, never begin, or send what nobody asked for: HTTP by path, and a UDP tracker."""

from __future__ import annotations

import gzip
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

MIB = 2**20
DRIP_SECONDS = 0.2
MAX_SECONDS = 60.0
"""No answer goes on for longer: a test that fails ends too."""

_RANGE = re.compile(rb"Range: bytes=(\d+)-(\d+)", re.IGNORECASE)
Answer = Callable[[socket.socket, int, int], None]


def _endless(connection: socket.socket, part: bytes, pause: float = 0.0) -> None:
    deadline = time.monotonic() + MAX_SECONDS
    while time.monotonic() < deadline:
        connection.sendall(part)
        time.sleep(pause)


def _partial(first: int, last: int, *more: str) -> bytes:
    lines = ["HTTP/1.1 206 Partial Content", f"Content-Range: bytes {first}-{last}/9999999", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def endless_headers(connection: socket.socket, _first: int, _last: int) -> None:
    """One header after the other, as fast as they are taken."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    _endless(connection, b"X-Endless: %s\r\n" % (b"x" * 8000) * 8)


def endless_header_line(connection: socket.socket, _first: int, _last: int) -> None:
    """One header that never ends."""
    connection.sendall(b"HTTP/1.1 206 OK\r\nX-Endless: ")
    _endless(connection, b"x" * 65536)


def endless_continues(connection: socket.socket, _first: int, _last: int) -> None:
    """Interim answers for ever."""
    _endless(connection, b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


def dripping_headers(connection: socket.socket, _first: int, _last: int) -> None:
    """A byte of a header now and then."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    _endless(connection, b"x", DRIP_SECONDS)


def endless_body(connection: socket.socket, first: int, last: int) -> None:
    """The right range by its header, and then garbage without end."""
    connection.sendall(
        _partial(first, last, f"Content-Length: {last - first + 1}") if last else b"HTTP/1.1 200 OK\r\n\r\n"
    )
    _endless(connection, b"d" * 65536)


def endless_chunks(connection: socket.socket, first: int, last: int) -> None:
    """The same in chunks, with no length."""
    connection.sendall(_partial(first, last, "Transfer-Encoding: chunked"))
    _endless(connection, b"10000\r\n" + b"d" * 65536 + b"\r\n")


def endless_trailer(connection: socket.socket, first: int, last: int) -> None:
    """The end of all chunks, and then trailers."""
    connection.sendall(_partial(first, last, "Transfer-Encoding: chunked") + b"0\r\n")
    _endless(connection, b"X: %s\r\n" % (b"x" * 8000) * 8)


def endless_extensions(connection: socket.socket, first: int, last: int) -> None:
    """Chunks of a byte each, and 60,000 about it."""
    connection.sendall(_partial(first, last, "Transfer-Encoding: chunked"))
    _endless(connection, b"1;x=%s\r\nd\r\n" % (b"x" * 60000))


def endless_file(connection: socket.socket, _first: int, _last: int) -> None:
    """A whole file of no length, whatever range was asked for."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    _endless(connection, b"d" * 65536)


def dripping_body(connection: socket.socket, first: int, last: int) -> None:
    """A byte of the body now and then."""
    connection.sendall(
        _partial(first, last, f"Content-Length: {last - first + 1}") if last else b"HTTP/1.1 200 OK\r\n\r\n"
    )
    _endless(connection, b"d", DRIP_SECONDS)


def silent(connection: socket.socket, _first: int, _last: int) -> None:
    """Nothing at all."""
    connection.settimeout(MAX_SECONDS)
    connection.recv(1)


def half_a_body(connection: socket.socket, first: int, last: int) -> None:
    """Less than was promised."""
    connection.sendall(_partial(first, last, f"Content-Length: {last - first + 1}") + b"d" * ((last - first) // 2))


def another_length(connection: socket.socket, first: int, last: int) -> None:
    """More than was asked for."""
    connection.sendall(_partial(first, last, f"Content-Length: {2**62}"))
    _endless(connection, b"d" * 65536)


def another_range(connection: socket.socket, first: int, last: int) -> None:
    """Something else than was asked for."""
    connection.sendall(_partial(first + 1, last + 1, f"Content-Length: {last - first + 1}"))
    _endless(connection, b"d" * 65536)


def gzip_bomb(connection: socket.socket, first: int, last: int) -> None:
    """Little that becomes much."""
    bomb = gzip.compress(bytes(300 * MIB), 9)
    head = _partial(first, last, "Content-Encoding: gzip", f"Content-Length: {len(bomb)}")
    connection.sendall(head if last else head.replace(b"206 Partial Content", b"200 OK"))
    connection.sendall(bomb)


def nested_gzip_bomb(connection: socket.socket, _first: int, _last: int) -> None:
    """Compressed four times over."""
    bomb = bytes(50 * MIB)
    for _ in range(4):
        bomb = gzip.compress(bomb * 2 if len(bomb) < 10 * MIB else bomb, 9)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, gzip, gzip, gzip\r\n\r\n" + bomb)


def redirect_loop(connection: socket.socket, _first: int, _last: int) -> None:
    """Round and round."""
    connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /redirect_loop/x\r\nContent-Length: 0\r\n\r\n")


def garbage(connection: socket.socket, _first: int, _last: int) -> None:
    """No HTTP."""
    _endless(connection, b"\xff\x00garbage\r\n" * 1000)


ANSWERS: dict[str, Answer] = {
    answer.__name__: answer
    for answer in (
        endless_headers, endless_header_line, endless_continues, dripping_headers, endless_body, endless_chunks,
        endless_file, dripping_body, silent, half_a_body, another_length, another_range, gzip_bomb, nested_gzip_bomb,
        redirect_loop, garbage,
    )
}  # fmt: skip


class Server:
    """Answers each request by the first part of its path. `asked` counts connections by answer."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.asked: dict[str, int] = {}
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, answer: str) -> str:
        """Return the URL of a folder that answers so."""
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}/{answer}/"

    def tracker(self, answer: str) -> str:
        """Return the URL of a tracker that answers so: libtorrent asks none on loopback by any other path."""
        return self.url(f"announce/{answer}")

    def close(self) -> None:
        """End every connection."""
        for each in (self.listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError, IndexError), connection:
            request = b""
            while b"\r\n\r\n" not in request:
                if not (part := connection.recv(65536)):
                    return
                request += part
            parts = request.split(b" ")[1].partition(b"?")[0].decode().split("/")[1:]
            name = parts[1] if parts[0] == "announce" else parts[0]
            self.asked[name] = self.asked.get(name, 0) + 1
            span = _RANGE.search(request)
            ANSWERS[name](connection, int(span[1]) if span else 0, int(span[2]) if span else 0)


@contextmanager
def hostile_server() -> Iterator[Server]:
    """Run a `Server` on loopback."""
    server = Server()
    try:
        yield server
    finally:
        server.close()


@contextmanager
def udp_tracker(kind: str) -> Iterator[str]:
    """Run a UDP tracker (BEP 15) on loopback that sends `garbage`, or far more `peers` than anybody can dial."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            for _ in range(1000):
                data, asker = server.recvfrom(2048)
                if asker is None:  # shut down
                    return
                if kind == "garbage":
                    server.sendto(data[::-1] * 20, asker)
                elif len(data) == 16:
                    server.sendto(struct.pack(">II", 0, struct.unpack(">I", data[12:16])[0]) + b"12345678", asker)
                else:
                    # No more than a datagram holds.
                    peers = b"".join(socket.inet_aton("127.0.0.1") + struct.pack(">H", 1024 + i) for i in range(10_000))
                    head = struct.pack(">I4sIII", 1, data[12:16], 1800, 0, 10_000)
                    server.sendto(head + peers, asker)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"udp://127.0.0.1:{server.getsockname()[1]}/announce"
    finally:
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
