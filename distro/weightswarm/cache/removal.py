"""Taking releases out of the cache: names first, then the blobs that no other revision shows."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from weightswarm.cache.layout import ModelCache, Repository
from weightswarm.cache.locks import hold, hold_if_free
from weightswarm.cache.records import drop_record, load_record
from weightswarm.storage import remove_tree, storage_errors


def remove_revision(repository: Repository, revision: str) -> int:
    """Remove one revision and return the bytes freed. Refs that name it go with it."""
    with hold(repository.lock), storage_errors(repository.path):
        snapshot = repository.snapshot(revision)
        candidates = _blobs_of(repository, snapshot)
        if (record := load_record(repository, revision)) is not None:
            candidates |= {repository.blob(entry).name for entry in record.manifest.files}
        for ref in _refs_to(repository, revision):
            ref.unlink(missing_ok=True)
        remove_tree(snapshot)
        drop_record(repository, revision)
        for other in repository.revisions():
            candidates -= _blobs_of(repository, repository.snapshot(other))
        freed = 0
        for name in candidates:
            blob = repository.blobs / name
            with suppress(FileNotFoundError):
                freed += os.lstat(blob).st_size
                blob.unlink()
        if not repository.revisions() and not _leftovers(repository):
            remove_tree(repository.path)
        return freed


def prune_staging(cache: ModelCache) -> tuple[int, int]:
    """Remove unfinished downloads that no process works on; returns how many and the bytes they took."""
    count = freed = 0
    with storage_errors(cache.private):
        try:
            folders = [Path(entry.path) for entry in os.scandir(cache.private) if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return 0, 0
        for folder in folders:
            with hold_if_free(folder.with_name(f"{folder.name}.lock")) as held:
                if held:
                    freed += sum(f.lstat().st_blocks * 512 for f in folder.rglob("*"))
                    remove_tree(folder)
                    count += 1
    return count, freed


def _blobs_of(repository: Repository, snapshot: Path) -> set[str]:
    """Return the names of the blobs of `repository` that a snapshot's links point at."""
    names = set()
    for folder, _, files in os.walk(snapshot):
        for file in files:
            path = os.path.join(folder, file)
            if os.path.islink(path):
                target = os.path.normpath(os.path.join(folder, os.readlink(path)))
                if os.path.dirname(target) == str(repository.blobs):
                    names.add(os.path.basename(target))
    return names


def _refs_to(repository: Repository, revision: str) -> list[Path]:
    found = []
    for folder, _, files in os.walk(repository.refs):
        for file in files:
            path = Path(folder, file)
            with suppress(OSError):
                if path.read_bytes()[:64].strip() == revision.encode():
                    found.append(path)
    return found


def _leftovers(repository: Repository) -> bool:
    """Tell whether the repository still holds blobs, such as the Hub client's unfinished downloads."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return any(True for _ in os.scandir(repository.blobs))
    return False
