"""Magnet links as values: parse, format. Knows BEP 9 and BEP 52's `btmh`; does no I/O."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote_plus

from weightswarm.errors import InvalidInput
from weightswarm.magnet.selection import FileSelection

MAX_LENGTH = 64 * 1024
MAX_ENTRIES = 256
"""Most trackers, web seeds or peers taken from one link: real ones carry under twenty."""

TRACKER_SCHEMES = ("udp", "http", "https", "ws", "wss")
HTTP_SCHEMES = ("http", "https")

_HEX40 = re.compile(r"[0-9a-f]{40}")
_HEX64 = re.compile(r"[0-9a-f]{64}")
_BASE32 = re.compile(r"[A-Z2-7]{32}")
_SIGNATURE = re.compile(r"[A-Za-z0-9_-]{184,4096}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class InfoHash:
    """The hashes that name a torrent: `v1` 40 hex digits (BEP 3), `v2` 64 (BEP 52); at least one is set."""

    v1: str | None = None
    v2: str | None = None

    def __post_init__(self) -> None:
        if self.v1 is None and self.v2 is None:
            raise InvalidInput("An info-hash needs a v1 or a v2 digest")
        if self.v1 is not None and not _HEX40.fullmatch(self.v1):
            raise InvalidInput(f"Not a v1 info-hash (40 hex digits): {self.v1[:80]}")
        if self.v2 is not None and not _HEX64.fullmatch(self.v2):
            raise InvalidInput(f"Not a v2 info-hash (64 hex digits): {self.v2[:80]}")

    @property
    def digests(self) -> tuple[str, ...]:
        """The digests that are set, v1 first."""
        return tuple(d for d in (self.v1, self.v2) if d is not None)

    @property
    def short(self) -> str:
        """The first eight hex digits, for names and messages."""
        return self.digests[0][:8]

    def matches(self, other: InfoHash) -> bool:
        """Tell whether both may name one torrent: a digest is shared and none contradicts."""
        pairs = [(a, b) for a, b in ((self.v1, other.v1), (self.v2, other.v2)) if a is not None and b is not None]
        return bool(pairs) and all(a == b for a, b in pairs)

    @classmethod
    def parse(cls, text: str) -> InfoHash:
        """Read a bare info-hash: 40 hex digits, 64 hex digits, or 32 base32 characters. Raises `InvalidInput`."""
        lower = text.strip().lower()
        if _HEX40.fullmatch(lower):
            return cls(v1=lower)
        if _HEX64.fullmatch(lower):
            return cls(v2=lower)
        if _BASE32.fullmatch(lower.upper()):
            return cls(v1=base64.b32decode(lower.upper()).hex())
        raise InvalidInput(f"Not an info-hash: {text[:80]}", hint="an info-hash has 40 or 64 hex digits")


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """Host (name, IPv4 or bare IPv6) and TCP port of a peer, as in `x.pe` (BEP 9)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> PeerAddress:
        """Read `host:port`, `1.2.3.4:port` or `[v6]:port`. Raises `InvalidInput`."""
        host, _, port = text.strip().rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        host = host[1:-1] if bracketed else host
        try:
            if bracketed and "%" not in host:  # no scope: it means nothing on another machine
                ipaddress.IPv6Address(host)
            elif not _HOST.fullmatch(host):
                raise ValueError(host)
            if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
                raise ValueError(port)
        except ValueError:
            raise InvalidInput(f"Not a HOST:PORT address: {text[:80]}") from None
        return cls(host, int(port))


@dataclass(frozen=True, slots=True)
class MagnetLink:
    """A magnet link (BEP 9). `exact_length` is in bytes; `signature` is the value of `x.sig` as it stands there.

    `selection` are the files to download (BEP 53, `so`). `exact_sources` and `acceptable_sources` are URLs of the
    torrent file (`xs`, `as`).
    """

    info_hash: InfoHash
    display_name: str | None = None
    exact_length: int | None = None
    trackers: tuple[str, ...] = ()
    web_seeds: tuple[str, ...] = ()
    peers: tuple[PeerAddress, ...] = ()
    selection: FileSelection | None = None
    exact_sources: tuple[str, ...] = ()
    acceptable_sources: tuple[str, ...] = ()
    signature: str | None = None

    def __str__(self) -> str:
        parts = []
        if self.info_hash.v1 is not None:
            parts.append(f"xt=urn:btih:{self.info_hash.v1}")
        if self.info_hash.v2 is not None:
            # 1220: multihash prefix, SHA2-256 of 32 bytes (BEP 9).
            parts.append(f"xt=urn:btmh:1220{self.info_hash.v2}")
        if self.display_name is not None:
            parts.append(f"dn={quote(self.display_name, safe='')}")
        if self.exact_length is not None:
            parts.append(f"xl={self.exact_length}")
        parts += [f"tr={quote(url, safe='')}" for url in self.trackers]
        parts += [f"ws={quote(url, safe='')}" for url in self.web_seeds]
        parts += [f"xs={quote(url, safe='')}" for url in self.exact_sources]
        parts += [f"as={quote(url, safe='')}" for url in self.acceptable_sources]
        if self.selection is not None:
            parts.append(f"so={self.selection}")
        if self.signature is not None:
            parts.append(f"x.sig={quote(self.signature, safe='')}")
        parts += [f"x.pe={quote(str(peer), safe=':[]')}" for peer in self.peers]
        return "magnet:?" + "&".join(parts)


