"""Peers given by name: looked up off the session's thread, so that a hanging resolver hangs nothing else."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from weightswarm.magnet import PeerAddress

_MAX_ADDRESSES = 4
Purpose = TypeVar("Purpose")


def literal(peer: PeerAddress) -> PeerAddress | None:
    """Return the peer when it is given by address (or is `localhost`), None when a resolver must be asked."""
    if peer.host.lower() == "localhost":
        return PeerAddress("127.0.0.1", peer.port)
    try:
        return PeerAddress(str(ipaddress.ip_address(peer.host)), peer.port)
    except ValueError:
        return None


class Resolver(Generic[Purpose]):
    """Looks names up in the background; each comes with the purpose that its addresses are for."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="resolve")
        self._waiting: list[tuple[Future[list[PeerAddress]], Purpose]] = []

    def ask(self, peers: Iterable[PeerAddress], purpose: Purpose) -> None:
        """Start looking `peers` up."""
        self._waiting += [(self._pool.submit(_addresses, peer), purpose) for peer in peers]

    def answers(self) -> Iterator[tuple[PeerAddress, Purpose]]:
        """Yield the addresses that were found since the last call."""
        done = [pair for pair in self._waiting if pair[0].done()]
        self._waiting = [pair for pair in self._waiting if not pair[0].done()]
        for future, purpose in done:
            for address in future.result():
                yield address, purpose

    def close(self) -> None:
        """Drop what is still unanswered."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _addresses(peer: PeerAddress) -> list[PeerAddress]:
    try:
        found = socket.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    hosts = dict.fromkeys(str(entry[4][0]) for entry in found)
    return [PeerAddress(host, peer.port) for host in hosts][:_MAX_ADDRESSES]
