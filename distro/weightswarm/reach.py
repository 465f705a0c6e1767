"""Which addresses a stranger may send this program to, and connections to those alone.

A link, a torrent, a tracker or a redirect is a stranger's word. What the user typed is not, and is no business of this
module: callers keep what he named, and pass it on as `named`.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from enum import Enum
from functools import cache
from queue import Empty, SimpleQueue
from typing import cast
from urllib.parse import SplitResult, urlsplit

from weightswarm.dialling import CONNECT_SECONDS, DIRECT, ProxyFailure, Route, Unreachable, shake_hands
from weightswarm.errors import InvalidInput

MAX_ADDRESSES = 4
"""Most addresses of one name that are tried."""

FIRST_FREE_PORT = 1024
WEB_PORTS = {"http": 80, "https": 443}

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Range = tuple[Address, Address]
Endpoint = tuple[str, int]


class Network(Enum):
    """`public`: everything. `lan`: no public DHT, no port mapping, local discovery on.
    `loopback`: this machine alone; nothing is bound, asked or resolved beyond it."""

    PUBLIC = "public"
    LAN = "lan"
    LOOPBACK = "loopback"


class Refused(Unreachable):
    """A stranger's word led to where strangers may not send us."""


# Where clouds answer any process with the machine's own credentials: open to no stranger's word, at lan neither.
_METADATA = ("169.254.169.254/32", "169.254.170.2/32", "100.100.100.200/32", "192.0.0.192/32", "fd00:ec2::254/128")
# RFC 6890 and its registries: this network, loopback, multicast, reserved with broadcast.
_NOBODY = ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4")
# Private (RFC 1918), carriers' NAT (RFC 6598), link-local (RFC 3927), protocol assignments, benchmarks (RFC 2544).
_PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "192.0.0.0/24",
            "198.18.0.0/15")  # fmt: skip
# Unspecified, loopback and IPv4-compatible; IPv4-mapped; local NAT64 (RFC 8215); Teredo; multicast.
_NOBODY6 = ("::/96", "::ffff:0:0/96", "64:ff9b:1::/48", "2001::/32", "ff00::/8")
# Unique local (RFC 4193), link-local, the old site-local, discard (RFC 6666).
_PRIVATE6 = ("fc00::/7", "fe80::/10", "fec0::/10", "100::/64")


# This machine, its own networks (RFC 1918, RFC 4193) and its links (RFC 3927, RFC 4291): nobody from further away.
_NEAR = ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16",
         "::1/128", "fc00::/7", "fe80::/10")  # fmt: skip


@cache
def near_ranges() -> tuple[Range, ...]:
    """Return the ranges, first and last address, of neighbours."""
    networks = [ipaddress.ip_network(text) for text in _NEAR]
    return tuple((each.network_address, each.broadcast_address) for each in networks)


