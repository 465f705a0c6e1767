"""Files that are hashed part by part, each by one worker and always onwards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from weightswarm.hashing.digests import FileDigests
from weightswarm.hashing.workers import Worker

CALL_BYTES = 16 * 1024 * 1024
"""Bytes for one call: few enough to report and to stop soon, enough that the call costs nothing beside them."""
BATCH_FILES = 256
"""How many small files one call may take."""


@dataclass(frozen=True, slots=True)
class FilePart:
    """`length` bytes from `offset` on of the file that is `number` among a worker's files and `size` bytes long in
    the end. `whole` says that it must have that size now. `git_blob` asks for the git blob SHA-1 as well."""

    number: int
    path: str | Path
    size: int
    offset: int
    length: int
    whole: bool
    git_blob: bool


def extend_digests(worker: Worker, parts: Sequence[FilePart]) -> list[tuple[tuple[int, int], FileDigests | None]]:
    """Read parts of files; return each file's device and inode, and its digests where the part was its last.

    Raises `SourceChanged`, `StorageFailure`.
    """
    calls = [
        (
            part.number,
            (os.fspath(part.path), part.size if part.whole else None, part.offset, part.length),
            part.offset + part.length == part.size,
            part.size if part.git_blob else None,
        )
        for part in parts
    ]
    return [
        (inode, None if sha256 is None else FileDigests.of(part.size, sha256, git_sha1, head))
        for part, (inode, sha256, git_sha1, head) in zip(parts, worker.call("run", calls), strict=True)
    ]
