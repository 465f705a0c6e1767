"""What is known of a cached release: its manifest, its torrent, which files are there, when they were verified."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightswarm.cache.layout import ModelCache, Repository
from weightswarm.errors import InvalidInput, InvalidManifest
from weightswarm.magnet import InfoHash
from weightswarm.manifest import Manifest, is_revision, parse_manifest
from weightswarm.storage import OpenFolder, read_regular, remove_tree, storage_errors

SIGNATURE_FILE = "manifest.json.minisig"
_MAX_DOCUMENT = 128 * 1024 * 1024
_MAX_SIGNATURE = 8192


@dataclass(frozen=True, slots=True)
class ReleaseRecord:
    """One revision in the cache. `torrent` is its metainfo document; `paths` the files that were placed;
    `verified` the UTC time, `2026-01-31T00:00:00Z`, at which their SHA-256s were last read back from disk;
    `signature` the manifest's, as minisign writes it, None where it came without one."""

    repository: Repository
    manifest: Manifest
    torrent: bytes | None
    info_hash: InfoHash | None
    paths: tuple[str, ...]
    verified: str
    signature: bytes | None = None

    @property
    def complete(self) -> bool:
        """Whether every file of the manifest was placed."""
        return len(self.paths) == len(self.manifest.files)


def utc_now() -> str:
    """Return the time for `ReleaseRecord.verified`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def save_record(record: ReleaseRecord) -> None:
    """Write a record; a reader sees the old one or the new one."""
    with _opened(record) as folder:
        folder.write("manifest.json", record.manifest.to_bytes())
        _write_signature(folder, record.signature)
        if record.torrent is not None:
            folder.write("release.torrent", record.torrent)
        _write_facts(
            folder,
            {
                "paths": sorted(record.paths),
                "verified": record.verified,
                "info_hash_v1": record.info_hash.v1 if record.info_hash else None,
                "info_hash_v2": record.info_hash.v2 if record.info_hash else None,
            },
        )


def save_signature(record: ReleaseRecord) -> None:
    """Write a record's signature alone, if its record still is of the same files; another's that stands there goes."""
    folder = record.repository.record(record.manifest.revision)
    try:
        same = _read(folder / "manifest.json") == record.manifest.to_bytes()
    except OSError:
        return
    if same:
        with storage_errors(folder), _opened(record) as opened:
            _write_signature(opened, record.signature)


def note_verified(record: ReleaseRecord) -> None:
    """Write down that a release was verified now, if its record still is of the same files."""
    folder = record.repository.record(record.manifest.revision)
    try:
        same = _read(folder / "manifest.json") == record.manifest.to_bytes()
        facts = json.loads(_read(folder / "record.json"))
    except (OSError, ValueError, RecursionError):
        return
    if same and isinstance(facts, dict):
        with storage_errors(folder), _opened(record) as opened:
            _write_facts(opened, {**facts, "verified": utc_now()})


def _opened(record: ReleaseRecord) -> OpenFolder:
    repository = record.repository
    return OpenFolder.at(repository.record(record.manifest.revision), below=repository.path.parent)


def _write_signature(folder: OpenFolder, signature: bytes | None) -> None:
    if signature is not None:
        folder.write(SIGNATURE_FILE, signature)
    else:
        folder.unlink(SIGNATURE_FILE)


def _write_facts(folder: OpenFolder, facts: dict[str, Any]) -> None:
    folder.write("record.json", json.dumps(facts, indent=1).encode() + b"\n")


def _read(path: Path) -> bytes:
    return read_regular(path, _MAX_DOCUMENT)


def load_record(repository: Repository, revision: str) -> ReleaseRecord | None:
    """Return what is known of a revision; None when nothing (usable) is."""
    folder = repository.record(revision)
    try:
        manifest = parse_manifest(_read(folder / "manifest.json"))
        document = json.loads(_read(folder / "record.json"))
        info_hash = _info_hash(document)
        paths = {str(path) for path in document["paths"]}
        verified = str(document["verified"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, InvalidManifest, InvalidInput):
        return None
    if manifest.revision != revision:
        return None
    known = tuple(entry.path for entry in manifest.files if entry.path in paths)
    torrent = signature = None
    with suppress(OSError):
        torrent = _read(folder / "release.torrent")
    with suppress(OSError):
        signature = read_regular(folder / SIGNATURE_FILE, _MAX_SIGNATURE)
    return ReleaseRecord(repository, manifest, torrent, info_hash, known, verified, signature)


def drop_record(repository: Repository, revision: str) -> None:
    """Forget a revision."""
    remove_tree(repository.record(revision), below=repository.path.parent)


def find_by_info_hash(cache: ModelCache, info_hash: InfoHash, name: str | None = None) -> ReleaseRecord | None:
    """Return the cached release that a torrent became, under `name` or under any; None when there is none."""
    for repository in cache.repositories():
        if name not in (None, repository.name):
            continue
        for revision in recorded_revisions(repository):
            try:
                document = json.loads(_read(repository.record(revision) / "record.json"))
                found = _info_hash(document)
            except (OSError, ValueError, KeyError, TypeError, RecursionError, InvalidInput):
                continue
            if found is not None and found.matches(info_hash):
                record = load_record(repository, revision)
                if record is not None and repository.snapshot(revision).is_dir():
                    return record
    return None


def recorded_revisions(repository: Repository) -> tuple[str, ...]:
    """Return the revisions that have a record, sorted."""
    try:
        return tuple(sorted(e.name for e in os.scandir(repository.path / ".weightswarm") if is_revision(e.name)))
    except OSError:
        return ()


def missing_paths(record: ReleaseRecord, paths: list[str]) -> list[str]:
    """Return those of `paths` that a loader would not find whole in the snapshot, by presence and size alone."""
    snapshot = record.repository.snapshot(record.manifest.revision)
    sizes = {entry.path: entry.size for entry in record.manifest.files}
    placed = set(record.paths)
    return [path for path in paths if path not in placed or _size(f"{snapshot}/{path}") != sizes[path]]


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def _info_hash(document: Any) -> InfoHash | None:
    v1, v2 = document["info_hash_v1"], document["info_hash_v2"]
    return InfoHash(v1, v2) if v1 or v2 else None
