"""Seeding releases until told to stop, watching that what is given away is still what was published."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace

from weightswarm.errors import Cancelled, NetworkFailure, SourceChanged, StorageFailure, WeightswarmError
from weightswarm.lane import GivenFile, Lane, LaneServer
from weightswarm.magnet import MagnetLink, PeerAddress
from weightswarm.progress import Note, Phase, Progress, Report, silent
from weightswarm.publishing import Release
from weightswarm.swarm import Checked, Event, Network, NetworkOptions, StorageFailed, Swarm, Torrent, TorrentFailed
from weightswarm.verifying import Expectation, check_file

_WATCH_SECONDS = 2.0
_REPORT_SECONDS = 0.5
_START_SECONDS = 60.0
_DIAL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class SeedOptions:
    """When to stop, and what the magnets say. `ratio` is uploaded bytes over the release's size; `seconds` counts
    from the start. `advertise` are peer addresses for the magnet; at loopback the session's own is added.
    `trackers` are asked beside a release's own, but for private ones (BEP 27)."""

    network: NetworkOptions = field(default_factory=NetworkOptions)
    advertise: tuple[PeerAddress, ...] = ()
    ratio: float | None = None
    seconds: float | None = None
    trackers: tuple[str, ...] = ()


@dataclass(slots=True)
class SeededRelease:
    """One release in the session: what it gave, in bytes, and the error that stopped it, if one did."""

    release: Release
    magnet: MagnetLink
    uploaded: int = 0
    error: WeightswarmError | None = None


def seed_releases(
    releases: Sequence[Release],
    options: SeedOptions,
    *,
    on_ready: Callable[[list[SeededRelease]], None],
    stop: threading.Event | None = None,
    report: Report = silent,
) -> list[SeededRelease]:
    """Seed until `stop`, the ratio, the time, or until no release is left; then return what each gave.

    `on_ready` is called once, when peers can connect. A release whose files change is stopped with its error; the
    others go on. Raises `NetworkFailure` when it cannot listen or start.
    """
    with ExitStack() as stack:
        swarm = stack.enter_context(Swarm(options.network, lambda text: report(Note(text))))
        if options.network.proxy is not None:
            report(Note("Through a proxy nobody can connect to this machine: it gives to those that it finds itself."))
        elif not swarm.port:
            raise NetworkFailure("Cannot listen for peers on any address", hint="choose one with --listen HOST:PORT")
        at_home = options.network.network is Network.LOOPBACK and bool(swarm.port)
        own = (PeerAddress("127.0.0.1", swarm.port),) if at_home else ()
        peers = tuple(dict.fromkeys((*options.advertise, *own)))
        session = _Seeding(swarm, options, report, stop or threading.Event())
        if options.network.gives_by_lane and not all(release.metainfo.private for release in releases):
            # Without it there is BitTorrent.
            with suppress(OSError):
                session.lanes = LaneServer(options.network.lane_host)
                stack.callback(session.lanes.close)
                swarm.announce_lanes(session.lanes.port)
        for release in releases:
            session.add(release, peers)
        session.start()
        if ready := [seeded for seeded in session.all if seeded.error is None]:
            on_ready(ready)
        try:
            session.run()
        finally:
            session.settle()
        return session.all