@cache
def closed_ranges(network: Network) -> tuple[Range, ...]:
    """Return the ranges, first and last address, that no stranger's word may lead to at `network`."""
    if network is Network.LOOPBACK:
        spans = (
            ("0.0.0.0", "126.255.255.255"),  # noqa: S104 - named, not bound
            ("128.0.0.0", "255.255.255.255"),
            ("::", "::"),
            ("::2", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        )
        return tuple((ipaddress.ip_address(first), ipaddress.ip_address(last)) for first, last in spans)
    public = network is Network.PUBLIC
    texts = (*_METADATA, *_NOBODY, *_NOBODY6, *(_PRIVATE + _PRIVATE6 if public else ()))
    networks = [ipaddress.ip_network(text) for text in texts]
    for inner in [each for each in networks if isinstance(each, ipaddress.IPv4Network)]:
        # The same places by way of NAT64 (RFC 6052) and 6to4 (RFC 3056), which carry an IPv4 address inside.
        value = int(inner.network_address)
        networks.append(ipaddress.IPv6Network((0x64FF9B << 96 | value, 96 + inner.prefixlen)))
        networks.append(ipaddress.IPv6Network((0x2002 << 112 | value << 80, 16 + inner.prefixlen)))
    return tuple((each.network_address, each.broadcast_address) for each in networks)


def is_closed(host: str, network: Network) -> bool:
    """Tell whether a literal address (or `localhost`) is one that no stranger's word may lead to; False for names."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if is_localhost(host) else host.partition("%")[0])
    except ValueError:
        return False
    return _is_in(address, closed_ranges(network))


def is_near(host: str) -> bool:
    """Tell whether a literal address is a neighbour's, or this machine's own; IPv4 may come as IPv6 (RFC 4291)."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return _is_in(mapped or address, near_ranges())


def _is_in(address: Address, ranges: tuple[Range, ...]) -> bool:
    return any(address.version == first.version and int(first) <= int(address) <= int(last) for first, last in ranges)


def is_literal(host: str) -> bool:
    """Tell whether `host` is an address, or `localhost`, and no resolver need be asked."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return is_localhost(host)
    return True


def is_localhost(host: str) -> bool:
    """Tell whether `host` is the name that is this machine everywhere (RFC 6761)."""
    name = host.lower().rstrip(".")
    return name == "localhost" or name.endswith(".localhost")


def split_url(url: str, schemes: Collection[str]) -> tuple[SplitResult, Endpoint] | None:
    """Return a URL's parts and where it leads; None when it is malformed or of another scheme."""
    try:
        parts = urlsplit(url)
        port = parts.port or WEB_PORTS.get(parts.scheme, 0)
    except ValueError:
        return None
    if parts.scheme not in schemes or not parts.hostname:
        return None
    if not parts.hostname.isprintable() or parts.hostname.startswith(".") or ".." in parts.hostname:
        return None
    return parts, (parts.hostname, port)


def is_open_port(scheme: str, port: int) -> bool:
    """Tell whether a stranger may name `port`: the privileged ones are other services', but for the web's own."""
    return FIRST_FREE_PORT <= port < 65536 or (scheme in WEB_PORTS and port in WEB_PORTS.values())


def check_stranger(scheme: str, endpoint: Endpoint, network: Network) -> None:
    """Raise `Refused` where a stranger may not send us, as far as that is known without asking a resolver."""
    host, port = endpoint
    if is_closed(host, network):
        raise Refused(f"{host} is not open to strangers at --network {network.value}")
    if not is_open_port(scheme, port):
        raise Refused(f"port {port} is not open to strangers")
    if network is Network.LOOPBACK and not is_literal(host):
        raise Refused(f"{host} is not on this machine, and --network loopback asks nobody else")


def check_route(route: Route, network: Network) -> None:
    """Raise `InvalidInput` for a proxy or an interface that leads off this machine at loopback."""
    if network is not Network.LOOPBACK:
        return
    if route.proxy is not None and not is_here(route.proxy.host):
        raise InvalidInput(f"--network loopback asks no other machine, and the proxy {route.proxy} is on one")
    if route.interface is not None and not all(map(is_here, route.interface.addresses)):
        raise InvalidInput("--network loopback leaves by no interface but lo")


def is_here(host: str) -> bool:
    """Tell whether `host` is this machine, by its literal address or the name `localhost`; asks no resolver."""
    return is_literal(host) and not is_closed(host, Network.LOOPBACK)


def connect(
    endpoint: Endpoint, network: Network, *, named: bool, deadline: float, route: Route = DIRECT
) -> socket.socket:
    """Return a connection to one of a host's addresses, judged after its name was looked up: what is judged is dialled.

    `named` says that the user himself named the host; at loopback even then nobody but this machine is asked.
    `deadline` is by the monotonic clock. By way of a proxy, the proxy looks names up: a stranger's address is judged,
    and what a stranger's name leads to is the proxy's to judge. Raises `Unreachable`.
    """
    host, port = endpoint
    open_to_all = named and network is not Network.LOOPBACK
    if network is Network.LOOPBACK and not is_literal(host):
        raise Refused(f"{host} is not on this machine, and --network loopback asks nobody else")
    if is_localhost(host):
        host = "127.0.0.1"
    if route.proxy is not None:
        if not open_to_all and is_closed(host, network):
            raise Refused(f"{host} is not open to strangers at --network {network.value}")
        return _connect_through(route, (host, port), deadline)
    problem: Unreachable = Unreachable("no such host")
    for family, address in look_up(host, port, deadline):
        if not open_to_all and is_closed(str(address[0]), network):
            problem = Refused(f"{address[0]} is not open to strangers at --network {network.value}")
            continue
        try:
            return _dial(family, address, route, deadline)
        except OSError as error:
            problem = Unreachable("it did not answer in time" if isinstance(error, TimeoutError) else "no connection")
    raise problem


def _dial(family: socket.AddressFamily, address: tuple[str | int, ...], route: Route, deadline: float) -> socket.socket:
    connection = route.open_socket(family)
    try:
        connection.settimeout(max(0.05, min(CONNECT_SECONDS, deadline - time.monotonic())))
        connection.connect(address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        connection.close()
        raise
    return connection


def _connect_through(route: Route, endpoint: Endpoint, deadline: float) -> socket.socket:
    assert route.proxy is not None
    connection = connect_to_proxy(route, deadline)
    try:
        shake_hands(connection, route.proxy, *endpoint, deadline)
    except OSError as error:
        connection.close()
        raise Unreachable("it did not answer in time" if isinstance(error, TimeoutError) else "no connection") from None
    except Unreachable:
        connection.close()
        raise
    return connection


def connect_to_proxy(route: Route, deadline: float) -> socket.socket:
    """Return a connection to the proxy itself. Raises `ProxyFailure`."""
    assert route.proxy is not None
    reason = "no such host"
    for family, address in look_up(route.proxy.host, route.proxy.port, deadline):
        try:
            return _dial(family, address, route, deadline)
        except OSError as error:
            reason = error.strerror or str(error)
    raise ProxyFailure(f"the proxy {route.proxy} cannot be reached: {reason}")


def look_up(host: str, port: int, deadline: float) -> list[tuple[socket.AddressFamily, tuple[str | int, ...]]]:
    """Return a host's first addresses, as `connect` takes them; none where the resolver knows none in time."""
    answers: SimpleQueue[list[tuple[socket.AddressFamily, tuple[str | int, ...]]]] = SimpleQueue()

    def ask() -> None:
        found: list[tuple[socket.AddressFamily, tuple[str | int, ...]]] = []
        with suppress(OSError, ValueError):  # a label that is no host name
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found = [(entry[0], cast("tuple[str | int, ...]", entry[4])) for entry in entries]
        answers.put(list(dict.fromkeys(found))[:MAX_ADDRESSES])

    # A daemon: a resolver that hangs holds up nothing, not even the end of the program.
    threading.Thread(target=ask, name="resolve", daemon=True).start()
    with suppress(Empty):
        return answers.get(timeout=max(0.05, deadline - time.monotonic()))
    return []
