"""What one hash worker does: jobs over spans of files, and the state of the files that it reads in order.

Pure computation over memory; where the memory comes from (a mapping, a buffer) is the caller's choice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from weightswarm.hashing.merkle import BLOCK, merkle_root, piece_layer

# Small enough to stay in a core's own cache while it is hashed in several ways.
_SLICE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Span:
    """`length` bytes from `offset` on of the file at `path`, which must have `size` bytes."""

    path: str
    size: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class ChunkJob:
    """Part of one file, starting at a piece's boundary.

    `in_order` extends the file's SHA-256 by it; `pieces` hashes its blocks, and with `v1` its SHA-1 pieces, the last
    of which is filled up with zeros when `fill` says so. `file` is a number that names the file among a worker's jobs.
    """

    file: int
    span: Span
    piece_length: int
    in_order: bool
    pieces: bool
    v1: bool
    fill: bool


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """`sha256` once the file's end was reached in order. `layer` are 32-byte hashes: the roots of the chunk's pieces,
    or the file's one root when it is no longer than a piece. `v1` are 20-byte SHA-1 digests."""

    sha256: bytes | None
    layer: tuple[bytes, ...]
    v1: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class PackedJob:
    """v1 pieces that run across files: `spans` laid end to end, starting at a piece's boundary."""

    spans: tuple[Span, ...]
    piece_length: int


Reader = Callable[[Span], AbstractContextManager[memoryview]]


class Hashing:
    """Runs jobs one after another; `read` gives the bytes of a span."""

    def __init__(self, read: Reader) -> None:
        self._read = read
        self._running: dict[int, hashlib._Hash] = {}

    def chunk(self, job: ChunkJob) -> ChunkResult:
        """Run a chunk's job. Raises what reading raises."""
        running = self._running.setdefault(job.file, hashlib.sha256()) if job.in_order else None
        leaves: list[bytes] = []
        v1: list[bytes] = []
        with self._read(job.span) as data:
            for start in range(0, len(data), job.piece_length):
                with data[start : start + job.piece_length] as piece:
                    self._piece(job, piece, running, leaves, v1)
        span = job.span
        sha256 = None
        if running is not None and span.offset + span.length == span.size:
            sha256 = self._running.pop(job.file).digest()
        if not job.pieces:
            return ChunkResult(sha256, (), ())
        if span.size <= job.piece_length:
            # A file within one piece has a tree of just its own blocks (BEP 52).
            layer = [merkle_root(leaves, 1 << (len(leaves) - 1).bit_length())] if leaves else []
        else:
            layer = piece_layer(leaves, job.piece_length // BLOCK)
        return ChunkResult(sha256, tuple(layer), tuple(v1))

    def _piece(
        self, job: ChunkJob, piece: memoryview, running: hashlib._Hash | None, leaves: list[bytes], v1: list[bytes]
    ) -> None:
        sha1 = hashlib.sha1(usedforsecurity=False) if job.pieces and job.v1 else None
        for start in range(0, len(piece), _SLICE):
            with piece[start : start + _SLICE] as part:
                if job.pieces:
                    leaves += [hashlib.sha256(part[i : i + BLOCK]).digest() for i in range(0, len(part), BLOCK)]
                if sha1 is not None:
                    sha1.update(part)
                if running is not None:
                    running.update(part)
        if sha1 is not None:
            if job.fill and len(piece) < job.piece_length:
                sha1.update(bytes(job.piece_length - len(piece)))
            v1.append(sha1.digest())

    def packed(self, job: PackedJob) -> tuple[bytes, ...]:
        """Return the SHA-1 of each piece of a packed job. Raises what reading raises."""
        pieces: list[bytes] = []
        running, filled = hashlib.sha1(usedforsecurity=False), 0
        for span in job.spans:
            with self._read(span) as data:
                done = 0
                while done < len(data):
                    with data[done : done + job.piece_length - filled] as part:
                        running.update(part)
                        filled += len(part)
                        done += len(part)
                    if filled == job.piece_length:
                        pieces.append(running.digest())
                        running, filled = hashlib.sha1(usedforsecurity=False), 0
        if filled:
            pieces.append(running.digest())
        return tuple(pieces)
