"""A Hugging Face Hub on loopback, inside the test's own process: API and files, as its own client asks for them.

    with serving_hub({"org/model": HubRepo({"config.json": b"{}"})}) as hub:
        hub.download("org/model", cache)        # the real huggingface_hub
        hub.asked                               # every request, in order

Shapes and headers are those that huggingface_hub reads: pages by `Link`, quoted ETags, `X-Linked-*` and a redirect to
another host for LFS files, `X-Error-Code` with refusals.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, unquote, urlsplit

LFS_SUFFIXES = (".safetensors", ".bin", ".gguf", ".onnx", ".h5")


def git_sha1(data: bytes) -> str:
    """The id of a git blob."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def sha256(data: bytes) -> str:
    """The id of an LFS object."""
    return hashlib.sha256(data).hexdigest()


def in_lfs(path: str) -> bool:
    """Tell whether the stub keeps a file in LFS."""
    return path.endswith(LFS_SUFFIXES)


def blob_id(path: str, data: bytes) -> str:
    """What the Hub's cache calls a file's blob."""
    return sha256(data) if in_lfs(path) else git_sha1(data)


@dataclass(slots=True)
class HubRepo:
    """One model: the files of its one commit, which every ref in `refs` names. `token` is whose bearer may see it, and
    `gated` says that seeing is not enough."""

    files: Mapping[str, bytes]
    refs: tuple[str, ...] = ("main",)
    token: str | None = None
    gated: bool = False

    @property
    def commit(self) -> str:
        """The commit, which follows from the files."""
        told = "".join(f"{path}\0{sha256(data)}\n" for path, data in sorted(self.files.items()))
        return hashlib.sha1(told.encode(), usedforsecurity=False).hexdigest()

    def tree(self) -> list[dict[str, object]]:
        """What `tree/COMMIT?recursive=true` lists, folders before what is in them."""
        folders = sorted({str(parent) for path in self.files for parent in Path(path).parents} - {"."})
        entries: list[dict[str, object]] = [
            {"type": "directory", "oid": git_sha1(folder.encode()), "size": 0, "path": folder} for folder in folders
        ]
        for path, data in sorted(self.files.items()):
            entry: dict[str, object] = {"type": "file", "oid": git_sha1(data), "size": len(data), "path": path}
            if in_lfs(path):
                pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(data)}\nsize {len(data)}\n"
                entry["oid"] = git_sha1(pointer.encode())
                entry["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": len(pointer)}
            entries.append(entry)
        return entries


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    method: str
    path: str
    authorization: str | None


