"""Ending a session in bounded time: libtorrent's destructor waits, and all of Python with it.

It joins a thread that asks the system's resolver, and a name server that never answers holds that for ten seconds and
more. So a session that knows trackers or web seeds by name is destroyed where their names are looked up at once; one
that is not is left, deaf and without torrents, until the process ends.
"""

from __future__ import annotations

import ctypes
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, cast
from urllib.parse import urlsplit

import libtorrent as lt

from weightswarm.magnet import PeerAddress
from weightswarm.swarm.lifetime import sessions_are_left
from weightswarm.swarm.resolving import literal

_FAREWELL_SECONDS = 1.0
_SENT_SECONDS = 0.2
_LOOK_UP_SECONDS = 1.0
_MAX_NAMES = 32
_SILENCE: dict[str, Any] = {
    "listen_interfaces": "",
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
}


def say_farewell(session: lt.session) -> None:
    """Stop all torrents; return once trackers know and what came is on disk, within a second."""
    now = time.monotonic()
    deadline, sent = now + _FAREWELL_SECONDS, now
    session.pause()
    session.post_session_stats()
    waiting: Counter[str] = Counter()
    written = False
    while (not written or waiting.total() > 0 or now < sent) and now < deadline:
        session.wait_for_alert(50)
        now = time.monotonic()
        for alert in session.pop_alerts():
            if isinstance(alert, lt.tracker_announce_alert) and not alert.handle.is_valid():
                # Of a torrent that was removed: no alert will tell of the answer.
                sent = now + _SENT_SECONDS
            elif isinstance(alert, lt.tracker_announce_alert):
                waiting[alert.url] += 1
            elif isinstance(alert, lt.tracker_reply_alert | lt.tracker_error_alert):
                waiting[alert.url] -= waiting[alert.url] > 0
            elif isinstance(alert, lt.session_stats_alert):
                written = alert.values["disk.queued_write_bytes"] == 0
                if not written:
                    session.post_session_stats()


def leave(session: lt.session) -> None:
    """Let a session be until the process ends: deaf, and never destroyed, not by Python's own end either."""
    session.apply_settings(cast("Any", _SILENCE))
    # Its sockets are closed once it answers.
    session.is_paused()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


def ends_at_once(names: Iterable[str]) -> bool:
    """Tell whether a session may be destroyed that looked up `names`, within a second."""
    if sessions_are_left():
        return False
    hosts = set(names)
    if len(hosts) > _MAX_NAMES:
        return False
    # Daemons: a resolver that hangs holds up nothing, not even the end of the program.
    threads = [threading.Thread(target=_look_up, args=(host,), name="resolve", daemon=True) for host in hosts]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + _LOOK_UP_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)


def names_in(urls: Iterable[str]) -> set[str]:
    """Return the host names in URLs, addresses left out."""
    hosts = set()
    for url in urls:
        with suppress(ValueError):
            host = urlsplit(url).hostname
            if host and literal(PeerAddress(host, 1)) is None:
                hosts.add(host)
    return hosts


def bootstrap_names(session: lt.session) -> set[str]:
    """Return the host names by which the public DHT is entered, none where it is off."""
    settings = session.get_settings()
    nodes = settings["dht_bootstrap_nodes"].split(",") if settings["enable_dht"] else ()
    return names_in(f"udp://{node.strip()}" for node in nodes)


def _look_up(host: str) -> None:
    with suppress(OSError, UnicodeError):
        socket.getaddrinfo(host, None)
