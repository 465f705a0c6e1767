"""The digests of one file, read from disk in order: SHA-256 and, where wanted, the git blob SHA-1."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field

_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class FileDigests:
    """What a file's bytes hash to. `size` in bytes, digests in lower-case hex; `git_sha1` only where asked for, and
    `head`, the file's first bytes, only where a worker read the file whole."""

    size: int
    sha256: str
    git_sha1: str | None = None
    head: bytes | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, size: int, sha256: bytes, git_sha1: bytes | None, head: bytes | None = None) -> FileDigests:
        """The same from raw digests."""
        return cls(size, sha256.hex(), None if git_sha1 is None else git_sha1.hex(), head)


def digest_file(
    descriptor: int,
    *,
    git_blob: bool = False,
    on_bytes: Callable[[int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> FileDigests | None:
    """Read an open file from its start to its end and return its digests; None when `stop` said so.

    `on_bytes` gets the count of each chunk, in the calling thread. Raises `OSError` as reading does.
    """
    sha256, git_sha1 = hashlib.sha256(), None
    if git_blob:
        git_sha1 = hashlib.sha1(b"blob %d\0" % os.fstat(descriptor).st_size, usedforsecurity=False)
    buffer = memoryview(bytearray(_CHUNK))
    position = 0
    while stop is None or not stop():
        count = os.preadv(descriptor, [buffer], position)
        if count == 0:
            return FileDigests.of(position, sha256.digest(), None if git_sha1 is None else git_sha1.digest())
        sha256.update(buffer[:count])
        if git_sha1 is not None:
            git_sha1.update(buffer[:count])
        position += count
        if on_bytes is not None:
            on_bytes(count)
    return None


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
