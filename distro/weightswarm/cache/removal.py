"""Taking releases out of the cache: names first, then the blobs that no other revision shows, the record last.

A snapshot goes by one rename. What a killed removal or placement leaves behind is known by its record, for `prune`.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from weightswarm.cache.layout import ModelCache, Repository
from weightswarm.cache.locks import hold, hold_if_free
from weightswarm.cache.records import drop_record, load_record, recorded_revisions
from weightswarm.cache.staging import Staging
from weightswarm.storage import OpenFolder, read_regular, remove_tree, storage_errors

_REMOVED = "removed-"


def remove_revision(repository: Repository, revision: str) -> int:
    """Remove one revision and return the bytes freed. Refs that name it go with it."""
    with hold(repository.lock), storage_errors(repository.path):
        return _remove(repository, revision)


def prune_staging(cache: ModelCache) -> tuple[int, int]:
    """Remove unfinished downloads that no process works on; returns how many and the bytes they took.

    What killed placements and removals left goes as well.
    """
    count = freed = 0
    with storage_errors(cache.private):
        try:
            folders = [Path(entry.path) for entry in os.scandir(cache.private) if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return 0, 0
        for folder in folders:
            if folder.name.startswith(_REMOVED):
                with OpenFolder.at(cache.private, cache.root, create=False) as private:
                    _remove_hidden(private, folder.name)
                continue
            with hold_if_free(folder.with_name(f"{folder.name}.lock")) as held:
                if held:
                    freed += sum(f.lstat().st_blocks * 512 for f in folder.rglob("*"))
                    remove_tree(folder, below=cache.root)
                    count += 1
        for repository in cache.repositories():
            freed += _remove_unfinished(cache, repository)
    return count, freed


def _remove_unfinished(cache: ModelCache, repository: Repository) -> int:
    """Remove what has a record and no snapshot, unless a fetch works on it; return the bytes freed."""
    freed = 0
    for revision in recorded_revisions(repository):
        if repository.snapshot(revision).exists():
            continue
        record = load_record(repository, revision)
        # A fetch holds its staging first, and then the repository.
        fetch = repository.lock
        if record is not None and record.info_hash is not None:
            fetch = Staging(cache.private, record.info_hash).lock
        with hold_if_free(fetch) as held:
            if held and fetch == repository.lock:
                freed += _remove(repository, revision)
            elif held:
                with hold_if_free(repository.lock) as free:
                    if free and not repository.snapshot(revision).exists():
                        freed += _remove(repository, revision)
    return freed


def _remove(repository: Repository, revision: str) -> int:
    root = repository.path.parent
    with OpenFolder.at(repository.path, root) as opened:
        snapshot = repository.snapshot(revision)
        candidates = _blobs_of(repository, snapshot)
        if (record := load_record(repository, revision)) is not None:
            candidates |= {entry.blob_name for entry in record.manifest.files}
        for ref in _refs_to(repository, revision):
            with OpenFolder.at(ref.parent, root, create=False) as folder:
                folder.unlink(ref.name)
        freed = _plain_bytes(snapshot)
        _discard(root, snapshot)
        for other in repository.revisions():
            candidates -= _blobs_of(repository, repository.snapshot(other))
        if candidates and opened.status("blobs") is not None:
            with opened.enter("blobs", create=False) as blobs:
                for name in candidates:
                    if (status := blobs.status(name)) is not None:
                        freed += status.st_size
                        blobs.unlink(name)
    others = {*repository.revisions(), *recorded_revisions(repository)} - {revision}
    if others or _leftovers(repository):
        drop_record(repository, revision)
    else:
        _discard(root, repository.path)
    return freed


def _discard(root: Path, folder: Path) -> None:
    """Take a folder out of sight by one rename, then remove it."""
    if not os.path.lexists(folder):
        return
    name = f"{_REMOVED}{uuid4().hex}"
    with (
        OpenFolder.at(folder.parent, root, create=False) as parent,
        OpenFolder.at(ModelCache(root).private, root) as private,
    ):
        parent.move(folder.name, private, name)
        parent.sync()
        _remove_hidden(private, name)


def _remove_hidden(private: OpenFolder, name: str) -> None:
    """Remove what is out of sight already. Network and FUSE file systems keep files that some process has open, and
    their folders: those are left for a later `prune`."""
    try:
        private.remove(name)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EBUSY):
            raise


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


def _plain_bytes(snapshot: Path) -> int:
    """Return the bytes of the files in a snapshot that are no links."""
    found = (os.lstat(os.path.join(folder, file)) for folder, _, files in os.walk(snapshot) for file in files)
    return sum(status.st_size for status in found if not stat.S_ISLNK(status.st_mode))


def _refs_to(repository: Repository, revision: str) -> list[Path]:
    found = []
    for folder, _, files in os.walk(repository.refs):
        for file in files:
            path = Path(folder, file)
            with suppress(OSError):
                if read_regular(path, 64).strip() == revision.encode():
                    found.append(path)
    return found


def _leftovers(repository: Repository) -> bool:
    """Tell whether the repository still holds blobs, such as the Hub client's unfinished downloads."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return any(True for _ in os.scandir(repository.blobs))
    return False
