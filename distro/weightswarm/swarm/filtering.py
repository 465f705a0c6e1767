"""The session's address filter: closed to strangers' ranges, open to what the user named and to who came by himself."""

from __future__ import annotations

import ipaddress

import libtorrent as lt

from weightswarm.reach import Network, closed_ranges, is_closed

MAX_OPENED = 1000
"""Most addresses that are opened one by one."""

_BLOCKED = 1


class AddressFilter:
    """libtorrent's rules for one session. `rules` is what to hand to it after each change.

    libtorrent holds peers (both ways), trackers, DHT nodes, and each redirect of an HTTP tracker against it, after
    names were looked up.
    """

    def __init__(self, network: Network, relay: str) -> None:
        self.network = network
        self.rules = lt.ip_filter()
        for first, last in closed_ranges(network):
            self.rules.add_rule(str(first), str(last), _BLOCKED)
        self._opened: set[str] = set()
        if network is not Network.LOOPBACK:
            self.rules.add_rule(relay, relay, 0)

    def open(self, host: str) -> bool:
        """Let a literal address through that would be closed; return whether the rules changed. At loopback none is."""
        if self.network is Network.LOOPBACK or host in self._opened or len(self._opened) >= MAX_OPENED:
            return False
        if not is_closed(host, self.network):
            return False
        self._opened.add(host)
        address = str(ipaddress.ip_address(host.partition("%")[0]))
        self.rules.add_rule(address, address, 0)
        return True
