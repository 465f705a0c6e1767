"""How long without progress is too long: what counts as progress, and what does not count as waiting."""

from __future__ import annotations

_STOP_SECONDS = 5.0
"""From how long on a gap between two looks is no waiting: the process was stopped, or the machine asleep."""
_MAX_STOPS = 10
_MAX_SETBACKS = 100
_FIRST_SEARCH_SECONDS = 10.0


class Patience:
    """Runs out after `seconds` without progress, told by `look` what was reached at which time of a steady clock.

    Only what was never reached before is progress, so that bytes which come and are thrown away hold nothing up for
    ever. (A peer may throw a fetch back 100 times.) After a stop of the whole process it begins anew, since
    connections may have died meanwhile; ten times at most.
    """

    def __init__(self, seconds: float, now: float) -> None:
        self._seconds = seconds
        self._moved = self._looked = now
        self._best: tuple[float, ...] = ()
        self._last: tuple[float, ...] = ()
        self._setbacks = 0
        self._stops = 0
        self._search_after = _FIRST_SEARCH_SECONDS

    def look(self, reached: tuple[float, ...], now: float) -> None:
        """Take note of what was `reached`, in numbers that grow."""
        if any(value < last for value, last in zip(reached, self._last, strict=False)):
            self._setbacks += 1
            if self._setbacks <= _MAX_SETBACKS:
                self._best = reached
        best = tuple(map(max, reached, self._best)) if self._best else reached
        if best != self._best:
            self._best = best
            self._stops = 0
            self._begin(now)
        elif now - self._looked > _STOP_SECONDS and self._stops < _MAX_STOPS:
            self._stops += 1
            self._begin(now)
        self._last = reached
        self._looked = now

    def _begin(self, now: float) -> None:
        self._moved = now
        self._search_after = _FIRST_SEARCH_SECONDS

    @property
    def idle(self) -> float:
        """The seconds without progress, as of the last look."""
        return self._looked - self._moved

    @property
    def over(self) -> bool:
        """Whether it has run out."""
        return self.idle >= self._seconds

    def search_due(self) -> bool:
        """Tell whether to look for peers again: after 10 seconds without progress, then after twice as long each."""
        if self.idle < self._search_after:
            return False
        self._search_after = 2 * self._search_after + _FIRST_SEARCH_SECONDS
        return True
