"""In which order a torrent's pieces come, so that files finish early and swarms stay healthy.

While every connected peer is a seed and the release is large, pieces come in order: nobody needs ours, and each file
can be hashed as it grows. (Not from the first moment on: fetchers that start together do not know each other yet, and
would all ask for the same.) Among other fetchers rarest first rules, within preferences that let a seed give each piece
about once. New pieces, which only seeds hold, are dealt out among the connected fetchers by the order of their peer
ids; each asks for its own share first, from the front. Whoever is through with its share, since the seed serves it
faster, helps the others from the back of theirs. What fetchers can give each other is asked of a seed last. And a
random few files at a time (256 MiB of them) go before the others: fetchers then hold different files, and each still
finishes file after file.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Protocol

from weightswarm.swarm import TorrentStatus

WINDOW_BYTES = 256 * 1024 * 1024
ALONE_SECONDS = 1.5
# A seed is asked for new pieces before known ones, a fetcher has known ones alone.
_OWN_FRONT, _OWN_BACK, _NEW, _OWN_LATER, _NEW_LATER, _KNOWN, _LAST = 7, 6, 5, 4, 3, 2, 1


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

    def new_pieces(self) -> set[int]:
        """Return the pieces that no connected peer but seeds has."""

    def prefer(self, priorities: dict[int, int]) -> None:
        """Ask for wanted pieces by these priorities, from 1 to 7."""


class Pieces(Protocol):
    """Where files lie: a `metainfo.PieceMap`."""

    def pieces_of(self, index: int) -> range:
        """Return the pieces that hold bytes of a file."""


class PieceOrder:
    """The order for one torrent's wanted files, given as index → size in bytes, from the time `now` on."""

    def __init__(self, sizes: dict[int, int], pieces: Pieces, now: float) -> None:
        self._sizes = sizes
        self._pieces = pieces
        self._waiting = [index for index, size in sizes.items() if size]
        random.shuffle(self._waiting)
        self._window: set[int] = set()
        self._wanted = self._pieces_of(sizes)
        self._early: set[int] = set()
        self._started = now
        self._preferred: dict[int, int] = {}
        self._in_order: bool | None = None

    def update(self, torrent: Orderable, done: set[int], now: float) -> None:
        """Adapt to who is connected and to which files are done, at the time `now` in seconds of a steady clock."""
        status = torrent.status
        # A small release is there before its hash could fall behind, and others may come any moment.
        alone = status.peers == status.seeds and sum(self._sizes.values()) > WINDOW_BYTES
        in_order = alone and now - self._started >= ALONE_SECONDS
        if in_order != self._in_order:
            self._in_order = in_order
            torrent.set_sequential(in_order)
        if in_order:
            preferred = dict.fromkeys(self._wanted, _KNOWN)
        else:
            self._slide(done)
            preferred = self._priorities(torrent)
        if preferred != self._preferred:
            self._preferred = preferred
            torrent.prefer(preferred)

    def _slide(self, done: set[int]) -> None:
        """Take files into the window as others are done."""
        if not self._window & done and self._window:
            return
        self._window -= done
        open_bytes = sum(self._sizes[index] for index in self._window)
        if self._waiting and open_bytes < WINDOW_BYTES / 2:
            while self._waiting and open_bytes < WINDOW_BYTES:
                index = self._waiting.pop()
                if index not in done:
                    self._window.add(index)
                    open_bytes += self._sizes[index]
        self._early = self._pieces_of(self._window)

    def _priorities(self, torrent: Orderable) -> dict[int, int]:
        priorities = {piece: _KNOWN if piece in self._early else _LAST for piece in self._wanted}
        fetchers = sorted({*torrent.fetchers(), torrent.peer_id})
        shares: list[list[int]] = [[] for _ in fetchers]
        for piece in sorted(self._wanted & torrent.new_pieces()):
            shares[piece % len(fetchers)].append(piece)
        for fetcher, share in zip(fetchers, shares, strict=True):
            own = fetcher == torrent.peer_id
            for position, piece in enumerate(share):
                front = 2 * position < len(share)
                priorities[piece] = self._own(piece, front) if own else self._others(piece, front)
        return priorities

    def _own(self, piece: int, front: bool) -> int:
        if piece not in self._early:
            return _OWN_LATER
        return _OWN_FRONT if front else _OWN_BACK

    def _others(self, piece: int, front: bool) -> int:
        if front and not self._waiting:
            # Its owner has asked for it, or is about to.
            return _LAST
        return _NEW if piece in self._early else _NEW_LATER

    def _pieces_of(self, files: Iterable[int]) -> set[int]:
        return {piece for index in files for piece in self._pieces.pieces_of(index)}
