"""SHA-256, SHA-1 and trees of them with hashlib, and files that are mapped: what `_sha.c` does where that is."""

from __future__ import annotations

import hashlib
import mmap
import os
from contextlib import suppress

# Hash processes import this: what they do not need costs them their start (see `computing`).
TYPE_CHECKING = False
if TYPE_CHECKING:
    Buffer = bytes | bytearray | memoryview

_LEAF = 16 * 1024
# Small enough to stay in a core's own cache while it is hashed in several ways.
_SLICE = 256 * 1024


class Sha256:
    """A running SHA-256. For one thread at a time."""

    __slots__ = ("_hash",)

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, data: Buffer) -> None:
        """Go on by these bytes."""
        self._hash.update(data)

    def digest(self) -> bytes:
        """Return the 32 bytes for what came so far."""
        return self._hash.digest()


class Sha1:
    """A running SHA-1. For one thread at a time."""

    __slots__ = ("_hash",)

    def __init__(self) -> None:
        self._hash = hashlib.sha1(usedforsecurity=False)

    def update(self, data: Buffer) -> None:
        """Go on by these bytes."""
        self._hash.update(data)

    def digest(self) -> bytes:
        """Return the 20 bytes for what came so far."""
        return self._hash.digest()


def leaves(data: Buffer, sha256: Sha256 | None = None, sha1: Sha1 | None = None) -> bytes:
    """Return the SHA-256 of each 16 KiB of `data`, the last of which may be shorter, laid end to end (BEP 52).

    `sha256` and `sha1` go on by the same bytes.
    """
    digests: list[bytes] = []
    with memoryview(data) as view:
        for start in range(0, len(view), _SLICE):
            with view[start : start + _SLICE] as part:
                digests += [hashlib.sha256(part[i : i + _LEAF]).digest() for i in range(0, len(part), _LEAF)]
                for running in (sha256, sha1):
                    if running is not None:
                        running.update(part)
    return b"".join(digests)


def update_two(a: Sha256, data_a: Buffer, b: Sha256, data_b: Buffer) -> None:
    """Go on with two hashes, each by bytes of its own. Raises `ValueError` when they are one."""
    if a is b:
        raise ValueError("one hash cannot take two streams")
    a.update(data_a)
    b.update(data_b)


def tree_root(hashes: bytes, width: int, filler: bytes) -> bytes:
    """Return the root over `hashes`, 32 bytes each and laid end to end, filled up with `filler` to `width` leaves.

    Raises `ValueError` unless `width` is a power of two that they fit in.
    """
    if width < 1 or width & (width - 1) or len(hashes) % 32 or len(hashes) // 32 > width or len(filler) != 32:
        raise ValueError("no tree of SHA-256 hashes")
    while width > 1:
        if len(hashes) % 64:
            hashes += filler
        hashes = b"".join([hashlib.sha256(hashes[i : i + 64]).digest() for i in range(0, len(hashes), 64)])
        filler = hashlib.sha256(filler + filler).digest()
        width //= 2
    return hashes or filler


def map_span(path: str, offset: int, length: int, ahead: int) -> tuple[Buffer | None, int, int, int]:
    """Map `length` bytes of a file, with `ahead` bytes more on their way from the disk while these are looked at.

    Return them, and the file's device, inode and size; None instead when there are none, when the file does not reach
    the span's end, and when its file system cannot map. Raises `OSError`.
    """
    if offset < 0 or length < 0 or ahead < 0:
        raise ValueError("no span of a file")
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        span = None
        if length and status.st_size - length >= offset:
            if ahead:
                os.posix_fadvise(descriptor, offset, length + ahead, os.POSIX_FADV_WILLNEED)
            skip = offset % mmap.ALLOCATIONGRANULARITY
            with suppress(OSError):
                mapping = mmap.mmap(descriptor, length + skip, prot=mmap.PROT_READ, offset=offset - skip)
                span = memoryview(mapping)[skip:]
    finally:
        os.close(descriptor)
    return span, status.st_dev, status.st_ino, status.st_size
