"""How long a server wants to be left alone (`Retry-After`, RFC 9110 section 10.2.3)."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_WAIT = 300.0
"""Seconds that a web seed may have us wait before the next try; one that wants more is left out."""


def retry_after(text: str | None) -> float | None:
    """Return the seconds that the header says, by number or by date; None where it says nothing that can be read."""
    if text is None or len(text) > 80:
        return None
    if text.strip().isdigit() and text.isascii():
        return float(text)
    try:
        when = parsedate_to_datetime(text)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max(0.0, (when - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return None
