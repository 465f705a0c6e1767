"""One pass over a release's files: every digest that a manifest and a torrent need, on all cores.

Each worker owns a file and reads it in order, for its SHA-256, and hashes its pieces as it goes. A worker without a
file of its own takes pieces out of another's, a few chunks ahead of the owner, who then has less to do there. So one
huge file keeps every core busy, as do a thousand small ones, and what is read twice is read while it is in memory.
"""

from __future__ import annotations

import os
import stat
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from weightswarm.errors import Cancelled, SourceChanged
from weightswarm.hashing.digests import usable_cores
from weightswarm.hashing.jobs import ChunkJob, ChunkResult, PackedJob, Span
from weightswarm.hashing.merkle import BLOCK, layer_root
from weightswarm.hashing.workers import LocalWorker, ProcessWorker, Worker

_CHUNK = 8 * 1024 * 1024
_AHEAD = 8
"""How many chunks before a file's owner others may take pieces."""
_PROCESSES_FROM = 64 * 1024 * 1024
"""Bytes from which starting processes pays."""
_BATCH_FILES = 256


class V1Layout(Enum):
    """How v1 pieces lie over the files."""

    NONE = "no v1 pieces"
    ALIGNED = "each file starts a piece; zeros fill the gaps between files (BEP 47), none follow the last"
    PACKED = "files follow each other without gaps (BEP 3)"


@dataclass(frozen=True, slots=True)
class FileHashes:
    """One file's hashes, 32 bytes each. `piece_layer` is empty when the file is no longer than a piece;
    `pieces_root` is None when it is empty."""

    size: int
    sha256: bytes
    pieces_root: bytes | None
    piece_layer: bytes


@dataclass(frozen=True, slots=True)
class TreeHashes:
    """All files' hashes in the order given, and the concatenated 20-byte `v1_pieces` of the chosen layout."""

    piece_length: int
    files: tuple[FileHashes, ...]
    v1_pieces: bytes


