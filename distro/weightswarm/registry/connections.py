"""A `requests` session for one exchange, whose connections are shut down at its deadline.

A socket's own timeout begins anew with every byte, so that a server which drips its header would hold us for hours.
Where connections may lead is to be judged here as well: `_new_conn` is the one place where they are made.
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


@contextmanager
def watched_session(deadline: float, *, proxies: bool) -> Iterator[requests.Session]:
    """Yield a session that may be used until `deadline` (monotonic seconds); `proxies` heeds the environment's."""
    watched: list[socket.socket] = []

    def watch(connection: socket.socket) -> socket.socket:
        # A descriptor of our own: TLS takes the other one over.
        watched.append(socket.socket(fileno=os.dup(connection.fileno())))
        return connection

    def cut() -> None:
        for connection in watched:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return watch(super()._new_conn())

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return watch(super()._new_conn())

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    classes = {"http": PlainPool, "https": SecurePool}

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **keywords: Any) -> None:
            super().init_poolmanager(*arguments, **keywords)
            self.poolmanager.pool_classes_by_scheme = classes

        def proxy_manager_for(self, *arguments: Any, **keywords: Any) -> Any:
            manager = super().proxy_manager_for(*arguments, **keywords)
            manager.pool_classes_by_scheme = classes
            return manager

    class Session(requests.Session):
        def get_redirect_target(self, resp: requests.Response) -> str | None:
            # Even one that follows no redirect would read a redirect's body, whatever its size.
            return None

    timer = threading.Timer(max(0.0, deadline - time.monotonic()), cut)
    timer.daemon = True
    timer.start()
    try:
        with Session() as session:
            session.trust_env = proxies
            for scheme in ("http://", "https://"):
                session.mount(scheme, Adapter())
            yield session
    finally:
        timer.cancel()
        timer.join()
        for connection in watched:
            connection.close()
