"""Careful file operations: durable and atomic writes, clones, opens that follow no link. Knows no layout."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from weightswarm.errors import InvalidInput, StorageFailure

_FICLONE = 0x40049409  # ioctl_ficlone(2)
_COPY_CHUNK = 64 * 1024 * 1024


def user_path(text: str | os.PathLike[str]) -> Path:
    """Return a path that a user gave, absolute and without `..`. Raises `InvalidInput` for one that names nothing."""
    given = os.fspath(text)
    if not given or "\0" in given:
        raise InvalidInput("A path is empty", hint="is a variable in the command line unset? '.' is the current folder")
    try:
        return Path(os.path.abspath(Path(given).expanduser()))
    except RuntimeError:
        raise InvalidInput(f"There is no such user: {given[:80]}") from None


def is_file(path: Path) -> bool:
    """Tell whether a file stands at `path`; what is too long to be a path is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Tell whether a folder stands at `path`."""
    try:
        return path.is_dir()
    except OSError:
        return False


def looks_like_path(text: str) -> bool:
    """Tell whether a user who typed `text` meant a path: it starts like one, or ends like a torrent."""
    return text.startswith(("/", "./", "../", "~")) or text in (".", "..") or text.endswith((".torrent", ".json"))


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` inside into `StorageFailure` or `OutOfSpace` that names `path`."""
    try:
        yield
    except OSError as error:
        named = str(error.filename or path)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFailure(named, "the disk is full", hint="free some space and try again") from error
        raise StorageFailure(named, error.strerror or str(error)) from error


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(path: Path) -> None:
    """Return when all that was written to the file system of `path` is on the disk (`syncfs(2)`). Raises `OSError`."""
    library = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if library.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that `path` holds all of `data` or what it held before, even across a power cut."""
    make_real_folder(path.parent)
    with storage_errors(path):
        _write_atomically(path, data)


def _write_atomically(path: Path, data: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name[:80]}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


def open_regular(path: Path) -> int:
    """Open a regular file for reading without following a link in its last component; returns the descriptor.

    Raises `OSError`: `ELOOP` for a link, `EINVAL` for anything else that is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def make_real_folder(folder: Path, below: Path | None = None) -> None:
    """Create `folder` and its parents. Below `below`, a component that is a link (or no folder) is refused.

    Raises `StorageFailure`.
    """
    with storage_errors(folder):
        if below is None:
            folder.mkdir(parents=True, exist_ok=True)
            return
        current = below
        current.mkdir(parents=True, exist_ok=True)
        for part in folder.relative_to(below).parts:
            current = current / part
            with suppress(FileExistsError):
                current.mkdir()
            if not stat.S_ISDIR(os.lstat(current).st_mode):
                raise StorageFailure(str(current), "is in the way: a link or a file where a folder should be")


def clone_or_copy(source: int, target: Path) -> None:
    """Create `target` with the bytes of the open file `source`, sharing blocks where the file system can.

    Never a hard link: what is written to one must not show in the other.
    """
    with open(target, "xb") as file:
        try:
            fcntl.ioctl(file.fileno(), _FICLONE, source)
            return
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
        offset, size = 0, os.fstat(source).st_size
        while offset < size:
            sent = os.sendfile(file.fileno(), source, offset, min(_COPY_CHUNK, size - offset))
            if sent == 0:
                break
            offset += sent


def free_bytes(folder: Path) -> int:
    """Return what this user may still write to the file system of `folder`, or of its nearest existing parent."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def allocated_bytes(path: Path) -> int:
    """Return the bytes that `path` takes on disk, 0 when it is not there. Sparse files count what is in them."""
    try:
        return os.lstat(path).st_blocks * 512
    except FileNotFoundError:
        return 0


def remove_tree(folder: Path) -> None:
    """Remove a folder and all in it; links are removed, never followed. A missing folder is no error."""
    with storage_errors(folder), suppress(FileNotFoundError):
        if stat.S_ISLNK(os.lstat(folder).st_mode):
            folder.unlink()
        else:
            shutil.rmtree(folder)
