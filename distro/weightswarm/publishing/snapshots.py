"""Which files a release of a cached snapshot would have, each at the blob that holds it, whoever put it there.

A cache may be shared, and a link in it be somebody else's. So links lead to the model's own blobs; and a blob that is
itself a link, as into the cache-wide store of newer Hub clients, is named by its content's hash and stays in the cache.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from weightswarm.cache import Repository
from weightswarm.errors import NotPublishable
from weightswarm.manifest import is_ignored
from weightswarm.publishing.scanning import SourceFile, checked, source_file

_BLOB_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_UNFINISHED = ".incomplete"


def scan_snapshot(repository: Repository, revision: str) -> list[SourceFile]:
    """Return the files of a cached snapshot, in torrent order. Raises `NotPublishable`."""
    snapshot = repository.snapshot(revision)
    homes = _homes(repository)
    _check_inside(snapshot, _real(snapshot), homes)
    found = []
    for folder_name, folders, names in os.walk(snapshot, onerror=_unreadable):
        prefix = Path(folder_name).relative_to(snapshot)
        folders[:] = [n for n in folders if not is_ignored((prefix / n).as_posix())]
        for name in folders:
            if Path(folder_name, name).is_symlink():
                raise NotPublishable(str(Path(folder_name, name)), "it is a link to a folder")
        for name in names:
            path = (prefix / name).as_posix()
            if not is_ignored(path):
                found.append(_snapshot_file(repository, Path(folder_name, name), path, homes))
    return checked(snapshot, found)


def unfinished_blobs(repository: Repository) -> frozenset[str]:
    """Return the ids of the blobs that a download of the Hub's client left unfinished: `<id>[.<token>].incomplete`."""
    try:
        names = os.listdir(repository.blobs)
    except OSError:
        return frozenset()
    return frozenset(name.partition(".")[0] for name in names if name.endswith(_UNFINISHED))


def _snapshot_file(repository: Repository, link: Path, path: str, homes: tuple[Path, ...]) -> SourceFile:
    if not link.is_symlink():
        return source_file(link, path, link)
    blob = Path(os.path.normpath(Path(link.parent, os.readlink(link))))
    if blob.parent != repository.blobs:
        raise NotPublishable(str(link), "its link leaves the repository's blobs")
    try:
        os.stat(blob)
    except FileNotFoundError:
        again = f"hf download {repository.name} --revision {link.relative_to(repository.snapshots).parts[0]}"
        raise NotPublishable(str(link), "its blob is not in the cache", hint=f"download it again: {again}") from None
    except OSError as error:
        raise NotPublishable(str(link), error.strerror or "its blob cannot be read") from error
    blob_id = blob.name if _BLOB_ID.fullmatch(blob.name) else None
    if blob_id is None and blob.is_symlink():
        # The hash in its name is what keeps another user of the cache from giving away a file of this one.
        raise NotPublishable(str(link), "its blob is a link, and not named by a hash")
    return source_file(link, path, _located(link, blob, homes), blob_id)


def located(repository: Repository, files: Iterable[Path]) -> tuple[Path, ...]:
    """Return where a model's blobs and plain files really stand. Raises `NotPublishable` for one out of the cache."""
    homes = _homes(repository)
    return tuple(_located(file, file, homes) for file in files)


def _unreadable(error: OSError) -> NoReturn:
    raise NotPublishable(str(error.filename), error.strerror or "it cannot be read") from error


def _located(shown: Path, file: Path, homes: tuple[Path, ...]) -> Path:
    if not file.is_symlink():
        return file
    real = _real(file)
    _check_inside(shown, real, homes)
    return real


def _homes(repository: Repository) -> tuple[Path, ...]:
    """Return where files of the model may really stand: in the cache, and where a link of this user's own, in the place
    of one of the model's folders, put them. Raises `NotPublishable` when its blobs stand elsewhere."""
    folders = (repository.path, repository.blobs, repository.snapshots)
    moved = (f for f in folders if f.is_symlink() and f.lstat().st_uid in (0, os.geteuid()))
    homes = (_real(repository.path.parent), *map(_real, moved))
    _check_inside(repository.blobs, _real(repository.blobs), homes)
    return homes


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _check_inside(shown: Path, real: Path, homes: tuple[Path, ...]) -> None:
    if not any(home == real or home in real.parents for home in homes):
        raise NotPublishable(
            str(shown),
            f"it leads out of the model cache, to {real}",
            hint="put a copy there, or publish the folder that it leads to",
        )
