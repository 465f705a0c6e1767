"""Downloading into staging, and hashing each file from disk while others still come.

libtorrent's word starts the work and never ends it: a file counts once its SHA-256 was read back from disk.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from weightswarm.cache import Staging
from weightswarm.errors import Cancelled, ContentMismatch, OutOfSpace, StorageFailure, SwarmTimeout, WeightswarmError
from weightswarm.fetching.metadata import Attempts
from weightswarm.hashing import usable_cores
from weightswarm.magnet import MagnetLink, PeerAddress
from weightswarm.metainfo import Metainfo
from weightswarm.progress import Phase, Progress, Report
from weightswarm.storage import free_bytes, open_regular
from weightswarm.swarm import (
    Checked,
    Event,
    FileCompleted,
    Finished,
    Flushed,
    ListenFailed,
    PieceRejected,
    StorageFailed,
    Swarm,
    Torrent,
    TorrentFailed,
)
from weightswarm.verifying import Expectation, Fault, Finding, check_open_file

_REPORT_SECONDS = 0.25
_FLUSH_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class _Verified:
    index: int
    finding: Finding | None
    inode: int
    mtime_ns: int


class Transfer:
    """One torrent's way into staging. `expectations` maps indices of `metainfo.files` to what each file must be."""

    def __init__(
        self,
        swarm: Swarm,
        metainfo: Metainfo,
        expectations: dict[int, Expectation],
        staging: Staging,
        *,
        timeout: float,
        report: Report,
    ) -> None:
        self.swarm = swarm
        self.metainfo = metainfo
        self.expectations = expectations
        self.staging = staging
        self.timeout = timeout
        self.report = report
        self.files = {index: staging.swarm_file(metainfo.files[index].path) for index in expectations}
        self.received = 0
        self._total = sum(metainfo.files[index].size for index in expectations)
        self._completed: set[int] = set()
        self._flushing: set[int] = set()
        self._submitted: set[int] = set()
        self._verified: dict[int, _Verified] = {}
        self._rejected: set[str] = set()
        self._finished = False
        self._flush_outstanding = False
        self._hashed = 0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(usable_cores(), thread_name_prefix="verify")
        self._running: set[Future[_Verified]] = set()

    def run(self, magnet: MagnetLink, peers: Iterable[PeerAddress]) -> bytes:
        """Download and verify; return the metainfo as complete as the swarm knows it.

        Raises `ContentMismatch`, `SwarmTimeout`, `OutOfSpace`, `StorageFailure`. Staging keeps what came.
        """
        torrent = self.swarm.add_download(
            self.metainfo,
            self.files,
            folder=self.staging.folder,
            trackers=dict.fromkeys((*magnet.trackers, *self.metainfo.trackers)),
            web_seeds=dict.fromkeys((*magnet.web_seeds, *self.metainfo.web_seeds)),
            peers=dict.fromkeys((*magnet.peers, *peers)),
        )
        try:
            self._loop(torrent, Attempts(trackers=len(set(magnet.trackers) | set(self.metainfo.trackers))))
            complete = self.swarm.export(torrent) or self.metainfo.data
        finally:
            torrent.refresh_now()
            self.received = torrent.status.received
            self._stop.set()
            self._pool.shutdown(cancel_futures=True)
            self.swarm.remove(torrent)
        self._check_untouched()
        return complete

    def _loop(self, torrent: Torrent, attempts: Attempts) -> None:
        moved = time.monotonic()
        last: tuple[object, ...] = ()
        next_report = next_flush = 0.0
        while len(self._verified) < len(self.expectations):
            for event in self.swarm.poll(0.05 if self._running else 0.1):
                attempts.take(event)
                self._take(event, torrent)
            now = time.monotonic()
            if self._completed and not self._flush_outstanding and (self._finished or now >= next_flush):
                next_flush = now + _FLUSH_SECONDS
                self._flushing, self._completed = self._completed, set()
                self._flush_outstanding = True
                torrent.flush()
            self._collect()
            if now >= next_report:
                next_report = now + _REPORT_SECONDS
                self._show(torrent)
            status = torrent.status
            here = (status.received, status.done, status.progress, self._hashed, len(self._verified))
            if here != last:
                moved, last = now, here
            elif now - moved > self.timeout:
                raise self._stalled(torrent, attempts)
        self._show(torrent)

    def _take(self, event: Event, torrent: Torrent) -> None:
        if isinstance(event, ListenFailed) or event.torrent is not torrent:
            return
        if isinstance(event, FileCompleted):
            self._complete(event.index)
        elif isinstance(event, Checked):
            for index in torrent.complete_files():
                self._complete(index)
        elif isinstance(event, Finished):
            self._finished = True
            for index in self.expectations:
                self._complete(index)
        elif isinstance(event, Flushed) and self._flush_outstanding:
            self._flush_outstanding = False
            for index in self._flushing:
                self._submitted.add(index)
                self._running.add(self._pool.submit(self._verify, index))
            self._flushing = set()
        elif isinstance(event, PieceRejected):
            self._rejected.update(self.metainfo.files[i].path for i in torrent.files_of_piece(event.piece))
        else:
            self._raise_failure(event, torrent)

    def _raise_failure(self, event: Event, torrent: Torrent) -> None:
        if isinstance(event, StorageFailed):
            if event.out_of_space:
                left = torrent.status.wanted - torrent.status.done
                raise OutOfSpace(str(self.staging.folder), needed=left, free=free_bytes(self.staging.folder))
            raise StorageFailure(event.path, event.reason)
        if isinstance(event, TorrentFailed):
            raise StorageFailure(self.metainfo.name, event.reason)

    def _complete(self, index: int) -> None:
        if index in self.expectations and index not in self._submitted and index not in self._flushing:
            self._completed.add(index)

    def _verify(self, index: int) -> _Verified:
        """Hash one staged file from disk and make its bytes durable."""
        descriptor = open_regular(self.files[index])
        try:
            finding = check_open_file(
                descriptor, self.expectations[index], on_bytes=self._count, stop=self._stop.is_set
            )
            os.fsync(descriptor)
            status = os.fstat(descriptor)
            return _Verified(index, finding, status.st_ino, status.st_mtime_ns)
        finally:
            os.close(descriptor)

    def _count(self, size: int) -> None:
        with self._lock:
            self._hashed += size

    def _collect(self) -> None:
        for future in [f for f in self._running if f.done()]:
            self._running.remove(future)
            try:
                verified = future.result()
            except OSError as error:
                raise StorageFailure(
                    str(error.filename or self.staging.folder), error.strerror or str(error)
                ) from error
            except Cancelled:
                continue
            if verified.finding is not None:
                raise _mismatch(verified.finding)
            self._verified[verified.index] = verified

    def _check_untouched(self) -> None:
        """Nobody may have written to a file between its hash and now, when libtorrent has let go of it."""
        for verified in self._verified.values():
            path = self.files[verified.index]
            status = os.lstat(path)
            if (status.st_ino, status.st_mtime_ns) != (verified.inode, verified.mtime_ns):
                name = self.metainfo.files[verified.index].path
                raise ContentMismatch(
                    f"{name} was written to after it was verified; nothing was placed",
                    paths=(name,),
                    hint="fetch again: what is on disk is checked and kept where it is right",
                )

    def _show(self, torrent: Torrent) -> None:
        status = torrent.status
        if status.checking:
            self.report(Progress(Phase.CHECKING, int(status.progress * self._total), self._total))
            return
        self.report(
            Progress(
                Phase.DOWNLOADING,
                done=self._total if self._finished else min(status.done, self._total),
                total=self._total,
                download_rate=status.download_rate,
                upload_rate=status.upload_rate,
                uploaded=status.uploaded,
                peers=status.peers,
            )
        )
        if self._hashed:
            self.report(Progress(Phase.VERIFYING, self._hashed, self._total))

    def _stalled(self, torrent: Torrent, attempts: Attempts) -> WeightswarmError:
        paths = [self.metainfo.files[i].path for i in sorted(self.expectations) if i not in self._verified]
        shown = ", ".join(paths[:3]) + (f" and {len(paths) - 3:,} more" if len(paths) > 3 else "")
        if self._rejected:
            wrong = tuple(sorted(self._rejected))
            return ContentMismatch(
                f"Peers sent bytes that do not match the torrent's hashes: {', '.join(wrong[:5])}",
                paths=wrong,
                hint="wrong pieces were thrown away and nothing was placed; find another peer and fetch again",
            )
        status = torrent.status
        return SwarmTimeout(
            f"No progress for {self.timeout:g} seconds at {status.done:,} of {status.wanted:,} bytes"
            f" ({attempts.describe(self.swarm, torrent)}); missing: {shown}",
            after=self.timeout,
            hint="what came is kept: the same command goes on from there",
        )


def _mismatch(finding: Finding) -> WeightswarmError:
    if finding.fault is Fault.UNREADABLE:
        return StorageFailure(finding.path, finding.detail)
    return ContentMismatch(
        f"{finding.path} is not what the manifest says ({finding.fault.value}: {finding.detail}); nothing was placed",
        paths=(finding.path,),
        hint="the torrent holds other bytes than its manifest: ask the publisher for the right link",
    )


def staged_paths(transfer: Transfer) -> dict[str, Path]:
    """Return the verified files in staging, by their path in the release."""
    return {transfer.metainfo.files[index].path: path for index, path in transfer.files.items()}
