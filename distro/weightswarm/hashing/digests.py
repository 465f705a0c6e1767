"""The digests of one file, read from disk in order: SHA-256 and, where wanted, the git blob SHA-1."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass

_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class FileDigests:
    """What a file's bytes hash to. `size` in bytes, digests in lower-case hex; `git_sha1` only where asked for."""

    size: int
    sha256: str
    git_sha1: str | None = None


def digest_file(
    descriptor: int,
    *,
    git_blob: bool = False,
    on_bytes: Callable[[int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> FileDigests | None:
    """Read an open file from its start to its end and return its digests; None when `stop` said so.

    Raises `OSError` as reading does. `on_bytes` gets the count of each chunk, in the calling thread.
    """
    sha256 = hashlib.sha256()
    git_sha1 = hashlib.sha1(b"blob %d\0" % os.fstat(descriptor).st_size, usedforsecurity=False) if git_blob else None
    buffer = bytearray(_CHUNK)
    view = memoryview(buffer)
    offset = 0
    while count := os.preadv(descriptor, [buffer], offset):
        if stop is not None and stop():
            return None
        sha256.update(view[:count])
        if git_sha1 is not None:
            git_sha1.update(view[:count])
        offset += count
        if on_bytes is not None:
            on_bytes(count)
    return FileDigests(offset, sha256.hexdigest(), None if git_sha1 is None else git_sha1.hexdigest())


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