@dataclass(slots=True)
class _File:
    """A file on its way: `next` is the chunk that its owner takes next, `taken` those whose pieces others took."""

    number: int
    path: str
    size: int
    last: bool
    chunks: int
    next: int = 0
    taken: set[int] = field(default_factory=set)
    sha256: bytes = b""
    layers: dict[int, tuple[bytes, ...]] = field(default_factory=dict)
    v1: dict[int, tuple[bytes, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Task:
    """What a worker does next: chunks of files, with whose chunk each is, or packed pieces with their position."""

    chunks: list[tuple[_File, int, ChunkJob]] = field(default_factory=list)
    packed: tuple[int, PackedJob] | None = None

    @property
    def size(self) -> int:
        """Bytes of progress: each byte of a file counts once, when its owner has read it."""
        return sum(job.span.length for _, _, job in self.chunks if job.in_order)


def hash_tree(
    files: Sequence[tuple[Path, int]],
    *,
    piece_length: int,
    v1_layout: V1Layout,
    on_bytes: Callable[[int], None] | None = None,
    workers: int | None = None,
    stop: threading.Event | None = None,
) -> TreeHashes:
    """Hash `files`, pairs of path and expected size in bytes, in torrent order.

    `on_bytes` gets counts of bytes read, in the calling thread. Raises `SourceChanged` when a file is gone, is no
    regular file, has another size than expected or is written to meanwhile, `StorageFailure` when one cannot be read,
    `Cancelled` once `stop` is set.
    """
    before = [_modified(path, size) for path, size in files]
    plan = _Plan(files, piece_length, v1_layout)
    _Pass(plan, workers or usable_cores(), stop).run(on_bytes or (lambda _n: None))
    for (path, size), modified in zip(files, before, strict=True):
        if _modified(path, size) != modified:
            raise SourceChanged(str(path), "was written to while it was hashed,")
    return plan.result()


def _modified(path: Path, size: int) -> int:
    """Return a file's mtime in nanoseconds; raises `SourceChanged` unless it is a regular file of `size` bytes."""
    try:
        status = os.stat(path)
    except OSError:
        raise SourceChanged(str(path), "vanished") from None
    if not stat.S_ISREG(status.st_mode) or status.st_size != size:
        raise SourceChanged(str(path), f"changed its size from {size:,} to {status.st_size:,} bytes")
    return status.st_mtime_ns


class _Plan:
    """Which jobs there are, who may do them, and what came of them. Its callers hold the lock."""

    def __init__(self, files: Sequence[tuple[Path, int]], piece_length: int, layout: V1Layout) -> None:
        self.piece_length = piece_length
        self.layout = layout
        self.chunk = max(piece_length, _CHUNK)
        last = max((index for index, (_, size) in enumerate(files) if size), default=0)
        self.files = [
            _File(number, os.fspath(path.absolute()), size, number == last, max(1, -(-size // self.chunk)))
            for number, (path, size) in enumerate(files)
        ]
        self.total = sum(file.size for file in self.files)
        self.small = deque(file for file in self.files if file.chunks == 1)
        # The longest first: what is left to share at the end is then short.
        self.large = deque(sorted((f for f in self.files if f.chunks > 1), key=lambda f: -f.size))
        self.owned: dict[int, _File] = {}
        self.packed = deque(enumerate(self._packed_jobs()) if layout is V1Layout.PACKED else ())
        self.packed_done: dict[int, tuple[bytes, ...]] = {}

    def next_task(self, worker: int) -> _Task | None:
        """Return what a worker does next, None when nothing is left that it could do."""
        file = self.owned.get(worker)
        if file is None and self.large:
            file = self.owned[worker] = self.large.popleft()
        if file is not None:
            return self._own_chunk(worker, file)
        if self.small:
            return self._batch()
        if self.packed:
            return _Task(packed=self.packed.popleft())
        return self._help()

    def take(self, task: _Task, results: list[ChunkResult] | tuple[bytes, ...]) -> None:
        """Keep what came of a task."""
        if task.packed is not None:
            self.packed_done[task.packed[0]] = tuple(r for r in results if isinstance(r, bytes))
            return
        for (file, index, job), result in zip(task.chunks, results, strict=True):
            assert isinstance(result, ChunkResult)
            if result.sha256 is not None:
                file.sha256 = result.sha256
            if job.pieces:
                file.layers[index], file.v1[index] = result.layer, result.v1

    def result(self) -> TreeHashes:
        """Put the files' hashes together."""
        v1 = [digest for number in sorted(self.packed_done) for digest in self.packed_done[number]]
        files = []
        for file in self.files:
            layer = [h for index in sorted(file.layers) for h in file.layers[index]]
            v1 += [h for index in sorted(file.v1) for h in file.v1[index]]
            if file.size > self.piece_length:
                root = layer_root(layer, self.piece_length // BLOCK)
                files.append(FileHashes(file.size, file.sha256, root, b"".join(layer)))
            else:
                files.append(FileHashes(file.size, file.sha256, layer[0] if layer else None, b""))
        return TreeHashes(self.piece_length, tuple(files), b"".join(v1))

    def _own_chunk(self, worker: int, file: _File) -> _Task:
        index = file.next
        file.next += 1
        if file.next == file.chunks:
            del self.owned[worker]
        return _Task([(file, index, self._job(file, index, in_order=True, pieces=index not in file.taken))])

    def _batch(self) -> _Task:
        batch: list[tuple[_File, int, ChunkJob]] = []
        size = 0
        while self.small and len(batch) < _BATCH_FILES and size < self.chunk:
            file = self.small.popleft()
            size += file.size
            batch.append((file, 0, self._job(file, 0, in_order=True, pieces=True)))
        return _Task(batch)

    def _help(self) -> _Task | None:
        """Take pieces from the file that has most left, close before its owner."""
        for file in sorted(self.owned.values(), key=lambda f: f.next - f.chunks):
            for index in range(file.next + 1, min(file.next + 1 + _AHEAD, file.chunks)):
                if index not in file.taken:
                    file.taken.add(index)
                    return _Task([(file, index, self._job(file, index, in_order=False, pieces=True))])
        return None

    def _job(self, file: _File, index: int, *, in_order: bool, pieces: bool) -> ChunkJob:
        offset = index * self.chunk
        span = Span(file.path, file.size, offset, min(self.chunk, file.size - offset))
        aligned = self.layout is V1Layout.ALIGNED
        return ChunkJob(file.number, span, self.piece_length, in_order, pieces, aligned, not file.last)

    def _packed_jobs(self) -> list[PackedJob]:
        """Cut the files, laid end to end, into jobs of whole pieces."""
        jobs: list[PackedJob] = []
        spans: list[Span] = []
        room = self.chunk
        for file in self.files:
            offset = 0
            while offset < file.size:
                length = min(room, file.size - offset)
                spans.append(Span(file.path, file.size, offset, length))
                offset += length
                room -= length
                if room == 0:
                    jobs.append(PackedJob(tuple(spans), self.piece_length))
                    spans, room = [], self.chunk
        if spans:
            jobs.append(PackedJob(tuple(spans), self.piece_length))
        return jobs


class _Pass:
    """Runs a plan: one thread a worker hands out tasks and takes results; the caller's thread reports and waits."""

    def __init__(self, plan: _Plan, workers: int, stop: threading.Event | None) -> None:
        self.plan = plan
        self.stop = stop
        large = plan.total >= _PROCESSES_FROM
        self.workers: list[Worker] = [ProcessWorker() if large else LocalWorker() for _ in range(workers)]
        self.changed = threading.Condition()
        self.working = workers
        self.read = 0
        self.failure: BaseException | None = None

    def run(self, on_bytes: Callable[[int], None]) -> None:
        threads = [
            threading.Thread(target=self._work, args=(number, worker), name=f"hash-{number}", daemon=True)
            for number, worker in enumerate(self.workers)
        ]
        for thread in threads:
            thread.start()
        try:
            self._watch(on_bytes)
        finally:
            with self.changed:
                if self.working:
                    self.failure = self.failure or Cancelled("Hashing was stopped")
            for worker in self.workers:
                worker.close()
            for thread in threads:
                thread.join()
        if self.failure is not None:
            raise self.failure

    def _watch(self, on_bytes: Callable[[int], None]) -> None:
        reported = 0
        while True:
            with self.changed:
                self.changed.wait_for(lambda: not self.working or self.failure, timeout=0.1)
                count, over = self.read - reported, not self.working or self.failure is not None
            if count:
                on_bytes(count)
                reported += count
            if over:
                return
            if self.stop is not None and self.stop.is_set():
                raise Cancelled("Hashing was stopped")

    def _work(self, number: int, worker: Worker) -> None:
        try:
            while True:
                with self.changed:
                    task = None if self.failure else self.plan.next_task(number)
                if task is None:
                    break
                if task.packed is not None:
                    results: list[ChunkResult] | tuple[bytes, ...] = worker.packed(task.packed[1])
                else:
                    results = worker.chunks([job for _, _, job in task.chunks])
                with self.changed:
                    self.plan.take(task, results)
                    self.read += task.size
        except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
            with self.changed:
                self.failure = self.failure or error
        with self.changed:
            self.working -= 1
            self.changed.notify_all()
