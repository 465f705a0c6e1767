"""Hashes remembered between runs, so that unchanged files are not hashed again.

A memory is kept per set of files and piece layout, sealed with its own SHA-256; one that does not fit is no memory.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import platformdirs

from weightswarm.errors import InvalidMetainfo, WeightswarmError
from weightswarm.hashing import FileHashes, TreeHashes, V1Layout
from weightswarm.metainfo import bdecode, bencode
from weightswarm.publishing.scanning import SourceFile
from weightswarm.storage import write_atomically

_VERSION = b"weightswarm hashes 1"
# A change within one tick of the clock that stamps files could leave the same mtime behind.
_CLOCK_TICK_NS = 20_000_000


def recall(files: list[SourceFile], piece_length: int, layout: V1Layout) -> TreeHashes | None:
    """Return the hashes of these very files when none changed since they were hashed."""
    with suppress(OSError, InvalidMetainfo, ValueError, KeyError, TypeError):
        data = _place(files, piece_length, layout).read_bytes()
        seal, body = data[:32], data[32:]
        if hashlib.sha256(body).digest() != seal:
            return None
        document = bdecode(body)
        if document[b"version"] == _VERSION and document[b"files"] == _described(files):
            return TreeHashes(
                piece_length,
                tuple(_file_hashes(*fields) for fields in document[b"hashes"]),
                document[b"v1 pieces"],
            )
    return None


def remember(files: list[SourceFile], hashes: TreeHashes, layout: V1Layout, *, started_ns: int) -> None:
    """Keep the hashes of `files`, whose hashing began at `started_ns` (nanoseconds since 1970).

    Does nothing for files so fresh that a later change might not show, and when the folder cannot be written.
    """
    if any(file.signature.mtime_ns > started_ns - _CLOCK_TICK_NS for file in files):
        return
    body = bencode(
        {
            b"version": _VERSION,
            b"files": _described(files),
            b"hashes": [[f.size, f.sha256, f.pieces_root or b"", f.piece_layer] for f in hashes.files],
            b"v1 pieces": hashes.v1_pieces,
        }
    )
    # To hash again next time costs time, not truth.
    with suppress(WeightswarmError, OSError):
        write_atomically(_place(files, hashes.piece_length, layout), hashlib.sha256(body).digest() + body)


def now_ns() -> int:
    """Return the time to pass to `remember`."""
    return time.time_ns()


def _place(files: list[SourceFile], piece_length: int, layout: V1Layout) -> Path:
    key = bencode(
        [piece_length, layout.name.encode(), [str(f.location).encode("utf-8", "surrogateescape") for f in files]]
    )
    return Path(platformdirs.user_cache_dir("weightswarm")) / "hashes" / hashlib.sha256(key).hexdigest()


def _described(files: list[SourceFile]) -> list[Any]:
    return [
        [f.path.encode(), f.signature.size, f.signature.mtime_ns, f.signature.ctime_ns, f.signature.inode]
        for f in files
    ]


def _file_hashes(size: int, sha256: bytes, root: bytes, layer: bytes) -> FileHashes:
    return FileHashes(size, sha256, root or None, layer)
