"""The session's way to the user's proxy: a SOCKS5 server on loopback that judges every target and looks nothing up.

libtorrent is told of this proxy alone. What it asks for goes on through the user's proxy, SOCKS5 or HTTP, but for the
relay of web seeds, which is here. There is no UDP: what needs it fails. One thread, which ends with `close`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
import struct
import threading
import time
from collections.abc import Collection
from contextlib import suppress

from weightswarm.dialling import CONNECT_SECONDS, ProxyFailure, ProxyRefusal, Route, Unreachable
from weightswarm.errors import NetworkFailure
from weightswarm.reach import Endpoint, Network, check_stranger, connect_to_proxy
from weightswarm.swarm.complaints import Complaints

MAX_CONNECTIONS = 512
_PART = 64 * 1024
_GREETING_SECONDS = 10.0
_MOST_SAID = 8
_REFUSED = b"\x05\x02\x00\x01" + bytes(6)
_NO_HOST = b"\x05\x04\x00\x01" + bytes(6)
_NO_COMMAND = b"\x05\x07\x00\x01" + bytes(6)
_OPEN = b"\x05\x00\x00\x01" + bytes(6)


class Gateway:
    """Listens from the start on. `complaints` tells what the proxy did not do, `refusal` that it will not let us in.

    `named` are what the user named himself, and `relay` the address of the web seeds' relay, known before its port.
    Raises `NetworkFailure` where the proxy does not answer.
    """

    def __init__(self, route: Route, network: Network, named: Collection[Endpoint], relay: str) -> None:
        assert route.proxy is not None
        self._route = route
        self._proxy = route.proxy
        self._network = network
        self._named = frozenset(named)
        self._relay = relay
        try:
            with connect_to_proxy(route, time.monotonic() + CONNECT_SECONDS) as connection:
                self._family, self._address = connection.family, connection.getpeername()
        except ProxyFailure as failure:
            raise NetworkFailure(
                f"No connection: {failure}", hint="nothing was asked without it; start it, or name another --proxy"
            ) from None
        self.user, self.password = "weightswarm", secrets.token_hex(16)
        self.complaints = Complaints(_MOST_SAID)
        self.refusal: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        listener = socket.create_server(("127.0.0.1", 0), backlog=MAX_CONNECTIONS)
        self._loop = asyncio.new_event_loop()
        self.address, self.port = listener.getsockname()
        self._thread = threading.Thread(target=self._run, args=(listener,), name="gateway", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hang up on both sides."""
        with suppress(RuntimeError):  # it has ended already
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(CONNECT_SECONDS)

    def _run(self, listener: socket.socket) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve(listener))

    async def _serve(self, listener: socket.socket) -> None:
        server = await asyncio.start_server(self._accept, sock=listener, limit=_PART)
        async with server:
            await self._stop.wait()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if len(self._tasks) <= MAX_CONNECTIONS:
                await self._pass_on(reader, writer)
        except (OSError, asyncio.IncompleteReadError, TimeoutError, asyncio.CancelledError):
            # Whoever hung up, or was hung up on, is told nothing.
            return
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_GREETING_SECONDS):
            endpoint = await self._request(reader, writer)
        if endpoint is None:
            return
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                far_reader, far_writer = await self._open(endpoint)
        except Unreachable as failure:
            if isinstance(failure, ProxyRefusal):
                self.refusal = str(failure)
            elif isinstance(failure, ProxyFailure):
                self.complaints.say(str(failure), f"No connection: {failure}")
            writer.write(_NO_HOST)
            return
        try:
            writer.write(_OPEN)
            # Whichever side ends first ends both.
            both = [asyncio.ensure_future(_pump(reader, far_writer)), asyncio.ensure_future(_pump(far_reader, writer))]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in both:
                    each.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        finally:
            far_writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Endpoint | None:
        """Return what libtorrent wants to be connected to, None where that is refused."""
        _, count = await reader.readexactly(2)
        await reader.readexactly(count)
        writer.write(b"\x05\x02")
        _, length = await reader.readexactly(2)
        user = await reader.readexactly(length)
        password = await reader.readexactly((await reader.readexactly(1))[0])
        own = user == self.user.encode() and secrets.compare_digest(password, self.password.encode())
        writer.write(b"\x01\x00" if own else b"\x01\x01")
        if not own:
            return None
        _, command, _, kind = await reader.readexactly(4)
        length = {1: 4, 4: 16}.get(kind) or (await reader.readexactly(1))[0]
        host = await reader.readexactly(length)
        (port,) = struct.unpack(">H", await reader.readexactly(2))
        name = host.decode("ascii", "replace") if kind == 3 else str(ipaddress.ip_address(host))
        if command != 1:
            writer.write(_NO_COMMAND)
            return None
        if not name.isprintable() or not self._may_ask((name, port)):
            writer.write(_REFUSED)
            return None
        return name, port

    def _may_ask(self, endpoint: Endpoint) -> bool:
        if endpoint[0] == self._relay:
            return True
        try:
            if endpoint not in self._named:
                check_stranger("http", endpoint, self._network)
        except Unreachable:
            return False
        return True

    async def _open(self, endpoint: Endpoint) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if endpoint[0] == self._relay:
            return await asyncio.open_connection(*endpoint, limit=_PART)
        connection = self._route.open_socket(self._family)
        try:
            connection.setblocking(False)
            await self._loop.sock_connect(connection, self._address)
        except OSError as error:
            connection.close()
            raise ProxyFailure(f"the proxy {self._proxy} cannot be reached: {error.strerror or error}") from None
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader, writer = await asyncio.open_connection(sock=connection, limit=_PART)
        try:
            await self._shake_hands(reader, writer, endpoint)
        except BaseException:
            writer.close()
            raise
        return reader, writer

    async def _shake_hands(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, endpoint: Endpoint
    ) -> None:
        handshake = self._proxy.handshake(*endpoint)
        wanted = next(handshake)
        with suppress(StopIteration):
            while True:
                if isinstance(wanted, bytes):
                    writer.write(wanted)
                    wanted = next(handshake)
                else:
                    wanted = handshake.send(await reader.readexactly(wanted))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(_PART):
        writer.write(part)
        await writer.drain()
