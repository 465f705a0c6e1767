"""The session's settings and the reason for each. Values are read back: libtorrent turns what it cannot hold into 0."""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import libtorrent as lt

from weightswarm.hashing import usable_cores
from weightswarm.magnet import PeerAddress
from weightswarm.reach import FIRST_FREE_PORT, near_ranges
from weightswarm.scheduling import Rates
from weightswarm.swarm.network import Network, NetworkOptions
from weightswarm.version import __version__

if TYPE_CHECKING:
    from weightswarm.swarm.gateway import Gateway

_ALL_IPV4 = "0.0.0.0"  # noqa: S104 - every interface, where the network level allows it
_PORT_TRIES = 20
_USUAL_CONNECTIONS = 500
_PROXIED_CONNECTIONS = 200
ALERTS = (
    lt.alert.category_t.error_notification
    | lt.alert.category_t.status_notification
    | lt.alert.category_t.storage_notification
    | lt.alert.category_t.tracker_notification
    | lt.alert.category_t.piece_progress_notification
    | lt.alert.category_t.ip_block_notification
    | lt.alert.category_t.peer_notification
)


def session_settings(options: NetworkOptions, gateway: Gateway | None = None) -> dict[str, Any]:
    """Return the settings for a session that moves large files at the reach `options` allow, and by their proxy."""
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
        "connections_limit": _connections(options),
        # No more than were allowed, not even to choose among them.
        "connections_slack": 10 if options.max_connections is None else 0,
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
        # Who is waited for, how long, and how soon a server may be asked again, is for the relay to say.
        "urlseed_timeout": 30,
        "urlseed_wait_retry": 1,
        # Strangers name no port of other services; who names one himself opens them for his session.
        "no_connect_privileged_ports": all(peer.port >= FIRST_FREE_PORT for peer in options.named_peers),
        "max_metadata_size": 64 * 1024 * 1024,
        "announce_to_all_trackers": True,
        "announce_to_all_tiers": True,
        "max_concurrent_http_announces": 16,
        # A dead tracker may not hold up a shutdown.
        "stop_tracker_timeout": 1,
        "tracker_completion_timeout": 20,
        **rate_settings(options.rates()),
        "listen_interfaces": _listen_interfaces(options),
        "enable_dht": public or private_dht,
        "enable_lsd": options.network is not Network.LOOPBACK,
        # It joins multicast groups by whatever interface the system likes.
        "enable_upnp": public and options.interface is None,
        "enable_natpmp": public and options.interface is None,
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
    if options.interface is not None:
        settings["outgoing_interfaces"] = options.interface.device or options.interface.addresses[0]
    elif options.network is Network.LOOPBACK:
        # Outgoing sockets bound to loopback cannot leave the machine, whatever they are told to reach.
        settings["outgoing_interfaces"] = "127.0.0.1"
    return settings if gateway is None else {**settings, **_through(gateway)}


def rate_settings(rates: Rates) -> dict[str, Any]:
    """Return the settings that hold a session to these limits."""
    return {"download_rate_limit": rates.download, "upload_rate_limit": rates.upload}


def _through(gateway: Gateway) -> dict[str, Any]:
    """Return the settings of a session whose every connection is the gateway's: no name is looked up, no UDP is sent.

    libtorrent opens no port to accept at then. Its own way through an HTTP proxy would look up HTTPS trackers here, and
    its way through any would ask it for our relay.
    """
    return {
        "proxy_type": int(lt.proxy_type_t.socks5_pw),
        "proxy_hostname": gateway.address,
        "proxy_port": gateway.port,
        "proxy_username": gateway.user,
        "proxy_password": gateway.password,
        "proxy_hostnames": True,
        "proxy_peer_connections": True,
        "proxy_tracker_connections": True,
        "listen_interfaces": "",
        "outgoing_interfaces": "",
        "dht_bootstrap_nodes": "",
        "connection_speed": 20,
        **{f"enable_{each}": False for each in ("dht", "lsd", "upnp", "natpmp", "incoming_utp", "outgoing_utp")},
    }


def _connections(options: NetworkOptions) -> int:
    usual = _USUAL_CONNECTIONS if options.proxy is None else _PROXIED_CONNECTIONS
    return usual if options.max_connections is None else options.max_connections


def _peer_id() -> str:
    """Return the 20 characters that peers know a new session by: client, version (BEP 20), and chance."""
    return f"-WS{__version__.replace('.', ''):0<4.4}-{secrets.token_hex(6)}"


def make_session(options: NetworkOptions, rules: lt.ip_filter, gateway: Gateway | None = None) -> lt.session:
    """Return a running session behind an address filter, and before a gateway to the user's proxy.

    Raises `ValueError` when libtorrent did not take a setting as given.
    """
    settings = session_settings(options, gateway)
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
    if options.interface is not None and options.listen is None:
        port = _free_port()
        names = [options.interface.device] if options.interface.device else options.interface.addresses
        return ",".join(str(PeerAddress(name, port)) for name in names)
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
    for first, last in near_ranges():
        classes.add_rule(str(first), str(last), near)
    return classes
