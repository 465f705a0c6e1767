"""Reading what people paste as magnet links: a pure function from text to a link and what was mended or lost in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from urllib.parse import unquote, unquote_plus

from weightswarm.errors import InvalidInput
from weightswarm.magnet.finding import FoundLink, find_links
from weightswarm.magnet.links import (
    HTTP_SCHEMES,
    MAX_LENGTH,
    TRACKER_SCHEMES,
    MagnetLink,
    PeerAddress,
    exact_length,
    link_of,
    signature_value,
    split_link,
)
from weightswarm.magnet.selection import FileSelection
from weightswarm.magnet.trackers import complete_url, mend_url

MAX_TEXT = 1024 * 1024

_URLS = {"tr": ("tracker", TRACKER_SCHEMES), "ws": ("web seed", HTTP_SCHEMES)}
_DOCUMENTS = {"xs": ("torrent URL", HTTP_SCHEMES), "as": ("torrent URL", HTTP_SCHEMES)}
_TWICE = re.compile(r"[a-z]+%253a", re.IGNORECASE)
_BARE_HASH = re.compile(r"[0-9a-f]{40}|[a-z2-7]{32}", re.IGNORECASE)


class Fate(StrEnum):
    """What became of a part of the link: `repaired`; `lost`; `unused`, for links after the first."""

    REPAIRED = "repaired"
    LOST = "lost"
    UNUSED = "unused"


@dataclass(frozen=True, slots=True)
class Repair:
    """One thing that was done. `found` is what was pasted, `became` what it was taken for (None: nothing)."""

    fate: Fate
    part: str
    found: str
    reason: str
    became: str | None = None

    def __str__(self) -> str:
        shown = self.became or self.found
        what = f"{self.part} {shown[:200]}" if shown else self.part
        return f"{self.fate.value.capitalize()}: {what} ({self.reason})"


@dataclass(frozen=True, slots=True)
class PastedLink:
    """A link as it was read. `cut` tells that its end is missing."""

    magnet: MagnetLink
    repairs: tuple[Repair, ...] = ()
    cut: bool = False

    @property
    def bare(self) -> bool:
        """Whether the link is a hash and nothing else, as one is that a shell cut at `&`."""
        return self.magnet == MagnetLink(self.magnet.info_hash)

    @property
    def lost_trackers(self) -> bool:
        """Whether it named trackers, or may have, that cannot be asked now."""
        return self.cut or self.bare or any(r.fate is Fate.LOST and r.part == "tracker" for r in self.repairs)


def read_pasted(text: str) -> PastedLink:
    """Return the first usable link in a text, mended. Raises `InvalidInput` when there is none.

    A text without a link, a link without a whole hash and anything over 1 MiB (one link: 64 KiB) are refused. A link
    that needs no mending comes back as `parse_magnet` reads it, without repairs.
    """
    if len(text) > MAX_TEXT:
        raise InvalidInput(f"The text is longer than {MAX_TEXT:,} characters")
    pasted: PastedLink | None = None
    refusal: InvalidInput | None = None
    others: list[Repair] = []
    for found in find_links(text):
        try:
            link = _read(found)
        except InvalidInput as error:
            refusal = refusal or error
            continue
        if pasted is None:
            pasted = link
        elif not link.magnet.info_hash.matches(pasted.magnet.info_hash):
            name = link.magnet.display_name or link.magnet.info_hash.digests[0]
            others.append(Repair(Fate.UNUSED, "link", name, "the text holds several: the first is used"))
    if pasted is not None:
        return replace(pasted, repairs=(*pasted.repairs, *others))
    raise refusal or InvalidInput(f"Not a magnet link: {text[:80]}", hint="it should begin with magnet:?xt=urn:btih:")


def _read(found: FoundLink) -> PastedLink:
    if len(found.text) > MAX_LENGTH:
        raise InvalidInput(f"The magnet link is longer than {MAX_LENGTH:,} characters")
    repairs = [Repair(Fate.REPAIRED, "link", "", ", ".join(found.repairs))] if found.repairs else []
    parameters: list[tuple[str, str]] = []
    pairs = split_link(found.text)
    twice = any(_TWICE.match(raw) for _, raw in pairs)
    for number, (key, raw) in enumerate(pairs):
        value = unquote_plus(raw).strip().encode("utf-8", "replace").decode()
        if twice and key == "dn":
            value = unquote(value)
        value, repair = _mend(key, value, cut=found.cut and number == len(pairs) - 1)
        if repair is not None:
            repairs.append(repair)
        if repair is None or repair.fate is not Fate.LOST:
            parameters.append((key, value))
    try:
        magnet = link_of(parameters)
    except InvalidInput as error:
        if not found.cut:
            raise
        raise InvalidInput(f"{error}; it is cut off", hint="copy the whole link again") from None
    return PastedLink(magnet, tuple(repairs), found.cut)


def _mend(key: str, value: str, *, cut: bool) -> tuple[str, Repair | None]:
    """Return a parameter's value as it is to be read, empty where it is lost, and what was done to it.

    `cut` tells that the link breaks off in it.
    """
    if key in _URLS or (key in _DOCUMENTS and not value.lower().startswith("urn:")):
        part, schemes = {**_URLS, **_DOCUMENTS}[key]
        return _mend_address(part, value, schemes, cut)
    if key == "xt":
        if not value.lower().startswith("urn:") and _BARE_HASH.fullmatch(value):
            return f"urn:btih:{value}", Repair(Fate.REPAIRED, "hash", "", "urn:btih: was missing", value)
        if value.lower().startswith("urn%3a"):
            return unquote(value), Repair(Fate.REPAIRED, "hash", "", "it was percent-encoded twice")
        return value, None
    if key == "dn":
        return value, Repair(Fate.REPAIRED, "name", value, "it is cut off") if cut else None
    if key not in _READERS:
        return value, None
    part, read = _READERS[key]
    if read(value) is not None and not cut:
        return value, None
    return "", Repair(Fate.LOST, part, value, "it is cut off" if cut else "it cannot be read")


def _mend_address(part: str, value: str, schemes: tuple[str, ...], cut: bool) -> tuple[str, Repair | None]:
    mended = mend_url(value, schemes)
    if mended.url is None or (cut and part != "tracker"):
        return "", Repair(Fate.LOST, part, value, mended.reason or "it is cut off")
    if cut and not mended.url.endswith("/announce"):
        completed = complete_url(mended.url)
        if completed is None:
            return "", Repair(Fate.LOST, part, value, "it is cut off")
        return completed, Repair(Fate.REPAIRED, part, value, "it was cut off", completed)
    if mended.reason is not None:
        return mended.url, Repair(Fate.REPAIRED, part, value, mended.reason, mended.url)
    return mended.url, None


def _peer(text: str) -> PeerAddress | None:
    try:
        return PeerAddress.parse(text)
    except InvalidInput:
        return None


_READERS: dict[str, tuple[str, Callable[[str], object]]] = {
    "xl": ("size", exact_length),
    "so": ("file selection", FileSelection.parse),
    "x.pe": ("peer", _peer),
    "x.sig": ("signature", signature_value),
}
