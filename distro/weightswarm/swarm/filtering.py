"""The session's address filter: closed to strangers' ranges, open to what the user named and to who came by himself."""

from __future__ import annotations

import ipaddress

import libtorrent as lt

from weightswarm.reach import Network, closed_ranges, is_closed

MAX_OPENED = 1000
"""Most addresses that are opened one by one, of those that the user named and of others each."""

_BLOCKED = 1
_UNKNOWN = "0.0.0.0"  # noqa: S104 - named, not bound


class AddressFilter:
    """libtorrent's rules for one session. `rules` is what to hand to it after each change.

    libtorrent holds peers (both ways), trackers, DHT nodes, and each redirect of an HTTP tracker against it, after
    names were looked up.
    """

    def __init__(self, network: Network, relay: str, *, proxied: bool = False) -> None:
        self.network = network
        self.rules = lt.ip_filter()
        for first, last in closed_ranges(network):
            self.rules.add_rule(str(first), str(last), _BLOCKED)
        self._opened: dict[bool, set[str]] = {True: set(), False: set()}
        if network is not Network.LOOPBACK:
            self.rules.add_rule(relay, relay, 0)
        if proxied:
            # Whom a proxy is to look up, libtorrent holds for this address until then; the gateway refuses it itself.
            self.rules.add_rule(_UNKNOWN, _UNKNOWN, 0)

    def open(self, host: str, *, named: bool) -> bool:
        """Let a literal address through that would be closed; return whether the rules changed. At loopback none is.

        Unless the user `named` it, it must be somebody's near: never this machine's own, nor a cloud's metadata.
        """
        opened = self._opened[named]
        if self.network is Network.LOOPBACK or len(opened) >= MAX_OPENED or host in opened | self._opened[not named]:
            return False
        if not is_closed(host, self.network) or (not named and is_closed(host, Network.LAN)):
            return False
        opened.add(host)
        address = str(ipaddress.ip_address(host.partition("%")[0]))
        self.rules.add_rule(address, address, 0)
        return True
