"""What happens in a session, as frozen values. libtorrent's alerts die at the next pop; these do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weightswarm.swarm.torrent import Torrent


@dataclass(frozen=True, slots=True)
class MetadataReceived:
    """A magnet's info dict arrived; it hashes to the info-hash, and nothing else is known of it."""

    torrent: Torrent
    info_bytes: bytes


@dataclass(frozen=True, slots=True)
class Checked:
    """The pieces already on disk were hashed; what is missing will be asked for."""

    torrent: Torrent


@dataclass(frozen=True, slots=True)
class PieceFinished:
    """A piece passed its hash check in memory; the disk may lag (see `Flushed`)."""

    torrent: Torrent
    piece: int


@dataclass(frozen=True, slots=True)
class Flushed:
    """All that was written before `Torrent.flush` can now be read from disk."""

    torrent: Torrent


@dataclass(frozen=True, slots=True)
class Finished:
    """Every wanted piece is there, by libtorrent's word."""

    torrent: Torrent


@dataclass(frozen=True, slots=True)
class PieceRejected:
    """A piece that peers sent did not match its hash and was thrown away."""

    torrent: Torrent
    piece: int


@dataclass(frozen=True, slots=True)
class StorageFailed:
    """A file could not be read or written. `out_of_space` tells the one reason users can mend at once."""

    torrent: Torrent
    path: str
    reason: str
    out_of_space: bool


@dataclass(frozen=True, slots=True)
class TorrentFailed:
    """The torrent stopped with an error that is not about one file.

    `inconsistent`: v1 and v2 hashes do not agree on a piece, or libtorrent takes it to be so.
    """

    torrent: Torrent
    reason: str
    inconsistent: bool = False


@dataclass(frozen=True, slots=True)
class TrackerReplied:
    """A tracker answered with `peers` addresses."""

    torrent: Torrent
    url: str
    peers: int


@dataclass(frozen=True, slots=True)
class TrackerFailed:
    """A tracker did not answer, or refused."""

    torrent: Torrent
    url: str
    reason: str


@dataclass(frozen=True, slots=True)
class ListenFailed:
    """The session could not listen on an address."""

    address: str
    reason: str


Event = (
    MetadataReceived
    | Checked
    | PieceFinished
    | Flushed
    | Finished
    | PieceRejected
    | StorageFailed
    | TorrentFailed
    | TrackerReplied
    | TrackerFailed
    | ListenFailed
)
