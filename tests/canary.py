"""Run inside a namespace: a canary that notes whoever reaches it, and a hostile server that sends others to it.

Usage: `canary.py OUTSIDE INSIDE`. OUTSIDE is an address that strangers may name; the server listens there at port 8080.
INSIDE is where everything leads that must not be reached. Each hit is a line `tcp|udp ADDRESS PORT`.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORTS = (22, 80, 7000, 7001, 7002, 7003)
SERVER_PORT = 8080
PEER_PORT = 7000
CLOSED = ("127.0.0.1", "169.254.169.254", "100.64.0.9", "192.168.9.9")


def compact(host: str, port: int) -> bytes:
    """Return an address as trackers hand it out (BEP 23)."""
    return socket.inet_aton(host) + struct.pack(">H", port)


def main() -> None:
    """Listen until killed."""
    outside, inside = sys.argv[1:]
    for port in PORTS:
        _watch(port)
    handler = type("Handler", (Server,), {"outside": outside, "inside": inside})
    server = ThreadingHTTPServer((outside, SERVER_PORT), handler)
    _note("ready")
    server.serve_forever()


def _note(line: str) -> None:
    """Write a line whole: of those that `print` writes in parts, several threads make a muddle."""
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


def _watch(port: int) -> None:
    listener = socket.create_server(("", port), backlog=64)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("", port))

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            _note("tcp {} {}".format(*connection.getsockname()[:2]))
            if connection.getsockname()[:2] == (sys.argv[1], PEER_PORT):
                threading.Thread(target=_exchange, args=(connection,), daemon=True).start()
            else:
                connection.close()

    def receive() -> None:
        while True:
            datagrams.recvfrom(2048)
            _note(f"udp any {port}")

    for task in (accept, receive):
        threading.Thread(target=task, daemon=True).start()


def _exchange(connection: socket.socket) -> None:
    """Speak as a peer that knows others (BEP 10, BEP 11): closed ones all, but one."""
    with suppress(OSError, AttributeError, TimeoutError), connection:
        connection.settimeout(3)
        theirs = connection.recv(68)
        if not theirs.startswith(b"\x13BitTorrent"):
            return
        connection.sendall(theirs[:20] + bytes((0, 0, 0, 0, 0, 0x10, 0, 0)) + theirs[28:48] + b"-XX0000-hostile peer")
        connection.sendall(_message(b"\x14\x00d1:md6:ut_pexi1eee"))
        received = theirs
        while (named := re.search(rb"6:ut_pexi(\d+)e", received)) is None:
            received += connection.recv(65536)
        outside, inside = sys.argv[1:]
        closed = [compact(host, port) for host in (inside, *CLOSED) for port in (7001, 7002)]
        peers = b"".join((*closed, compact(outside, 22), compact(outside, 80), compact(outside, 7003)))
        flags = bytes(len(peers) // 6)
        added = b"5:added%d:%b7:added.f%d:%b" % (len(peers), peers, len(flags), flags)
        connection.sendall(_message(bytes((0x14, int(named[1]))) + b"d" + added + b"e"))
        _note("server exchanged")
        connection.recv(65536)
        time.sleep(10)


def _message(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


class Server(BaseHTTPRequestHandler):
    """An HTTP tracker that hands out the canary's addresses, and redirects for everybody else who asks."""

    outside: str
    inside: str

    def do_GET(self) -> None:
        """Answer by path."""
        _note("server " + self.path.partition("?")[0])
        if self.path.startswith("/announce/redirect") or self.path.startswith("/torrent"):
            self._redirect(f"http://{self.inside}:7000/announce")
        elif self.path.startswith("/announce"):
            closed = [compact(host, 7000) for host in (self.inside, *CLOSED)]
            peers = b"".join((*closed, compact(self.outside, 22), compact(self.outside, 7000)))
            body = b"d8:intervali1800e5:peers" + str(len(peers)).encode() + b":" + peers + b"e"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        elif self.path.startswith("/name"):
            self._redirect("http://inside.example:7000/file")
        elif self.path.startswith("/low"):
            self._redirect(f"http://{self.outside}:22/file")
        else:
            self._redirect(f"http://{self.inside}:7000/file")

    def _redirect(self, target: str) -> None:
        self.send_response(302)
        self.send_header("Location", target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    main()
