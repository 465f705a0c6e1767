"""Who may take a release's lane, and until when: one fetcher at a time, while nobody else wants the release.

With others there the swarm serves all of them better, since fetchers give each other what one seed gave once.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from weightswarm.lane.layout import Layout

GRACE_SECONDS = 1.0
"""How long somebody else must be there before the lane is withdrawn: who wants the metadata alone is gone by then."""

REST_SECONDS = 10.0
"""How long a lane that was withdrawn is open to nobody: those who now share the release stay together."""

_HOLD_SECONDS = 3.0
_LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class GivenFile:
    """A file as it was hashed: size in bytes, time in nanoseconds."""

    path: Path
    size: int
    mtime_ns: int
    inode: int

    def is_at(self, descriptor: int) -> bool:
        """Tell whether the open file is still that one."""
        status = os.fstat(descriptor)
        found = (status.st_size, status.st_mtime_ns, status.st_ino)
        return stat.S_ISREG(status.st_mode) and found == (self.size, self.mtime_ns, self.inode)


class Lane:
    """One release's lane. `others` returns the ids of all peers who lack something of it, and raises nothing; it may
    be called from any thread until `close` was called. `given` counts the bytes that left."""

    def __init__(self, files: Sequence[GivenFile], others: Callable[[], set[bytes]]) -> None:
        self.files = files
        self.layout = Layout([file.size for file in files])
        self.given = 0
        self._others = others
        self._lock = threading.Lock()
        self._holder: bytes | None = None
        self._users: Counter[bytes] = Counter()
        self._connections: Counter[bytes] = Counter()
        self._held_until = 0.0
        self._not_before = 0.0
        self._next_look = 0.0
        self._crowded_since: float | None = None
        self.closed = False

    @property
    def fetchers(self) -> int:
        """How many take it now: one, or none."""
        return 1 if self._users else 0

    def connected(self, peer: bytes) -> None:
        """A connection asks for a peer; `disconnected` says that it is gone."""
        with self._lock:
            self._connections[peer] += 1

    def disconnected(self, peer: bytes) -> None:
        """With its last connection a peer's hold on the lane ends: it has what it wanted, or goes another way."""
        with self._lock:
            self._connections[peer] -= 1
            if not self._connections[peer]:
                del self._connections[peer]
                if peer == self._holder:
                    self._held_until = 0.0

    def enter(self, peer: bytes) -> bool:
        """Tell whether a peer may have it; `leave` ends what this begins."""
        with self._lock:
            now = time.monotonic()
            held = self._holder not in (None, peer) and (bool(self._users) or now < self._held_until)
            if self.closed or held or now < self._not_before:
                return False
            if not self._users and self._others() - {peer}:
                return False
            if not self._users:
                self._crowded_since, self._next_look = None, now + _LOOK_SECONDS
            self._holder = peer
            self._users[peer] += 1
            return True

    def leave(self, peer: bytes) -> None:
        """A request of a peer has ended. Until its next the lane is kept for it, for a while."""
        with self._lock:
            self._users[peer] -= 1
            if not self._users[peer]:
                del self._users[peer]
            self._held_until = time.monotonic() + _HOLD_SECONDS

    def count(self, size: int) -> None:
        """Take note of bytes that left."""
        with self._lock:
            self.given += size

    def still_open(self) -> bool:
        """Tell whether to go on giving to who has it. Asked often; somebody else is looked for now and then."""
        now = time.monotonic()
        if now < self._next_look:
            return not self.closed and now >= self._not_before
        with self._lock:
            if self.closed or now < self._not_before:
                return False
            self._next_look = now + _LOOK_SECONDS
            if not self._others() - {self._holder}:
                self._crowded_since = None
                return True
            if self._crowded_since is None:
                self._crowded_since = now
            if now - self._crowded_since < GRACE_SECONDS:
                return True
            self._not_before = now + REST_SECONDS
            return False

    def close(self) -> None:
        """Give nothing any more."""
        with self._lock:
            self.closed = True
