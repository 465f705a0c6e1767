"""Where open files have bytes that were written, and where they have holes. A file system that knows of no holes has
them behind the end alone."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import suppress
from pathlib import Path

_BLOCK = 16 * 1024


def first_gap(file: int, offset: int) -> int:
    """Return where an open file lacks bytes first from `offset` on: in a hole, or behind its end. Raises `OSError`."""
    try:
        return os.lseek(file, offset, os.SEEK_HOLE)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return offset
        raise


def has_data(file: int, begin: int, end: int) -> bool:
    """Tell whether an open file has any byte from `begin` to before `end`, or does not let that be known."""
    try:
        return os.lseek(file, begin, os.SEEK_DATA) < end
    except OSError as error:
        return error.errno != errno.ENXIO


def data_spans(file: int) -> list[tuple[int, int]]:
    """Return where an open file has bytes: the first of each stretch, and the one after its last."""
    size, position = os.fstat(file).st_size, 0
    found = []
    with suppress(OSError):  # ENXIO: nothing but a hole follows
        while position < size:
            begin = os.lseek(file, position, os.SEEK_DATA)
            position = os.lseek(file, begin, os.SEEK_HOLE)
            found.append((begin, position))
    return found


def shows_holes(folder: Path) -> bool:
    """Try whether a block that is written can be told from the hole around it: not all file systems do."""
    with suppress(OSError), tempfile.TemporaryFile(dir=folder) as file:
        descriptor = file.fileno()
        os.ftruncate(descriptor, 64 * _BLOCK)
        if data_spans(descriptor):
            return False
        os.pwrite(descriptor, b"\1" * _BLOCK, 32 * _BLOCK)
        return data_spans(descriptor) == [(32 * _BLOCK, 33 * _BLOCK)]
    return False
