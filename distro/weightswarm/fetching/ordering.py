"""In which order a torrent's files come, so that some finish (and are verified) early and swarms stay healthy.

While every connected peer is a seed, pieces come in order: nobody needs ours, and each file can be hashed as it grows.
As soon as another fetcher is among them, rarest first rules, and a random few files at a time go before the others:
fetchers then hold different files and have something to trade, and each still finishes file after file.
"""

from __future__ import annotations

import random
from typing import Protocol

from weightswarm.swarm import TorrentStatus

WINDOW_BYTES = 256 * 1024 * 1024


class Orderable(Protocol):
    """What an order is imposed on: a `swarm.Torrent`."""

    @property
    def status(self) -> TorrentStatus:
        """Who is connected."""

    def set_sequential(self, sequential: bool) -> None:
        """Ask for pieces in order, or rarest first."""

    def prefer(self, files: set[int]) -> None:
        """Ask for the pieces of `files` before those of others."""


class FileOrder:
    """The order for one torrent's wanted files, given as index → size in bytes."""

    def __init__(self, sizes: dict[int, int]) -> None:
        self._sizes = sizes
        self._waiting = [index for index, size in sizes.items() if size]
        random.shuffle(self._waiting)
        self._window: set[int] = set()
        self._in_order: bool | None = None

    def update(self, torrent: Orderable, done: set[int]) -> None:
        """Adapt to who is connected and to which files are done."""
        status = torrent.status
        in_order = status.peers == status.seeds
        if in_order != self._in_order:
            self._in_order = in_order
            torrent.set_sequential(in_order)
        if in_order or len(self._sizes) < 2:
            return
        self._window -= done
        open_bytes = sum(self._sizes[index] for index in self._window)
        if self._waiting and open_bytes < WINDOW_BYTES / 2:
            while self._waiting and open_bytes < WINDOW_BYTES:
                index = self._waiting.pop()
                if index not in done:
                    self._window.add(index)
                    open_bytes += self._sizes[index]
            torrent.prefer(self._window)
