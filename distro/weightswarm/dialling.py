"""By which way connections leave: through a proxy (SOCKS5, RFC 1928 and 1929; HTTP CONNECT, RFC 9110), by an interface.

Both are the user's own choice. With a proxy nothing is looked up here but the proxy's own name: what is behind it is
asked for by name. The handshakes are generators without a socket, for whoever drives them.
"""

from __future__ import annotations

import base64
import fcntl
import ipaddress
import os
import socket
import struct
import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from weightswarm.errors import InvalidInput

CONNECT_SECONDS = 10.0
_MAX_ANSWER = 16 * 1024
_SOCKS_REASONS = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "expired on the way",
    7: "command not supported",
    8: "kind of address not supported",
}
_SHAPE = "write it like socks5://HOST:PORT, socks5://USER:PASSWORD@HOST:PORT or http://HOST:PORT"

Handshake = Generator[bytes | int, bytes, None]
"""Yields bytes to send, and the number of bytes that it must be sent next."""


class Unreachable(Exception):
    """No connection; the message says why, in a few words."""


class ProxyFailure(Unreachable):
    """It is the proxy itself that fails. The message names it, without a password."""


class ProxyRefusal(ProxyFailure):
    """The proxy does not let us in, or is none: asking again brings the same answer."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where everything goes through. `scheme` is `socks5` or `http`; as text it has neither user nor password."""

    scheme: str
    host: str
    port: int
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @staticmethod
    def parse(text: str) -> Proxy:
        """Read a proxy's URL. `socks5h` is the same as `socks5`: names are looked up by the proxy, always.

        Raises `InvalidInput`, which never shows what stands before the host.
        """
        try:
            parts = urlsplit(text.strip())
            port = parts.port
        except ValueError:
            raise InvalidInput("--proxy is no URL", hint=_SHAPE) from None
        if parts.scheme not in ("socks5", "socks5h", "http"):
            raise InvalidInput(f"--proxy {parts.scheme[:20] or 'without a scheme'} is not spoken here", hint=_SHAPE)
        if not parts.hostname or not port or not parts.hostname.isprintable() or not text.strip().isprintable():
            raise InvalidInput(f"--proxy {parts.scheme}:// needs a host and a port", hint=_SHAPE)
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise InvalidInput(f"--proxy {parts.scheme}:// has something after its port", hint=_SHAPE)
        scheme = "http" if parts.scheme == "http" else "socks5"
        return Proxy(scheme, parts.hostname, port, *_user(parts))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def handshake(self, host: str, port: int) -> Handshake:
        """Return what opens the way to `host`. Raises `ProxyFailure`, `Unreachable` while it is driven."""
        return _socks5(self, host, port) if self.scheme == "socks5" else _http_connect(self, host, port)


def _user(parts: SplitResult) -> tuple[str, str]:
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not all(len(word.encode()) <= 255 and word.isprintable() for word in (user, password)) or ":" in user:
        raise InvalidInput("--proxy has a user or password that no proxy takes", hint="at most 255 bytes each, no ':'")
    return user, password


@dataclass(frozen=True, slots=True)
class Interface:
    """What connections leave by: a device, or one address of this machine. `addresses` are those to listen at."""

    device: str | None
    addresses: tuple[str, ...]

    @staticmethod
    def find(text: str) -> Interface:
        """Return the interface of this machine that is named so, or has this address. Raises `InvalidInput`."""
        with suppress(ValueError):
            address = str(ipaddress.ip_address(text))
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                try:
                    probe.bind((address, 0))
                except OSError:
                    raise InvalidInput(f"--interface {address} is no address of this machine", hint=_known()) from None
            return Interface(None, (address,))
        try:
            socket.if_nametoindex(text)
        except (OSError, ValueError):
            raise InvalidInput(f"There is no interface {text[:40]}", hint=_known()) from None
        if not (addresses := (*_ipv4(text), *_ipv6(text))):
            raise InvalidInput(f"The interface {text} has no address", hint=_known())
        return Interface(text, addresses)


@dataclass(frozen=True, slots=True)
class Route:
    """The way that connections leave by."""

    proxy: Proxy | None = None
    interface: Interface | None = None

    def open_socket(self, family: socket.AddressFamily) -> socket.socket:
        """Return a socket that leaves by the interface, where there is one. Raises `OSError`."""
        opened = socket.socket(family, socket.SOCK_STREAM)
        try:
            self.bind(opened)
        except OSError:
            opened.close()
            raise
        return opened

    def bind(self, opened: socket.socket) -> None:
        """Bind an unconnected socket to the interface, where there is one. Raises `OSError`."""
        if self.interface is None:
            return
        if self.interface.device is not None:
            # Needs no privilege since Linux 5.7, and holds whatever the routing table says.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.interface.device.encode() + b"\0")
        else:
            opened.bind((self.interface.addresses[0], 0))


