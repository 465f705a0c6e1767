"""Bytes that may be read at any offset: an open file, or what was unpacked of one."""

from __future__ import annotations

import os
from functools import cached_property
from typing import Protocol


class Malformed(Exception):
    """A file breaks its own format; the text says how, and may hold words of the file's author."""


class Source(Protocol):
    """`read` returns fewer bytes than asked for at the end alone."""

    @property
    def size(self) -> int:
        """How many bytes there are."""

    def read(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset` on."""


class OpenFile:
    """An open file, of which the first bytes are read once."""

    def __init__(self, descriptor: int, head: int) -> None:
        self._descriptor = descriptor
        self._head = os.pread(descriptor, head, 0)

    @cached_property
    def size(self) -> int:
        """See `Source`."""
        return os.fstat(self._descriptor).st_size

    def read(self, offset: int, length: int) -> bytes:
        """See `Source`. Raises `OSError`."""
        if offset + length <= len(self._head):
            return self._head[offset : offset + length]
        return os.pread(self._descriptor, length, offset)


class Unpacked:
    """The first bytes of what a compressed file holds."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, offset: int, length: int) -> bytes:
        """See `Source`."""
        return self._data[offset : offset + length]
