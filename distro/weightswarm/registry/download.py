"""Fetching a `.torrent` over HTTP(S): bounded in size, time and redirects, each judged as a stranger's word."""

from __future__ import annotations

import time
import zlib
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from weightswarm.dialling import DIRECT, Route, Unreachable
from weightswarm.errors import NetworkFailure
from weightswarm.reach import Endpoint, Network, Refused, check_stranger, is_literal, split_url
from weightswarm.version import __version__

if TYPE_CHECKING:
    import requests

MAX_BYTES = 128 * 1024 * 1024
MAX_REDIRECTS = 5
_PART = 64 * 1024
_GZIP = 16 + zlib.MAX_WBITS


def download_metainfo(
    url: str, *, timeout: float, network: Network, named: bool = True, route: Route = DIRECT
) -> bytes:
    """Return the document at an `http(s)` URL. `timeout` in seconds bounds all of it, headers and redirects included.

    `named` says that the user named the URL's own host. Where it redirects to, and where it leads itself if a stranger
    gave it, must be open to strangers at `network`; at loopback no other machine is asked at all. Raises
    `NetworkFailure`.
    """
    # Costs a tenth of a second to load, and few fetches need it.
    import requests
    import urllib3

    from weightswarm.registry.guarding import guarded_session

    deadline = time.monotonic() + timeout
    first = _endpoint(url)
    try:
        for _ in range(MAX_REDIRECTS + 1):
            endpoint = _judged(url, first, network, named=named)
            trusted = named and endpoint == first
            with guarded_session(network, named=trusted, deadline=deadline, route=route) as session:
                session.headers["User-Agent"] = f"weightswarm/{__version__}"
                # What is compressed may be a thousand times as large as what came.
                session.headers["Accept-Encoding"] = "identity"
                left = max(0.1, deadline - time.monotonic())
                with session.get(url, stream=True, timeout=left, allow_redirects=False) as response:
                    if response.is_redirect:
                        url = _redirected(url, response.headers["Location"])
                        continue
                    if response.status_code != 200:
                        raise NetworkFailure(f"{url} answered {response.status_code} {response.reason[:200]}")
                    return _body(response, url, deadline)
    except Unreachable as error:
        raise NetworkFailure(f"Cannot download {url}: {error}") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise NetworkFailure(f"Cannot download {url}: {_reason(error, deadline)}") from error
    raise NetworkFailure(f"{url} redirects more than {MAX_REDIRECTS} times")


def _endpoint(url: str) -> Endpoint:
    found = split_url(url, ("http", "https"))
    if found is None:
        raise NetworkFailure(f"Not an http or https URL: {url[:500]}")
    return found[1]


def _redirected(url: str, location: str) -> str:
    target = urljoin(url, location)
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme == "http":
        # A torrent that is asked for by its URL has no other witness.
        raise NetworkFailure(f"{url} redirects to {target[:500]}, and from https only https is followed")
    return target


def _judged(url: str, first: Endpoint, network: Network, *, named: bool) -> Endpoint:
    """Return where a URL leads. Raises `NetworkFailure` where that may not be asked."""
    endpoint = _endpoint(url)
    if network is Network.LOOPBACK and not is_literal(endpoint[0]):
        raise NetworkFailure(f"{url} is not on this machine, and --network loopback asks nobody else")
    try:
        if not named or (endpoint != first and network is not Network.LOOPBACK):
            check_stranger("http", endpoint, network)
        elif network is Network.LOOPBACK:
            check_stranger("http", (endpoint[0], 80), network)
    except Refused as error:
        if endpoint == first and not named:
            raise NetworkFailure(f"{url[:500]} is not asked: {error}") from None
        if endpoint == first:
            raise NetworkFailure(f"{url} is not on this machine, and --network loopback asks nobody else") from None
        raise NetworkFailure(f"It redirects to {url[:500]}, which is not followed: {error}") from None
    return endpoint


def _body(response: requests.Response, url: str, deadline: float) -> bytes:
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity", "gzip"):
        raise NetworkFailure(f"{url} sends the encoding {encoding[:80]}, which nobody asked for")
    decoder = zlib.decompressobj(_GZIP) if encoding == "gzip" else None
    parts = []
    size = 0
    # read1 returns what is there, so that a dripping server meets the deadline, not the socket's own patience.
    while part := response.raw.read1(_PART, decode_content=False):
        if decoder is not None:
            try:
                part = decoder.decompress(part, MAX_BYTES - size + 1)
            except zlib.error:
                raise NetworkFailure(f"{url} sends gzip that cannot be read") from None
            if decoder.unused_data:
                raise NetworkFailure(f"{url} sends something after the end of its gzip")
        parts.append(part)
        size += len(part)
        if size > MAX_BYTES:
            raise NetworkFailure(f"{url} sends more than {MAX_BYTES:,} bytes, too much for a torrent")
        if time.monotonic() > deadline:
            raise NetworkFailure(f"{url} is too slow: {size:,} bytes so far")
    if time.monotonic() > deadline:
        raise NetworkFailure(f"{url} is too slow: {size:,} bytes so far")
    return b"".join(parts)


def _reason(error: Exception, deadline: float) -> str:
    import requests

    if isinstance(error, requests.Timeout) or time.monotonic() >= deadline:
        return "it did not answer in time"
    if isinstance(error, requests.ConnectionError | OSError) and not isinstance(error, requests.exceptions.InvalidURL):
        return "no connection"
    return str(error)
