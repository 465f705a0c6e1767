"""SHA-256 of a file's pieces, each file by itself: what Metalink wants, and no torrent has.

A v1 torrent's pieces run over the ends of files, or are padded there, and a v2 torrent's hashes are those of a tree.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from weightswarm.errors import ContentMismatch
from weightswarm.manifest import FileEntry
from weightswarm.storage import storage_errors

_MIN_LENGTH = 1024 * 1024
_MAX_LENGTH = 1024 * 1024 * 1024
_MAX_PIECES = 2048
_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class FilePieces:
    """`length` in bytes of every piece but the last; `digests` of 32 bytes."""

    length: int
    digests: tuple[bytes, ...]


def hash_pieces(files: Mapping[FileEntry, Path], on_bytes: Callable[[int], None]) -> dict[str, FilePieces]:
    """Read each file once and return its pieces by path. Raises `ContentMismatch`, naming every file that is not the
    manifest's, and `StorageFailure`."""
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        found = dict(zip(files, pool.map(lambda entry: _hash(entry, files[entry], on_bytes), files), strict=True))
    wrong = tuple(entry.path for entry, pieces in found.items() if pieces is None)
    if wrong:
        more = f" and {len(wrong) - 5:,} more" if len(wrong) > 5 else ""
        raise ContentMismatch(
            f"Not the files of the manifest: {', '.join(wrong[:5])}{more}",
            paths=wrong,
            hint="nothing was exported; `weightswarm verify` tells what is wrong",
        )
    return {entry.path: pieces for entry, pieces in found.items() if pieces is not None}


def _hash(entry: FileEntry, path: Path, on_bytes: Callable[[int], None]) -> FilePieces | None:
    length = _MIN_LENGTH
    while length < _MAX_LENGTH and entry.size > length * _MAX_PIECES:
        length *= 2
    whole, digests = hashlib.sha256(), []
    left = entry.size
    with storage_errors(path), open(path, "rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size != entry.size:
            return None
        while left:
            piece, in_piece = hashlib.sha256(), min(length, left)
            while in_piece:
                chunk = file.read(min(_CHUNK, in_piece))
                if not chunk:
                    return None  # it shrank
                piece.update(chunk)
                whole.update(chunk)
                in_piece -= len(chunk)
                left -= len(chunk)
                on_bytes(len(chunk))
            digests.append(piece.digest())
    return FilePieces(length, tuple(digests)) if whole.hexdigest() == entry.sha256 else None
