"""Addresses in magnet links, as linkifiers, upper-casers and careless copying leave them, and the public trackers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

PUBLIC_TRACKERS = (
    "udp://tracker.opentrackr.org:1337/announce",
    "udp://open.demonii.com:1337/announce",
    "udp://opentracker.i2p.rocks:6969/announce",
    "http://tracker.openbittorrent.com:80/announce",
)
"""Trackers open to everyone that stand in the official links of Mistral AI's and xAI's releases. They are asked about a
link whose own trackers are all lost, and complete what is cut off."""

# X turns `%2F%2Fhost` into `%2F%http://2Fhost`; passing through another parser makes `/-tp://2Fhost` of that.
_LINKIFIED = re.compile(r"(udp|https?|wss?):/+[-%]?(?:ht)?tps?:/+(2f)?(.*)", re.IGNORECASE | re.DOTALL)
_FEW_SLASHES = re.compile(r"(udp|https?|wss?):/?(?=[a-z0-9-]+[.:])", re.IGNORECASE)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_SHORTENERS = ("t.co",)


@dataclass(frozen=True, slots=True)
class MendedUrl:
    """A URL fit to be asked, or None where it is lost. `reason` tells what was wrong, None when nothing was."""

    url: str | None
    reason: str | None = None


def mend_url(text: str, schemes: tuple[str, ...]) -> MendedUrl:
    """Return a tracker's or file's URL, mended where one can tell what it was."""
    url, reasons = text, []
    for _ in range(3):
        if "://" in url or "%" not in url:
            break
        url = unquote(url).strip()
        reasons = ["it was percent-encoded twice"]
    if not url.isprintable() or not url:
        return MendedUrl(None, "it holds control characters" if url else "it is empty")
    if (linkified := _LINKIFIED.fullmatch(url)) is not None:
        url = f"{linkified[1]}://{linkified[3]}"
        reasons.append("a linkifier had broken it")
    elif (few := _FEW_SLASHES.match(url)) is not None:
        url = f"{few[1]}://{url[few.end() :]}"
        reasons.append("slashes were missing")
    elif (known := _known(url.strip("/"))) is not None:
        url = known
        reasons.append("its protocol was missing")
    elif _SCHEME.match(url) is None:
        return MendedUrl(None, "it says no protocol")
    return _tidied(url, schemes, reasons)


def _tidied(url: str, schemes: tuple[str, ...], reasons: list[str]) -> MendedUrl:
    scheme, _, rest = url.partition("://")
    if scheme.lower() not in schemes:
        return MendedUrl(None, f"it speaks none of {', '.join(schemes)}")
    host, slash, path = rest.partition("/")
    if " " in host:
        host = host.replace(" ", "")
        reasons.append("a space stood in its host name")
    if scheme != scheme.lower():
        # All in capitals, it was typed or printed so; else only what cannot mind is made small.
        host, path = host.lower(), path if path != path.upper() else path.lower()
        reasons.append("it was in upper case")
    url = f"{scheme.lower()}://{host}{slash}{path}"
    if _host(url) in _SHORTENERS:
        return MendedUrl(None, f"a linkifier put {_host(url)} in the place of its host")
    if not _host(url):
        return MendedUrl(None, "it has no host")
    return MendedUrl(url, ", ".join(reasons) or None)


def complete_url(url: str) -> str | None:
    """Return the URL of a tracker that was cut off within its port or its path; None when it can only be guessed."""
    match = re.match(r"[a-z]+://[^/]+:[0-9]", url)
    if match is not None:
        known = next((tracker for tracker in PUBLIC_TRACKERS if tracker.startswith(url)), None)
        if known is not None:
            return known
    head, slash, tail = url.rpartition("/")
    if slash and head.count("/") == 2 and len(tail) >= 2 and "announce".startswith(tail):
        return f"{head}/announce"
    return None


def _known(address: str) -> str | None:
    return next((t for t in PUBLIC_TRACKERS if t.partition("://")[2] in (address, f"{address}/announce")), None)


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""
