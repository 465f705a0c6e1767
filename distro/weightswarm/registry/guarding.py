"""A `requests` session whose connections go where `weightswarm.reach` lets them, to the very address it judged.

They are shut down at a deadline: a socket's own timeout begins anew with every byte, so that a server which drips its
header would hold us for hours.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager

from weightswarm.reach import Network, connect


@contextmanager
def guarded_session(network: Network, *, named: bool, deadline: float) -> Iterator[requests.Session]:
    """Yield a session for one request, which ends at `deadline` (monotonic seconds).

    Proxies that the environment names are the user's choice and look names up themselves; at loopback there are none.
    """
    connections: list[socket.socket] = []

    def watched(connection: socket.socket) -> socket.socket:
        # A descriptor of our own to shut it down by: TLS takes the other one over.
        connections.append(socket.socket(fileno=os.dup(connection.fileno())))
        return connection

    def dial(host: str, port: int | None, default: int) -> socket.socket:
        return watched(connect((host, port or default), network, named=named, deadline=deadline))

    def cut_off() -> None:
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return dial(self._dns_host, self.port, 80)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return dial(self._dns_host, self.port, 443)

    class ProxiedPlain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return watched(super()._new_conn())

    class ProxiedSecure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return watched(super()._new_conn())

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **keywords: Any) -> None:
            super().init_poolmanager(*arguments, **keywords)
            self.poolmanager: PoolManager
            self.poolmanager.pool_classes_by_scheme = _pools(Plain, Secure)

        def proxy_manager_for(self, *arguments: Any, **keywords: Any) -> Any:
            manager = super().proxy_manager_for(*arguments, **keywords)
            manager.pool_classes_by_scheme = _pools(ProxiedPlain, ProxiedSecure)
            return manager

    class Session(requests.Session):
        def get_redirect_target(self, resp: requests.Response) -> str | None:
            # Even one that follows no redirect would read a redirect's body, whatever its size.
            return None

    timer = threading.Timer(max(0.1, deadline - time.monotonic()), cut_off)
    timer.daemon = True
    timer.start()
    try:
        with Session() as session:
            session.trust_env = network is not Network.LOOPBACK
            for scheme in ("http://", "https://"):
                session.mount(scheme, Adapter())
            yield session
    finally:
        timer.cancel()
        timer.join()
        for connection in connections:
            connection.close()


def _pools(plain: type[HTTPConnection], secure: type[HTTPSConnection]) -> dict[str, type[HTTPConnectionPool]]:
    return {
        "http": type("PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("SecurePool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
    }
