"""Files that are hashed part by part, each by one worker and always onwards; and single pieces of files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from weightswarm.hashing.digests import FileDigests
from weightswarm.hashing.merkle import DIGEST
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
    spans = [
        (
            part.number,
            (os.fspath(part.path), part.size if part.whole else None, part.offset, part.length),
            part.offset + part.length == part.size,
            part.size if part.git_blob else None,
        )
        for part in parts
    ]
    extended = worker.call("run", [(spans,)])[0]
    return [
        (inode, None if sha256 is None else FileDigests.of(part.size, sha256, git_sha1, head))
        for part, (inode, sha256, git_sha1, head) in zip(parts, extended, strict=True)
    ]


def piece_roots(worker: Worker, spans: Sequence[tuple[str | Path, int, int, int]]) -> list[list[bytes]]:
    """Hash the v2 pieces of each of many spans in one call: path, offset and length in bytes, and piece length.

    The files may be longer. Raises `SourceChanged`, `StorageFailure`.
    """
    calls = [
        (0, (os.fspath(path), None, offset, length), piece_length, False, False, False, False)
        for path, offset, length, piece_length in spans
    ]
    joined = [roots for _, roots, _ in worker.call("pieces", calls)]
    return [[roots[i : i + DIGEST] for i in range(0, len(roots), DIGEST)] for roots in joined]


def piece_digests(
    worker: Worker, path: str | Path, offset: int, length: int, piece_length: int, *, v2: bool, pad: bool
) -> list[bytes]:
    """Hash the pieces of `length` bytes of a file from `offset` on, where one begins: v2 piece roots, or SHA-1.

    `pad` fills the last SHA-1 piece up with zeros. The file may be longer. Raises `SourceChanged`, `StorageFailure`.
    """
    if v2:
        return piece_roots(worker, [(path, offset, length, piece_length)])[0]
    span = (os.fspath(path), None, offset, length)
    if pad and length < piece_length:
        sha1s: list[bytes] = worker.call("pieces", [(0, span, piece_length, False, False, True, True)])[0][2]
        return sha1s
    whole = length // piece_length * piece_length if pad else length
    digests: list[bytes] = worker.call("packed", [([(span[0], None, offset, whole)], piece_length)])[0]
    if whole < length:
        digests += piece_digests(worker, path, offset + whole, length - whole, piece_length, v2=False, pad=True)
    return digests
