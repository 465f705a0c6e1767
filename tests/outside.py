"""Run inside a namespace: the rest of the world over HTTP. Usage: `outside.py ADDRESS FOLDER PEER_PORT`.

Serves a folder at port 8080, and at `/announce` a tracker that knows one peer, at ADDRESS. Prints each path asked for.
"""

from __future__ import annotations

import socket
import struct
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

PORT = 8080


class Server(SimpleHTTPRequestHandler):
    """A folder and a tracker."""

    peer = b""

    def do_GET(self) -> None:
        """Answer by path."""
        print(self.headers.get("Host"), self.path.partition("?")[0], flush=True)
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
    address, folder, port = sys.argv[1:]
    Server.peer = socket.inet_aton(address) + struct.pack(">H", int(port))
    server = ThreadingHTTPServer((address, PORT), partial(Server, directory=folder))
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
