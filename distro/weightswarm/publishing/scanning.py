"""Which files a release would have: a folder's, or a single file. `snapshots` looks into the model cache."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from weightswarm.errors import NotFound, NotPublishable
from weightswarm.manifest import check_path, check_paths_distinct, is_ignored, path_order

MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class Signature:
    """What changes when a file does: size in bytes, times in nanoseconds, inode."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to publish: its `path` in the release, where its bytes stand, and the Hub's name for them if any."""

    path: str
    location: str
    signature: Signature
    blob_id: str | None = None


def signature_of(location: str | Path) -> Signature:
    """Return a file's signature, links followed. Raises `OSError`."""
    status = os.stat(location)
    return Signature(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def scan(path: Path) -> list[SourceFile]:
    """Return the files of a folder, or the one file at `path`, in torrent order. Raises `NotPublishable`, `NotFound`.

    Links to files inside the folder are followed; anything else that is no regular file is refused by name.
    """
    path = path.absolute()
    if not path.exists():
        raise NotFound(f"There is no file or folder {path}", hint="a model in the cache is named org/model")
    if path.is_file():
        found = [source_file(path, path.name, path.resolve())]
    elif path.is_dir():
        found = _scan_folder(path, path.resolve(), "", 0)
    else:
        raise NotPublishable(str(path), "it is neither a file nor a folder")
    return checked(path, found)


def _scan_folder(folder: Path, root: Path, prefix: str, depth: int) -> list[SourceFile]:
    if depth > MAX_DEPTH:
        raise NotPublishable(str(folder), f"it is more than {MAX_DEPTH} folders deep")
    found: list[SourceFile] = []
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise NotPublishable(str(folder), error.strerror or "it cannot be read") from error
    for entry in entries:
        path = f"{prefix}{entry.name}"
        if is_ignored(path):
            continue
        if entry.is_symlink():
            found.append(_linked(Path(entry.path), path, root))
        elif entry.is_dir():
            found += _scan_folder(Path(entry.path), root, f"{path}/", depth + 1)
        else:
            found.append(source_file(entry.path, path, entry.path))
    return found


def _linked(link: Path, path: str, root: Path) -> SourceFile:
    try:
        target = link.resolve()
    except (OSError, RuntimeError):  # RuntimeError before Python 3.13
        raise NotPublishable(str(link), "its link leads in a circle") from None
    if not target.exists():
        raise NotPublishable(str(link), "its link leads nowhere")
    if root not in target.parents:
        raise NotPublishable(
            str(link), f"its link leaves the folder, to {target}", hint="copy the file there, or publish that folder"
        )
    if target.is_dir():
        raise NotPublishable(str(link), "it is a link to a folder")
    return source_file(link, path, target)


def source_file(shown: str | Path, path: str, location: str | Path, blob_id: str | None = None) -> SourceFile:
    """Return the regular file at `location` as `path` of a release. Raises `NotPublishable` that names `shown`."""
    try:
        status = os.stat(location)
    except OSError as error:
        raise NotPublishable(str(shown), error.strerror or "it cannot be read") from error
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFSOCK: "a socket", stat.S_IFIFO: "a FIFO", stat.S_IFBLK: "a device", stat.S_IFCHR: "a device"}
        raise NotPublishable(str(shown), f"it is {kinds.get(stat.S_IFMT(status.st_mode), 'no regular file')}")
    # Its owner's bit tells without another look, as 10,000 files are nearly always one's own.
    mine = status.st_uid == os.geteuid() and status.st_mode & stat.S_IRUSR
    if not mine and not os.access(location, os.R_OK):
        raise NotPublishable(str(shown), "it cannot be read: permission denied")
    if reason := check_path(path):
        raise NotPublishable(str(shown), reason, hint="rename it: every system must be able to hold the release")
    signature = Signature(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return SourceFile(path, os.fspath(location), signature, blob_id)


def checked(root: Path, files: list[SourceFile]) -> list[SourceFile]:
    """Return files in torrent order. Raises `NotPublishable` when they hold no bytes, or two paths mean one file."""
    if not any(file.signature.size for file in files):
        raise NotPublishable(str(root), "it holds no bytes")
    if collision := check_paths_distinct([file.path for file in files]):
        raise NotPublishable(str(root / collision[0]), f"it {collision[1]}")
    return sorted(files, key=path_order)
