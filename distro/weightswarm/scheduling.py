"""When which rate limit holds: windows of local wall-clock time. Values only; whoever applies them asks once a second.

No edge is computed ahead: after a laptop slept, a clock was set or summer time began, what the clock says now counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from weightswarm.errors import InvalidInput

MAX_RATE = 2**31 - 1
"""Most bytes a second that a limit can say."""

MAX_WINDOWS = 64
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES = 24 * 60
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_BIT_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3}
_BYTES = re.compile(r"(\d{1,12}(?:\.\d{1,3})?)\s*([kKmMgG]?)(i?[bB])?(?:/s)?", re.ASCII)
# Bits are counted in thousands, as whoever sells a link counts them.
_BITS = re.compile(r"(\d{1,12}(?:\.\d{1,3})?)\s*([kmg]?)(?:bits?(?:/s)?|bps)", re.IGNORECASE | re.ASCII)
_NO_LIMIT = ("0", "unlimited")
_WINDOW = re.compile(r"(?:([a-z,-]+)\s+)?(\d\d):(\d\d)\s*-\s*(\d\d):(\d\d)\s+(.+)", re.ASCII)
_SHAPE = "write it like '08:00-18:00 2M', 'mon-fri 08:00-18:00 down 2M up 500k' or '22:00-06:00 unlimited'"


@dataclass(frozen=True, slots=True)
class Rates:
    """Bytes a second each way, 0 for no limit."""

    download: int = 0
    upload: int = 0

    def __str__(self) -> str:
        return f"{_said(self.download)} down, {_said(self.upload)} up"


@dataclass(frozen=True, slots=True)
class Window:
    """A span of the day, in minutes after midnight, on the weekdays (Monday is 0) on which it begins.

    One that does not end after it begins reaches into the next day. A rate of None says nothing of its direction.
    """

    days: frozenset[int]
    begin: int
    end: int
    download: int | None
    upload: int | None

    def covers(self, now: datetime) -> bool:
        """Tell whether the window is open at a local time: from its first minute on, until its last begins."""
        minute = now.hour * 60 + now.minute
        if self.begin < self.end:
            return now.weekday() in self.days and self.begin <= minute < self.end
        if minute >= self.begin:
            return now.weekday() in self.days
        return minute < self.end and (now.weekday() - 1) % 7 in self.days


@dataclass(frozen=True, slots=True)
class Schedule:
    """Windows in the order in which they were given, and the clock that tells local time."""

    windows: tuple[Window, ...] = ()
    clock: Callable[[], datetime] = field(default=datetime.now, compare=False)

    def rates(self, plain: Rates) -> Rates:
        """Return what holds now: for each direction the first open window that speaks of it, else the plain limit."""
        if not self.windows:
            return plain
        now = self.clock()
        opened = [window for window in self.windows if window.covers(now)]
        return Rates(
            next((each.download for each in opened if each.download is not None), plain.download),
            next((each.upload for each in opened if each.upload is not None), plain.upload),
        )


def parse_rate(text: str) -> int:
    """Return bytes a second, 0 for no limit.

    `500k`, `2M`, `2MB/s`, `1.5 GiB/s` are bytes in units of 1024; `100Mbit`, `16mbit/s`, `50Mbps` are bits in units of
    1000. Raises `InvalidInput`, for `2Mb` too: it is written for both.
    """
    text = text.strip()
    if text.lower() in _NO_LIMIT:
        return 0
    if (found := _BITS.fullmatch(text)) is not None:
        rate = int(float(found[1]) * _BIT_UNITS[found[2].lower()] / 8)
    elif (found := _BYTES.fullmatch(text)) is not None:
        if found[2] and found[3] == "b":
            raise InvalidInput(f"{text[:40]!r} may be bits or bytes", hint="write 16Mbit for bits, 2MB or 2M for bytes")
        rate = int(float(found[1]) * _UNITS[found[2].lower()])
    else:
        raise InvalidInput(f"{text[:40]!r} is no rate; write it like 500k, 2M, 100Mbit or unlimited")
    if rate > MAX_RATE:
        raise InvalidInput(f"{text[:40]!r} is over 2 GiB a second")
    if rate == 0 and float(found[1]) > 0:
        raise InvalidInput(f"{text[:40]!r} is less than a byte a second; 0 or unlimited is no limit")
    return rate


def parse_window(text: str) -> Window:
    """Return a window: `[DAYS] HH:MM-HH:MM RATE`, or `down RATE` and `up RATE` for the rate. Raises `InvalidInput`."""
    found = _WINDOW.fullmatch(text.strip())
    if found is None:
        raise InvalidInput(f"{text[:80]!r} is no window of a schedule", hint=_SHAPE)
    days, begin_hour, begin_minute, end_hour, end_minute, rates = found.groups()
    begin, end = _minutes(begin_hour, begin_minute, text), _minutes(end_hour, end_minute, text)
    if begin in (end, _DAY_MINUTES):
        raise InvalidInput(f"{text[:80]!r} is never open", hint="00:00-24:00 is the whole day")
    download, upload = _directions(rates, text)
    return Window(_days(days, text), begin, end, download, upload)


def check_windows(windows: Sequence[Window]) -> None:
    """Raise `InvalidInput` for more windows than a schedule may have."""
    if len(windows) > MAX_WINDOWS:
        raise InvalidInput(f"A schedule has at most {MAX_WINDOWS} windows")


def _said(rate: int) -> str:
    return f"{rate:,} bytes a second" if rate else "no limit"


def _minutes(hour: str, minute: str, text: str) -> int:
    minutes = int(hour) * 60 + int(minute)
    if int(minute) > 59 or minutes > _DAY_MINUTES:
        raise InvalidInput(f"{text[:80]!r} has {hour}:{minute}, which is no time of day", hint=_SHAPE)
    return minutes


def _days(text: str | None, whole: str) -> frozenset[int]:
    if text is None:
        return frozenset(range(7))
    days: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if first not in _DAYS or (dash and last not in _DAYS):
            raise InvalidInput(f"{whole[:80]!r} has {part[:20]!r} for a day", hint=f"days are {', '.join(_DAYS)}")
        begin = _DAYS.index(first)
        length = (_DAYS.index(last) - begin) % 7 if dash else 0
        days |= {(begin + step) % 7 for step in range(length + 1)}
    return frozenset(days)


def _directions(text: str, whole: str) -> tuple[int | None, int | None]:
    """Return the rates down and up: one for both, or each after its word."""
    words = re.split(r"\b(down|up)\s+", text)
    if len(words) == 1:
        rate = parse_rate(text)
        return rate, rate
    if words[0].strip() or len(set(words[1::2])) < len(words[1::2]):
        raise InvalidInput(f"{whole[:80]!r} does not say once each what is for down and up", hint=_SHAPE)
    rates = {words[i]: parse_rate(words[i + 1]) for i in range(1, len(words), 2)}
    return rates.get("down"), rates.get("up")
