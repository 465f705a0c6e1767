"""How far a session may reach, and what of a stranger's trackers, web seeds and peers it may speak to at that reach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from weightswarm.dialling import Interface, Proxy, Route
from weightswarm.errors import InvalidInput, without_passwords
from weightswarm.magnet import PeerAddress
from weightswarm.reach import (
    Endpoint,
    Network,
    Refused,
    check_route,
    check_stranger,
    is_closed,
    is_here,
    is_literal,
    split_url,
)
from weightswarm.scheduling import MAX_RATE, Rates, Schedule, check_windows
from weightswarm.webseed import Limits, limits_for

__all__ = ["Network", "NetworkOptions", "Sieve"]

MAX_TRACKERS = 64
MAX_WEB_SEEDS = 32
MAX_PEERS = 200
TRACKER_SCHEMES = ("udp", "http", "https")
STREAM_SCHEMES = WEB_SEED_SCHEMES = ("http", "https")
_SHOWN = 3
Named = TypeVar("Named", str, PeerAddress)


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """How a session meets the network. Limits are bytes a second, 0 for none; `listen` port 0 takes a free one.

    `peers`, `dht_nodes`, `trackers` and `web_seeds` are what the user himself named: they may be anywhere that the
    network level allows, a private address among them. `peers` are dialled for every torrent; trackers and web seeds
    only where a torrent or link has them too.

    `schedule` says when other limits hold. `max_connections` bounds peers and web seeds together, None for the usual
    bound. With a `proxy` every connection goes through it, and what cannot is left out; `interface` is what connections
    leave by and peers come in at. `lane` lets neighbours give and take by HTTP where nobody else wants the same.

    Raises `InvalidInput` for an address to listen at that the level rules out, and for what a proxy rules out.
    """

    network: Network = Network.PUBLIC
    listen: PeerAddress | None = None
    upload_limit: int = 0
    download_limit: int = 0
    dht_nodes: tuple[PeerAddress, ...] = ()
    peers: tuple[PeerAddress, ...] = ()
    trackers: tuple[str, ...] = ()
    web_seeds: tuple[str, ...] = ()
    schedule: Schedule = field(default_factory=Schedule)
    max_connections: int | None = None
    proxy: Proxy | None = None
    interface: Interface | None = None
    lane: bool = True

    def __post_init__(self) -> None:
        if not all(0 <= limit <= MAX_RATE for limit in (self.upload_limit, self.download_limit)):
            raise InvalidInput("A rate limit must be below 2 GiB a second")
        check_windows(self.schedule.windows)
        self._check_route()
        if self.network is Network.LOOPBACK and self.listen is not None and not is_here(self.listen.host):
            raise InvalidInput(
                f"--network loopback cannot listen at {self.listen}",
                hint="listen at 127.0.0.1, or choose --network lan",
            )

    def _check_route(self) -> None:
        check_route(self.route, self.network)
        proxy, interface = self.proxy, self.interface
        if interface is not None and self.listen is not None and self.listen.host not in interface.addresses:
            raise InvalidInput(
                f"--listen {self.listen} is not at the interface", hint=f"it has {', '.join(interface.addresses)}"
            )
        if proxy is None:
            return
        if self.listen is not None:
            raise InvalidInput("Nobody can connect to this machine through --proxy", hint="leave --listen out")
        if self.dht_nodes:
            raise InvalidInput("The DHT does not go through --proxy", hint="leave --dht-node out")
        if named := [str(peer) for peer in self.peers if not is_literal(peer.host)]:
            raise InvalidInput(
                f"--peer {named[0]} would have to be looked up here, and --proxy looks up nothing here",
                hint="give the peer's address",
            )

    @property
    def route(self) -> Route:
        """The way that connections leave by."""
        return Route(self.proxy, self.interface)

    @property
    def gives_by_lane(self) -> bool:
        """Whether lanes may be offered: what they give obeys no rate limit, no bound on connections, no route."""
        return self._has_lanes and not self.upload_limit

    @property
    def takes_by_lane(self) -> bool:
        """Whether a neighbour's lane may be asked; see `gives_by_lane`."""
        return self._has_lanes and not self.download_limit

    @property
    def _has_lanes(self) -> bool:
        bounded = self.schedule.windows or self.max_connections is not None
        return self.lane and not bounded and self.proxy is None and self.interface is None

    @property
    def lane_host(self) -> str:
        """Where lanes are to be asked for: where peers come in; empty for every address."""
        at_home = "127.0.0.1" if self.network is Network.LOOPBACK else ""
        return at_home if self.listen is None else self.listen.host

    def limits(self) -> Limits:
        """Return what web seeds may have asked of whom."""
        return limits_for(self.network, self.named_endpoints, self.route, self.web_seeds)

    def rates(self) -> Rates:
        """Return the limits that hold now."""
        return self.schedule.rates(Rates(self.download_limit, self.upload_limit))

    @property
    def named_peers(self) -> tuple[PeerAddress, ...]:
        """The peers that may be dialled: at loopback those of this machine."""
        return tuple(peer for peer in self.peers if self.network is not Network.LOOPBACK or is_here(peer.host))

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


def _is_udp(url: str) -> bool:
    return url[:4].lower() == "udp:"


@dataclass(slots=True)
class Sieve:
    """Lets through what a session may speak to, the user's own first, and remembers what it kept back."""

    options: NetworkOptions
    refused: dict[str, str] = field(default_factory=dict)
    surplus: Counter[str] = field(default_factory=Counter)

    def trackers(self, urls: Iterable[str]) -> list[str]:
        """Return the trackers that may be asked."""
        schemes: tuple[str, ...] = TRACKER_SCHEMES
        if self.options.proxy is not None:
            # UDP goes through no HTTP proxy, and through few others.
            urls, schemes = list(urls), STREAM_SCHEMES
            self.refused.update((url, "no UDP goes through --proxy") for url in urls if _is_udp(url))
            urls = [url for url in urls if not _is_udp(url)]
        return self._pick("trackers", self._urls(urls, self.options.trackers, schemes), MAX_TRACKERS)

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
            shown = "; ".join(
                f"{without_passwords(text)[:100]} ({reason})" for text, reason in list(self.refused.items())[:_SHOWN]
            )
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
        if self.options.proxy is not None and not is_literal(peer.host):
            self.refused[str(peer)] = "a name that would have to be looked up here, with --proxy"
            return False
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
