"""Workers that run hash jobs: in this process for small releases, each in a process of its own for large ones.

Processes share no interpreter lock, and map files instead of copying them: a file that shrinks under a mapping kills
the process that reads it (SIGBUS), which must not be ours.
"""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from weightswarm.errors import SourceChanged, StorageFailure
from weightswarm.hashing.jobs import ChunkJob, ChunkResult, Hashing, PackedJob, Span


class Worker(Protocol):
    """Runs one job at a time. Raises `SourceChanged`, `StorageFailure`."""

    def chunks(self, jobs: list[ChunkJob]) -> list[ChunkResult]:
        """Run chunk jobs, in order."""

    def packed(self, job: PackedJob) -> tuple[bytes, ...]:
        """Run a packed job."""

    def close(self) -> None:
        """End the worker, whatever it does."""


class LocalWorker:
    """Runs jobs in the calling thread, reading into memory."""

    def __init__(self) -> None:
        self._hashing = Hashing(_copied)

    def chunks(self, jobs: list[ChunkJob]) -> list[ChunkResult]:
        """See `Worker`."""
        return [self._hashing.chunk(job) for job in jobs]

    def packed(self, job: PackedJob) -> tuple[bytes, ...]:
        """See `Worker`."""
        return self._hashing.packed(job)

    def close(self) -> None:
        """Nothing runs apart from the caller."""


class ProcessWorker:
    """Runs jobs in a child process: one JSON line each way a job."""

    def __init__(self) -> None:
        # The child finds this very package, and nothing of the user's environment changes what it runs.
        root = str(Path(__file__).parents[2])
        code = f"import sys; sys.path.insert(0, {root!r}); from weightswarm.hashing.workers import serve; serve()"
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C is for the parent to handle.
            start_new_session=True,
        )

    def chunks(self, jobs: list[ChunkJob]) -> list[ChunkResult]:
        """See `Worker`."""
        reply = self._ask({"chunks": [_chunk_fields(job) for job in jobs]}, jobs[0].span.path)
        return [
            ChunkResult(
                None if sha256 is None else bytes.fromhex(sha256),
                tuple(map(bytes.fromhex, layer)),
                tuple(map(bytes.fromhex, v1)),
            )
            for sha256, layer, v1 in reply
        ]

    def packed(self, job: PackedJob) -> tuple[bytes, ...]:
        """See `Worker`."""
        spans = [_span_fields(span) for span in job.spans]
        reply = self._ask({"packed": [spans, job.piece_length]}, job.spans[0].path)
        return tuple(map(bytes.fromhex, reply))

    def close(self) -> None:
        """See `Worker`."""
        self._process.kill()
        self._process.communicate()

    def _ask(self, request: dict[str, Any], path: str) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except (BrokenPipeError, ValueError):
            line = b""
        if not line:
            raise _died(request, path)
        reply = json.loads(line)
        if "changed" in reply:
            raise SourceChanged(*reply["changed"])
        if "failed" in reply:
            raise StorageFailure(*reply["failed"])
        return reply["done"]


def serve() -> None:
    """Be the child of a `ProcessWorker`: answer requests on stdin until it closes."""
    hashing = Hashing(_mapped)
    for line in sys.stdin.buffer:
        try:
            reply: dict[str, Any] = {"done": _run(hashing, json.loads(line))}
        except SourceChanged as error:
            reply = {"changed": [error.paths[0], error.reason]}
        except StorageFailure as error:
            reply = {"failed": [error.path, error.reason]}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


def _run(hashing: Hashing, request: dict[str, Any]) -> Any:
    if "packed" in request:
        spans, piece_length = request["packed"]
        job = PackedJob(tuple(Span(*fields) for fields in spans), piece_length)
        return [digest.hex() for digest in hashing.packed(job)]
    results = [hashing.chunk(ChunkJob(file, Span(*span), *rest)) for file, span, *rest in request["chunks"]]
    return [
        [None if r.sha256 is None else r.sha256.hex(), [h.hex() for h in r.layer], [h.hex() for h in r.v1]]
        for r in results
    ]


def _chunk_fields(job: ChunkJob) -> list[Any]:
    return [job.file, _span_fields(job.span), job.piece_length, job.in_order, job.pieces, job.v1, job.fill]


def _span_fields(span: Span) -> list[Any]:
    return [span.path, span.size, span.offset, span.length]


def _died(request: dict[str, Any], path: str) -> Exception:
    """Say why a child is gone: most likely a file shrank under its mapping."""
    spans = [chunk[1] for chunk in request["chunks"]] if "chunks" in request else request["packed"][0]
    for shown, size, _, _ in spans:
        try:
            now = os.stat(shown).st_size
        except OSError:
            return SourceChanged(shown, "vanished")
        if now != size:
            return SourceChanged(shown, "shrank" if now < size else "grew")
    return StorageFailure(path, "the process that hashed it ended unexpectedly")


@contextmanager
def _opened(span: Span) -> Iterator[int]:
    try:
        descriptor = os.open(span.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise SourceChanged(span.path, "vanished") from None
    except OSError as error:
        raise StorageFailure(span.path, error.strerror or str(error)) from error
    try:
        size = os.fstat(descriptor).st_size
        if size != span.size:
            raise SourceChanged(span.path, f"changed its size from {span.size:,} to {size:,} bytes")
        yield descriptor
    except OSError as error:
        raise StorageFailure(span.path, error.strerror or str(error)) from error
    finally:
        os.close(descriptor)


@contextmanager
def _copied(span: Span) -> Iterator[memoryview]:
    buffer = bytearray(span.length)
    with _opened(span) as descriptor, memoryview(buffer) as view:
        done = 0
        while done < span.length:
            count = os.preadv(descriptor, [view[done:]], span.offset + done)
            if count == 0:
                raise SourceChanged(span.path, "shrank")
            done += count
        yield view


@contextmanager
def _mapped(span: Span) -> Iterator[memoryview]:
    with _opened(span) as descriptor:
        if span.length == 0:
            yield memoryview(b"")
            return
        # The next chunk is on its way from the disk while this one is hashed.
        os.posix_fadvise(descriptor, span.offset, 2 * span.length, os.POSIX_FADV_WILLNEED)
        skip = span.offset % mmap.ALLOCATIONGRANULARITY
        with (
            mmap.mmap(descriptor, span.length + skip, prot=mmap.PROT_READ, offset=span.offset - skip) as mapping,
            memoryview(mapping) as whole,
            whole[skip:] as view,
        ):
            yield view
