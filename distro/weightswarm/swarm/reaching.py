"""Who a session may reach beyond its level: its filter is opened for whom the user named and who came from near, and
names are looked up, never by the session itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import libtorrent as lt

from weightswarm.magnet import PeerAddress
from weightswarm.reach import is_closed, split_url
from weightswarm.swarm.filtering import AddressFilter
from weightswarm.swarm.network import TRACKER_SCHEMES, Network, NetworkOptions
from weightswarm.swarm.resolving import Resolver, literal
from weightswarm.swarm.torrent import Torrent


@dataclass(frozen=True, slots=True)
class _Purpose:
    """What an address is for; `named` says that the user himself named it."""

    torrent: Torrent | None = None
    named: bool = False
    dht: bool = False
    tracker: bool = False


class Reaching:
    """Belongs to one session, and holds it. `notice` is told once of peers that are left alone.

    Names are not looked up at loopback, nor through a proxy, which `proxied` says.
    """

    def __init__(
        self,
        session: lt.session,
        options: NetworkOptions,
        rules: AddressFilter,
        torrents: Mapping[lt.torrent_handle, Torrent],
        notice: Callable[[str], None],
        *,
        proxied: bool,
    ) -> None:
        self._session = session
        self._options = options
        self._filter = rules
        self._torrents = torrents
        self._notice = notice
        self._looks_up = not proxied and options.network is not Network.LOOPBACK
        self._resolver: Resolver[_Purpose] = Resolver()
        self._said_closed = False

    def begin(self) -> None:
        """Open the way to whom the user named for all torrents."""
        options = self._options
        for found in (split_url(url, TRACKER_SCHEMES) for url in options.trackers):
            if found is not None:
                self._open_or_ask(PeerAddress(*found[1]), _Purpose(named=True, tracker=True))
        for peer in options.named_peers:
            if (address := literal(peer)) is not None:
                self._open(address.host, named=True)
        for node in options.dht_nodes:
            self._open_or_ask(node, _Purpose(named=True, dht=True))

    def look_up(self, torrent: Torrent, peers: Iterable[PeerAddress]) -> None:
        """Have the names among a torrent's peers looked up, and dial what is found."""
        if not self._looks_up:
            return
        for peer in peers:
            if literal(peer) is None:
                self._resolver.ask([peer], _Purpose(torrent, named=peer in self._options.named_peers))

    def use_answers(self) -> None:
        """Dial whose addresses have been found."""
        for address, purpose in self._resolver.answers():
            self._use(address, purpose)

    def take_blocked(self, alert: lt.peer_blocked_alert) -> None:
        """Take note of a peer that the filter kept out."""
        host, port = alert.endpoint
        if not alert.handle.is_valid():
            # Somebody near came to us: he may, from his next try on. Who only was heard of may not be dialled.
            self._open(host, named=False)
        else:
            self._say_once(f"{PeerAddress(host, port)} is not dialled")

    def take_neighbour(self, found: PeerAddress) -> None:
        """Dial whom local discovery found: a neighbour's own voice, whose sender's address is no stranger's word."""
        # The alert does not say for which torrent; among several the neighbour, who hears of us too, knows which.
        if self._open(found.host, named=False) and len(self._torrents) == 1:
            next(iter(self._torrents.values())).connect(found)

    def _open_or_ask(self, host: PeerAddress, purpose: _Purpose) -> None:
        if (address := literal(host)) is not None:
            self._use(address, purpose)
        elif self._looks_up:
            self._resolver.ask([host], purpose)

    def _use(self, address: PeerAddress, purpose: _Purpose) -> None:
        if purpose.named:
            self._open(address.host, named=True)
        if purpose.dht:
            self._session.add_dht_node((address.host, address.port))
        elif purpose.tracker:
            # It may have been asked, and refused, before its address was known to be the user's own choice.
            for handle in self._torrents if is_closed(address.host, self._options.network) else ():
                handle.force_reannounce()
        elif purpose.torrent is not None and purpose.torrent.handle in self._torrents:
            if not purpose.named and is_closed(address.host, self._options.network):
                self._say_once(f"{address} is not dialled")
            else:
                purpose.torrent.connect(address)

    def _open(self, host: str, *, named: bool) -> bool:
        opened = self._filter.open(host, named=named)
        if opened:
            self._session.set_ip_filter(self._filter.rules)
        return opened

    def _say_once(self, what: str) -> None:
        if not self._said_closed:
            self._said_closed = True
            level = self._options.network.value
            self._notice(
                f"Peers that others name at closed addresses or ports are left alone at --network {level}: {what}"
                " (--peer dials one that you know)"
            )
