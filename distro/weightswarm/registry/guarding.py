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

    def dial(host: str, port: int | None, default: int) -> socket.socket:
        connection = connect((host, port or default), network, named=named, deadline=deadline)
        # A descriptor of our own to shut it down by: TLS takes the other one over.
        connections.append(socket.socket(fileno=os.dup(connection.fileno())))
        return connection

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

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **keywords: Any) -> None:
            super().init_poolmanager(*arguments, **keywords)
            self.poolmanager: PoolManager
            self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}

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
