"""In which order a torrent's pieces come, so that files finish early and swarms stay healthy.

While every connected peer is a seed and the release is large, pieces come in order: nobody needs ours, and each file
can be hashed as it grows. Among other fetchers rarest first rules, within two preferences. A random few files at a time
go before the others: fetchers then hold different files, and each still finishes file after file. And the pieces are
dealt out among the connected fetchers, by the order of their peer ids: each asks for its own share first, so that a
seed gives each piece about once and the fetchers give it to each other.
"""

from __future__ import annotations

import random
from typing import Protocol

from weightswarm.swarm import TorrentStatus

WINDOW_BYTES = 256 * 1024 * 1024
_OWN, _NOW, _OWN_LATER, _LATER = 7, 5, 3, 2


class Orderable(Protocol):
    """What an order is imposed on: a `swarm.Torrent`."""

    peer_id: bytes

    @property
    def status(self) -> TorrentStatus:
        """Who is connected."""

    def fetchers(self) -> set[bytes]:
        """Return the peer ids of connected peers that lack something."""

    def set_sequential(self, sequential: bool) -> None:
        """Ask for pieces in order, or rarest first."""

    def prefer(self, priorities: dict[int, int]) -> None:
        """Ask for wanted pieces by these priorities, from 1 to 7."""


class Pieces(Protocol):
    """Where files lie: a `metainfo.PieceMap`."""

    def pieces_of(self, index: int) -> range:
        """Return the pieces that hold bytes of a file."""


class PieceOrder:
    """The order for one torrent's wanted files, given as index → size in bytes."""

    def __init__(self, sizes: dict[int, int], pieces: Pieces) -> None:
        self._sizes = sizes
        self._pieces = pieces
        self._waiting = [index for index, size in sizes.items() if size]
        random.shuffle(self._waiting)
        self._window: set[int] = set()
        self._dealt: tuple[frozenset[int], list[bytes]] | None = None
        self._in_order: bool | None = None

    def update(self, torrent: Orderable, done: set[int]) -> None:
        """Adapt to who is connected and to which files are done."""
        status = torrent.status
        # A small release is there before its hash could fall behind, and others may come any moment.
        in_order = status.peers == status.seeds and sum(self._sizes.values()) > WINDOW_BYTES
        if in_order != self._in_order:
            self._in_order = in_order
            torrent.set_sequential(in_order)
        if in_order:
            return
        self._slide(done)
        dealt = frozenset(self._window), sorted({*torrent.fetchers(), torrent.peer_id})
        if dealt != self._dealt:
            self._dealt = dealt
            torrent.prefer(self._priorities(dealt[1], torrent.peer_id))

    def _slide(self, done: set[int]) -> None:
        """Take files into the window as others are done."""
        self._window -= done
        open_bytes = sum(self._sizes[index] for index in self._window)
        if self._waiting and open_bytes < WINDOW_BYTES / 2:
            while self._waiting and open_bytes < WINDOW_BYTES:
                index = self._waiting.pop()
                if index not in done:
                    self._window.add(index)
                    open_bytes += self._sizes[index]

    def _priorities(self, fetchers: list[bytes], own: bytes) -> dict[int, int]:
        rank, count = fetchers.index(own), len(fetchers)
        priorities: dict[int, int] = {}
        for index in self._sizes:
            mine, others = (_OWN, _NOW) if index in self._window else (_OWN_LATER, _LATER)
            for piece in self._pieces.pieces_of(index):
                level = mine if piece % count == rank else others
                priorities[piece] = max(level, priorities.get(piece, 0))
        return priorities
