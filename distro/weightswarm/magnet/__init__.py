"""Magnet links as values: parse, format, and read them as people paste them. Does no I/O."""

from weightswarm.magnet.finding import holds_magnet
from weightswarm.magnet.links import (
    MAX_ENTRIES,
    MAX_LENGTH,
    InfoHash,
    MagnetLink,
    PeerAddress,
    looks_like_magnet,
    parse_magnet,
)
from weightswarm.magnet.repair import MAX_TEXT, Fate, PastedLink, Repair, read_pasted
from weightswarm.magnet.selection import FileSelection
from weightswarm.magnet.trackers import PUBLIC_TRACKERS

__all__ = [
    "MAX_ENTRIES",
    "MAX_LENGTH",
    "MAX_TEXT",
    "PUBLIC_TRACKERS",
    "Fate",
    "FileSelection",
    "InfoHash",
    "MagnetLink",
    "PastedLink",
    "PeerAddress",
    "Repair",
    "holds_magnet",
    "looks_like_magnet",
    "parse_magnet",
    "read_pasted",
]
