"""One pass over a release's files: every digest that a manifest and a torrent need, from one read of the disk.

A reader thread fills a bounded set of buffers. Workers take two kinds of job from each: *lanes*, which must run in
order (the SHA-256 of one long file; the v1 pieces of a packed stream), and *piece jobs*, which need no order (merkle
blocks, v1 pieces that start at a file's start). So one huge file keeps every core busy, as do a thousand small ones.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path

from weightswarm.errors import Cancelled, SourceChanged
from weightswarm.hashing.digests import usable_cores
from weightswarm.hashing.merkle import BLOCK, layer_root, merkle_root, piece_layer

_CHUNK = 4 * 1024 * 1024
_BUFFER_BUDGET = 128 * 1024 * 1024
_SLICE = 256 * 1024


class V1Layout(Enum):
    """How v1 pieces lie over the files."""

    NONE = "no v1 pieces"
    ALIGNED = (
        "each file starts a piece, zeros fill the gap (BEP 47 pad files); the last that is not empty is not filled"
    )
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
    path: Path
    size: int
    last: bool
    sha256: bytes = b""
    running: hashlib._Hash = field(default_factory=hashlib.sha256)
    layers: dict[int, list[bytes]] = field(default_factory=dict)
    v1: dict[int, list[bytes]] = field(default_factory=dict)


@dataclass(slots=True)
class _Segment:
    """Bytes `offset … offset + length` of one file, standing at `start` in a chunk's buffer."""

    file: _File
    offset: int
    start: int
    length: int

    @property
    def whole(self) -> bool:
        return self.length == self.file.size


@dataclass(slots=True)
class _Chunk:
    buffer: memoryview
    segments: list[_Segment]
    pending: int = 0


