"""What is known of a torrent that came without a manifest: who announced it where, and digests they printed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

_MAX_TEXT = 1000
_MAX_ITEMS = 1000


@dataclass(frozen=True, slots=True)
class PublishedDigest:
    """A digest that the publisher or a close source printed. `path` is the file's, None where the source names none.

    MD5 is no proof against a forger; it shows that a download is what others got.
    """

    algorithm: str
    value: str
    path: str | None


@dataclass(frozen=True, slots=True)
class Announcement:
    """`publisher` said `where` that the torrent is theirs."""

    publisher: str
    where: str
    notes: tuple[str, ...] = ()
    digests: tuple[PublishedDigest, ...] = ()


def parse_announcement(data: bytes) -> Announcement | None:
    """Read an `about.json`; None for what is none."""
    try:
        document = json.loads(data)
        return Announcement(
            publisher=_text(document["publisher"]),
            where=_text(document["announced"]),
            notes=tuple(_text(note) for note in document.get("notes", [])[:_MAX_ITEMS]),
            digests=tuple(_digest(digest) for digest in document.get("digests", [])[:_MAX_ITEMS]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise ValueError(value)
    return value


def _digest(item: dict[str, Any]) -> PublishedDigest:
    value = _text(item["value"])
    if item["algorithm"] != "md5" or len(value) != 32 or value.strip("0123456789abcdef"):
        raise ValueError(value)
    return PublishedDigest("md5", value, None if item.get("path") is None else _text(item["path"]))
