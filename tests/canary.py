"""Run inside a namespace: a canary that notes whoever reaches it, and a hostile server that sends others to it.

Usage: `canary.py OUTSIDE INSIDE`. OUTSIDE is an address that strangers may name; the server listens there at port 8080.
INSIDE is where everything leads that must not be reached. Each hit is a line `tcp|udp ADDRESS PORT`.
"""

from __future__ import annotations

import socket
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORTS = (22, 80, 7000, 7001, 7002, 7003)
SERVER_PORT = 8080
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
    print("ready", flush=True)
    server.serve_forever()


def _watch(port: int) -> None:
    listener = socket.create_server(("", port), backlog=64)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("", port))

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            print("tcp", *connection.getsockname()[:2], flush=True)
            connection.close()

    def receive() -> None:
        while True:
            datagrams.recvfrom(2048)
            print("udp any", port, flush=True)

    for task in (accept, receive):
        threading.Thread(target=task, daemon=True).start()


class Server(BaseHTTPRequestHandler):
    """An HTTP tracker that hands out the canary's addresses, and redirects for everybody else who asks."""

    outside: str
    inside: str

    def do_GET(self) -> None:
        """Answer by path."""
        print("server", self.path.partition("?")[0], flush=True)
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
