"""How far a session may reach, and what of a stranger's trackers, web seeds and peers it may speak to at that reach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from weightswarm.errors import InvalidInput
from weightswarm.magnet import PeerAddress
from weightswarm.reach import Endpoint, Network, Refused, check_stranger, is_closed, is_literal, split_url

__all__ = ["Network", "NetworkOptions", "Sieve"]

MAX_TRACKERS = 64
MAX_WEB_SEEDS = 32
MAX_PEERS = 200
TRACKER_SCHEMES = ("udp", "http", "https")
WEB_SEED_SCHEMES = ("http", "https")
_SHOWN = 3
Named = TypeVar("Named", str, PeerAddress)


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """How a session meets the network. Limits are bytes a second, 0 for none; `listen` port 0 takes a free one.

    `peers`, `dht_nodes`, `trackers` and `web_seeds` are what the user himself named: they may be anywhere that the
    network level allows, a private address among them. `peers` are dialled for every torrent; trackers and web seeds
    only where a torrent or link has them too.

    Raises `InvalidInput` for an address to listen at that the level rules out.
    """

    network: Network = Network.PUBLIC
    listen: PeerAddress | None = None
    upload_limit: int = 0
    download_limit: int = 0
    dht_nodes: tuple[PeerAddress, ...] = ()
    peers: tuple[PeerAddress, ...] = ()
    trackers: tuple[str, ...] = ()
    web_seeds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not all(0 <= limit < 2**31 for limit in (self.upload_limit, self.download_limit)):
            raise InvalidInput("A rate limit must be below 2 GiB a second")
        if self.network is Network.LOOPBACK and self.listen is not None and not is_loopback(self.listen.host):
            raise InvalidInput(
                f"--network loopback cannot listen at {self.listen}",
                hint="listen at 127.0.0.1, or choose --network lan",
            )

    @property
    def named_peers(self) -> tuple[PeerAddress, ...]:
        """The peers that may be dialled: at loopback those of this machine."""
        return tuple(peer for peer in self.peers if self.network is not Network.LOOPBACK or is_loopback(peer.host))

    @property
    def named_endpoints(self) -> frozenset[Endpoint]:
        """Host and port of each tracker and web seed that the user named."""
        urls = (*self.trackers, *self.web_seeds)
        return frozenset(found[1] for url in urls if (found := split_url(url, TRACKER_SCHEMES)) is not None)

    def is_own_tracker(self, url: str) -> bool:
        """Tell whether a tracker is one of this network: at a private address, or named by the user below `public`."""
        found = split_url(url, TRACKER_SCHEMES)
        if found is None:
            return False
        near = self.network is not Network.PUBLIC and found[1] in self.named_endpoints
        return near or is_closed(found[1][0], Network.PUBLIC)


def is_loopback(host: str) -> bool:
    """Tell whether `host` is this machine, by its literal address or the name `localhost`; asks no resolver."""
    return is_literal(host) and not is_closed(host, Network.LOOPBACK)


@dataclass(slots=True)
class Sieve:
    """Lets through what a session may speak to, the user's own first, and remembers what it kept back."""

    options: NetworkOptions
    refused: dict[str, str] = field(default_factory=dict)
    surplus: Counter[str] = field(default_factory=Counter)

    def trackers(self, urls: Iterable[str]) -> list[str]:
        """Return the trackers that may be asked."""
        return self._pick("trackers", self._urls(urls, self.options.trackers, TRACKER_SCHEMES), MAX_TRACKERS)

    def web_seeds(self, urls: Iterable[str]) -> list[str]:
        """Return the web seeds that may be asked."""
        return self._pick("web seeds", self._urls(urls, self.options.web_seeds, WEB_SEED_SCHEMES), MAX_WEB_SEEDS)

    def peers(self, peers: Iterable[PeerAddress]) -> list[PeerAddress]:
        """Return the peers that may be dialled, those given by the user first."""
        named = self.options.named_peers
        allowed = [peer for peer in dict.fromkeys(peers) if peer not in named and self._may_dial(peer)]
        return self._pick("peers", [*dict.fromkeys(named), *allowed], MAX_PEERS + len(named))

    def summary(self) -> str:
        """Return what was kept back since the last call as one sentence, or nothing."""
        parts = []
        if self.refused:
            shown = "; ".join(f"{text[:100]} ({reason})" for text, reason in list(self.refused.items())[:_SHOWN])
            more = f"; and {len(self.refused) - _SHOWN:,} more" if len(self.refused) > _SHOWN else ""
            parts.append(shown + more)
        parts += [f"{count:,} {kind} beyond the first" for kind, count in self.surplus.items()]
        self.refused, self.surplus = {}, Counter()
        return f"Not asked, though the link or torrent names it: {'; '.join(parts)}" if parts else ""

    def _urls(self, urls: Iterable[str], named: Sequence[str], schemes: tuple[str, ...]) -> list[str]:
        distinct = dict.fromkeys(urls)
        own = [url for url in distinct if url in named and self._may_ask(url, schemes, own=True)]
        return [*own, *(url for url in distinct if url not in named and self._may_ask(url, schemes, own=False))]

    def _may_ask(self, url: str, schemes: tuple[str, ...], *, own: bool) -> bool:
        found = split_url(url, schemes)
        if found is None:
            self.refused[url] = f"no {', '.join(schemes)} URL"
            return False
        parts, endpoint = found
        if own and self.options.network is not Network.LOOPBACK:
            return True
        try:
            check_stranger(parts.scheme, (endpoint[0], 1024) if own else endpoint, self.options.network)
        except Refused as error:
            self.refused[url] = str(error)
            return False
        return True

    def _may_dial(self, peer: PeerAddress) -> bool:
        try:
            check_stranger("peer", (peer.host, peer.port), self.options.network)
        except Refused as error:
            self.refused[str(peer)] = str(error)
            return False
        return True

    def _pick(self, kind: str, allowed: list[Named], most: int) -> list[Named]:
        if len(allowed) > most:
            self.surplus[f"{kind}"] += len(allowed) - most
        return allowed[:most]
