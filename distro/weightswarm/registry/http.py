"""One document over HTTP(S), asked for with patience and bounds: size, time, tries, redirects and reach."""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from weightswarm.dialling import Route, Unreachable
from weightswarm.reach import (
    WEB_PORTS,
    Endpoint,
    Network,
    Refused,
    check_stranger,
    is_here,
    split_url,
)
from weightswarm.version import __version__

if TYPE_CHECKING:
    import requests

TRIES = 3
MAX_REDIRECTS = 5
MAX_WAIT = 5.0
"""Most seconds that a server may have us wait before the next try (`Retry-After`, RFC 9110 section 10.2.3)."""

_BACK_OFF = 0.2
_SILENCE_SECONDS = 10.0
_PART = 64 * 1024
_GZIP = 16 + zlib.MAX_WBITS
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_MAX_VALIDATOR = 256


@dataclass(frozen=True, slots=True)
class Validators:
    """What a server said of a document's version: `ETag` and `Last-Modified`, to ask whether it changed."""

    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A document's bytes, None for one that has not changed, its validators, and the URL of the page after it
    (`Link: <…>; rel="next"`, RFC 8288)."""

    body: bytes | None
    validators: Validators
    next_url: str | None = None


class HttpFailure(Exception):
    """No document. `passing` when another time might bring one; `timed_out` when time ran out.

    `wait` is how many seconds the server asked us to let pass; `status` and `code` are what it answered, the code being
    the Hub's own word for it.
    """

    def __init__(
        self,
        reason: str,
        *,
        passing: bool = False,
        timed_out: bool = False,
        wait: float | None = None,
        status: int = 0,
        code: str = "",
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.code = code
        self.passing = passing or timed_out
        self.timed_out = timed_out
        self.wait = wait


def get(
    url: str,
    *,
    limit: int,
    seconds: float,
    network: Network,
    route: Route,
    known: Validators | None = None,
    token: str | None = None,
) -> Answer:
    """Return the document at `url`, of `limit` bytes at most, within `seconds` for all tries together.

    With `known`, a server may answer that nothing changed. `token` is sent to `url` itself and to nowhere that it
    redirects to (RFC 6750). Raises `HttpFailure`.
    """
    deadline = time.monotonic() + seconds
    attempt = 1
    while True:
        try:
            return _follow(url, limit, deadline, network, known or Validators(), token, route)
        except HttpFailure as failure:
            wait = _BACK_OFF * 2 ** (attempt - 1) if failure.wait is None else failure.wait
            if not failure.passing or attempt == TRIES or wait > MAX_WAIT or time.monotonic() + wait >= deadline:
                raise
            time.sleep(wait)
            attempt += 1


def _follow(
    url: str, limit: int, deadline: float, network: Network, known: Validators, token: str | None, route: Route
) -> Answer:
    # Costs a tenth of a second to load, and few fetches need it.
    import requests
    import urllib3

    from weightswarm.registry.guarding import guarded_session

    headers = {"User-Agent": f"weightswarm/{__version__}", "Accept-Encoding": "gzip"}
    if known.etag is not None:
        headers["If-None-Match"] = known.etag
    if known.last_modified is not None:
        headers["If-Modified-Since"] = known.last_modified
    first = _endpoint(url)
    try:
        for _ in range(MAX_REDIRECTS + 1):
            named = _judged(url, first, network)
            with guarded_session(network, named=named, deadline=deadline, route=route) as session:
                silence = max(0.05, min(_SILENCE_SECONDS, deadline - time.monotonic()))
                with session.get(
                    url,
                    headers=headers,
                    # As a header alone a password from ~/.netrc would take its place.
                    auth=None if token is None else _Bearer(token),
                    stream=True,
                    timeout=silence,
                    allow_redirects=False,
                ) as response:
                    if response.is_redirect:
                        token = None
                        url = _redirected(url, response.headers["Location"])
                        continue
                    return _answer(response, limit, deadline, known)
    except Unreachable as error:
        late = time.monotonic() >= deadline
        raise HttpFailure(str(error), passing=not isinstance(error, Refused), timed_out=late) from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise _failure(error, deadline) from error
    raise HttpFailure(f"it redirects more than {MAX_REDIRECTS} times")


@dataclass(frozen=True, slots=True)
class _Bearer:
    """Signs a request with a token."""

    token: str

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


def _endpoint(url: str) -> Endpoint:
    found = split_url(url, WEB_PORTS)
    if found is None:
        raise HttpFailure(f"it leads to {url[:200]}, which is no http or https URL")
    return found[1]


def _judged(url: str, first: Endpoint, network: Network) -> bool:
    """Judge every URL before it is asked; tell whether it is the user's own host, at its port or a port of the web.

    Where it redirects to must be open to strangers at `network`. Raises `HttpFailure`.
    """
    host, port = endpoint = _endpoint(url)
    if network is Network.LOOPBACK and not is_here(host):
        raise HttpFailure(f"--network loopback asks nobody but this machine, and {url[:200]} is elsewhere")
    named = endpoint == first or (host == first[0] and port in WEB_PORTS.values())
    if not named and network is not Network.LOOPBACK:
        try:
            check_stranger("http", endpoint, network)
        except Refused as error:
            raise HttpFailure(f"it redirects to {url[:200]}, which is not followed: {error}") from None
    return named


def _redirected(url: str, location: str) -> str:
    try:
        target = urljoin(url, location)
        parts = urlsplit(target)
    except ValueError:
        raise HttpFailure(f"it redirects to {location[:200]}, which is no URL") from None
    if parts.scheme not in ("https", urlsplit(url).scheme) or not parts.hostname:
        raise HttpFailure(f"it redirects to {target[:200]}, and only the same scheme or https is followed")
    return target


def _answer(response: requests.Response, limit: int, deadline: float, known: Validators) -> Answer:
    status = response.status_code
    if status == 304 and known != Validators():
        return Answer(None, known)
    if status != 200:
        from weightswarm.webseed import retry_after

        wait = retry_after(response.headers.get("Retry-After"))
        later = f", and wants to be asked again in {wait:,.0f} s" if wait is not None and wait > MAX_WAIT else ""
        raise HttpFailure(
            f"it answered {status} {(response.reason or '')[:80]}{later}",
            passing=status in _PASSING,
            wait=wait,
            status=status,
            code=response.headers.get("X-Error-Code", "")[:80],
        )
    validators = Validators(_validator(response.headers.get("ETag")), _validator(response.headers.get("Last-Modified")))
    return Answer(_body(response, limit, deadline), validators, response.links.get("next", {}).get("url"))


def _body(response: requests.Response, limit: int, deadline: float) -> bytes:
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise HttpFailure(f"it sends the encoding {encoding[:80]}, which nobody asked for")
    decoder = zlib.decompressobj(_GZIP) if "gzip" in encoding else None
    parts: list[bytes] = []
    received = size = 0
    # read1 returns what is there, so that a dripping server meets the deadline, not the socket's own patience.
    while part := response.raw.read1(_PART, decode_content=False):
        received += len(part)
        if decoder is not None:
            part = _inflated(decoder, part, limit - size + 1)
        parts.append(part)
        size += len(part)
        if max(size, received) > limit:
            raise HttpFailure(f"it sends more than {limit:,} bytes")
        if time.monotonic() > deadline:
            break
    if time.monotonic() > deadline:
        # What was cut off looks like an end, and a header without one like a whole answer.
        raise HttpFailure(f"it is too slow: {size:,} bytes so far", timed_out=True)
    announced = response.headers.get("Content-Length", "")
    if (announced.isdigit() and received < int(announced)) or (decoder is not None and not decoder.eof):
        raise HttpFailure(f"it broke off after {received:,} bytes", passing=True)
    return b"".join(parts)


def _inflated(decoder: zlib._Decompress, part: bytes, limit: int) -> bytes:
    try:
        inflated = decoder.decompress(part, limit)
    except zlib.error:
        raise HttpFailure("it sends gzip that cannot be read") from None
    if decoder.unused_data:
        raise HttpFailure("it sends something after the end of its gzip")
    return inflated


def _validator(text: str | None) -> str | None:
    fits = text is not None and len(text) <= _MAX_VALIDATOR and text.isascii() and text.isprintable()
    return text if fits else None


def _failure(error: Exception, deadline: float) -> HttpFailure:
    import requests
    import urllib3

    if isinstance(error, requests.exceptions.InvalidURL):
        return HttpFailure("its URL cannot be used")
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError) or time.monotonic() >= deadline:
        return HttpFailure("it did not answer in time", timed_out=True)
    if isinstance(error, requests.exceptions.SSLError):
        return HttpFailure("its certificate or TLS is not accepted")
    if isinstance(error, urllib3.exceptions.HTTPError):
        return HttpFailure("it broke off", passing=True)
    if isinstance(error, requests.ConnectionError):
        return HttpFailure("no connection", passing=True)
    return HttpFailure(f"it cannot be understood: {str(error)[:200]}")
