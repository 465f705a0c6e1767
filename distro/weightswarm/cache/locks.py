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
from weightswarm.storage import OpenFolder, storage_errors

_POLL_SECONDS = 0.2


@contextmanager
def hold(path: Path, *, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock file `path`, waiting for whoever has it; `on_wait` is called once when there is a wait.

    Lock files stand two folders below one that the user chose, and nothing in between may be a link. Raises
    `StorageFailure`.
    """
    with storage_errors(path):
        descriptor = _open(path)
    try:
        if not _take(descriptor, path):
            if on_wait is not None:
                on_wait()
            while not _take(descriptor, path):
                time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def hold_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock file `path` if nobody has it; yields whether it is held."""
    with storage_errors(path):
        descriptor = _open(path)
    try:
        yield _take(descriptor, path)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    with OpenFolder.at(path.parent, below=path.parents[2]) as folder:
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
