"""The swarm: the only room that knows libtorrent. Torrents go in, frozen events and statuses come out.

Nothing here is proof of anything: what libtorrent calls finished is still hashed by those who use it.
"""

from weightswarm.swarm.events import (
    Checked,
    Event,
    Finished,
    Flushed,
    ListenFailed,
    MetadataReceived,
    PieceFinished,
    PieceRejected,
    StorageFailed,
    TorrentFailed,
    TrackerFailed,
    TrackerReplied,
)
from weightswarm.swarm.network import Network, NetworkOptions
from weightswarm.swarm.session import Swarm
from weightswarm.swarm.torrent import Torrent, TorrentStatus

__all__ = [
    "Checked",
    "Event",
    "Finished",
    "Flushed",
    "ListenFailed",
    "MetadataReceived",
    "Network",
    "NetworkOptions",
    "PieceFinished",
    "PieceRejected",
    "StorageFailed",
    "Swarm",
    "Torrent",
    "TorrentFailed",
    "TorrentStatus",
    "TrackerFailed",
    "TrackerReplied",
]
