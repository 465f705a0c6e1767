"""What the cache holds, release by release."""

from __future__ import annotations

import os
from dataclasses import dataclass

from weightswarm.cache.layout import ModelCache, Repository
from weightswarm.cache.records import load_record, missing_paths


@dataclass(frozen=True, slots=True)
class CachedRelease:
    """One revision in the cache. `size_on_disk` in bytes counts each blob once; `state` is `complete`, `partial`,
    or `unknown` where no manifest is held; `verified` is a UTC time, or None."""

    name: str
    revision: str
    size_on_disk: int
    files: int
    state: str
    verified: str | None
    is_main: bool


def list_cache(cache: ModelCache) -> tuple[CachedRelease, ...]:
    """Return every revision in the cache, by name, then revision."""
    return tuple(
        _describe(repository, revision) for repository in cache.repositories() for revision in repository.revisions()
    )


def size_on_disk(repository: Repository, revision: str) -> tuple[int, int]:
    """Return the bytes that a snapshot's files take, each blob counted once, and how many files it shows."""
    blobs: dict[tuple[int, int], int] = {}
    files = 0
    for folder, _, names in os.walk(repository.snapshot(revision)):
        for name in names:
            try:
                status = os.stat(os.path.join(folder, name))
            except OSError:
                continue
            files += 1
            blobs[status.st_dev, status.st_ino] = status.st_size
    return sum(blobs.values()), files


def _describe(repository: Repository, revision: str) -> CachedRelease:
    size, files = size_on_disk(repository, revision)
    record = load_record(repository, revision)
    state, verified = "unknown", None
    if record is not None:
        whole = not missing_paths(record, [entry.path for entry in record.manifest.files])
        state, verified = ("complete" if whole else "partial"), record.verified
    return CachedRelease(repository.name, revision, size, files, state, verified, repository.main() == revision)
