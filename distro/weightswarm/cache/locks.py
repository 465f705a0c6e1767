"""Locks of the cache: their files stand two folders below one that the user chose."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from weightswarm.storage import hold_lock, hold_lock_if_free


def hold(path: Path, *, on_wait: Callable[[], None] | None = None) -> AbstractContextManager[None]:
    """Hold the lock file `path`, waiting for whoever has it. Raises `StorageFailure`. See `hold_lock`."""
    return hold_lock(path, path.parents[2], on_wait=on_wait)


def hold_if_free(path: Path) -> AbstractContextManager[bool]:
    """Hold the lock file `path` if nobody has it; gives whether it is held."""
    return hold_lock_if_free(path, path.parents[2])
