"""The swarm: the only room that knows libtorrent. Torrents go in, frozen events and statuses come out.

Nothing here is proof of anything: what libtorrent calls finished is still hashed by those who use it.
"""

from typing import TYPE_CHECKING

from weightswarm.swarm.lifetime import leave_sessions_to_the_process
from weightswarm.swarm.network import Network, NetworkOptions, Sieve

# The engine is loaded by whoever opens a session, not by whoever names options for one.
if TYPE_CHECKING:
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
    from weightswarm.swarm.session import Swarm
    from weightswarm.swarm.torrent import Torrent, TorrentStatus

_HOMES = {"session": ("Swarm",), "torrent": ("Torrent", "TorrentStatus")}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

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
    "Sieve",
    "StorageFailed",
    "Swarm",
    "Torrent",
    "TorrentFailed",
    "TorrentStatus",
    "TrackerFailed",
    "TrackerReplied",
    "leave_sessions_to_the_process",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME_OF.get(name, 'events')}"), name)
