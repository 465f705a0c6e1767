"""Fetching a `.torrent` over HTTP(S): bounded in size, time and redirects."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from weightswarm.errors import NetworkFailure
from weightswarm.version import __version__

if TYPE_CHECKING:
    import requests

MAX_BYTES = 128 * 1024 * 1024
MAX_REDIRECTS = 5
_CONNECT_SECONDS = 10.0


def download_metainfo(url: str, *, timeout: float, loopback_only: bool) -> bytes:
    """Return the document at an `http(s)` URL. `timeout` in seconds bounds all of it.

    With `loopback_only` no other host is asked, redirects included. Raises `NetworkFailure`.
    """
    # Costs a tenth of a second to load, and few fetches need it.
    import requests

    deadline = time.monotonic() + timeout
    session = requests.Session()
    session.trust_env = not loopback_only
    session.headers["User-Agent"] = f"weightswarm/{__version__}"
    try:
        for _ in range(MAX_REDIRECTS + 1):
            _check_reach(url, loopback_only)
            left = max(0.1, deadline - time.monotonic())
            limits = (min(left, _CONNECT_SECONDS), left)
            with session.get(url, stream=True, timeout=limits, allow_redirects=False) as response:
                if response.is_redirect:
                    url = urljoin(url, response.headers["Location"])
                    continue
                if response.status_code != 200:
                    raise NetworkFailure(f"{url} answered {response.status_code} {response.reason}")
                return _body(response, url, deadline)
    except requests.RequestException as error:
        raise NetworkFailure(f"Cannot download {url}: {_reason(error)}") from error
    finally:
        session.close()
    raise NetworkFailure(f"{url} redirects more than {MAX_REDIRECTS} times")


def _check_reach(url: str, loopback_only: bool) -> None:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise NetworkFailure(f"Not an http or https URL: {url}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NetworkFailure(f"Not an http or https URL: {url}")
    if loopback_only and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise NetworkFailure(f"{url} is not on this machine, and --network loopback asks nobody else")


def _body(response: requests.Response, url: str, deadline: float) -> bytes:
    parts = []
    size = 0
    # read1 returns what is there, so that a dripping server meets the deadline, not the socket's own patience.
    while part := response.raw.read1(64 * 1024, decode_content=True):
        parts.append(part)
        size += len(part)
        if size > MAX_BYTES:
            raise NetworkFailure(f"{url} sends more than {MAX_BYTES:,} bytes, too much for a torrent")
        if time.monotonic() > deadline:
            raise NetworkFailure(f"{url} is too slow: {size:,} bytes so far")
    return b"".join(parts)


def _reason(error: requests.RequestException) -> str:
    import requests

    if isinstance(error, requests.Timeout):
        return "it did not answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return str(error)
