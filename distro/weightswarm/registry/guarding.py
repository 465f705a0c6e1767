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
from requests.utils import select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager

from weightswarm.dialling import Proxy, Route, Unreachable
from weightswarm.errors import InvalidInput
from weightswarm.reach import Network, connect


@contextmanager
def guarded_session(network: Network, *, named: bool, deadline: float, route: Route) -> Iterator[requests.Session]:
    """Yield a session for one request, which ends at `deadline` (monotonic seconds).

    Proxies that the environment names are the user's choice and look names up themselves; at loopback there are none,
    nor where `route` has a proxy.
    """
    connections: list[socket.socket] = []
    ways = [route]

    def watched(connection: socket.socket) -> socket.socket:
        # A descriptor of our own to shut it down by: TLS takes the other one over.
        connections.append(socket.socket(fileno=os.dup(connection.fileno())))
        return connection

    def dial(host: str, port: int | None, default: int) -> socket.socket:
        return watched(connect((host, port or default), network, named=named, deadline=deadline, route=ways[-1]))

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

    def dial_proxy(host: str, port: int | None, default: int) -> socket.socket:
        way = Route(None, route.interface)
        return watched(connect((host, port or default), network, named=True, deadline=deadline, route=way))

    class ProxiedPlain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return dial_proxy(self._dns_host, self.port, 80)

    class ProxiedSecure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return dial_proxy(self._dns_host, self.port, 443)

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

        def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
            # A password from ~/.netrc, its `default` among them, goes to nobody whom a stranger named.
            trusted, self.trust_env = self.trust_env, self.trust_env and named
            try:
                return super().prepare_request(request)
            finally:
                self.trust_env = trusted

        def merge_environment_settings(self, url: Any, *arguments: Any) -> Any:
            # From the environment come certificates and, for whom the user named, passwords by ~/.netrc all the same.
            merged = super().merge_environment_settings(url, *arguments)
            named_there = select_proxy(url, merged["proxies"]) or ""
            if route.proxy is None and not named_there.startswith("socks"):
                return merged
            if route.proxy is None:
                ways.append(Route(_of_environment(named_there), route.interface))
            return {**merged, "proxies": {}}

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


def _of_environment(url: str) -> Proxy:
    try:
        return Proxy.parse(url)
    except InvalidInput:
        raise Unreachable("the environment names a proxy that is not spoken here") from None


def _pools(plain: type[HTTPConnection], secure: type[HTTPSConnection]) -> dict[str, type[HTTPConnectionPool]]:
    return {
        "http": type("PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("SecurePool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
    }
