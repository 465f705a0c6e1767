"""How one pass over a release's files is cut into tasks, and how their results come together again.

Each worker owns a file and reads it in order, for its SHA-256, and hashes its pieces as it goes. A worker without a
file of its own takes pieces out of another's, a few chunks ahead of the owner, who then has less to do there. So one
huge file keeps every core busy, as do a thousand small ones, and what is read twice is read while it is in memory.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from weightswarm.hashing.merkle import BLOCK, DIGEST, SHA1, layer_root

_CHUNK = 8 * 1024 * 1024
_AHEAD = 8
"""How many chunks before a file's owner others may take pieces."""
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
class File:
    """A file on its way: `next` is the chunk that its owner takes next, `taken` those whose pieces others took."""

    number: int
    path: str
    size: int
    last: bool
    chunks: int
    next: int = 0
    taken: set[int] = field(default_factory=set)
    sha256: bytes = b""
    layers: dict[int, bytes] = field(default_factory=dict)
    v1: dict[int, list[bytes]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker does next: `method` of its `Computing`, once for each of `calls`.

    `chunks` says whose chunk each call is; of the one call of `whole` or `packed`, `numbers` says which files, or which
    run, it is. `size` counts progress in bytes: each byte of a file once, when its owner has read it.
    """

    method: str
    calls: list[tuple[Any, ...]]
    chunks: list[tuple[File, int]]
    size: int
    numbers: list[int] = field(default_factory=list)


def _absolute(path: str | Path) -> str:
    text = os.fspath(path)
    return text if text.startswith(os.sep) else str(Path(path).absolute())


class Plan:
    """Which tasks there are, who may do them, and what came of them. Its callers hold a lock."""

    def __init__(self, files: Sequence[tuple[str | Path, int]], piece_length: int, layout: V1Layout) -> None:
        self.piece_length = piece_length
        self.layout = layout
        self.chunk = max(piece_length, _CHUNK)
        self.last = max((index for index, (_, size) in enumerate(files) if size), default=0)
        self.listed = files
        self.total = sum(size for _, size in files)
        # Files of one piece have no more to them than their hashes: there may be very many.
        self.whole = deque(number for number, (_, size) in enumerate(files) if size <= piece_length)
        self.files = [
            File(number, _absolute(path), size, number == self.last, max(1, -(-size // self.chunk)))
            for number, (path, size) in enumerate(files)
            if size > piece_length
        ]
        self.hashed: dict[int, FileHashes] = {}
        self.v1: dict[int, list[bytes]] = {}
        self.small = deque(file for file in self.files if file.chunks == 1)
        # The longest first: what is left to share at the end is then short.
        self.large = deque(sorted((f for f in self.files if f.chunks > 1), key=lambda f: -f.size))
        self.owned: dict[int, File] = {}
        self.packed = deque(self._packed_spans() if layout is V1Layout.PACKED else ())
        self.packed_done: list[tuple[int, list[bytes]]] = []

    def next_task(self, worker: int) -> Task | None:
        """Return what a worker does next, None when nothing is left that it could do."""
        file = self.owned.get(worker)
        if file is None and self.large:
            file = self.owned[worker] = self.large.popleft()
        if file is not None:
            return self._own_chunk(worker, file)
        if self.small:
            return self._batch()
        if self.whole:
            return self._whole()
        if self.packed:
            position, spans = self.packed.popleft()
            return Task("packed", [(spans, self.piece_length)], [], 0, [position])
        return self._help()

    def take(self, task: Task, results: list[Any]) -> None:
        """Keep what came of a task."""
        if task.method == "packed":
            self.packed_done.append((task.numbers[0], results[0]))
            return
        if task.method == "whole":
            self._take_whole(task.numbers, results[0])
            return
        for (file, index), result in zip(task.chunks, results, strict=True):
            if task.method == "run":
                file.sha256 = result[0][1] or file.sha256
            else:
                sha256, file.layers[index], file.v1[index] = result
                file.sha256 = sha256 or file.sha256

    def result(self) -> TreeHashes:
        """Put the files' hashes together."""
        for file in self.files:
            layer = b"".join(file.layers[index] for index in sorted(file.layers))
            root = layer_root(layer, self.piece_length // BLOCK)
            self.hashed[file.number] = FileHashes(file.size, file.sha256, root, layer)
            self.v1[file.number] = [h for index in sorted(file.v1) for h in file.v1[index]]
        v1 = [digest for _, digests in sorted(self.packed_done) for digest in digests]
        v1 += [digest for number in sorted(self.v1) for digest in self.v1[number]]
        return TreeHashes(self.piece_length, tuple(self.hashed[number] for number in sorted(self.hashed)), b"".join(v1))

    def _own_chunk(self, worker: int, file: File) -> Task:
        index = file.next
        file.next += 1
        last = file.next == file.chunks
        if last:
            del self.owned[worker]
        span = self._span(file, index)
        if index in file.taken:
            return Task("run", [([(file.number, span, last, None)],)], [(file, index)], span[3])
        return Task("pieces", [self._pieces(file, index, in_order=True)], [(file, index)], span[3])

    def _batch(self) -> Task:
        chunks: list[tuple[File, int]] = []
        size = 0
        while self.small and len(chunks) < _BATCH_FILES and size < self.chunk:
            file = self.small.popleft()
            size += file.size
            chunks.append((file, 0))
        return Task("pieces", [self._pieces(file, 0, in_order=True) for file, _ in chunks], chunks, size)

    def _whole(self) -> Task:
        numbers: list[int] = []
        files: list[tuple[str, int]] = []
        total = 0
        while self.whole and len(numbers) < _BATCH_FILES and total < self.chunk:
            number = self.whole.popleft()
            path, size = self.listed[number]
            numbers.append(number)
            files.append((_absolute(path), size))
            total += size
        open_end = numbers.index(self.last) if self.last in numbers else -1
        call = (files, self.piece_length, self.layout is V1Layout.ALIGNED, open_end)
        return Task("whole", [call], [], total, numbers)

    def _take_whole(self, numbers: list[int], digests: bytes) -> None:
        aligned = self.layout is V1Layout.ALIGNED
        each = 2 * DIGEST + SHA1 * aligned
        for number, start in zip(numbers, range(0, len(digests), each), strict=True):
            size = self.listed[number][1]
            root = start + DIGEST
            end = root + DIGEST
            self.hashed[number] = FileHashes(size, digests[start:root], digests[root:end] if size else None, b"")
            if aligned and size:
                self.v1[number] = [digests[end : end + SHA1]]

    def _help(self) -> Task | None:
        """Take pieces from the file that has most left, close before its owner."""
        for file in sorted(self.owned.values(), key=lambda f: f.next - f.chunks):
            for index in range(file.next + 1, min(file.next + 1 + _AHEAD, file.chunks)):
                if index not in file.taken:
                    file.taken.add(index)
                    return Task("pieces", [self._pieces(file, index, in_order=False)], [(file, index)], 0)
        return None

    def _span(self, file: File, index: int) -> tuple[str, int, int, int]:
        offset = index * self.chunk
        return file.path, file.size, offset, min(self.chunk, file.size - offset)

    def _pieces(self, file: File, index: int, *, in_order: bool) -> tuple[Any, ...]:
        aligned = self.layout is V1Layout.ALIGNED
        last = index == file.chunks - 1
        return file.number, self._span(file, index), self.piece_length, in_order, last, aligned, not file.last

    def _packed_spans(self) -> list[tuple[int, list[tuple[str, int, int, int]]]]:
        """Cut the files, laid end to end, into runs of whole pieces, each with its position."""
        runs: list[list[tuple[str, int, int, int]]] = [[]]
        room = self.chunk
        for path, size in self.listed:
            offset = 0
            while offset < size:
                length = min(room, size - offset)
                runs[-1].append((_absolute(path), size, offset, length))
                offset += length
                room -= length
                if room == 0:
                    runs.append([])
                    room = self.chunk
        return [(position, spans) for position, spans in enumerate(runs) if spans]
