"""How far a session may reach, and which of a stranger's addresses it may speak to at that reach."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

from weightswarm.errors import InvalidInput
from weightswarm.magnet import PeerAddress


class Network(Enum):
    """`public`: everything. `lan`: no public DHT, no port mapping, local discovery on.
    `loopback`: this machine alone; nothing is bound, asked or resolved beyond it."""

    PUBLIC = "public"
    LAN = "lan"
    LOOPBACK = "loopback"


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """How a session meets the network. Limits are bytes a second, 0 for none; `listen` port 0 takes a free one.

    Raises `InvalidInput` for an address to listen at that the network level rules out.
    """

    network: Network = Network.PUBLIC
    listen: PeerAddress | None = None
    upload_limit: int = 0
    download_limit: int = 0
    dht_nodes: tuple[PeerAddress, ...] = ()
    peers: tuple[PeerAddress, ...] = ()

    def __post_init__(self) -> None:
        if not all(0 <= limit < 2**31 for limit in (self.upload_limit, self.download_limit)):
            raise InvalidInput("A rate limit must be below 2 GiB a second")
        if self.network is Network.LOOPBACK and self.listen is not None and not is_loopback(self.listen.host):
            raise InvalidInput(
                f"--network loopback cannot listen at {self.listen}",
                hint="listen at 127.0.0.1, or choose --network lan",
            )


def is_loopback(host: str) -> bool:
    """Tell whether `host` is this machine, by its literal address or the name `localhost`; asks no resolver."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def reachable_urls(urls: tuple[str, ...], network: Network) -> tuple[str, ...]:
    """Return the URLs that a session at `network` may contact. At loopback no host name is even looked up."""
    if network is not Network.LOOPBACK:
        return urls
    return tuple(url for url in urls if _is_loopback_url(url))


def reachable_peers(peers: tuple[PeerAddress, ...], network: Network) -> tuple[PeerAddress, ...]:
    """Return the peers that a session at `network` may contact."""
    return peers if network is not Network.LOOPBACK else tuple(peer for peer in peers if is_loopback(peer.host))


def _is_loopback_url(url: str) -> bool:
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False
