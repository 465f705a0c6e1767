"""The manifest value and its one canonical byte form.

Canonical means: JSON with keys sorted, one space of indent, UTF-8 unescaped, files in the order of their path
components' bytes (the order of a BEP 52 file tree), one newline at the end. Equal releases give equal bytes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from json.encoder import encode_basestring as _quoted
from typing import Any, Protocol

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file: `path` relative with `/`, `size` in bytes, lower-case hex digests.

    `pieces_root` is the file's BEP 52 root, None exactly when the file is empty. `blob_id` is the Hub's name for
    the blob (SHA-256 for LFS files, the git blob's SHA-1 for small ones) where the file came from a Hub cache.
    """

    path: str
    size: int
    sha256: str
    pieces_root: str | None
    blob_id: str | None = None

    @property
    def blob_name(self) -> str:
        """What a Hub cache calls the file's content."""
        return self.blob_id or self.sha256


@dataclass(frozen=True, slots=True)
class Manifest:
    """A release's files and what they hash to. Made by `parse_manifest`, or by publishing; both check it whole."""

    name: str
    revision: str
    files: tuple[FileEntry, ...]
    license: str | None = None
    description: str | None = None
    base_revision: str | None = None
    created: str | None = None
    # The files' part of the canonical bytes, once they were asked for: 10,000 files take a while each time.
    _listing: str | None = field(default=None, init=False, repr=False, compare=False)
    _bytes: bytes | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def total_size(self) -> int:
        """Bytes of all files together."""
        return sum(entry.size for entry in self.files)

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        if self._bytes is None:
            object.__setattr__(self, "_bytes", self._encoded())
            assert self._bytes is not None
        return self._bytes

    def _encoded(self) -> bytes:
        document: dict[str, Any] = {
            "weightswarm_manifest": FORMAT_VERSION,
            "name": self.name,
            "revision": self.revision,
            "files": [],
        }
        for key in ("license", "description", "base_revision", "created"):
            if (value := getattr(self, key)) is not None:
                document[key] = value
        text = json.dumps(document, sort_keys=True, ensure_ascii=False, indent=1)
        if self.files:
            if self._listing is None:
                # The standard library indents in Python, value by value, which is slow.
                listing = ",\n".join(map(_entry_text, sorted(self.files, key=path_order)))
                object.__setattr__(self, "_listing", listing)
            text = text.replace('"files": []', f'"files": [\n{self._listing}\n ]', 1)
        return text.encode() + b"\n"


class HasPath(Protocol):
    """A file of a release, here or on its way there."""

    @property
    def path(self) -> str:
        """Relative, with `/`."""


def path_order(entry: HasPath) -> str:
    """Sort key: the order in which a BEP 52 file tree lists files, component by component, each by its UTF-8 bytes."""
    # Characters sort as their UTF-8 does, and NUL, which no path holds, before all of them.
    return entry.path.replace("/", "\0")


def derived_revision(manifest: Manifest) -> str:
    """Return the revision of a release that mirrors no commit: 40 hex of the SHA-256 of its canonical bytes,
    taken with an empty `revision`."""
    return hashlib.sha256(_called(manifest, "").to_bytes()).hexdigest()[:40]


def with_revision(manifest: Manifest, revision: str | None) -> Manifest:
    """Return the manifest under `revision`, or under the one derived from its content when None."""
    return _called(manifest, derived_revision(manifest) if revision is None else revision)


def with_listing(manifest: Manifest, listing: str) -> Manifest:
    """Return the manifest, told the files' part of its canonical bytes by who read just that."""
    object.__setattr__(manifest, "_listing", listing)
    return manifest


def _called(manifest: Manifest, revision: str) -> Manifest:
    if manifest.revision == revision:
        return manifest
    called = replace(manifest, revision=revision)
    return called if manifest._listing is None else with_listing(called, manifest._listing)


def _entry_text(entry: FileEntry) -> str:
    blob_id = "" if entry.blob_id is None else f'   "blob_id": {_quoted(entry.blob_id)},\n'
    root = "" if entry.pieces_root is None else f'   "pieces_root": {_quoted(entry.pieces_root)},\n'
    return (
        f'  {{\n{blob_id}   "path": {_quoted(entry.path)},\n{root}'
        f'   "sha256": {_quoted(entry.sha256)},\n   "size": {entry.size}\n  }}'
    )
