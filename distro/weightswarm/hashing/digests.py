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


class RunningDigest:
    """The digests of a file that is read piece by piece, always onwards. `position` is how far it was read.

    `git_blob_size` is the file's final size in bytes where the git blob SHA-1 is wanted, which begins with it.
    """

    def __init__(self, git_blob_size: int | None = None) -> None:
        self.position = 0
        self._sha256 = hashlib.sha256()
        self._git_sha1 = None
        if git_blob_size is not None:
            self._git_sha1 = hashlib.sha1(b"blob %d\0" % git_blob_size, usedforsecurity=False)

    def read(
        self,
        descriptor: int,
        end: int | None = None,
        *,
        on_bytes: Callable[[int], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> bool:
        """Read an open file on to `end` (or to its own end) and return whether that was reached.

        False when `stop` said so, or the file ends before `end`. `on_bytes` gets the count of each chunk, in the
        calling thread. Raises `OSError` as reading does.
        """
        buffer = memoryview(bytearray(_CHUNK))
        while end is None or self.position < end:
            if stop is not None and stop():
                return False
            wanted = _CHUNK if end is None else min(_CHUNK, end - self.position)
            count = os.preadv(descriptor, [buffer[:wanted]], self.position)
            if count == 0:
                return end is None
            self._sha256.update(buffer[:count])
            if self._git_sha1 is not None:
                self._git_sha1.update(buffer[:count])
            self.position += count
            if on_bytes is not None:
                on_bytes(count)
        return True

    def digests(self) -> FileDigests:
        """Return the digests of what was read so far."""
        git_sha1 = None if self._git_sha1 is None else self._git_sha1.hexdigest()
        return FileDigests(self.position, self._sha256.hexdigest(), git_sha1)


def digest_file(
    descriptor: int,
    *,
    git_blob: bool = False,
    on_bytes: Callable[[int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> FileDigests | None:
    """Read an open file from its start to its end and return its digests; None when `stop` said so.

    Raises `OSError` as reading does.
    """
    running = RunningDigest(os.fstat(descriptor).st_size if git_blob else None)
    return running.digests() if running.read(descriptor, on_bytes=on_bytes, stop=stop) else None


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
