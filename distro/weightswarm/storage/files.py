"""Files: what an `OSError` is to the user, opens that follow no link, clones, sizes, what tells that a file changed."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from weightswarm.errors import StorageFailure

_FICLONE = 0x40049409  # ioctl_ficlone(2)
_FICLONERANGE = 0x4020940D  # the same page
_COPY_CHUNK = 64 * 1024 * 1024
_READ_CHUNK = 1024 * 1024


@contextmanager
def storage_errors(path: str | Path) -> Iterator[None]:
    """Turn an `OSError` inside into `StorageFailure` or `OutOfSpace` that names `path`."""
    try:
        yield
    except OSError as error:
        # Of a rename that meets a folder, the folder is what stands in the way.
        in_the_way = error.errno in (errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
        named = str((error.filename2 if in_the_way else None) or error.filename or path)
        if is_out_of_space(error):
            raise StorageFailure(named, "the disk is full", hint="free some space and try again") from error
        raise StorageFailure(named, error.strerror or str(error)) from error


def is_out_of_space(error: OSError) -> bool:
    """Tell whether the disk is full, or this user's share of it."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def sync_file_system(path: str | Path) -> None:
    """Return when all that was written to the file system of `path` is on the disk (`syncfs(2)`). Raises `OSError`."""
    library = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if library.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What changes when a file is written to or another takes its place. Times in nanoseconds; nobody can set
    `ctime_ns` back."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileIdentity:
        """The identity of a file of that status."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def read_regular(path: Path, limit: int) -> bytes:
    """Return the bytes of a regular file. Raises `OSError`, also for a link in the last component (`ELOOP`), for what
    is no file (`EINVAL`), and for more than `limit` bytes (`EFBIG`)."""
    with os.fdopen(open_regular(path), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return data


def read_bounded(path: Path, limit: int) -> bytes:
    """Return what a file holds. Raises `StorageFailure`, also for one of more than `limit` bytes, which is not read."""
    with storage_errors(path), open(path, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise StorageFailure(str(path), f"is larger than {limit:,} bytes")
    return data


def open_regular(path: str | Path) -> int:
    """Open a regular file for reading without following a link in its last component; returns the descriptor.

    Raises `OSError`: `ELOOP` for a link, `EINVAL` for anything else that is no regular file.
    """
    return open_regular_at(path, os.O_RDONLY, None)


def regular_status(path: str | Path) -> os.stat_result:
    """Return the status of a regular file without opening it. Raises as `open_regular` does."""
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        number = errno.ELOOP if stat.S_ISLNK(status.st_mode) else errno.EINVAL
        raise OSError(number, os.strerror(number), str(path))
    return status


def open_regular_at(name: str | Path, flags: int, folder: int | None) -> int:
    """As `open_regular`, for a name in an open folder; `flags` as for `os.open`."""
    descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(name))
    return descriptor


def clone_or_copy(source: int, target: int) -> None:
    """Give the open and empty file `target` the bytes of the open file `source`, sharing blocks where the file system
    can.

    Never a hard link: what is written to one must not show in the other.
    """
    try:
        fcntl.ioctl(target, _FICLONE, source)
        return
    except OSError as error:
        if is_out_of_space(error):
            raise
    offset, size = 0, os.fstat(source).st_size
    while offset < size:
        sent = os.sendfile(target, source, offset, min(_COPY_CHUNK, size - offset))
        if sent == 0:
            break
        offset += sent


def clone_range(source: int, target: int, offset: int, length: int) -> range | None:
    """Let the open file `target` share blocks of `source` at the same place; return which bytes it shares now.

    Those are whole blocks alone; None where the file system cannot share them. Raises `OSError` when the disk is full.
    """
    block = os.fstatvfs(target).f_bsize
    begin, end = -(-offset // block) * block, (offset + length) // block * block
    if begin >= end:
        return range(offset, offset)
    try:
        fcntl.ioctl(target, _FICLONERANGE, struct.pack("qQQQ", source, begin, end - begin, begin))
    except OSError as error:
        if is_out_of_space(error):
            raise
        return None
    return range(begin, end)


def copy_range(source: int, target: int, offset: int, length: int) -> None:
    """Copy bytes of the open file `source` to the same place in `target`, in the kernel where it can; what the source
    does not have any more is left out. Raises `OSError`."""
    end, in_kernel = offset + length, True
    while offset < end:
        count = min(_COPY_CHUNK, end - offset)
        try:
            copied = os.copy_file_range(source, target, count, offset, offset) if in_kernel else 0
        except OSError as error:
            if is_out_of_space(error):
                raise
            copied, in_kernel = 0, False
        if not copied:
            # Some file systems cannot, and some say so by copying nothing.
            copied = os.pwrite(target, os.pread(source, min(_READ_CHUNK, count), offset), offset)
        if not copied:
            break
        offset += copied


def free_bytes(folder: Path) -> int:
    """Return what this user may still write to the file system of `folder`, or of its nearest existing parent."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def allocated_bytes(path: str | Path) -> int:
    """Return the bytes that `path` takes on disk, 0 when it is not there. Sparse files count what is in them."""
    try:
        return os.lstat(path).st_blocks * 512
    except FileNotFoundError:
        return 0
