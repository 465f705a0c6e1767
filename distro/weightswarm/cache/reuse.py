"""Finding content that is in the cache already, so that it is not downloaded again.

Names are only where to look: whoever uses a find hashes it first.
"""

from __future__ import annotations

import os
from pathlib import Path

from weightswarm.cache.layout import ModelCache, Repository
from weightswarm.cache.records import load_record, recorded_revisions
from weightswarm.manifest import FileEntry


def find_copies(cache: ModelCache, entries: list[FileEntry]) -> dict[str, list[Path]]:
    """Return, by SHA-256, the blobs in any repository that may hold the content of `entries`; sizes are equal."""
    wanted = {entry.sha256: entry.size for entry in entries if entry.size}
    found: dict[str, list[Path]] = {}
    for repository in cache.repositories():
        named = {name: repository.blobs / name for name in _blob_names(repository) if name in wanted}
        # The Hub names small files by another hash; manifests know their SHA-256.
        for revision in recorded_revisions(repository):
            record = load_record(repository, revision)
            for entry in record.manifest.files if record else ():
                if entry.sha256 in wanted and (file := repository.file(entry, revision)) is not None:
                    named[entry.sha256] = file
        for sha256, path in named.items():
            try:
                if path.stat().st_size == wanted[sha256]:
                    found.setdefault(sha256, []).append(path)
            except OSError:
                continue
    return found


def _blob_names(repository: Repository) -> list[str]:
    try:
        return os.listdir(repository.blobs)
    except OSError:
        return []