DIRECT = Route()


def shake_hands(connection: socket.socket, proxy: Proxy, host: str, port: int, deadline: float) -> None:
    """Have a proxy open the way to `host` over a connected socket, by a monotonic deadline.

    Raises `Unreachable`, `OSError`.
    """
    handshake = proxy.handshake(host, port)
    wanted = next(handshake)
    with suppress(StopIteration):
        while True:
            if isinstance(wanted, bytes):
                connection.sendall(wanted)
                wanted = next(handshake)
            else:
                wanted = handshake.send(_exactly(connection, wanted, proxy, deadline))


def _exactly(connection: socket.socket, count: int, proxy: Proxy, deadline: float) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        part = connection.recv(count - len(parts))
        if not part:
            raise ProxyFailure(f"the proxy {proxy} hung up")
        parts += part
    return bytes(parts)


def _socks5(proxy: Proxy, host: str, port: int) -> Handshake:
    yield b"\x05\x02\x00\x02" if proxy.user else b"\x05\x01\x00"
    version, method = yield 2
    if version != 5:
        raise ProxyRefusal(f"the proxy {proxy} does not speak SOCKS5")
    if method == 2 and proxy.user:
        user, password = proxy.user.encode(), proxy.password.encode()
        yield bytes((1, len(user))) + user + bytes((len(password),)) + password
        _, status = yield 2
        if status:
            raise ProxyRefusal(f"the proxy {proxy} refuses the user or password")
    elif method:
        raise ProxyRefusal(f"the proxy {proxy} {'takes no' if proxy.user else 'wants a'} user and password")
    yield b"\x05\x01\x00" + _socks_address(host) + struct.pack(">H", port)
    version, status, _, kind = yield 4
    if status:
        raise Unreachable(f"the proxy answered: {_SOCKS_REASONS.get(status, f'failure {status}')}")
    length = {1: 4, 4: 16}.get(kind) or (yield 1)[0]
    yield length + 2


def _socks_address(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        name = _ascii(host)
        return bytes((3, len(name))) + name
    return bytes((1 if address.version == 4 else 4,)) + address.packed


def _http_connect(proxy: Proxy, host: str, port: int) -> Handshake:
    target = f"[{host}]:{port}" if ":" in host else f"{_ascii(host).decode()}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.user:
        pair = base64.b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {pair}")
    yield ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
    answer = bytearray()
    while not answer.endswith(b"\r\n\r\n"):
        # Byte by byte: what follows belongs to whoever is behind the proxy.
        answer += yield 1
        if len(answer) > _MAX_ANSWER:
            raise ProxyRefusal(f"the proxy {proxy} sends a header without end")
    words = bytes(answer[:64]).split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise ProxyRefusal(f"the proxy {proxy} does not speak HTTP")
    if words[1] in (b"407", b"401"):
        raise ProxyRefusal(f"the proxy {proxy} {'refuses the' if proxy.user else 'wants a'} user and password")
    if not words[1].startswith(b"2"):
        raise Unreachable(f"the proxy answered {words[1][:3].decode()} to CONNECT, port {port}")


def _ascii(host: str) -> bytes:
    try:
        name = host.encode("idna") if not host.isascii() else host.encode()
    except UnicodeError:
        name = b""
    if not 0 < len(name) <= 255 or not name.decode().isprintable() or b" " in name:
        raise Unreachable("no such host")
    return name


def _known() -> str:
    names = [f"{name} ({', '.join(found)})" for _, name in socket.if_nameindex() if (found := _ipv4(name))]
    return f"there are: {', '.join(names[:16])}"


def _ipv4(device: str) -> tuple[str, ...]:
    siocgifaddr = 0x8915
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker, suppress(OSError):
        answer = fcntl.ioctl(asker, siocgifaddr, struct.pack("256s", os.fsencode(device)[:15]))
        return (socket.inet_ntoa(answer[20:24]),)
    return ()


def _ipv6(device: str) -> tuple[str, ...]:
    """Return a device's global IPv6 addresses, as /proc lists them."""
    found = []
    with suppress(OSError, ValueError), open("/proc/net/if_inet6", encoding="ascii") as table:
        for line in table:
            address, _, _, scope, _, name = line.split()
            if name == device and scope == "00":
                found.append(str(ipaddress.IPv6Address(bytes.fromhex(address))))
    return tuple(found)
