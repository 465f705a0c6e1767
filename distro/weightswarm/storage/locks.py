"""Locks between processes, by `flock(2)`. They end with their process, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from weightswarm.errors import StorageFailure
from weightswarm.storage.files import storage_errors
from weightswarm.storage.folders import OpenFolder

_POLL_SECONDS = 0.2


@contextmanager
def hold_lock(
    path: Path, below: Path, *, on_wait: Callable[[], None] | None = None, timeout: float | None = None
) -> Iterator[None]:
    """Hold the lock file `path`, waiting for whoever has it; `on_wait` is called once when there is a wait.

    Nothing between `below`, which the user chose, and the file may be a link. Raises `StorageFailure`, also after
    `timeout` seconds.
    """
    with storage_errors(path):
        descriptor = _open(path, below)
    try:
        if not _take(descriptor, path):
            if on_wait is not None:
                on_wait()
            deadline = None if timeout is None else time.monotonic() + timeout
            while not _take(descriptor, path):
                if deadline is not None and time.monotonic() > deadline:
                    raise StorageFailure(str(path), "another process holds this lock; is it stuck?")
                time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def hold_lock_if_free(path: Path, below: Path) -> Iterator[bool]:
    """As `hold_lock`, if nobody has it; yields whether it is held."""
    with storage_errors(path):
        descriptor = _open(path, below)
    try:
        yield _take(descriptor, path)
    finally:
        os.close(descriptor)


def _open(path: Path, below: Path) -> int:
    with OpenFolder.at(path.parent, below=below) as folder:
        try:
            return folder.open_file(path.name, os.O_RDWR | os.O_CREAT)
        except PermissionError:
            if folder.status(path.name) is None:
                raise
            # Another user's, in a cache that several share: a lock needs no more than reading.
            return folder.open_file(path.name)


def _take(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        hint = "choose another folder: file locks do not work on this file system"
        raise StorageFailure(str(path), error.strerror or errno.errorcode[error.errno or 0], hint=hint) from error
    return True