def looks_like_magnet(text: str) -> bool:
    """Tell whether `text` was meant as a magnet link."""
    return _unwrapped(text)[:7].lower() == "magnet:"


def parse_magnet(text: str) -> MagnetLink:
    """Read a magnet link; surrounding quotes and spaces, `&amp;`, base32 and upper-case hashes are taken in stride.

    Unknown parameters and malformed trackers or peers are left out; a link without a usable hash raises
    `InvalidInput`, and so does one over 64 KiB.
    """
    if len(text) > MAX_LENGTH:
        raise InvalidInput(f"The magnet link is longer than {MAX_LENGTH:,} characters")
    text = _unwrapped(text)
    if not looks_like_magnet(text):
        raise InvalidInput(f"Not a magnet link: {text[:80]}", hint="it should begin with magnet:?xt=urn:btih:")
    return link_of([(key, _clean(unquote_plus(value))) for key, value in split_link(text.replace("&amp;", "&"))])


def split_link(text: str) -> list[tuple[str, str]]:
    """Return the parameters of a link that begins with `magnet:`, keys without their numbers, values as they stand."""
    pairs = (pair.partition("=") for pair in text[7:].removeprefix("?").split("&"))
    return [(re.sub(r"\.\d+$", "", key.strip().lower()), value) for key, equals, value in pairs if equals]


def link_of(parameters: list[tuple[str, str]]) -> MagnetLink:
    """Return the link with these parameters, already decoded. What is malformed is left out; see `parse_magnet`."""
    fields: dict[str, list[str]] = {}
    for key, value in parameters:
        fields.setdefault(key, []).append(value)
    return MagnetLink(
        info_hash=_exact_topics(fields.get("xt", [])),
        display_name=next(iter(fields.get("dn", [])), None),
        exact_length=exact_length(fields.get("xl", [""])[0]),
        trackers=_urls(fields.get("tr", []), TRACKER_SCHEMES),
        web_seeds=_urls(fields.get("ws", []), HTTP_SCHEMES),
        peers=_peers(fields.get("x.pe", [])),
        selection=FileSelection.parse(",".join(fields.get("so", []))),
        exact_sources=_urls(fields.get("xs", []), HTTP_SCHEMES),
        acceptable_sources=_urls(fields.get("as", []), HTTP_SCHEMES),
        signature=next((value for value in fields.get("x.sig", []) if signature_value(value)), None),
    )


def exact_length(text: str) -> int | None:
    """Read the bytes that `xl` says, None where that is no number."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _clean(value: str) -> str:
    """Return a parameter without spaces around it; bytes that are no UTF-8 are replaced."""
    return value.strip().encode("utf-8", "replace").decode()


def _unwrapped(text: str) -> str:
    return text.strip().strip("<>\"'`\u201c\u201d\u2018\u2019").strip()


def _exact_topics(topics: list[str]) -> InfoHash:
    v1 = v2 = None
    for topic in topics:
        lower = topic.lower()
        if lower.startswith("urn:btih:") and v1 is None:
            v1 = _v1_digest(topic[9:].strip())
        elif lower.startswith("urn:btmh:1220") and v2 is None and _HEX64.fullmatch(lower[13:].strip()):
            v2 = lower[13:].strip()
    if v1 is None and v2 is None:
        raise InvalidInput(
            "The magnet link names no torrent: it has no xt=urn:btih:… or xt=urn:btmh:… with a whole hash",
            hint="copy the whole link again, and quote it in the shell: '&' ends a command there",
        )
    return InfoHash(v1, v2)


def _v1_digest(text: str) -> str | None:
    if _HEX40.fullmatch(text.lower()):
        return text.lower()
    if _BASE32.fullmatch(text.upper()):
        try:
            return base64.b32decode(text.upper()).hex()
        except binascii.Error:
            return None
    return None


def _urls(values: list[str], schemes: tuple[str, ...]) -> tuple[str, ...]:
    usable = (v for v in values if v.isprintable() and v.partition("://")[0].lower() in schemes and "://" in v)
    return tuple(dict.fromkeys(usable))[:MAX_ENTRIES]


def _peers(values: list[str]) -> tuple[PeerAddress, ...]:
    peers = []
    for value in values[:MAX_ENTRIES]:
        try:
            peers.append(PeerAddress.parse(value))
        except InvalidInput:
            continue
    return tuple(dict.fromkeys(peers))


def signature_value(text: str) -> str | None:
    """Return what `x.sig` may be, None for anything else; whether it signs anything is for others to say."""
    return text if _SIGNATURE.fullmatch(text) else None
