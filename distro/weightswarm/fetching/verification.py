"""Hashing staged files from disk while they still download: each as far as its bytes are known to be readable."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from weightswarm.errors import ContentMismatch, SourceChanged, StorageFailure, WeightswarmError
from weightswarm.hashing import BATCH_FILES, CALL_BYTES, FileDigests, FilePart, Worker, WorkerPool, extend_digests
from weightswarm.metainfo import PieceMap
from weightswarm.storage import FileIdentity, open_regular, regular_status, storage_errors, sync_file_system
from weightswarm.verifying import Expectation, Fault, Finding, compare

T = TypeVar("T")

_SYNC_BYTES = 64 * 1024 * 1024
_SMALL = 64 * 1024
_TOGETHER = 2
_MANY_FILES = 64
"""How many files from which one sync of the whole file system takes less time than one for each of them."""


@dataclass(slots=True, eq=False)
class _StagedFile:
    """One file on its way: `readable` bytes may be read back, `hashed` of them were. `lane` is who hashes it.

    `key` is what its worker knows its digests by; one that was `dropped` made way for another, of the same file.
    """

    number: int
    key: int
    path: str | Path
    expected: Expectation
    size: int
    lane: int
    readable: int = 0
    hashed: int = 0
    unsynced: int = 0
    running: bool = False
    dropped: bool = False
    identity: FileIdentity | None = None
    digests: FileDigests | None = None

    @property
    def small(self) -> bool:
        """Whether it is hashed in one go, with others."""
        return self.size <= _SMALL

    @property
    def behind(self) -> bool:
        """Whether it is to be hashed on now: an empty file is, once."""
        return self.digests is None and not self.dropped and (self.hashed < self.readable or not self.size)


class StagedVerification:
    """All files of a transfer. Call `readable` and `collect` from one thread; the hashing runs on all cores."""

    def __init__(self, files: Mapping[int, str | Path], expectations: dict[int, Expectation], pieces: PieceMap) -> None:
        self._pieces = pieces
        total = sum(expectations[index].size or 0 for index in files)
        self._pool = WorkerPool(total)
        self._files: dict[int, _StagedFile] = {}
        for number, (index, path) in enumerate(files.items()):
            expected = expectations[index]
            lane = number % self._pool.lanes
            self._files[index] = _StagedFile(index, number, path, expected, expected.size or 0, lane)
        self._next_key = len(files)
        self._sync_once = len(files) >= _MANY_FILES
        self._have: set[int] = set()
        self._unflushed: set[int] = set()
        self._lock = threading.Lock()
        self._jobs: dict[Future[dict[int, Finding]], list[_StagedFile]] = {}
        # What has become readable of files whose lane is busy, by lane.
        self._waiting: dict[int, set[int]] = {}
        self._stopped = threading.Event()
        self.hashed = 0
        self.done: set[int] = set()

    @property
    def busy(self) -> bool:
        """Whether hashes are being computed."""
        return bool(self._jobs)

    def readable(self, pieces: set[int], *, flushed: bool = True) -> None:
        """Hash on: the bytes of `pieces` can now be read from disk; all of them if they were `flushed`, and else most
        likely so."""
        if not flushed:
            self._unflushed |= pieces - self._have
        # What was read before its flush stays in doubt: a flush does not make that read any better.
        self._have |= pieces
        self._start({index for piece in pieces for index in self._pieces.files_of(piece)} & self._files.keys())

    def begin_anew(self) -> None:
        """Forget what was hashed of files that are not done: whatever writes to them begins anew as well."""
        self._have.clear()
        self._unflushed.clear()
        self._drop(self._files.keys() - self.done)

    def rewritten(self, piece: int) -> None:
        """Forget what was hashed of the files in a piece that was hashed and came once more: it may be other bytes."""
        if piece in self._have:
            self._have.remove(piece)
            self._unflushed.discard(piece)
            self._drop({*self._pieces.files_of(piece)} & self._files.keys() - self.done)

    def all_readable(self) -> None:
        """Hash the rest: every wanted byte can be read from disk."""
        self._have |= {piece for index in self._files for piece in self._pieces.pieces_of(index)}
        self._start(set(self._files))

    def submit(self, task: Callable[[Worker], T]) -> Future[T]:
        """Have a worker do something else, when no file waits for it."""
        return self._pool.submit(task)

    def collect(self) -> set[int]:
        """Take up finished hashes, and return pieces that must be flushed: what was read of them was wrong.

        Raises `ContentMismatch` for a file that is not what it must be.
        """
        again: set[int] = set()
        for index, finding in self.collect_findings().items():
            early = self._unflushed & {*self._pieces.pieces_of(index)}
            if not early:
                raise mismatch(finding)
            self._have -= early
            self._unflushed -= early
            self._drop({index})
            again |= early
        return again

    def collect_findings(self) -> dict[int, Finding]:
        """Take up finished hashes and return what is wrong with which file, by index. `rewritten` begins such a file
        anew; `collect` is for who has no better bytes to put there."""
        wrong: dict[int, Finding] = {}
        for job in [job for job in self._jobs if job.done()]:
            files = self._jobs.pop(job)
            due = set() if files[0].small else self._waiting.pop(files[0].lane)
            files = [file for file in files if not file.dropped]
            findings: dict[int, Finding] = {}
            try:
                findings = job.result()
            except OSError as error:
                if files:
                    raise StorageFailure(str(error.filename or files[0].path), error.strerror or str(error)) from error
            except WeightswarmError:
                if files:
                    raise
            wrong |= {file.number: findings[file.number] for file in files if file.number in findings}
            right = [file for file in files if file.number not in findings]
            for file in right:
                file.running = False
            self.done |= {file.number for file in right if file.digests is not None}
            self._start(due | {file.number for file in right if file.digests is None})
        return wrong

    def make_durable(self) -> None:
        """Return when every hashed file is on the disk itself. Raises `StorageFailure`."""
        if self._sync_once and self.done:
            with storage_errors(path := self._files[min(self.done)].path):
                sync_file_system(path)

    def check_untouched(self) -> dict[int, FileIdentity]:
        """Return what each file was when it was hashed, by index. Raises `ContentMismatch` when one was written to or
        replaced since."""
        identities = {}
        for index in sorted(self.done):
            file = self._files[index]
            with storage_errors(file.path):
                status = os.lstat(file.path)
            found = FileIdentity.of(status)
            if found != file.identity or found.size != file.size or not stat.S_ISREG(status.st_mode):
                raise ContentMismatch(
                    f"{file.expected.path} was written to after it was verified; nothing was placed",
                    paths=(file.expected.path,),
                    hint="fetch again: what is on disk is checked and kept where it is right",
                )
            identities[index] = found
        return identities

    def close(self) -> None:
        """Stop hashing."""
        self._stopped.set()
        self._pool.close()

    # --- in the caller's thread ----------------------------------------------------------------------------------

    def _drop(self, indices: set[int]) -> None:
        for index in indices:
            file = self._files[index]
            # A worker keeps a file's digests under its key: another key begins at the first byte.
            again = _StagedFile(index, self._next_key, file.path, file.expected, file.size, file.lane)
            self._next_key += 1
            with self._lock:
                file.dropped = True
                self.hashed -= file.hashed
            self._files[index] = again

    def _start(self, indices: set[int]) -> None:
        ready: dict[int, list[_StagedFile]] = {}
        batch: list[_StagedFile] = []
        for index in sorted(indices):
            file = self._files[index]
            if file.running or index in self.done:
                continue
            file.readable = self._pieces.prefix(index, self._have, file.readable)
            if file.small:
                if file.readable == file.size:
                    batch.append(file)
            elif file.readable > file.hashed:
                ready.setdefault(file.lane, []).append(file)
            if len(batch) == BATCH_FILES:
                self._submit(batch, None)
                batch = []
        if batch:
            self._submit(batch, None)
        for lane, files in ready.items():
            # Two are hashed in the time of one; the others' turn comes when these have caught up.
            now = [] if lane in self._waiting else files[:_TOGETHER]
            self._waiting.setdefault(lane, set()).update(file.number for file in files if file not in now)
            if now:
                self._submit(now, lane)

    def _submit(self, files: list[_StagedFile], lane: int | None) -> None:
        for file in files:
            file.running = True
        self._jobs[self._pool.submit(lambda worker: self._hash(worker, files), lane)] = files

    # --- in the pool's threads -----------------------------------------------------------------------------------

    def _hash(self, worker: Worker, files: list[_StagedFile]) -> dict[int, Finding]:
        """Hash what is readable of files, make those durable that end, and return what is wrong with which."""
        inodes = {file.number: self._identify(file) for file in files}
        try:
            while (behind := [file for file in files if file.behind]) and not self._stopped.is_set():
                parts = [_next_part(file) for file in behind]
                extended = extend_digests(worker, parts)
                for file, part, (read, digests) in zip(behind, parts, extended, strict=True):
                    if read != inodes[file.number]:
                        raise _replaced(file)
                    self._advance(file, part.length, digests)
        except SourceChanged as error:
            changed = next((file for file in files if os.fspath(file.path) == error.paths[0]), files[0])
            return {changed.number: Finding(changed.expected.path, Fault.WRONG_SIZE, error.reason)}
        return {file.number: found for file in files if (found := self._settle(file)) is not None}

    def _identify(self, file: _StagedFile) -> tuple[int, int]:
        status = regular_status(file.path)
        inode = (status.st_dev, status.st_ino)
        if file.identity is not None and (file.identity.device, file.identity.inode) != inode:
            raise _replaced(file)
        # What is written from now on, while the last of it is hashed, shows in the end.
        file.identity = FileIdentity.of(status)
        return inode

    def _advance(self, file: _StagedFile, length: int, digests: FileDigests | None) -> None:
        with self._lock:
            if not file.dropped:
                self.hashed += length
            file.hashed += length
        file.unsynced += length
        file.digests = digests

    def _settle(self, file: _StagedFile) -> Finding | None:
        """Make a file durable, as far as it is due, and at its end return what is wrong with it."""
        ended = file.digests is not None and not (self._sync_once and file.size < _SYNC_BYTES)
        if ended or file.unsynced >= _SYNC_BYTES:
            descriptor = open_regular(file.path)
            try:
                # Spread over the download, so that the last sync has little left to do.
                (os.fsync if ended else os.fdatasync)(descriptor)
            finally:
                os.close(descriptor)
            file.unsynced = 0
        if file.digests is None:
            return None
        # As it was before the last of it was read: what is written since shows when it is looked at once more.
        size = -1 if file.identity is None else file.identity.size
        if size != file.size:
            return Finding(file.expected.path, Fault.WRONG_SIZE, f"{size:,} bytes, not {file.size:,}")
        return compare(file.digests, file.expected)


def _next_part(file: _StagedFile) -> FilePart:
    length = min(CALL_BYTES, file.readable - file.hashed)
    git_blob = file.expected.git_sha1 is not None
    return FilePart(file.key, file.path, file.size, file.hashed, length, whole=False, git_blob=git_blob)


def _replaced(file: _StagedFile) -> ContentMismatch:
    return ContentMismatch(f"{file.expected.path} was replaced while it was downloaded", paths=(file.expected.path,))


def mismatch(finding: Finding) -> WeightswarmError:
    """Return the error for a file whose every piece may be the torrent's, and which is not the manifest's."""
    return ContentMismatch(
        f"{finding.path} is not what the manifest says ({finding.fault.value}: {finding.detail}); nothing was placed",
        paths=(finding.path,),
        hint="the torrent holds other bytes than its manifest: ask the publisher for the right link",
    )
