"""A stub of the Hub on loopback that serves folders as repositories, for the Hub's own clients to download from."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".gguf", ".bin")
"""What the Hub keeps by SHA-256; everything else by git's blob id."""


def blob_id(path: str, data: bytes) -> str:
    """Return the Hub's id of a file, which is its name in `blobs/`."""
    if path.endswith(LARGE):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@dataclass(slots=True)
class HubFiles:
    """The stub: what stands where, what was asked, and a gate that holds all payload back while it is closed."""

    url: str = ""
    repositories: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    main: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def put(self, name: str, commit: str, folder: Path) -> None:
        """Make a folder's files the newest commit of a repository."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        self.repositories.setdefault(name, {})[commit] = files
        self.main[name] = commit

    @property
    def downloads(self) -> list[str]:
        """The files whose bytes were asked for, sorted."""
        resolved = (path.partition("/resolve/")[2] for method, path in self.asked if method == "GET")
        return sorted(path.partition("/")[2] for path in resolved if path)

    def find(self, path: str) -> tuple[bytes, dict[str, str]] | None:
        """Return what stands at a path, and its headers."""
        for name, commits in self.repositories.items():
            for kind in (f"api/models/{name}/revision/", f"api/models/{name}/tree/", f"{name}/resolve/"):
                if not path.startswith(kind):
                    continue
                asked, _, file = path.removeprefix(kind).partition("/")
                commit = self.main[name] if asked == "main" else asked
                files = commits.get(commit)
                if files is None:
                    return None
                if kind.endswith("/revision/"):
                    return json.dumps(_repository(name, commit, files)).encode(), {}
                if kind.endswith("/tree/"):
                    return json.dumps([_entry(*item) for item in files.items()]).encode(), {}
                if file in files:
                    return files[file], {"ETag": f'"{blob_id(file, files[file])}"', "X-Repo-Commit": commit}
        return None

    def environment(self) -> dict[str, str]:
        """Return what makes a client ask this stub and nobody else."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "*",
        }


@contextmanager
def hub_files() -> Iterator[HubFiles]:
    """Serve until the block ends."""
    stub = HubFiles()
    stub.gate.set()

    class Handler(_Handler):
        hub = stub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        stub.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: HubFiles
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        self.hub.asked.append((self.command, path))
        found = self.hub.find(path)
        if found is None:
            self._send(b"{}", {"X-Error-Code": "EntryNotFound"}, status=404)
            return
        body, headers = found
        if "ETag" in headers and self.command == "GET":
            self.hub.gate.wait(30)
        self._send(body, headers)

    def _send(self, body: bytes, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _repository(name: str, commit: str, files: dict[str, bytes]) -> dict[str, object]:
    # Clients of early 2024 want the counts as well.
    counts = {"private": False, "downloads": 0, "likes": 0, "tags": []}
    return {"id": name, "sha": commit, "siblings": [{"rfilename": path} for path in files], **counts}


def _entry(path: str, data: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": path, "size": len(data), "oid": blob_id(path, data)}
    if path.endswith(LARGE):
        entry["lfs"] = {"oid": blob_id(path, data), "size": len(data), "pointerSize": 134}
    return entry
