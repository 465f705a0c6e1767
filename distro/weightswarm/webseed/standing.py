"""How one web seed stands: what it lacks, when it may be asked again, and why it is left out. Shared by threads."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from weightswarm.errors import without_passwords
from weightswarm.webseed.waiting import MAX_WAIT
from weightswarm.webseed.watched import Failed

_MAX_PAUSE = 60.0
_FIRST_PAUSE = 0.5
_MAX_BREAKS = 5
_MAX_DENIALS = 3
_LEAST_BROUGHT = 1024 * 1024
MISSING = frozenset({404, 410, 416})
"""Answers that say of one file that it, or that much of it, is not there."""

_DENIED = frozenset({401, 403})


@dataclass(slots=True)
class WebSeed:
    """`lacking` are the files, by index, that it does not have. `whole_files` says that it serves no ranges, and
    `streaming` that one of its files is being read from the start. `left_out` is the reason why nobody asks it any
    more."""

    number: int
    url: str
    lacking: set[int] = field(default_factory=set)
    whole_files: bool = False
    streaming: bool = False
    left_out: str = ""
    last_failure: str = ""
    _failures: int = 0
    _breaks: int = 0
    _denials: int = 0
    _not_before: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def shown(self) -> str:
        """Its URL for people: without a password, and not too long."""
        return without_passwords(self.url)[:200]

    @property
    def pause(self) -> float:
        """Seconds until it may be asked again."""
        return self._not_before - time.monotonic()

    def begin_stream(self) -> bool:
        """Tell whether to read a whole file from it: one at a time."""
        with self._lock:
            begins, self.streaming = not self.streaming, True
            return begins

    def succeeded(self) -> None:
        """It brought what it was asked for."""
        with self._lock:
            self._failures = self._breaks = self._denials = 0

    def failed(self, error: Failed, brought: int, file: int | None = None) -> None:
        """It did not, after so many bytes; `file` is what it was asked for."""
        with self._lock:
            self.last_failure = str(error)
            if error.status in MISSING:
                if file is not None:
                    self.lacking.add(file)
                return
            if brought >= _LEAST_BROUGHT:
                self._failures = self._breaks = self._denials = 0
            if self.pause > 0:
                # Its other connections failed with this one.
                return
            self._failures += 1
            self._denials += error.status in _DENIED
            # What trickles looks like progress; it may not keep a fetch alive for ever.
            self._breaks += 0 < brought < _LEAST_BROUGHT
            if self._denials >= _MAX_DENIALS:
                self.left_out = str(error)
            elif self._breaks >= _MAX_BREAKS:
                self.left_out = f"{_MAX_BREAKS} times in a row {error}"
            elif (error.wait or 0) > MAX_WAIT:
                self.left_out = f"{error}, and wants to be left alone for {error.wait:,.0f} seconds"
            pause = min(_MAX_PAUSE, _FIRST_PAUSE * 2.0 ** (self._failures - 1))
            self._not_before = time.monotonic() + max(pause, error.wait or 0)
