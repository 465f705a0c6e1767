"""Downloading into staging, and hashing each file from disk while others still come.

libtorrent's word starts the work and never ends it: a file counts once its SHA-256 was read back from disk.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Protocol

from weightswarm.cache import StagedFile, Staging
from weightswarm.errors import ContentMismatch, OutOfSpace, StorageFailure, SwarmTimeout, WeightswarmError
from weightswarm.fetching.metadata import Attempts
from weightswarm.fetching.ordering import PieceOrder
from weightswarm.fetching.patience import Patience
from weightswarm.fetching.verification import StagedVerification
from weightswarm.fetching.written import Holes
from weightswarm.magnet import MagnetLink, PeerAddress
from weightswarm.metainfo import Metainfo, PieceMap, with_piece_layers
from weightswarm.progress import Phase, Progress, Report
from weightswarm.storage import FileIdentity, free_bytes
from weightswarm.swarm import (
    Checked,
    Event,
    Finished,
    Flushed,
    ListenFailed,
    PieceFinished,
    PieceRejected,
    StorageFailed,
    Swarm,
    Torrent,
    TorrentFailed,
)
from weightswarm.verifying import Expectation

_REPORT_SECONDS = 0.25
_FLUSH_SECONDS = 0.2
_ORDER_SECONDS = 0.5
_STUCK_SECONDS = 3.0
_MAX_STUCK = 3
_SOON_SECONDS, _EARLY_SECONDS = 0.05, 3.0
_LEAVE_SECONDS = 0.5
_LEAST_TO_LEAVE = 8 * 1024 * 1024
_LET_GO_SECONDS = 10.0


class _End(Enum):
    """How a download ended.

    `INCONSISTENT`: v1 and v2 hashes seem to disagree. `STUCK`: bad pieces came, and then nothing. Who sends part of
    a bad piece is under suspicion, and after four the honest peer is banned beside the lying one. Taken up again, with
    each piece from one peer, the torrent knows nothing of that, and soon who lied. `LEFT`: there is a better way.
    """

    VERIFIED = "verified"
    INCONSISTENT = "inconsistent"
    STUCK = "stuck"
    LEFT = "left"


class Transfer:
    """One torrent's way into staging. `expectations` maps indices of `metainfo.files` to what each file must be.

    While most is still missing, `leave` is asked now and then whether to leave the swarm for another way; if so, `left`
    is true, nothing is verified, and nothing writes to staging any more.

    Once `run` has ended, `received` counts the payload bytes that came over the network, `from_web_seeds` those of
    them that came by HTTP, `found` are the pieces that stood on disk before any came, and `identities` tell by index
    what each file was when it was verified.
    """

    def __init__(
        self,
        swarm: Swarm,
        metainfo: Metainfo,
        expectations: dict[int, Expectation],
        staging: Staging,
        *,
        timeout: float,
        report: Report,
        leave: Callable[[Torrent], bool] | None = None,
    ) -> None:
        self.swarm = swarm
        self.metainfo = metainfo
        self.expectations = expectations
        self.staging = staging
        self.timeout = timeout
        self.report = report
        self.left = False
        self._leave = leave
        self.files = {index: staging.swarm_file(metainfo.files[index].path) for index in expectations}
        self.received = 0
        self.from_web_seeds = 0
        self._asks_web_seeds = False
        self.found: set[int] = set()
        self.identities: dict[int, FileIdentity] = {}
        self._map = PieceMap(metainfo)
        self._verification = StagedVerification(self.files, expectations, self._map)
        self._sizes = {index: metainfo.files[index].size for index in expectations}
        self._order = PieceOrder(self._sizes, self._map, time.monotonic())
        self._total = sum(self._sizes.values())
        self._pieces: set[int] = set()
        self._flushing: set[int] | None = None
        self._finished = False
        self._rejected: set[int] = set()
        self._rejections = 0
        self._begun = False
        self._ends: Counter[_End] = Counter()

    def run(self, magnet: MagnetLink, peers: Iterable[PeerAddress]) -> bytes:
        """Download and verify; return the metainfo as complete as the swarm knows it.

        Raises `ContentMismatch`, `SwarmTimeout`, `OutOfSpace`, `StorageFailure`. Staging keeps what came.
        """
        peers = tuple(peers)
        try:
            while (end := self._download(magnet, peers)) is not _End.VERIFIED:
                if end is _End.LEFT:
                    self.left = True
                    return self.metainfo.data
                self._ends[end] += 1
                if self._ends[_End.INCONSISTENT] > 1:
                    raise self._rejection(tuple(self.metainfo.files[index].path for index in sorted(self.expectations)))
        finally:
            self._verification.close()
        self._verification.make_durable()
        # libtorrent has let go of the files: nobody may have written to one since it was hashed.
        self.identities = self._verification.check_untouched()
        return self.metainfo.data

    def _download(self, magnet: MagnetLink, peers: tuple[PeerAddress, ...]) -> _End:
        """Return how it ended. Whatever that is, what is on disk is kept.

        libtorrent takes hashes for inconsistent with right pieces too, when their v2 hashes come between their v1 hash
        and the disk. With all v2 hashes, which have come by then, they alone count.
        """
        # What stands on disk is checked anew, by other hashes perhaps, and what is wrong then is written over.
        self._verification.begin_anew()
        self._order = PieceOrder(self._sizes, self._map, time.monotonic())
        for index, size in self._sizes.items():
            self.staging.cut(self.metainfo.files[index].path, size)
        self._holes = Holes(self.staging.folder, self.files, self._map)
        trackers = tuple(dict.fromkeys((*magnet.trackers, *self.metainfo.trackers)))
        web_seeds = dict.fromkeys((*magnet.web_seeds, *self.metainfo.web_seeds))
        self._asks_web_seeds = bool(web_seeds)
        torrent = self.swarm.add_download(
            self.metainfo,
            self.files,
            folder=self.staging.folder,
            trackers=trackers,
            web_seeds=web_seeds,
            peers=dict.fromkeys((*magnet.peers, *peers)),
        )
        self._pieces, self._flushing, self._finished = set(), None, False
        try:
            end = self._loop(torrent, Attempts(trackers=len(trackers)))
            self.metainfo = self._complete_metainfo(torrent)
        finally:
            torrent.refresh_now()
            self.received += torrent.status.received
            # The relay counts what it passed on, a request's last bytes too that libtorrent may have left unread.
            self.from_web_seeds = min(self.received, self.swarm.from_web_seeds)
            self.swarm.remove(torrent)
        return end

    def _complete_metainfo(self, torrent: Torrent) -> Metainfo:
        if self.metainfo.info_hash.v2 is None or self.metainfo.has_piece_layers:
            return self.metainfo
        layers = self.swarm.piece_layers(torrent, self.metainfo)
        return self.metainfo if layers is None else with_piece_layers(self.metainfo, layers)

    def _loop(self, torrent: Torrent, attempts: Attempts) -> _End:
        started = time.monotonic()
        patience = Patience(self.timeout, started)
        next_report = next_flush = next_order = next_leave = 0.0
        while len(self._verification.done) < len(self.expectations):
            for event in self.swarm.poll(0.02 if self._verification.busy else 0.1):
                if isinstance(event, TorrentFailed) and event.torrent is torrent and event.inconsistent:
                    return _End.INCONSISTENT
                attempts.take(event)
                self._take(event, torrent)
            now = time.monotonic()
            seen, overdue = self._holes.look(now)
            self._verification.readable(seen, flushed=False)
            self._pieces |= overdue | self._verification.collect()
            if self._pieces and self._flushing is None and (self._finished or now >= next_flush):
                next_flush = now + _FLUSH_SECONDS
                self._flushing, self._pieces = self._pieces, set()
                torrent.flush()
            if now >= next_order and not torrent.status.checking:
                next_order = now + _ORDER_SECONDS
                self._order.update(torrent, self._verification.done, now)
            if now >= next_report:
                next_report = now + _REPORT_SECONDS
                self._show(torrent)
            if now >= next_leave:
                # Whom it knows it meets at once, and soon has much of what is missing.
                next_leave = now + (_SOON_SECONDS if now < started + _EARLY_SECONDS else _LEAVE_SECONDS)
                if self._may_leave(torrent) and self._let_go(torrent):
                    return _End.LEFT
            status = torrent.status
            checked = status.progress if status.checking else 1.0
            patience.look((status.done, checked, self._verification.hashed), now)
            if patience.over:
                raise self._stalled(torrent, attempts)
            if patience.search_due():
                torrent.search_again()
            if self._rejections and self._ends[_End.STUCK] < _MAX_STUCK and patience.idle > _STUCK_SECONDS:
                return _End.STUCK
        self._show(torrent)
        return _End.VERIFIED

    def _may_leave(self, torrent: Torrent) -> bool:
        status = torrent.status
        missing = status.wanted - status.done
        # The other way hashes what is here anew.
        worth = missing >= _LEAST_TO_LEAVE and 2 * status.done <= missing
        return self._begun and not status.checking and worth and self._leave is not None and self._leave(torrent)

    def _let_go(self, torrent: Torrent) -> bool:
        """Leave all peers; return whether nothing is on its way to the disk any more, which may take too long."""
        awaited = 1 + (self._flushing is not None)
        torrent.let_go()
        until = time.monotonic() + _LET_GO_SECONDS
        while awaited and time.monotonic() < until:
            for event in self.swarm.poll(0.05):
                awaited -= isinstance(event, Flushed) and event.torrent is torrent
                if isinstance(event, StorageFailed | TorrentFailed):
                    self._take(event, torrent)
        if awaited:
            self._leave = None
            torrent.come_back()
        return not awaited

    def _take(self, event: Event, torrent: Torrent) -> None:
        if isinstance(event, ListenFailed) or event.torrent is not torrent:
            return
        if isinstance(event, PieceFinished):
            self._verification.rewritten(event.piece)
            if not self._holes.watch(event.piece, time.monotonic()):
                self._holes.forget(event.piece)
                self._pieces.add(event.piece)
            self._rejected.discard(event.piece)
        elif isinstance(event, Checked):
            there = torrent.pieces()
            self._pieces |= there
            if not self._begun:
                self._begun, self.found = True, there
        elif isinstance(event, Finished):
            self._finished = True
            self._pieces |= torrent.pieces()
            if not self._pieces:
                self._verification.all_readable()
        elif isinstance(event, Flushed) and self._flushing is not None:
            # A piece that came once more meanwhile waits for the next flush.
            self._verification.readable(self._flushing - self._pieces)
            self._flushing = None
            if self._finished and not self._pieces:
                self._verification.all_readable()
        elif isinstance(event, PieceRejected):
            self._rejected.add(event.piece)
            self._holes.forget(event.piece)
            if not self._rejections:
                self.swarm.take_whole_pieces()
            self._rejections += 1
        elif isinstance(event, StorageFailed | TorrentFailed):
            self._raise_failure(event)

    def _raise_failure(self, event: StorageFailed | TorrentFailed) -> None:
        if isinstance(event, TorrentFailed):
            raise StorageFailure(self.metainfo.name, event.reason)
        if event.out_of_space:
            left = sum(size for index, size in self._sizes.items() if index not in self._verification.done)
            raise OutOfSpace(str(self.staging.folder), needed=left, free=free_bytes(self.staging.folder))
        raise StorageFailure(event.path, event.reason)

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
                note=_both(status.peers) if self._asks_web_seeds else "",
            )
        )
        if self._verification.hashed:
            self.report(Progress(Phase.VERIFYING, self._verification.hashed, self._total))

    def _rejection(self, paths: tuple[str, ...]) -> ContentMismatch:
        return ContentMismatch(
            f"Peers sent bytes that do not match the torrent's hashes: {', '.join(paths[:5])}",
            paths=paths,
            hint="wrong pieces were thrown away and nothing was placed; find another peer and fetch again",
        )

    def _stalled(self, torrent: Torrent, attempts: Attempts) -> WeightswarmError:
        paths = [self.metainfo.files[i].path for i in sorted(self.expectations) if i not in self._verification.done]
        shown = ", ".join(paths[:3]) + (f" and {len(paths) - 3:,} more" if len(paths) > 3 else "")
        if self._rejected:
            touched = {index for piece in self._rejected for index in self._map.files_of(piece)}
            wrong = tuple(self.metainfo.files[index].path for index in sorted(touched))
            return self._rejection(wrong)
        status = torrent.status
        return SwarmTimeout(
            f"No progress for {self.timeout:g} seconds at {status.done:,} of {status.wanted:,} bytes"
            f" ({attempts.describe(self.swarm, torrent)}); missing: {shown}",
            after=self.timeout,
            hint="what came is kept: the same command goes on from there",
        )


class Verified(Protocol):
    """A way into staging whose `run` has ended."""

    @property
    def metainfo(self) -> Metainfo:
        """The torrent."""

    @property
    def files(self) -> Mapping[int, Path]:
        """Where its files are staged, by index."""

    @property
    def identities(self) -> Mapping[int, FileIdentity]:
        """What each was when it was verified."""


def staged_files(transfer: Verified) -> dict[str, StagedFile]:
    """Return the verified files in staging, by their path in the release."""
    files = transfer.metainfo.files
    return {files[index].path: StagedFile(transfer.files[index], found) for index, found in transfer.identities.items()}


def _both(count: int) -> str:
    """libtorrent counts a web seed that gives as a peer."""
    return "1 peer or web seed" if count == 1 else f"{count:,} peers and web seeds"
