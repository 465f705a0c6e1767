"""Asking the swarm for a magnet's metadata, and saying meanwhile what is being tried."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from weightswarm.errors import InvalidMetainfo, SwarmTimeout
from weightswarm.fetching.exact_source import ExactSource
from weightswarm.fetching.patience import Patience
from weightswarm.magnet import MagnetLink, PeerAddress
from weightswarm.metainfo import Metainfo, parse_info_dict, with_piece_layers
from weightswarm.progress import Note, Phase, Progress, Report
from weightswarm.swarm import (
    Event,
    MetadataReceived,
    Swarm,
    Torrent,
    TorrentFailed,
    TrackerFailed,
    TrackerReplied,
)

_HINT = "is anybody seeding it? Try a longer --timeout, another -t TRACKER, or --peer HOST:PORT"
_REPORT_SECONDS = 0.5
_LAYER_SECONDS = 3.0
_LAYER_POLL_SECONDS = 0.01
_SHOWN = 200
"""Characters of a tracker's URL and of its reason: either may be as long as it likes."""


@dataclass(frozen=True, slots=True)
class Met:
    """Whom asking for metadata met: peers that could be dialled, and where neighbours among them have a lane."""

    peers: tuple[PeerAddress, ...] = ()
    lanes: tuple[PeerAddress, ...] = ()


@dataclass(slots=True)
class Attempts:
    """What was tried to find peers, for progress notes and for the message when nothing came of it."""

    trackers: int = 0
    answered: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        """Note what a tracker said."""
        if isinstance(event, TrackerReplied):
            self.answered.add(event.url)
        elif isinstance(event, TrackerFailed):
            self.failed[event.url] = event.reason

    def describe(self, swarm: Swarm, torrent: Torrent) -> str:
        """Return one line such as `2 of 3 trackers answered, 14 DHT nodes, 1 peer`."""
        parts = []
        if self.trackers:
            parts.append(f"{len(self.answered)} of {self.trackers} trackers answered")
            silent = {url: reason for url, reason in self.failed.items() if url not in self.answered}
            parts += [f"{url[:_SHOWN]}: {reason[:_SHOWN]}" for url, reason in list(silent.items())[:2]]
        if nodes := swarm.dht_nodes():
            parts.append(f"{nodes} DHT nodes")
        status = torrent.status
        parts.append(f"{status.peers} peer{'' if status.peers == 1 else 's'} connected of {status.known_peers} known")
        return ", ".join(parts)


def ask_swarm(
    swarm: Swarm, magnet: MagnetLink, *, timeout: float, report: Report, advice: str | None = None
) -> tuple[Metainfo, Met]:
    """Return a magnet's metainfo (its info dict, and the piece layers if peers know them) and who was met on the way.

    URLs of the torrent file in the magnet (`xs`, `as`) are asked at the same time. `advice` is one more hint for when
    nobody answers. Raises `SwarmTimeout` after `timeout` seconds, `InvalidMetainfo` for metadata that breaks the rules.
    """
    torrent = swarm.add_magnet(magnet)
    attempts = Attempts(trackers=len(magnet.trackers))
    patience = Patience(timeout, time.monotonic())
    reported = 0.0
    reach, route = swarm.options.network, swarm.options.route
    exact_source = ExactSource(magnet, network=reach, route=route, report=report)
    try:
        while not patience.over:
            for event in swarm.poll(0.1):
                attempts.take(event)
                if isinstance(event, MetadataReceived) and event.torrent is torrent:
                    metainfo = parse_info_dict(event.info_bytes)
                    return _with_layers(swarm, torrent, metainfo), _met(metainfo, torrent, report)
                if isinstance(event, TorrentFailed) and event.torrent is torrent:
                    raise InvalidMetainfo(event.reason)
            if (downloaded := exact_source.poll()) is not None:
                return downloaded, _met(downloaded, torrent, report)
            now = time.monotonic()
            patience.look((), now)
            if patience.search_due():
                torrent.search_again()
            if now - reported >= _REPORT_SECONDS:
                reported = now
                report(Progress(Phase.METADATA, peers=torrent.status.peers, note=attempts.describe(swarm, torrent)))
        tried = attempts.describe(swarm, torrent)
    finally:
        swarm.remove(torrent)
    raise SwarmTimeout(
        f"No peer sent the magnet's metadata within {timeout:g} seconds ({tried})",
        after=timeout,
        hint="; ".join(filter(None, (_HINT, advice))),
    )


def _met(metainfo: Metainfo, torrent: Torrent, report: Report) -> Met:
    """Return who was met and may be asked for payload: of a private torrent (BEP 27) only its trackers and the link
    may say, and they will say it again; the DHT, other peers and the local network were asked before it was known."""
    if not metainfo.private:
        return Met(torrent.known_peers(), tuple(torrent.lanes()))
    report(Note("The torrent is private: only its trackers, the link and --peer say who is asked for it."))
    return Met()


def _with_layers(swarm: Swarm, torrent: Torrent, metainfo: Metainfo) -> Metainfo:
    """Return the metainfo with its piece layers, for which peers that speak v2 are asked now; without, when none does.

    With them its pieces can be checked by v2 hashes alone, now and when a download is resumed.
    """
    deadline = time.monotonic() + _LAYER_SECONDS
    while metainfo.info_hash.v2 is not None and not metainfo.has_piece_layers and time.monotonic() < deadline:
        if (layers := swarm.piece_layers(torrent, metainfo)) is not None:
            return with_piece_layers(metainfo, layers)
        time.sleep(_LAYER_POLL_SECONDS)
    return metainfo
