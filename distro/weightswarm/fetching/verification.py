"""Hashing staged files from disk while they still download: each as far as its bytes are known to be readable."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from weightswarm.errors import ContentMismatch, StorageFailure, WeightswarmError
from weightswarm.hashing import RunningDigest, usable_cores
from weightswarm.metainfo import PieceMap
from weightswarm.storage import open_regular, storage_errors
from weightswarm.verifying import Expectation, Fault, Finding, compare

_SYNC_BYTES = 64 * 1024 * 1024


class _StagedFile:
    """One file on its way: `readable` bytes may be read back, `digest.position` of them were."""

    def __init__(self, path: Path, expected: Expectation, size: int) -> None:
        self.path = path
        self.expected = expected
        self.size = size
        self.readable = 0
        self.running = False
        self.digest = RunningDigest(size if expected.git_sha1 is not None else None)
        self.inode: int | None = None
        self.mtime_ns = 0
        self._unsynced = 0

    def advance(self, verification: StagedVerification) -> Finding | None:
        """Hash what became readable; at the file's end, make it durable and return what is wrong with it."""
        end, before = self.readable, self.digest.position
        descriptor = open_regular(self.path)
        try:
            status = os.fstat(descriptor)
            if self.inode not in (None, status.st_ino):
                raise ContentMismatch(f"{self.expected.path} was replaced while it was downloaded")
            self.inode = status.st_ino
            whole = self.digest.read(descriptor, end, on_bytes=verification.count, stop=verification.stopped.is_set)
            if verification.stopped.is_set():
                return None
            if not whole:
                return Finding(self.expected.path, Fault.WRONG_SIZE, f"{self.digest.position:,} bytes, not {end:,}")
            self._unsynced += self.digest.position - before
            if self.digest.position < self.size:
                if self._unsynced >= _SYNC_BYTES:
                    # Spread over the download, so that the last sync has little left to do.
                    os.fdatasync(descriptor)
                    self._unsynced = 0
                return None
            os.fsync(descriptor)
            status = os.fstat(descriptor)
            self.mtime_ns = status.st_mtime_ns
            if status.st_size != self.size:
                return Finding(self.expected.path, Fault.WRONG_SIZE, f"{status.st_size:,} bytes, not {self.size:,}")
            return compare(self.digest.digests(), self.expected)
        finally:
            os.close(descriptor)


class StagedVerification:
    """All files of a transfer. Call `readable` and `collect` from one thread; the hashing runs on all cores."""

    def __init__(self, files: dict[int, Path], expectations: dict[int, Expectation], pieces: PieceMap) -> None:
        self._pieces = pieces
        self._files = {
            index: _StagedFile(path, expectations[index], expectations[index].size or 0)
            for index, path in files.items()
        }
        self._have: set[int] = set()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(usable_cores(), thread_name_prefix="verify")
        self._jobs: dict[Future[Finding | None], int] = {}
        self.stopped = threading.Event()
        self.hashed = 0
        self.done: set[int] = set()

    @property
    def busy(self) -> bool:
        """Whether hashes are being computed."""
        return bool(self._jobs)

    def readable(self, pieces: set[int]) -> None:
        """Hash on: the bytes of `pieces` can now be read from disk."""
        self._have |= pieces
        for index in {index for piece in pieces for index in self._pieces.files_of(piece)} & self._files.keys():
            self._start(index)

    def all_readable(self) -> None:
        """Hash the rest: every wanted byte can be read from disk."""
        self.readable({piece for index in self._files for piece in self._pieces.pieces_of(index)})
        for index, file in self._files.items():
            if file.size == 0:
                self._start(index)

    def collect(self) -> None:
        """Take up finished hashes. Raises `ContentMismatch` for a file that is not what it must be."""
        for job in [job for job in self._jobs if job.done()]:
            index = self._jobs.pop(job)
            file = self._files[index]
            file.running = False
            try:
                finding = job.result()
            except OSError as error:
                raise StorageFailure(str(error.filename or file.path), error.strerror or str(error)) from error
            if finding is not None:
                raise _mismatch(finding)
            if file.digest.position == file.size and file.inode is not None:
                self.done.add(index)
            else:
                self._start(index)

    def check_untouched(self) -> None:
        """Raise `ContentMismatch` when a file was written to or replaced after it was hashed."""
        for index in self.done:
            file = self._files[index]
            with storage_errors(file.path):
                status = os.lstat(file.path)
            if (status.st_ino, status.st_mtime_ns, status.st_size) != (file.inode, file.mtime_ns, file.size):
                raise ContentMismatch(
                    f"{file.expected.path} was written to after it was verified; nothing was placed",
                    paths=(file.expected.path,),
                    hint="fetch again: what is on disk is checked and kept where it is right",
                )

    def count(self, size: int) -> None:
        """Add to the bytes hashed; called by the hashing threads."""
        with self._lock:
            self.hashed += size

    def close(self) -> None:
        """Stop hashing."""
        self.stopped.set()
        self._pool.shutdown(cancel_futures=True)

    def _start(self, index: int) -> None:
        file = self._files[index]
        if file.running or index in self.done:
            return
        file.readable = self._pieces.prefix(index, self._have, file.readable)
        if file.readable > file.digest.position or file.size == 0:
            file.running = True
            self._jobs[self._pool.submit(file.advance, self)] = index


def _mismatch(finding: Finding) -> WeightswarmError:
    return ContentMismatch(
        f"{finding.path} is not what the manifest says ({finding.fault.value}: {finding.detail}); nothing was placed",
        paths=(finding.path,),
        hint="the torrent holds other bytes than its manifest: ask the publisher for the right link",
    )
