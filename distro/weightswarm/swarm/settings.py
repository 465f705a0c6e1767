"""The session's settings and the reason for each. Values are read back: libtorrent turns what it cannot hold into 0."""

from __future__ import annotations

from typing import Any, cast

import libtorrent as lt

from weightswarm.hashing import usable_cores
from weightswarm.swarm.network import Network, NetworkOptions
from weightswarm.version import __version__

ALERTS = (
    lt.alert.category_t.error_notification
    | lt.alert.category_t.status_notification
    | lt.alert.category_t.storage_notification
    | lt.alert.category_t.tracker_notification
    | lt.alert.category_t.piece_progress_notification
)


def session_settings(options: NetworkOptions) -> dict[str, Any]:
    """Return the settings for a session that moves large files at the reach `options` allow."""
    public = options.network is Network.PUBLIC
    private_dht = bool(options.dht_nodes) and not public
    settings: dict[str, Any] = {
        "user_agent": f"weightswarm/{__version__}",
        "alert_mask": ALERTS,
        # Alerts past the queue's end are dropped, and pieces finish by the thousand when a resume is checked.
        "alert_queue_size": 300_000,
        # No mmap: a full disk is an error instead of SIGBUS, and memory does not grow with the model.
        "mmap_file_size_cutoff": 2**31 - 1,
        "hashing_threads": max(2, usable_cores()),
        "max_queued_disk_bytes": 32 * 1024 * 1024,
        "file_pool_size": 256,
        # TCP is many times faster here; `Swarm` turns uTP on when TCP reaches nobody.
        "mixed_mode_algorithm": 0,
        "enable_outgoing_utp": False,
        "send_buffer_watermark": 4 * 1024 * 1024,
        "send_buffer_watermark_factor": 150,
        "max_out_request_queue": 2000,
        "unchoke_slots_limit": 64,
        "connections_limit": 500,
        # The port that was asked for, or an error: not the next one that is free.
        "max_retry_port_bind": 0,
        "listen_system_port_fallback": False,
        "connection_speed": 100,
        "min_reconnect_time": 10 if public else 2,
        "peer_connect_timeout": 10,
        # A cluster, a lab or a machine may hold many peers behind one address.
        "allow_multiple_connections_per_ip": True,
        "max_web_seed_connections": 8,
        "max_metadata_size": 64 * 1024 * 1024,
        "announce_to_all_trackers": True,
        "announce_to_all_tiers": True,
        # A dead tracker may not hold up a shutdown.
        "stop_tracker_timeout": 1,
        "tracker_completion_timeout": 20,
        "upload_rate_limit": options.upload_limit,
        "download_rate_limit": options.download_limit,
        "listen_interfaces": _listen_interfaces(options),
        "enable_dht": public or private_dht,
        "enable_lsd": options.network is not Network.LOOPBACK,
        "enable_upnp": public,
        "enable_natpmp": public,
    }
    if not public:
        settings["dht_bootstrap_nodes"] = ""
    if private_dht:
        # Nodes of a private DHT share a subnet and have no public address to derive their id from (BEP 42).
        for key in (
            "dht_restrict_routing_ips",
            "dht_restrict_search_ips",
            "dht_ignore_dark_internet",
            "dht_prefer_verified_node_ids",
            "dht_enforce_node_id",
        ):
            settings[key] = False
    if options.network is Network.LOOPBACK:
        # Outgoing sockets bound to loopback cannot leave the machine, whatever they are told to reach.
        settings["outgoing_interfaces"] = "127.0.0.1"
    return settings


def make_session(options: NetworkOptions) -> lt.session:
    """Return a running session. Raises `ValueError` when libtorrent did not take a setting as given."""
    settings = session_settings(options)
    # The filter must stand before anything can connect, so the session is born paused and deaf.
    quiet = {"listen_interfaces": "", "enable_dht": False, "enable_lsd": False, "enable_upnp": False}
    session: lt.session = lt.session(cast("Any", {**settings, **quiet, "enable_natpmp": False}))
    if options.network is Network.LOOPBACK:
        session.set_ip_filter(_loopback_only())
    session.set_peer_class_filter(_everyone(session.global_peer_class_id))
    session.apply_settings(cast("Any", settings))
    taken: dict[str, Any] = {**session.get_settings()}
    refused = [key for key, value in settings.items() if taken[key] != value]
    if refused:
        raise ValueError(f"libtorrent did not take {', '.join(refused)}")
    return session


def _listen_interfaces(options: NetworkOptions) -> str:
    if options.listen is not None:
        return str(options.listen)
    return "127.0.0.1:0" if options.network is Network.LOOPBACK else "0.0.0.0:0,[::]:0"


def _everyone(peer_class: int) -> lt.ip_filter:
    """Put all peers into one class: by default those near by are exempt from rate limits."""
    classes = lt.ip_filter()
    classes.add_rule("0.0.0.0", "255.255.255.255", 1 << peer_class)  # noqa: S104 - a range
    classes.add_rule("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1 << peer_class)
    return classes


def _loopback_only() -> lt.ip_filter:
    blocked = lt.ip_filter()
    blocked.add_rule("0.0.0.0", "126.255.255.255", 1)  # noqa: S104 - a range to block
    blocked.add_rule("128.0.0.0", "255.255.255.255", 1)
    blocked.add_rule("::", "::", 1)
    blocked.add_rule("::2", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1)
    return blocked
