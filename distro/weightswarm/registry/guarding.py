"""A `requests` session whose connections go where `weightswarm.reach` lets them, to the very address it judged."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager

from weightswarm.reach import Network, connect


@contextmanager
def guarded_session(
    network: Network, *, named: bool, deadline: float
) -> Iterator[tuple[requests.Session, list[socket.socket]]]:
    """Yield a session for one request, and the connections that it makes.

    Proxies that the environment names are the user's choice and look names up themselves; at loopback there are none.
    """
    connections: list[socket.socket] = []

    def dial(host: str, port: int | None, default: int) -> socket.socket:
        connection = connect((host, port or default), network, named=named, deadline=deadline)
        connections.append(connection)
        return connection

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

    with requests.Session() as session:
        session.trust_env = network is not Network.LOOPBACK
        for scheme in ("http://", "https://"):
            session.mount(scheme, Adapter())
        yield session, connections
