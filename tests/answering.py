"""Small HTTP servers that answer as a test says, byte for byte, and remember what they were asked."""

from __future__ import annotations

import json
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from samples import make_sample
from weightswarm.metainfo import magnet_of
from weightswarm.registry import DirectoryRegistry, RegistryEntry

_MAX_HEAD = 64 * 1024


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: its path, and its headers by lower-case name."""

    path: str
    headers: dict[str, str]


Answer = Callable[[Asked], bytes | Iterable[bytes]]


@dataclass(slots=True)
class Server:
    """A running server; `ended` is set when the test is over, for answers that never end by themselves."""

    url: str
    asked: list[Asked] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def drip(self, data: bytes, seconds: float = 0.05) -> Iterator[bytes]:
        """Yield one byte after the other, for ever."""
        while not self.ended.wait(seconds):
            yield data[:1]
            data = data[1:] or b"x"


@contextmanager
def answering(answer: Answer, certificate: Path | None = None) -> Iterator[Server]:
    """Run a server on loopback whose every answer is the bytes that `answer` gives; then the connection is closed."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            connection = self.request
            with suppress(OSError):
                if context is not None:
                    connection = context.wrap_socket(connection, server_side=True)
                head = b""
                while b"\r\n\r\n" not in head and len(head) < _MAX_HEAD:
                    if not (part := connection.recv(4096)):
                        return
                    head += part
                lines = head.decode("latin-1").split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
                request = Asked(lines[0].split(" ")[1], headers)
                server.asked.append(request)
                told = answer(request)
                for piece in [told] if isinstance(told, bytes) else told:
                    connection.sendall(piece)
                connection.close()

    class Threaded(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    with Threaded(("127.0.0.1", 0), Handler) as listener:
        scheme = "http" if certificate is None else "https"
        server = Server(f"{scheme}://127.0.0.1:{listener.server_address[1]}/")
        thread = threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            listener.shutdown()
            thread.join()


def http(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """Return an HTTP answer; header names are written with `_` for `-`."""
    fields = {"Content-Length": str(len(body)), **{key.replace("_", "-"): value for key, value in headers.items()}}
    lines = "".join(f"{key}: {value}\r\n" for key, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{lines}Connection: close\r\n\r\n".encode() + body


def tree(folder: Path) -> Answer:
    """Return the answer of an honest server of a folder."""

    def answer(asked: Asked) -> bytes:
        path = folder / asked.path.lstrip("/")
        return http(path.read_bytes()) if path.is_file() else http(b"", "404 Not Found")

    return answer


def entry_of(folder: Path, name: str, content: bytes = b"weights", version: int | None = None) -> RegistryEntry:
    """Make a release of one file of `content`, written below `folder`."""
    sample = make_sample(folder, {"model.bin": content}, name=name)
    manifest = sample.manifest
    magnet = magnet_of(sample.metainfo)
    return RegistryEntry(name, manifest.revision, magnet, manifest.to_bytes(), sample.metainfo.data, version=version)


def registry_of(folder: Path, *releases: tuple[str, bytes, int | None]) -> DirectoryRegistry:
    """Make a registry in `folder`/registry of releases given by name, content and version."""
    registry = DirectoryRegistry(folder / "registry")
    for name, content, version in releases:
        registry.add(entry_of(folder / "sources", name, content, version))
    return registry


def changed_index(registry: DirectoryRegistry, change: Callable[[dict[str, object]], object]) -> bytes:
    """Return the canonical bytes of a registry's index after `change` of its first release."""
    document = json.loads((registry.root / "index.json").read_bytes())
    change(document["releases"][0])
    return canonical(document)


def canonical(document: object) -> bytes:
    """Return a document's canonical bytes."""
    return json.dumps(document, sort_keys=True, ensure_ascii=False, indent=1).encode() + b"\n"