class _Lane:
    """Jobs that run in the order they were added, one at a time."""

    __slots__ = ("busy", "jobs")

    def __init__(self) -> None:
        self.jobs: deque[tuple[_Chunk, Callable[[], None]]] = deque()
        self.busy = False


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
    regular file or has another size than expected, `OSError` as reading does, `Cancelled` once `stop` is set.
    """
    last = max((index for index, (_, size) in enumerate(files) if size), default=0)
    records = [_File(path, size, index == last) for index, (path, size) in enumerate(files)]
    return _Pass(records, piece_length, v1_layout, workers or usable_cores(), stop).run(on_bytes or (lambda _n: None))


class _Pass:
    def __init__(
        self, files: list[_File], piece_length: int, layout: V1Layout, workers: int, stop: threading.Event | None
    ) -> None:
        self.files = files
        self.piece_length = piece_length
        self.layout = layout
        self.workers = workers
        self.stop = stop
        self.chunk_size = max(piece_length, _CHUNK)
        self.buffers_left = max(3, min(2 * workers + 2, _BUFFER_BUDGET // self.chunk_size))
        self.free: list[memoryview] = []
        self.changed = threading.Condition()
        self.ready: deque[_Lane] = deque()
        self.pieces: deque[tuple[_Chunk, Callable[[], None]]] = deque()
        self.lanes: dict[int, _Lane] = {}
        self.outstanding = 0
        self.bytes_read = 0
        self.all_read = False
        self.failure: BaseException | None = None
        self.packed = _PackedPieces(piece_length) if layout is V1Layout.PACKED else None

    def run(self, on_bytes: Callable[[int], None]) -> TreeHashes:
        threads = [threading.Thread(target=self._guarded, args=(self._read_all,), name="hash-reader", daemon=True)]
        threads += [
            threading.Thread(target=self._guarded, args=(self._work,), name=f"hash-{i}", daemon=True)
            for i in range(self.workers)
        ]
        for thread in threads:
            thread.start()
        try:
            self._watch(on_bytes)
        finally:
            with self.changed:
                if not self._done():
                    self.failure = self.failure or Cancelled("Hashing was stopped")
                self.changed.notify_all()
            for thread in threads:
                thread.join()
        if self.failure is not None:
            raise self.failure
        return self._result()

    def _watch(self, on_bytes: Callable[[int], None]) -> None:
        reported = 0
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self._done() or self.failure, timeout=0.1)
                count, over = self.bytes_read - reported, self._done() or self.failure is not None
            if count:
                on_bytes(count)
                reported += count
            if over:
                return
            if self.stop is not None and self.stop.is_set():
                raise Cancelled("Hashing was stopped")

    def _done(self) -> bool:
        return self.all_read and self.outstanding == 0

    def _guarded(self, target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
            with self.changed:
                self.failure = self.failure or error
                self.changed.notify_all()

    # --- reading -------------------------------------------------------------------------------------------------

    def _read_all(self) -> None:
        buffer = self._take_buffer()
        if buffer is None:
            return
        segments: list[_Segment] = []
        used = 0
        for file in self.files:
            for offset, data in self._read_file(file):
                # A long file's segments begin at a chunk's start, so that pieces never cross chunks.
                if used + data.length > self.chunk_size:
                    self._submit(buffer, segments)
                    buffer = self._take_buffer()
                    if buffer is None:
                        return
                    segments, used = [], 0
                data.fill(buffer[used : used + data.length])
                segments.append(_Segment(file, offset, used, data.length))
                used += data.length
        if segments:
            self._submit(buffer, segments)
        with self.changed:
            self.all_read = True
            self.changed.notify_all()

    def _read_file(self, file: _File) -> Iterator[tuple[int, _Span]]:
        try:
            descriptor = os.open(file.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise SourceChanged(str(file.path), "vanished") from None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size != file.size:
                raise SourceChanged(str(file.path), f"changed its size from {file.size:,} to {status.st_size:,} bytes")
            if hasattr(os, "posix_fadvise") and file.size > self.chunk_size:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            if file.size == 0:
                yield 0, _Span(descriptor, file, 0, 0)
            for offset in range(0, file.size, self.chunk_size):
                yield offset, _Span(descriptor, file, offset, min(self.chunk_size, file.size - offset))
            if os.fstat(descriptor).st_mtime_ns != status.st_mtime_ns:
                raise SourceChanged(str(file.path), "was written to while it was hashed,")
        finally:
            os.close(descriptor)

    def _take_buffer(self) -> memoryview | None:
        with self.changed:
            self.changed.wait_for(lambda: self.free or self.buffers_left or self.failure)
            if self.failure is not None:
                return None
            if self.free:
                return self.free.pop()
            self.buffers_left -= 1
        return memoryview(bytearray(self.chunk_size))

    def _submit(self, buffer: memoryview, segments: list[_Segment]) -> None:
        chunk = _Chunk(buffer, segments)
        jobs: list[tuple[int, Callable[[], None]]] = [
            (id(segment.file), partial(self._extend_sha256, chunk, segment))
            for segment in segments
            if not segment.whole
        ]
        if self.packed is not None:
            used = segments[-1].start + segments[-1].length
            jobs.append((0, partial(self.packed.update, buffer[:used])))
        with self.changed:
            for key, job in jobs:
                lane = self.lanes.setdefault(key, _Lane())
                lane.jobs.append((chunk, job))
                if not lane.busy and len(lane.jobs) == 1:
                    self.ready.append(lane)
            self.pieces.append((chunk, partial(self._hash_pieces, chunk)))
            chunk.pending = len(jobs) + 1
            self.outstanding += chunk.pending
            self.bytes_read += sum(s.length for s in segments)
            self.changed.notify_all()

    # --- working -------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.ready or self.pieces or self._done() or self.failure)
                if self.failure is not None or self._done():
                    return
                lane = self.ready.popleft() if self.ready else None
                if lane is not None:
                    lane.busy = True
                    chunk, job = lane.jobs.popleft()
                else:
                    chunk, job = self.pieces.popleft()
            job()
            with self.changed:
                if lane is not None:
                    lane.busy = False
                    if lane.jobs:
                        self.ready.append(lane)
                chunk.pending -= 1
                self.outstanding -= 1
                if chunk.pending == 0:
                    self.free.append(chunk.buffer)
                self.changed.notify_all()

    def _extend_sha256(self, chunk: _Chunk, segment: _Segment) -> None:
        file = segment.file
        file.running.update(chunk.buffer[segment.start : segment.start + segment.length])
        if segment.offset + segment.length == file.size:
            file.sha256 = file.running.digest()

    def _hash_pieces(self, chunk: _Chunk) -> None:
        for segment in chunk.segments:
            data = chunk.buffer[segment.start : segment.start + segment.length]
            file = segment.file
            leaves: list[bytes] = []
            v1: list[bytes] = []
            sha256 = hashlib.sha256() if segment.whole else None
            for start in range(0, segment.length, self.piece_length):
                self._hash_piece(file, data[start : start + self.piece_length], leaves, v1, sha256)
            if sha256 is not None:
                file.sha256 = sha256.digest()
            blocks = self.piece_length // BLOCK
            # A file within one piece has a tree of just its own blocks (BEP 52).
            file.layers[segment.offset] = leaves if file.size <= self.piece_length else piece_layer(leaves, blocks)
            file.v1[segment.offset] = v1

    def _hash_piece(
        self, file: _File, piece: memoryview, leaves: list[bytes], v1: list[bytes], sha256: hashlib._Hash | None
    ) -> None:
        """Hash one piece every way in slices that stay in the core's own cache."""
        sha1 = hashlib.sha1(usedforsecurity=False) if self.layout is V1Layout.ALIGNED else None
        for start in range(0, len(piece), _SLICE):
            part = piece[start : start + _SLICE]
            leaves += [hashlib.sha256(part[i : i + BLOCK]).digest() for i in range(0, len(part), BLOCK)]
            if sha1 is not None:
                sha1.update(part)
            if sha256 is not None:
                sha256.update(part)
        if sha1 is not None:
            if not file.last and len(piece) < self.piece_length:
                sha1.update(bytes(self.piece_length - len(piece)))
            v1.append(sha1.digest())

    def _result(self) -> TreeHashes:
        files = []
        v1_pieces: list[bytes] = []
        blocks = self.piece_length // BLOCK
        for file in self.files:
            hashes = [digest for offset in sorted(file.layers) for digest in file.layers[offset]]
            if file.size <= self.piece_length:
                root = merkle_root(hashes, 1 << (len(hashes) - 1).bit_length()) if hashes else None
                hashes = []
            else:
                root = layer_root(hashes, blocks)
            files.append(FileHashes(file.size, file.sha256, root, b"".join(hashes)))
            v1_pieces += [digest for offset in sorted(file.v1) for digest in file.v1[offset]]
        if self.packed is not None:
            v1_pieces = self.packed.finish()
        return TreeHashes(self.piece_length, tuple(files), b"".join(v1_pieces))


@dataclass(frozen=True, slots=True)
class _Span:
    descriptor: int
    file: _File
    offset: int
    length: int

    def fill(self, target: memoryview) -> None:
        done = 0
        while done < self.length:
            count = os.preadv(self.descriptor, [target[done:]], self.offset + done)
            if count == 0:
                raise SourceChanged(str(self.file.path), "shrank")
            done += count


class _PackedPieces:
    """The v1 pieces of files that follow each other without gaps."""

    def __init__(self, piece_length: int) -> None:
        self.piece_length = piece_length
        self.pieces: list[bytes] = []
        self.running = hashlib.sha1(usedforsecurity=False)
        self.filled = 0

    def update(self, data: memoryview) -> None:
        while data:
            part = data[: self.piece_length - self.filled]
            self.running.update(part)
            self.filled += len(part)
            data = data[len(part) :]
            if self.filled == self.piece_length:
                self._cut()

    def finish(self) -> list[bytes]:
        if self.filled:
            self._cut()
        return self.pieces

    def _cut(self) -> None:
        self.pieces.append(self.running.digest())
        self.running = hashlib.sha1(usedforsecurity=False)
        self.filled = 0