class _Seeding:
    def __init__(self, swarm: Swarm, options: SeedOptions, report: Report, stop: threading.Event) -> None:
        self.swarm = swarm
        self.options = options
        self.report = report
        self.stop = stop
        self.lanes: LaneServer | None = None
        self.all: list[SeededRelease] = []
        self.active: dict[Torrent, SeededRelease] = {}
        self._lane: dict[Torrent, Lane] = {}
        self._shown = (time.monotonic(), 0)

    def add(self, release: Release, peers: tuple[PeerAddress, ...]) -> None:
        metainfo, magnet = release.metainfo, release.magnet(peers)
        more = () if metainfo.private else self.options.trackers
        magnet = replace(magnet, trackers=tuple(dict.fromkeys((*magnet.trackers, *more))))
        seeded = SeededRelease(release, magnet)
        self.all.append(seeded)
        torrent = self.swarm.add_seed(metainfo, dict(enumerate(release.locations)), trackers=magnet.trackers)
        self.active[torrent] = seeded
        if self.lanes is not None and not metainfo.private:
            self._lane[torrent] = lane = Lane(_given_files(release), torrent.fetchers)
            self.lanes.offer(metainfo.info_hash.digests, lane)

    def start(self) -> None:
        """Wait until every torrent seeds or has failed."""
        deadline = time.monotonic() + _START_SECONDS
        while any(not torrent.status.seeding for torrent in self.active):
            self._handle(self.swarm.poll(0.05))
            if time.monotonic() > deadline:
                raise NetworkFailure(f"Seeding did not start within {_START_SECONDS:g} seconds")

    def run(self) -> None:
        started = time.monotonic()
        next_watch = started + _WATCH_SECONDS
        next_report = started
        # Nobody else can begin a connection, and libtorrent gives a peer up after three failures.
        next_dial = started + _DIAL_SECONDS
        while self.active and not self.stop.is_set():
            self._handle(self.swarm.poll(0.25))
            now = time.monotonic()
            for torrent in list(self.active):
                self._check_state(torrent)
            if now >= next_watch:
                next_watch = now + _WATCH_SECONDS
                self._watch_files()
            if self.options.network.proxy is not None and now >= next_dial:
                next_dial = now + _DIAL_SECONDS
                for torrent in self.active:
                    if not torrent.status.peers:
                        torrent.dial_given()
            if now >= next_report:
                next_report = now + _REPORT_SECONDS
                self._show()
            if self.options.seconds is not None and now - started >= self.options.seconds:
                return
            self._stop_at_ratio()

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, StorageFailed) and event.torrent in self.active:
                self._stop_wrong(event.torrent, event.path, event.reason)
            elif isinstance(event, Checked) and event.torrent in self.active:
                event.torrent.refresh_now()
                self._check_state(event.torrent)
            elif isinstance(event, TorrentFailed) and event.torrent in self.active:
                name = self.active[event.torrent].release.manifest.name
                self._stop(event.torrent, StorageFailure(name, event.reason))

    def _check_state(self, torrent: Torrent) -> None:
        """Stop a seed that is none: a file has another size, or a piece was read that does not match its hash."""
        if not torrent.status.seeding:
            self._stop_wrong(torrent, self.active[torrent].release.manifest.name, "is not whole")

    def _watch_files(self) -> None:
        for torrent, seeded in list(self.active.items()):
            try:
                seeded.release.check_unchanged()
            except SourceChanged as error:
                self._stop(torrent, error)

    def _stop_wrong(self, torrent: Torrent, path: str, reason: str) -> None:
        """Stop a seed, and only then find out why: that may take as long as hashing all of it."""
        seeded = self.active[torrent]
        self._stop(torrent, None)
        seeded.error = self._explain(seeded, path, reason)

    def _explain(self, seeded: SeededRelease, path: str, reason: str) -> WeightswarmError:
        """Find which file is wrong: by its signature, else by hashing."""
        release = seeded.release
        try:
            release.check_unchanged()
        except SourceChanged as error:
            return error
        entries = {entry.path: entry for entry in release.manifest.files}
        for file, location in zip(release.metainfo.files, release.locations, strict=True):
            try:
                finding = check_file(location, Expectation.of(entries[file.path]), stop=self.stop.is_set)
            except Cancelled:
                break
            if finding is not None:
                return SourceChanged(str(location), f"changed ({finding.fault.value})")
        return StorageFailure(path, reason)

    def settle(self) -> None:
        """Take down what each release that still seeds has given."""
        for torrent, seeded in self.active.items():
            torrent.refresh_now()
            seeded.uploaded = self._uploaded(torrent)

    def _uploaded(self, torrent: Torrent) -> int:
        lane = self._lane.get(torrent)
        return torrent.status.uploaded + (0 if lane is None else lane.given)

    def _stop(self, torrent: Torrent, error: WeightswarmError | None) -> None:
        seeded = self.active.pop(torrent)
        if self.lanes is not None and torrent in self._lane:
            self.lanes.withdraw(self._lane[torrent])
        seeded.uploaded = self._uploaded(torrent)
        seeded.error = error
        self.swarm.remove(torrent)

    def _stop_at_ratio(self) -> None:
        if self.options.ratio is None:
            return
        for torrent, seeded in list(self.active.items()):
            if self._uploaded(torrent) >= self.options.ratio * seeded.release.manifest.total_size:
                self._stop(torrent, None)

    def _show(self) -> None:
        statuses = [torrent.status for torrent in self.active]
        lanes = [self._lane[torrent] for torrent in self.active if torrent in self._lane]
        given = sum(lane.given for lane in self._lane.values())
        (then, before), self._shown = self._shown, (time.monotonic(), given)
        by_lane = int((given - before) / max(1e-3, self._shown[0] - then))
        self.report(
            Progress(
                Phase.SEEDING,
                total=sum(seeded.release.manifest.total_size for seeded in self.active.values()),
                upload_rate=sum(status.upload_rate for status in statuses) + by_lane,
                uploaded=sum(map(self._uploaded, self.active)),
                peers=sum(status.peers for status in statuses) + sum(lane.fetchers for lane in lanes),
                note=f"{len(self.active)} releases" if len(self.active) != 1 else "",
            )
        )


def _given_files(release: Release) -> list[GivenFile]:
    """Return the files as they were hashed."""
    pairs = zip(release.locations, release.signatures, strict=True)
    return [GivenFile(path, found.size, found.mtime_ns, found.inode) for path, found in pairs]
