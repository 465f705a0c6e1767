"""What threads beside the session's have to say of others, each thing once, for whoever polls."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from contextlib import suppress
from queue import Empty, SimpleQueue


class Complaints:
    """Sentences to be taken once. `most` bounds how many different things are said in all."""

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._said: set[Hashable] = set()
        self._lock = threading.Lock()
        self._new: SimpleQueue[str] = SimpleQueue()

    def say(self, what: Hashable, words: str) -> None:
        """Say it, unless `what` was said before."""
        with self._lock:
            if what in self._said or len(self._said) == self._most:
                return
            self._said.add(what)
        self._new.put(words)

    def take(self) -> list[str]:
        """Return what is new."""
        said = []
        with suppress(Empty):
            while True:
                said.append(self._new.get_nowait())
        return said