@dataclass(frozen=True, slots=True)
class Reply:
    """What a test would have answered instead: `headers` as they stand."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, document: object, **headers: str) -> Reply:
        """An answer of the API."""
        return cls(200, json.dumps(document).encode(), headers)


Instead = Callable[[Asked], Reply | None]


@dataclass(slots=True)
class HubStub:
    """A running Hub. `page` is how many entries a page of the tree has."""

    url: str
    repos: dict[str, HubRepo]
    page: int = 1000
    asked: list[Asked] = field(default_factory=list)
    instead: Instead = lambda _asked: None

    @property
    def environment(self) -> dict[str, str]:
        """What leads a client here."""
        return {"HF_ENDPOINT": self.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1",
                "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}  # fmt: skip

    @property
    def _cdn(self) -> str:
        """Another host than the Hub's own by its name: the client follows redirects within one host by itself."""
        return f"{self.url.replace('127.0.0.1', 'localhost')}/cdn"

    def downloads(self) -> list[str]:
        """The paths whose bytes were asked for."""
        return [each.path for each in self.asked if each.method == "GET" and "/api/" not in each.path]

    def download(self, name: str, cache: Path, **options: Any) -> Path:
        """Download a snapshot by the real huggingface_hub, in this process."""
        from huggingface_hub import constants, snapshot_download

        changes: dict[str, Any] = {"HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True,
                                   "HF_HUB_DISABLE_PROGRESS_BARS": True, "HF_HUB_DISABLE_TELEMETRY": True}  # fmt: skip
        with patch.multiple(constants, **changes):
            return Path(snapshot_download(name, endpoint=self.url, cache_dir=cache, max_workers=2, **options))

    def answer(self, asked: Asked) -> Reply:
        """Answer as the Hub does, or as the test says."""
        if (instead := self.instead(asked)) is not None:
            return instead
        parts = urlsplit(asked.path)
        names = [unquote(part) for part in parts.path.split("/")[1:]]
        if names[0] == "cdn":
            return self._content(names[-1])
        if names[:2] == ["api", "models"] and len(names) >= 6:
            name, kind, revision = "/".join(names[2:4]), names[4], names[5]
        elif len(names) >= 5 and names[2] == "resolve":
            name, kind, revision = "/".join(names[:2]), "resolve", names[3]
        else:
            return _refusal(404, "")
        repo = self.repos.get(name)
        if repo is None or (repo.token is not None and asked.authorization != f"Bearer {repo.token}"):
            return _refusal(401 if asked.authorization is None else 404, "RepoNotFound")
        if revision not in (repo.commit, *repo.refs):
            return _refusal(404, "RevisionNotFound")
        if kind == "revision":
            siblings = [{"rfilename": path} for path in sorted(repo.files)]
            return Reply.json({"_id": "0" * 24, "id": name, "modelId": name, "sha": repo.commit, "private": False,
                               "gated": repo.gated, "tags": [], "downloads": 0, "siblings": siblings})  # fmt: skip
        if kind == "tree":
            return self._tree(repo, parts.path, int(parse_qs(parts.query).get("cursor", ["0"])[0]))
        return _refusal(403, "GatedRepo") if repo.gated else self._file(repo, "/".join(names[4:]))

    def _tree(self, repo: HubRepo, path: str, start: int) -> Reply:
        entries = repo.tree()
        end = start + self.page
        following = f'<{self.url}{path}?recursive=true&cursor={end}>; rel="next"'
        return Reply.json(entries[start:end], **({"Link": following} if end < len(entries) else {}))

    def _file(self, repo: HubRepo, path: str) -> Reply:
        if path not in repo.files:
            return Reply(404, b"Entry not found", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repo.commit})
        data = repo.files[path]
        known = {"X-Repo-Commit": repo.commit, "ETag": f'"{git_sha1(data)}"'}
        if not in_lfs(path):
            return Reply(200, data, known)
        linked = {"X-Linked-Etag": f'"{sha256(data)}"', "X-Linked-Size": str(len(data))}
        return Reply(302, b"", {**known, **linked, "Location": f"{self._cdn}/{sha256(data)}"})

    def _content(self, digest: str) -> Reply:
        every = (data for repo in self.repos.values() for data in repo.files.values())
        found = next((data for data in every if sha256(data) == digest), None)
        return _refusal(404, "") if found is None else Reply(200, found, {"ETag": '"another-of-the-cdn"'})


def _refusal(status: int, code: str) -> Reply:
    told = {"X-Error-Code": code, "X-Error-Message": f"{code} at the stub"} if code else {}
    return Reply(status, json.dumps({"error": code or "Not Found"}).encode(), told)


@contextmanager
def serving_hub(repos: Mapping[str, HubRepo]) -> Iterator[HubStub]:
    """Run a Hub of these models on loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = Asked(self.command, self.path, self.headers.get("Authorization"))
            hub.asked.append(asked)
            reply = hub.answer(asked)
            self.send_response(reply.status)
            for key, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body)

        do_HEAD = do_GET  # noqa: N815 - its base class calls it so

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            """Who has heard enough hangs up."""

    with Server(("127.0.0.1", 0), Handler) as server:
        hub = HubStub(f"http://127.0.0.1:{server.server_port}", dict(repos))
        thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
