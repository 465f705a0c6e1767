"""A registry at an HTTP(S) URL that serves a registry's tree with its `index.json`.

The index is asked for once a run, on condition that it changed; every other document is held against it. Where the
server cannot be reached, the index of the last time is used, and a note says so.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from urllib.parse import quote, urlsplit

from weightswarm.dialling import DIRECT, Route
from weightswarm.errors import InvalidInput, RegistryFailure
from weightswarm.magnet import InfoHash, MagnetLink, parse_magnet
from weightswarm.manifest import parse_model_name
from weightswarm.progress import Note, Report, silent
from weightswarm.reach import Network, is_here
from weightswarm.registry import kept
from weightswarm.registry.entry import RegistryEntry
from weightswarm.registry.http import HttpFailure, get
from weightswarm.registry.index import INDEX, MAX_BYTES, InvalidIndex, parse_index
from weightswarm.registry.listing import (
    ABOUT,
    MAGNET,
    MANIFEST,
    SIGNATURE,
    TORRENT,
    Document,
    KnownRevision,
    ListedRelease,
    choose_revision,
    choose_torrent,
)

DEFAULT_SECONDS = 20.0
_SLOWEST = 128 * 1024
"""Bytes a second below which a document takes longer than it may."""

_MAX_URL = 2000


class HttpRegistry:
    """The registry at `url`. `seconds` bounds every document's way here, all tries together, before its size is added.

    What goes wrong is said once in `report`, and raised as `RegistryFailure` whenever it is asked. At
    loopback nobody but this machine is asked.
    """

    def __init__(
        self,
        url: str,
        *,
        network: Network = Network.PUBLIC,
        report: Report = silent,
        seconds: float = DEFAULT_SECONDS,
        route: Route = DIRECT,
    ) -> None:
        self._url = registry_url(url)
        self._network = network
        self._route = route
        self._report = report
        self._seconds = seconds
        self._releases: tuple[ListedRelease, ...] | None = None
        self._failure: RegistryFailure | None = None

    @property
    def location(self) -> str:
        """The URL, ending in `/`."""
        return self._url

    def find(self, name: str, revision: str | None = None) -> RegistryEntry | None:
        """Return a model's release as `DirectoryRegistry.find` does. Raises `RegistryFailure` too."""
        parse_model_name(name)
        mine = [release for release in self.releases() if release.name == name]
        if not mine:
            return None
        known = [KnownRevision(each.revision, each.version) for each in mine if each.revision is not None]
        torrents = [each.info_hash for each in mine if each.revision is None]
        torrent = choose_torrent(name, revision, torrents, bool(known), self.location)
        if torrent is not None:
            return self._load(next(each for each in mine if each.revision is None and each.info_hash == torrent))
        if not known:
            return None
        main = next((each.revision for each in mine if each.is_main), None)
        chosen = choose_revision(name, revision, known, main, self.location)
        return self._load(next(each for each in mine if each.revision == chosen))

    def find_info_hash(self, info_hash: InfoHash) -> RegistryEntry | None:
        """Return the release that a torrent holds, None when none has its info-hash. Raises `RegistryFailure`."""
        found = next((release for release in self.releases() if release.info_hash.matches(info_hash)), None)
        return None if found is None else self._load(found)

    def releases(self) -> Sequence[ListedRelease]:
        """Return the index. Raises `RegistryFailure`."""
        if self._failure is not None:
            raise self._failure
        if self._releases is None:
            self._releases = self._ask_index()
        return self._releases

    def _ask_index(self) -> tuple[ListedRelease, ...]:
        before = kept.load_index(self._url)
        try:
            known = None if before is None else parse_index(before.body)
        except InvalidIndex:
            # Kept by a version that took more for right: as good as nothing, and no condition is made of it.
            before = known = None
        try:
            answer = get(
                self._url + INDEX,
                limit=MAX_BYTES,
                seconds=self._seconds,
                network=self._network,
                route=self._route,
                known=None if before is None else before.validators,
            )
        except HttpFailure as failure:
            if before is not None and known is not None and failure.passing:
                age = _ago(time.time() - before.checked)
                self._report(Note(f"Registry {self._url}: {failure}; using what it said {age}"))
                return known
            raise self._failed(failure) from failure
        if answer.body is None:
            assert known is not None
            kept.touch_index(self._url)
            return known
        try:
            releases = parse_index(answer.body)
        except InvalidIndex as error:
            raise self._failed(f"its {INDEX} cannot be used: {error}") from None
        kept.keep_index(self._url, answer.body, answer.validators)
        return releases

    def _load(self, release: ListedRelease) -> RegistryEntry:
        documents = {name: self._document(release, name, document) for name, document in release.documents.items()}
        magnet = self._magnet(release, documents[MAGNET])
        return RegistryEntry(
            release.name,
            release.revision,
            magnet,
            documents.get(MANIFEST),
            documents.get(TORRENT),
            documents.get(SIGNATURE),
            release.version,
            documents.get(ABOUT),
        )

    def _document(self, release: ListedRelease, name: str, document: Document) -> bytes:
        if (data := kept.load_document(document)) is not None:
            return data
        place = f"{release.name}/{release.place}/{name}"
        try:
            answer = get(
                self._url + quote(place),
                limit=document.size,
                seconds=self._seconds + document.size / _SLOWEST,
                network=self._network,
                route=self._route,
            )
        except HttpFailure as failure:
            raise self._failed(HttpFailure(f"{place}: {failure}", timed_out=failure.timed_out)) from failure
        data = answer.body or b""
        if not kept.fits(data, document):
            raise self._failed(f"{place} is not what its {INDEX} says: wrong size or SHA-256")
        kept.keep_document(document, data)
        return data

    def _magnet(self, release: ListedRelease, data: bytes) -> MagnetLink:
        try:
            magnet = parse_magnet(data.decode("utf-8", "replace"))
        except InvalidInput as error:
            raise self._failed(f"{release.name}/{release.place}/{MAGNET}: {error}") from None
        if not magnet.info_hash.matches(release.info_hash):
            raise self._failed(f"{release.name}/{release.place}/{MAGNET} is for another torrent than its {INDEX} says")
        return magnet

    def _failed(self, reason: str | HttpFailure) -> RegistryFailure:
        """Remember a failure, so that a run asks a registry that is down just once, and say it once."""
        after = self._seconds if isinstance(reason, HttpFailure) and reason.timed_out else None
        self._failure = RegistryFailure(self._url, str(reason), after=after)
        self._report(Note(f"{self._failure}; going on without it"))
        return self._failure


def is_url(location: str) -> bool:
    """Tell whether a registry's location is meant as a URL, not as a folder."""
    return "://" in location


def registry_url(text: str) -> str:
    """Return a registry's URL ending in `/`. Raises `InvalidInput` for one that cannot be asked."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or not text.isprintable() or " " in text or len(text) > _MAX_URL:
        raise InvalidInput(f"Not a registry's URL: {text[:120]}", hint="give a folder, or an http or https URL")
    if parts.query or parts.fragment or parts.username is not None or parts.password is not None:
        raise InvalidInput(
            "A registry's URL has neither a query, a fragment nor a password in it",
            hint="a password goes into ~/.netrc",
        )
    return text if text.endswith("/") else f"{text}/"


def may_ask(location: str, network: Network) -> bool:
    """Tell whether a registry, a folder or at a URL, may be asked at this network level."""
    return network is not Network.LOOPBACK or not is_url(location) or is_here(urlsplit(location).hostname or "")


def _ago(seconds: float) -> str:
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count:,} {unit}{'' if count == 1 else 's'} ago"
    return "less than a minute ago"
