"""By which way payload comes: from web seeds alone, a neighbour's lane, or the swarm. Each goes on where another ended.

What one way left is hashed from disk by the next, whoever brought it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable
from dataclasses import replace

from weightswarm.cache import Staging
from weightswarm.errors import ContentMismatch, InvalidInput, NetworkFailure, SwarmTimeout
from weightswarm.fetching.http_transfer import HttpTransfer, Left
from weightswarm.fetching.lane_transfer import LaneTransfer
from weightswarm.fetching.metadata import Met
from weightswarm.fetching.neighbours import Neighbours
from weightswarm.fetching.options import FetchOptions
from weightswarm.fetching.transfer import Transfer
from weightswarm.magnet import MagnetLink, PeerAddress
from weightswarm.metainfo import Metainfo
from weightswarm.progress import Note, Report
from weightswarm.storage import FileIdentity
from weightswarm.swarm import Network, NetworkOptions, Swarm, Torrent
from weightswarm.verifying import Expectation

_MAX_LANES = 3
"""How often a fetch takes to lanes: what is on disk is hashed anew each time."""

_WORTH_WAITING = 1024 * 1024 * 1024
_NAMED_SECONDS, _OTHERS_SECONDS = 1.0, 3.0
"""How long peers are waited for where the user himself named a web seed, and else."""


class Ways:
    """One torrent's way into staging. `expectations` maps indices of `metainfo.files` to what each file must be.

    Once `run` has ended, `received` counts the payload bytes that came over the network, `from_web_seeds` those of
    them that web seeds gave, `found` are the pieces that stood on disk before any came, and `identities` tell by index
    what each file was when it was verified.
    """

    def __init__(
        self,
        open_swarm: Callable[[], Swarm],
        network: NetworkOptions,
        metainfo: Metainfo,
        expectations: dict[int, Expectation],
        staging: Staging,
        options: FetchOptions,
        report: Report,
    ) -> None:
        self.metainfo = metainfo
        folder = staging.swarm_file("")
        self.files = {index: folder / metainfo.files[index].path for index in expectations}
        self.received = 0
        self.from_web_seeds = 0
        self.found: set[int] = set()
        self.identities: dict[int, FileIdentity] = {}
        self._open_swarm = open_swarm
        self._network = network
        self._expectations = expectations
        self._staging = staging
        self._http_only = options.http_only
        self._timeout = options.timeout
        self._report = report
        self._neighbours: Neighbours | None = None
        self._lanes: list[PeerAddress] = []
        self._begun = False

    def run(self, magnet: MagnetLink, met: Met) -> bytes:
        """Download and verify; return the metainfo as complete as it became known.

        Raises what the last way raised, see `Transfer.run` and `HttpTransfer.run`. Staging keeps what came.
        """
        if self._http_only:
            return self._go(self._from_web_seeds(lambda: False), magnet, ())
        swarm = self._open_swarm()
        swarm.name_web_seeds(self._network.web_seeds)
        if self._may_take_lanes:
            self._neighbours = Neighbours(self.metainfo, self._network.network, swarm.peer_id)
            self._try_lanes(met.lanes)
        if not met.peers and (data := self._by_web_seeds(swarm, magnet)) is not None:
            return data
        for taken in range(_MAX_LANES + 1):
            if self._lanes and (data := self._by_lanes(swarm, magnet)) is not None:
                return data
            transfer = Transfer(
                swarm,
                self.metainfo,
                self._expectations,
                self._staging,
                timeout=self._timeout,
                report=self._report,
                leave=self._finds_lanes if self._neighbours is not None and taken < _MAX_LANES else None,
            )
            data = self._go(transfer, magnet, met.peers)
            self.metainfo = transfer.metainfo
            if not transfer.left:
                return data
        raise AssertionError("the last transfer leaves for nothing")

    def _go(self, transfer: Transfer | HttpTransfer, magnet: MagnetLink, peers: Iterable[PeerAddress]) -> bytes:
        try:
            return transfer.run(magnet, peers)
        finally:
            self.received += transfer.received
            self.from_web_seeds += transfer.from_web_seeds
            self.identities = transfer.identities
            if not self._begun:
                self._begun, self.found = True, transfer.found

    # --- web seeds -----------------------------------------------------------------------------------------------

    def _by_web_seeds(self, swarm: Swarm, magnet: MagnetLink) -> bytes | None:
        """Where web seeds are known and no peer is met, have them bring it without libtorrent, which is faster.
        Return None when a peer came, or they failed: then both are asked.

        Peers find us meanwhile as one who asks for the metadata.
        """
        urls = {*magnet.web_seeds, *self.metainfo.web_seeds}
        size = sum(self.metainfo.files[index].size for index in self._expectations)
        # What asks for metadata may be told of by others, which a private torrent forbids.
        if not urls or size < _WORTH_WAITING or self.metainfo.private or not self._whole:
            return None
        trackers = tuple(dict.fromkeys((*magnet.trackers, *self.metainfo.trackers)))
        torrent = swarm.add_magnet(replace(magnet, trackers=trackers))
        try:
            until = time.monotonic() + self._patience(urls, asked=bool(trackers or magnet.peers))
            while time.monotonic() < until:
                swarm.poll(0.05)
                if torrent.has_met():
                    return None

            def met() -> bool:
                swarm.poll(0.0)
                return torrent.status.peers > 0 and torrent.has_met()

            return self._go(self._from_web_seeds(met), magnet, ())
        except (Left, ContentMismatch, NetworkFailure, InvalidInput):
            # Who is left out has been told.
            return None
        finally:
            swarm.remove(torrent)

    def _patience(self, urls: Container[str], *, asked: bool) -> float:
        """Return how many seconds to wait for a peer; none where nobody can be heard of. `asked` says that the torrent
        or link names a tracker or peer."""
        network = self._network
        if not (asked or network.peers or network.dht_nodes) and network.network is Network.LOOPBACK:
            return 0.0
        return _NAMED_SECONDS if any(url in urls for url in network.web_seeds) else _OTHERS_SECONDS

    def _from_web_seeds(self, leave: Callable[[], bool]) -> HttpTransfer:
        return HttpTransfer(
            self._network,
            self.metainfo,
            self._expectations,
            self._staging,
            timeout=self._timeout,
            report=self._report,
            leave=leave,
        )

    # --- neighbours ----------------------------------------------------------------------------------------------

    @property
    def _may_take_lanes(self) -> bool:
        some = any(self.metainfo.files[index].size for index in self._expectations)
        return self._network.takes_by_lane and self._whole and some and not self.metainfo.private

    @property
    def _whole(self) -> bool:
        """Whether nothing of the torrent must come from peers: piece layers, which whoever seeds it on needs."""
        return self.metainfo.info_hash.v2 is None or self.metainfo.has_piece_layers

    def _try_lanes(self, found: Iterable[PeerAddress]) -> bool:
        assert self._neighbours is not None
        self._lanes = self._neighbours.open_lanes(self._neighbours.wanted(found))
        return bool(self._lanes)

    def _finds_lanes(self, torrent: Torrent) -> bool:
        """Tell whether to leave the swarm for a lane: nobody else wants the release, and one is open."""
        assert self._neighbours is not None
        wanted = self._neighbours.wanted(torrent.lanes())
        return bool(wanted) and not torrent.fetchers() and self._try_lanes(wanted)

    def _by_lanes(self, swarm: Swarm, magnet: MagnetLink) -> bytes | None:
        """Return the metainfo when lanes brought all that was missing; None when the swarm must go on."""
        assert self._neighbours is not None
        transfer = LaneTransfer(
            self._lanes,
            swarm.peer_id,
            self._network,
            self.metainfo,
            self._expectations,
            self._staging,
            timeout=self._timeout,
            report=self._report,
        )
        try:
            return self._go(transfer, magnet, ())
        except ContentMismatch:
            self._neighbours.distrust(self._lanes)
            self._report(Note("What came from the neighbour is wrong: going on by BitTorrent."))
        except (NetworkFailure, SwarmTimeout):
            self._report(Note("Going on by BitTorrent."))
        finally:
            self._lanes = []
        return None
