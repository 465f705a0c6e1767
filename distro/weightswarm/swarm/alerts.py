"""libtorrent's alerts become this room's events; all fields are copied at once."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from typing import Any

import libtorrent as lt

from weightswarm.magnet import PeerAddress
from weightswarm.swarm import events
from weightswarm.swarm.events import Event
from weightswarm.swarm.torrent import Torrent

# libtorrent's errors::torrent_inconsistent_hashes, whose number its Python module has no name for.
_INCONSISTENT = "v1 and v2 hashes do not describe the same data"


# The torrent's name stands before it, which is a stranger's word: only what stands at the end counts.
_LOCAL_PEER = re.compile(r" peer ([^ ]+):(\d{1,5}): received peer from local service discovery$")


def event_of(alert: Any, torrents: Mapping[lt.torrent_handle, Torrent]) -> Event | None:
    """Return the event that `alert` stands for, None for what nobody here acts on."""
    if isinstance(alert, lt.listen_failed_alert):
        return events.ListenFailed(f"{alert.address}:{alert.port}", alert.error.message())
    if not isinstance(alert, lt.torrent_alert) or (torrent := torrents.get(alert.handle)) is None:
        return None
    if isinstance(alert, lt.metadata_received_alert):
        info = alert.handle.torrent_file()
        return None if info is None else events.MetadataReceived(torrent, bytes(info.info_section()))
    if isinstance(alert, lt.piece_finished_alert):
        return events.PieceFinished(torrent, alert.piece_index)
    if isinstance(alert, lt.file_error_alert):
        reason = alert.error.message()
        return events.StorageFailed(torrent, alert.filename(), reason, alert.error.value() == errno.ENOSPC)
    if isinstance(alert, lt.hash_failed_alert):
        return events.PieceRejected(torrent, alert.piece_index)
    if isinstance(alert, lt.torrent_error_alert):
        reason = alert.error.message()
        return events.TorrentFailed(torrent, reason, reason == _INCONSISTENT)
    if isinstance(alert, lt.tracker_reply_alert):
        return events.TrackerReplied(torrent, alert.url, alert.num_peers)
    if isinstance(alert, lt.tracker_error_alert):
        return events.TrackerFailed(torrent, alert.url, _tracker_reason(alert))
    if isinstance(alert, lt.torrent_checked_alert):
        return events.Checked(torrent)
    if isinstance(alert, lt.cache_flushed_alert):
        return events.Flushed(torrent)
    return events.Finished(torrent) if isinstance(alert, lt.torrent_finished_alert) else None


def local_peer(alert: Any) -> PeerAddress | None:
    """Return the peer that local discovery found, from an alert that libtorrent's Python module has no class for."""
    if alert.what() != "lsd_peer":
        return None
    match = _LOCAL_PEER.search(alert.message())
    return None if match is None else PeerAddress(match[1].strip("[]"), int(match[2]))


def _tracker_reason(alert: lt.tracker_error_alert) -> str:
    try:
        return alert.error_message() or alert.error.message()
    except UnicodeDecodeError:
        return "its answer is not UTF-8"
