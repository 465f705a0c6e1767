"""Run inside a namespace: the rest of the world over HTTP. Usage: `outside.py ADDRESS FOLDER PEER_PORT`.

Serves a folder at port 8080, and at `/announce` a tracker that knows one peer, at ADDRESS. Prints each path asked for.
With a fourth argument, the peer is who listens at that port of loopback: libtorrent would bind it to one device.
"""

from __future__ import annotations

import socket
import struct
import sys
import threading
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

PORT = 8080


class Server(SimpleHTTPRequestHandler):
    """A folder and a tracker."""

    peer = b""

    def do_GET(self) -> None:
        """Answer by path."""
        # In one write: each request has a thread.
        sys.stdout.write(f"{self.headers.get('Host')} {self.path.partition('?')[0]}\n")
        sys.stdout.flush()
        if not self.path.startswith("/announce"):
            super().do_GET()
            return
        body = b"d8:intervali1800e5:peers%d:%be" % (len(self.peer), self.peer)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def main() -> None:
    """Serve until killed."""
    address, folder, port = sys.argv[1:4]
    for inner in sys.argv[4:]:
        threading.Thread(target=_pass_on, args=(address, int(port), int(inner)), daemon=True).start()
    Server.peer = socket.inet_aton(address) + struct.pack(">H", int(port))
    server = ThreadingHTTPServer((address, PORT), partial(Server, directory=folder))
    print("ready", flush=True)
    server.serve_forever()


def _pass_on(address: str, port: int, inner: int) -> None:
    listener = socket.create_server((address, port))
    while True:
        client, _ = listener.accept()
        peer = socket.create_connection(("127.0.0.1", inner))
        for source, sink in ((client, peer), (peer, client)):
            threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(65536):
            sink.sendall(part)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    main()
