"""Downloading into staging from neighbours' lanes: the engine for web seeds, with others to ask."""

from __future__ import annotations

from collections.abc import Sequence

from weightswarm.cache import Staging
from weightswarm.fetching.http_transfer import HttpTransfer
from weightswarm.fetching.lane_lines import LaneLines, Neighbour, limits_to
from weightswarm.magnet import MagnetLink, PeerAddress
from weightswarm.metainfo import Metainfo
from weightswarm.progress import Report
from weightswarm.swarm import NetworkOptions
from weightswarm.verifying import Expectation


class LaneTransfer(HttpTransfer):
    """As `HttpTransfer`, from the lanes at `addresses`. `peer_id` is what the swarm knows us by.

    It raises the same errors, and none of them says that the swarm cannot bring what is missing.
    """

    _kind = "neighbour"

    def __init__(
        self,
        addresses: Sequence[PeerAddress],
        peer_id: bytes,
        network: NetworkOptions,
        metainfo: Metainfo,
        expectations: dict[int, Expectation],
        staging: Staging,
        *,
        timeout: float,
        report: Report,
    ) -> None:
        super().__init__(network, metainfo, expectations, staging, timeout=timeout, report=report)
        self._addresses = addresses
        self._neighbours = [Neighbour.at(number, each, metainfo, peer_id) for number, each in enumerate(addresses)]
        self._web_seeds = [*self._neighbours]

    @property
    def from_web_seeds(self) -> int:
        """None: a neighbour is a peer."""
        return 0

    def _ask(self, _magnet: MagnetLink) -> LaneLines:
        limits = limits_to(self._addresses, self.network.network)
        return LaneLines(self.metainfo, self.staging, self._neighbours, self._extents, limits)
