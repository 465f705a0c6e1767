"""Peers given by name: looked up off the session's thread, so that a hanging resolver hangs nothing else."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from weightswarm.magnet import PeerAddress
from weightswarm.reach import MAX_ADDRESSES, is_localhost

MAX_THREADS = 16
"""Most names that are looked up at once: a link may carry hundreds."""

Purpose = TypeVar("Purpose")


def literal(peer: PeerAddress) -> PeerAddress | None:
    """Return the peer when it is given by address (or is `localhost`), None when a resolver must be asked."""
    if is_localhost(peer.host):
        return PeerAddress("127.0.0.1", peer.port)
    try:
        return PeerAddress(str(ipaddress.ip_address(peer.host)), peer.port)
    except ValueError:
        return None


class Resolver(Generic[Purpose]):
    """Looks names up in the background; each comes with the purpose that its addresses are for."""

    def __init__(self) -> None:
        self._answers: SimpleQueue[tuple[PeerAddress, Purpose]] = SimpleQueue()
        self._questions: SimpleQueue[tuple[PeerAddress, Purpose]] = SimpleQueue()
        self._threads = 0
        self._lock = threading.Lock()

    def ask(self, peers: Iterable[PeerAddress], purpose: Purpose) -> None:
        """Start looking `peers` up."""
        for peer in peers:
            with self._lock:
                self._questions.put((peer, purpose))
                if self._threads == MAX_THREADS:
                    continue
                self._threads += 1
            # A daemon: a resolver that hangs holds up nothing, not even the end of the program.
            threading.Thread(target=self._look_up, name="resolve", daemon=True).start()

    def answers(self) -> Iterator[tuple[PeerAddress, Purpose]]:
        """Yield the addresses that were found since the last call."""
        with suppress(Empty):
            while True:
                yield self._answers.get_nowait()

    def _look_up(self) -> None:
        while True:
            with self._lock:
                if self._questions.empty():
                    self._threads -= 1
                    return
                peer, purpose = self._questions.get()
            for address in _addresses(peer):
                self._answers.put((address, purpose))


def _addresses(peer: PeerAddress) -> list[PeerAddress]:
    try:
        found = socket.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # a label that is no host name
        return []
    hosts = dict.fromkeys(str(entry[4][0]) for entry in found)
    return [PeerAddress(host, peer.port) for host in hosts][:MAX_ADDRESSES]
