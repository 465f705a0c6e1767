"""Downloading into staging by HTTP alone: no session, no peers, no tracker; nothing listens.

Web seeds are asked for ranges of files over a few connections. A piece is checked as it comes, so that wrong bytes
are laid at the door of the server that sent them; a file counts once its SHA-256 was read back from disk, as ever.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Container, Iterable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty

from weightswarm.cache import Staging
from weightswarm.errors import (
    ContentMismatch,
    InvalidInput,
    NetworkFailure,
    OutOfSpace,
    StorageFailure,
    SwarmTimeout,
    WeightswarmError,
)
from weightswarm.fetching.coverage import Coverage
from weightswarm.fetching.extents import Extents
from weightswarm.fetching.http_lines import Arrival, Lines, open_staged
from weightswarm.fetching.patience import Patience
from weightswarm.fetching.piece_checks import PieceChecks, whole_files
from weightswarm.fetching.verification import StagedVerification, mismatch
from weightswarm.hashing import CALL_BYTES
from weightswarm.magnet import MagnetLink, PeerAddress
from weightswarm.metainfo import Metainfo, PieceMap
from weightswarm.progress import Note, Phase, Progress, Report
from weightswarm.storage import FileIdentity, data_spans, free_bytes, is_out_of_space, storage_errors
from weightswarm.swarm import NetworkOptions, Sieve
from weightswarm.verifying import Expectation, Fault, Finding
from weightswarm.webseed import WebSeed

CHECKED_RATE = 128 * 1024 * 1024
"""Bytes a second up to which every piece is checked as it comes, which takes a twelfth of a core. Of what comes faster
each file's SHA-256 is the first witness, and its pieces are asked when that is wrong."""

_CHECKED_AT_ONCE = CHECKED_RATE // 2
_REPORT_SECONDS = 0.25
_RATE_SECONDS = 2.0
_BUSY_SECONDS = 0.02
_IDLE_SECONDS = 0.1
_GATHER_SECONDS = 0.005
_MAX_REJECTIONS = 4
_NO_WEB_SEED = "give -w URL, an HTTP folder with the files; or `-w hub`; or fetch without --http-only"


class Left(Exception):
    """There is another way now. Nothing writes to staging any more."""


