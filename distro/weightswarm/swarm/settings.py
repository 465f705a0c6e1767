"""The session's settings and the reason for each. Values are read back: libtorrent turns what it cannot hold into 0."""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress
from typing import Any, cast

import libtorrent as lt

from weightswarm.hashing import usable_cores
from weightswarm.magnet import PeerAddress
from weightswarm.reach import FIRST_FREE_PORT
from weightswarm.swarm.network import Network, NetworkOptions
from weightswarm.version import __version__

_ALL_IPV4 = "0.0.0.0"  # noqa: S104 - every interface, where the network level allows it
_PORT_TRIES = 20
ALERTS = (
    lt.alert.category_t.error_notification
    | lt.alert.category_t.status_notification
    | lt.alert.category_t.storage_notification
    | lt.alert.category_t.tracker_notification
    | lt.alert.category_t.piece_progress_notification
    | lt.alert.category_t.ip_block_notification
    | lt.alert.category_t.peer_notification
)


def session_settings(options: NetworkOptions) -> dict[str, Any]:
    """Return the settings for a session that moves large files at the reach `options` allow."""
    public = options.network is Network.PUBLIC
    private_dht = bool(options.dht_nodes) and not public
    settings: dict[str, Any] = {
        "user_agent": f"weightswarm/{__version__}",
        # The whole of a peer id: who deals out pieces among peers must know its own.
        "peer_fingerprint": _peer_id(),
        "alert_mask": ALERTS,
        # Alerts past the queue's end are dropped, and pieces finish by the thousand when a resume is checked.
        "alert_queue_size": 300_000,
        "hashing_threads": max(2, usable_cores()),
        "max_queued_disk_bytes": 16 * 1024 * 1024,
        "file_pool_size": 256,
        # TCP is many times faster here; `Swarm` turns uTP on when TCP reaches nobody.
        "mixed_mode_algorithm": 0,
        "enable_outgoing_utp": False,
        # What waits in a send buffer delays the next HAVE: a fifth of a second's worth, up to 4 MiB on fast links.
        "send_buffer_low_watermark": 64 * 1024,
        "send_buffer_watermark": 4 * 1024 * 1024,
        "send_buffer_watermark_factor": 20,
        # What was asked for at one peer is asked for at no other: one second's worth, piece by piece, no longer runs.
        "request_queue_time": 1,
        "whole_pieces_threshold": 0,
        "max_out_request_queue": 2000,
        "unchoke_slots_limit": 64,
        "connections_limit": 500,
        # The port that was asked for, or an error: not the next one that is free.
        "max_retry_port_bind": 0 if options.listen is not None else 10,
        "listen_system_port_fallback": False,
        # A peer that asks for metadata wants no payload yet, but the piece layers that follow: a seed may not hang up.
        "close_redundant_connections": False,
        "connection_speed": 100,
        "min_reconnect_time": 10 if public else 2,
        "peer_connect_timeout": 10,
        # A cluster, a lab or a machine may hold many peers behind one address.
        "allow_multiple_connections_per_ip": True,
        "max_web_seed_connections": 2,
        "urlseed_timeout": 12,
        # Strangers name no port of other services; who names one himself opens them for his session.
        "no_connect_privileged_ports": all(peer.port >= FIRST_FREE_PORT for peer in options.named_peers),
        "max_metadata_size": 64 * 1024 * 1024,
        "announce_to_all_trackers": True,
        "announce_to_all_tiers": True,
        "max_concurrent_http_announces": 16,
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


def _peer_id() -> str:
    """Return the 20 characters that peers know a new session by: client, version (BEP 20), and chance."""
    return f"-WS{__version__.replace('.', ''):0<4.4}-{secrets.token_hex(6)}"


def make_session(options: NetworkOptions, rules: lt.ip_filter) -> lt.session:
    """Return a running session behind an address filter.

    Raises `ValueError` when libtorrent did not take a setting as given.
    """
    settings = session_settings(options)
    # The filter must stand before anything can connect, so the session is born paused and deaf.
    quiet = {"listen_interfaces": "", "enable_dht": False, "enable_lsd": False, "enable_upnp": False}
    session: lt.session = lt.session(cast("Any", {**settings, **quiet, "enable_natpmp": False}))
    session.set_ip_filter(rules)
    session.set_peer_class_filter(_peer_classes(session))
    session.apply_settings(cast("Any", settings))
    taken: dict[str, Any] = {**session.get_settings()}
    refused = [key for key, value in settings.items() if taken[key] != value]
    if refused:
        raise ValueError(f"libtorrent did not take {', '.join(refused)}")
    return session


def _listen_interfaces(options: NetworkOptions) -> str:
    loopback = options.network is Network.LOOPBACK
    listen = options.listen or PeerAddress("127.0.0.1" if loopback else _ALL_IPV4, 0)
    if listen.port == 0 and not loopback:
        # Port 0 would open another port on each interface, and libtorrent announces only the first.
        listen = PeerAddress(listen.host, _free_port())
    if options.listen is None and not loopback:
        return f"{listen},[::]:{listen.port}"
    return str(listen)


def _free_port() -> int:
    """Return a port that is free for TCP and UDP on all addresses."""
    for _ in range(_PORT_TRIES):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind((_ALL_IPV4, 0))
            with suppress(OSError):
                udp.bind((_ALL_IPV4, tcp.getsockname()[1]))
                return int(tcp.getsockname()[1])
    return 0


def _peer_classes(session: lt.session) -> lt.ip_filter:
    """Put every peer into the class that has the rate limits: by default those near by are exempt.

    Near ones stay in the local class as well, which is always unchoked.
    """
    limited = 1 << session.global_peer_class_id
    near = limited | 1 << session.local_peer_class_id
    classes = lt.ip_filter()
    classes.add_rule(_ALL_IPV4, "255.255.255.255", limited)
    classes.add_rule("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", limited)
    for first, last in (
        ("10.0.0.0", "10.255.255.255"),
        ("127.0.0.0", "127.255.255.255"),
        ("169.254.0.0", "169.254.255.255"),
        ("172.16.0.0", "172.31.255.255"),
        ("192.168.0.0", "192.168.255.255"),
        ("::1", "::1"),
        ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ):
        classes.add_rule(first, last, near)
    return classes
