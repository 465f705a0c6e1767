"""Hashes remembered between runs, so that unchanged files are not hashed again.

A memory is kept per set of files and piece layout, sealed with its own SHA-256; one that does not fit is no memory.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import platformdirs

from weightswarm.errors import WeightswarmError
from weightswarm.hashing import FileHashes, TreeHashes, V1Layout
from weightswarm.publishing.scanning import SourceFile
from weightswarm.storage import write_atomically

_VERSION = "weightswarm hashes 3"
_DIGEST = 32
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
            return TreeHashes(piece_length, _hashes(files, piece_length, document), _bytes(document, "v1 pieces"))
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
            # End to end: a value for each of 10,000 files takes longer to write and read than to hash a few.
            "sha256": b"".join([file.sha256 for file in hashes.files]).hex(),
            "pieces roots": b"".join([file.pieces_root or b"" for file in hashes.files]).hex(),
            "piece layers": b"".join([file.piece_layer for file in hashes.files]).hex(),
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
    key = json.dumps([piece_length, layout.name, [f.location for f in files]])
    return Path(platformdirs.user_cache_dir("weightswarm")) / "hashes" / hashlib.sha256(key.encode()).hexdigest()


def _described(files: list[SourceFile]) -> str:
    """Return a digest of all that tells whether a file changed."""
    told = [
        f"{s.size} {s.mtime_ns} {s.ctime_ns} {s.inode} {path}"
        for path, s in ((file.path, file.signature) for file in files)
    ]
    return hashlib.sha256("\0".join(told).encode()).hexdigest()


def _hashes(files: list[SourceFile], piece_length: int, document: dict[str, Any]) -> tuple[FileHashes, ...]:
    sha256s, roots, layers = (BytesIO(_bytes(document, key)) for key in ("sha256", "pieces roots", "piece layers"))
    found = []
    for size in (file.signature.size for file in files):
        layer = -(-size // piece_length) * _DIGEST if size > piece_length else 0
        found.append(FileHashes(size, sha256s.read(_DIGEST), roots.read(_DIGEST) if size else None, layers.read(layer)))
    return tuple(found)


def _bytes(document: dict[str, Any], key: str) -> bytes:
    return bytes.fromhex(document[key])