class HttpTransfer:
    """One torrent's way into staging from its web seeds, as `Transfer` is from the swarm.

    `leave` is asked all the time whether to leave off.
    """

    _kind = "web seed"

    def __init__(
        self,
        network: NetworkOptions,
        metainfo: Metainfo,
        expectations: dict[int, Expectation],
        staging: Staging,
        *,
        timeout: float,
        report: Report,
        leave: Callable[[], bool] = lambda: False,
    ) -> None:
        self._leave = leave
        self.network = network
        self.metainfo = metainfo
        self.expectations = expectations
        self.staging = staging
        self.timeout = timeout
        self.report = report
        self.files = {index: staging.swarm_path(metainfo.files[index].path) for index in expectations}
        self.received = 0
        self.found: set[int] = set()
        self.identities: dict[int, FileIdentity] = {}
        self._map = PieceMap(metainfo)
        self._coverage = Coverage(self._map, expectations)
        self._alone = whole_files(metainfo, expectations, self._map)
        self._checks = PieceChecks(metainfo, self.files, self._map)
        self._verification = StagedVerification(self.files, expectations, self._map)
        self._extents = Extents()
        self._web_seeds: list[WebSeed] = []
        self._said: set[int] = set()
        self._liars: set[int] = set()
        self._waiting: deque[int] = deque()
        self._queued: set[int] = set()
        self._checking: dict[Future[list[int]], list[int]] = {}
        self._unchecked: set[int] = set()
        self._doubted: dict[int, tuple[Finding, int]] = {}
        self._rejections: Counter[int] = Counter()
        self._wrong_paths: dict[str, None] = {}
        self._allowance = float(_CHECKED_AT_ONCE)
        self._allowed_at = time.monotonic()
        self._rates: deque[tuple[float, int]] = deque()
        self._rates_told = network.rates()

    @property
    def from_web_seeds(self) -> int:
        """As `received`: there is no other way."""
        return self.received

    def run(self, magnet: MagnetLink, _peers: Iterable[PeerAddress]) -> bytes:
        """Download and verify; return the metainfo.

        Raises `InvalidInput` without a web seed, `NetworkFailure` when none is left, `ContentMismatch`,
        `SwarmTimeout`, `OutOfSpace`, `StorageFailure`, `Left`. Staging keeps what came.
        """
        lines = self._ask(magnet)
        try:
            self._take_staged()
            self._extents.add(self._coverage.missing())
            lines.start()
            self._loop(lines)
        finally:
            lines.close()
            self._verification.close()
        self._verification.make_durable()
        self.identities = self._verification.check_untouched()
        return self.metainfo.data

    def _ask(self, magnet: MagnetLink) -> Lines:
        """Return connections to all that may be asked. Raises `InvalidInput` when that is nobody."""
        sieve = Sieve(self.network)
        urls = sieve.web_seeds(dict.fromkeys((*magnet.web_seeds, *self.metainfo.web_seeds)))
        if summary := sieve.summary():
            self.report(Note(summary))
        if not urls:
            raise InvalidInput(
                f"--http-only needs a web seed, and nobody names one for {self.metainfo.name}", hint=_NO_WEB_SEED
            )
        self._web_seeds = [WebSeed(number, url) for number, url in enumerate(urls)]
        limits = self.network.limits()
        if self.network.schedule.windows:
            self.report(Note(f"By the schedule: {self._rates_told}."))
        return Lines(self.metainfo, self.staging, self._web_seeds, self._extents, limits, self._download_limit)

    # --- what is on disk already ---------------------------------------------------------------------------------

    def _take_staged(self) -> None:
        """Hash the pieces that an earlier run left, whichever way they came; nothing is taken on its word."""
        begun = self.staging.begun()
        written = {index: spans for index in self.files if (spans := self._prepare(index, begun))}
        candidates = [
            piece
            for piece in (self._coverage.pieces if written else ())
            if self._checks.known(piece)
            and all(
                any(begin < end and first < stop for begin, stop in written.get(index, ()))
                for index, first, end in self._coverage.spans(piece)
            )
        ]
        self._queue(candidates)
        left = len(candidates)
        while self._waiting or self._checking:
            self._submit_checks()
            for future in [future for future in self._checking if future.done()]:
                pieces = self._take_checked(future)
                right = set(pieces) - set(future.result())
                self._coverage.found(right)
                self.found |= right
                self._verification.readable(right)
                left -= len(pieces)
                done = len(candidates) - left
                self.report(Progress(Phase.CHECKING, done * self._map.piece_length, self._coverage.total))
            time.sleep(0.002)

    def _prepare(self, index: int, begun: Container[str]) -> list[tuple[int, int]]:
        """Make a staged file ready, and return where it has bytes."""
        path, file = self.files[index], self.metainfo.files[index]
        if file.size and file.path not in begun:
            # Whoever brings its first byte makes it.
            return []
        self.staging.cut(file.path, file.size)
        with storage_errors(path):
            descriptor = open_staged(Path(path), self.staging.base)
            try:
                return data_spans(descriptor)
            finally:
                os.close(descriptor)

    # --- the download --------------------------------------------------------------------------------------------

    def _loop(self, lines: Lines) -> None:
        patience = Patience(self.timeout, time.monotonic())
        next_report = 0.0
        started = False
        while len(self._verification.done) < len(self.expectations) or self._doubted:
            self._take(lines)
            if self._coverage.complete and not (self._waiting or self._checking or started):
                # Empty files among them.
                started = True
                self._verification.all_readable()
            started = started and self._coverage.complete
            for index, finding in self._verification.collect_findings().items():
                self._doubt(index, finding)
            self._submit_checks()
            self._collect_checks()
            self._look_at_web_seeds()
            now = time.monotonic()
            if now >= next_report:
                next_report = now + _REPORT_SECONDS
                self._show(now)
                self._tell_rates()
            patience.look((self._coverage.done, self._verification.hashed, lines.passed_over), now)
            if patience.over:
                raise self._stalled()
            if self._leave():
                raise Left
        self._show(time.monotonic())

    def _take(self, lines: Lines) -> None:
        """Take up what came, waiting a moment for it."""
        whole: list[int] = []
        arrived: Arrival | BaseException
        with suppress(Empty):
            arrived = lines.arrived.get(timeout=_BUSY_SECONDS if self._busy else _IDLE_SECONDS)
            # Many at a time: who counts them competes with who brings them.
            time.sleep(_GATHER_SECONDS)
            while True:
                if isinstance(arrived, BaseException):
                    raise self._failure(arrived)
                self.received += arrived[3] - arrived[2]
                whole += self._coverage.brought(*arrived)
                arrived = lines.arrived.get_nowait()
        self._admit(whole)

    @property
    def _busy(self) -> bool:
        return self._verification.busy or bool(self._checking)

    def _admit(self, pieces: list[int]) -> None:
        """Have whole pieces checked, or hashed at once where there are too many, or where one is all of a file: then
        its SHA-256 tells as much at the same time."""
        now = time.monotonic()
        self._allowance = min(_CHECKED_AT_ONCE, self._allowance + CHECKED_RATE * (now - self._allowed_at))
        self._allowed_at = now
        at_once = set()
        for piece in pieces:
            alone = piece in self._alone
            if alone and not self._liars:
                self._unchecked.add(piece)
                at_once.add(piece)
            elif self._checks.known(piece) and (
                self._must_check(piece) or (not alone and self._allowance >= self._map.piece_length)
            ):
                self._allowance -= self._map.piece_length
                self._queue([piece])
            else:
                self._unchecked.add(piece)
                at_once.add(piece)
        if at_once:
            self._verification.readable(at_once)

    def _must_check(self, piece: int) -> bool:
        """Tell whether nothing else would find wrong bytes, or a server that sent some is known for such."""
        without_hash = any(self.expectations[index].sha256 is None for index, _, _ in self._coverage.spans(piece))
        return without_hash or not self._liars.isdisjoint(self._coverage.givers(piece))

    # --- pieces --------------------------------------------------------------------------------------------------

    def _queue(self, pieces: Iterable[int]) -> None:
        """Have pieces checked, those that wait for it already once: what was thrown away must not be twice."""
        for piece in pieces:
            if piece not in self._queued:
                self._queued.add(piece)
                self._waiting.append(piece)

    def _take_checked(self, future: Future[list[int]]) -> list[int]:
        pieces = self._checking.pop(future)
        self._queued.difference_update(pieces)
        return pieces

    def _submit_checks(self) -> None:
        at_once = max(1, CALL_BYTES // self._map.piece_length)
        while self._waiting and len(self._checking) < 4:
            batch = [self._waiting.popleft() for _ in range(min(at_once, len(self._waiting)))]
            self._checking[self._verification.submit(partial(self._checks.wrong, pieces=batch))] = batch

    def _collect_checks(self) -> None:
        for future in [future for future in self._checking if future.done()]:
            pieces = self._take_checked(future)
            wrong = set(future.result())
            self._unchecked -= {*pieces}
            for piece in wrong:
                self._reject(piece)
            self._verification.readable({*pieces} - wrong)
        if self._doubted and not self._waiting and not self._checking:
            for index, (finding, before) in self._doubted.items():
                if self._rejected(index) == before:
                    raise mismatch(finding)
            self._doubted.clear()

    def _doubt(self, index: int, finding: Finding) -> None:
        """A file is not the manifest's: ask its pieces who sent what is wrong. Raises `ContentMismatch`."""
        pieces = [piece for piece in self._map.pieces_of(index) if piece in self._unchecked]
        if finding.fault is not Fault.WRONG_HASH or not pieces:
            raise mismatch(finding)
        if not all(map(self._checks.known, pieces)):
            self._wrong_paths[finding.path] = None
            raise self._wrong_bytes()
        self._doubted[index] = finding, self._rejected(index)
        self._queue(pieces)

    def _rejected(self, index: int) -> int:
        return sum(self._rejections[piece] for piece in self._map.pieces_of(index))

    def _reject(self, piece: int) -> None:
        """Have a wrong piece come again, and leave out who alone sent it."""
        self._verification.rewritten(piece)
        givers = self._coverage.givers(piece)
        # Of files that share it, what was verified is not written to any more.
        spans = self._coverage.lost(piece, self._verification.done)
        paths = [self.metainfo.files[index].path for index in self._map.files_of(piece) if index in self.files]
        self._wrong_paths |= dict.fromkeys(paths)
        self._rejections[piece] += 1
        if self._rejections[piece] > _MAX_REJECTIONS:
            raise self._wrong_bytes()
        if len(givers) == 1:
            self._distrust(self._web_seeds[min(givers)], paths)
        self._extents.add(spans)

    def _distrust(self, web_seed: WebSeed, paths: list[str]) -> None:
        web_seed.left_out = web_seed.left_out or f"it sends bytes that are not the torrent's: {', '.join(paths[:3])}"
        if web_seed.number not in self._liars:
            self._liars.add(web_seed.number)
            given = [piece for piece in self._coverage.given_by(web_seed.number) if piece in self._unchecked]
            self._queue(piece for piece in given if self._checks.known(piece))

    # --- what is told --------------------------------------------------------------------------------------------

    def _download_limit(self) -> int:
        return self.network.rates().download

    def _tell_rates(self) -> None:
        if (rates := self.network.rates()) != self._rates_told:
            self._rates_told = rates
            self.report(Note(f"By the schedule: {rates}."))

    def _look_at_web_seeds(self) -> None:
        """Say who is left out. Raises an error when nobody is left for what is to come."""
        for web_seed in self._web_seeds:
            if web_seed.left_out and web_seed.number not in self._said:
                self._said.add(web_seed.number)
                self.report(Note(f"The {self._kind} {web_seed.shown} is left out: {web_seed.left_out}"))
        asked = [web_seed for web_seed in self._web_seeds if not web_seed.left_out]
        if self._coverage.complete:
            return
        if not asked:
            if self._liars:
                raise self._wrong_bytes()
            reasons = "; ".join(f"{each.shown}: {each.left_out}" for each in self._web_seeds[:3])
            raise NetworkFailure(f"No web seed is left ({reasons})", hint=f"what came is kept; {_NO_WEB_SEED}")
        lacking = set.intersection(*(web_seed.lacking for web_seed in asked))
        if lacking:
            file = self.metainfo.files[min(lacking)].path
            raise NetworkFailure(
                f"No web seed has {file} ({asked[0].shown}: {asked[0].last_failure})",
                hint=f"is that the right folder? What came is kept; {_NO_WEB_SEED}",
            )

    def _show(self, now: float) -> None:
        total = self._coverage.total
        self._rates.append((now, self.received))
        while len(self._rates) > 2 and now - self._rates[0][0] > _RATE_SECONDS:
            self._rates.popleft()
        seconds = max(1e-6, now - self._rates[0][0])
        asked = sum(not web_seed.left_out for web_seed in self._web_seeds)
        self.report(
            Progress(
                Phase.DOWNLOADING,
                done=self._coverage.done,
                total=total,
                download_rate=int((self.received - self._rates[0][1]) / seconds),
                note=f"{asked:,} {self._kind}{'' if asked == 1 else 's'}",
            )
        )
        if self._verification.hashed:
            self.report(Progress(Phase.VERIFYING, self._verification.hashed, total))

    def _failure(self, error: BaseException) -> BaseException:
        """Return what to raise for an error that ended a connection's thread."""
        cause = error.__cause__
        if isinstance(error, StorageFailure) and isinstance(cause, OSError) and is_out_of_space(cause):
            left = self._coverage.total - self._coverage.done
            return OutOfSpace(str(self.staging.folder), needed=left, free=free_bytes(self.staging.folder))
        return error

    def _wrong_bytes(self) -> ContentMismatch:
        paths = tuple(self._wrong_paths)
        return ContentMismatch(
            f"Web seeds sent bytes that are not the torrent's: {', '.join(paths[:5])}",
            paths=paths,
            hint=f"wrong pieces were thrown away and nothing was placed; {_NO_WEB_SEED}",
        )

    def _stalled(self) -> WeightswarmError:
        failures = [f"{each.shown}: {each.last_failure}" for each in self._web_seeds if each.last_failure]
        said = f" ({'; '.join(failures[:3])})" if failures else ""
        done, total = self._coverage.done, self._coverage.total
        return SwarmTimeout(
            f"No progress for {self.timeout:g} seconds at {done:,} of {total:,} bytes{said}",
            after=self.timeout,
            hint="what came is kept: the same command goes on from there",
        )
