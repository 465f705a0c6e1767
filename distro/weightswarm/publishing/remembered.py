"""Hashes remembered between runs, so that unchanged files are not hashed again.

A memory is kept per set of files and piece layout, sealed with its own SHA-256; one that does not fit is no memory.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import platformdirs

from weightswarm.errors import WeightswarmError
from weightswarm.hashing import FileHashes, TreeHashes, V1Layout
from weightswarm.publishing.scanning import SourceFile
from weightswarm.storage import write_atomically

_VERSION = "weightswarm hashes 2"
# A change within one tick of the clock that stamps files could leave the same mtime behind.
_CLOCK_TICK_NS = 20_000_000


def recall(files: list[SourceFile], piece_length: int, layout: V1Layout) -> TreeHashes | None:
    """Return the hashes of these very files when none changed since they were hashed."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        data = _place(files, piece_length, layout).read_bytes()
        seal, body = data[:32], data[32:]
        if hashlib.sha256(body).digest() != seal:
            return None
        document = json.loads(body)
        if document["version"] == _VERSION and document["files"] == _described(files):
            hashes = tuple(_file_hashes(*fields) for fields in document["hashes"])
            return TreeHashes(piece_length, hashes, bytes.fromhex(document["v1 pieces"]))
    return None


def remember(files: list[SourceFile], hashes: TreeHashes, layout: V1Layout, *, started_ns: int) -> None:
    """Keep the hashes of `files`, whose hashing began at `started_ns` (nanoseconds since 1970).

    Does nothing for files so fresh that a later change might not show, and when the folder cannot be written.
    """
    if any(file.signature.mtime_ns > started_ns - _CLOCK_TICK_NS for file in files):
        return
    body = json.dumps(
        {
            "version": _VERSION,
            "files": _described(files),
            "hashes": [
                [f.size, f.sha256.hex(), f.pieces_root.hex() if f.pieces_root else "", f.piece_layer.hex()]
                for f in hashes.files
            ],
            "v1 pieces": hashes.v1_pieces.hex(),
        }
    ).encode()
    # To hash again next time costs time, not truth.
    with suppress(WeightswarmError, OSError):
        write_atomically(_place(files, hashes.piece_length, layout), hashlib.sha256(body).digest() + body)


def now_ns() -> int:
    """Return the time to pass to `remember`."""
    return time.time_ns()


def _place(files: list[SourceFile], piece_length: int, layout: V1Layout) -> Path:
    key = json.dumps([piece_length, layout.name, [str(f.location) for f in files]])
    return Path(platformdirs.user_cache_dir("weightswarm")) / "hashes" / hashlib.sha256(key.encode()).hexdigest()


def _described(files: list[SourceFile]) -> list[Any]:
    return [[f.path, f.signature.size, f.signature.mtime_ns, f.signature.ctime_ns, f.signature.inode] for f in files]


def _file_hashes(size: int, sha256: str, root: str, layer: str) -> FileHashes:
    return FileHashes(size, bytes.fromhex(sha256), bytes.fromhex(root) or None, bytes.fromhex(layer))
