"""What a registry lists of its releases, and how a user's words choose among them. Values only, no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from weightswarm.errors import Ambiguous, NotFound
from weightswarm.magnet import InfoHash

MAGNET = "magnet.txt"
MANIFEST = "manifest.json"
SIGNATURE = "manifest.json.minisig"
TORRENT = "release.torrent"
VERSION = "version.txt"
ABOUT = "about.json"
TORRENTS = "torrents"
"""The folder of torrents that were published without a manifest, each by its info-hash (v1 where it has one)."""

MAX_DOCUMENT_SIZES: Mapping[str, int] = {
    ABOUT: 1024 * 1024,
    MAGNET: 64 * 1024,
    MANIFEST: 32 * 1024 * 1024,
    SIGNATURE: 16 * 1024,
    TORRENT: 128 * 1024 * 1024,
}
"""The documents that a release's folder may hold, and the most bytes of each: see `documents_of`."""

MAX_VERSION = 999_999

_SHORTEST_PREFIX = 7
_VERSION_ASKED = re.compile(r"v?(0|[1-9]\d{0,5})", re.ASCII)
_LISTED = 10


@dataclass(frozen=True, slots=True)
class Document:
    """A document as an index vouches for it: SHA-256 in hex, size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class ListedRelease:
    """One release in a registry's list. `size` is bytes of all files, None (as `files`) where nobody here knows.

    `revision` is None for a torrent that was published without a manifest. `is_main` marks the revision that the bare
    name means. `documents` are by file name.
    """

    name: str
    revision: str | None
    info_hash: InfoHash
    documents: Mapping[str, Document] = field(hash=False)
    version: int | None = None
    size: int | None = None
    files: int | None = None
    license: str | None = None
    description: str | None = None
    created: str | None = None
    is_main: bool = False

    @property
    def place(self) -> str:
        """The release's folder below that of its model."""
        return self.revision or f"{TORRENTS}/{self.info_hash.digests[0]}"


@dataclass(frozen=True, slots=True)
class KnownRevision:
    """What choosing needs to know of a release."""

    revision: str
    version: int | None = None


def choose_revision(
    name: str, asked: str | None, known: Sequence[KnownRevision], main: str | None, location: str
) -> str:
    """Return the revision that `name@asked` means among those `known`; `main` is what the bare name means.

    `asked` is a revision, seven or more of its first digits, or a version number as `v3` or `3`. Raises `NotFound`
    when there is none, `Ambiguous` when there are several.
    """
    listed = f"known revisions: {', '.join(map(_shown, known[:_LISTED]))}"
    if asked is None:
        if main is not None and any(each.revision == main for each in known):
            return main
        if len(known) > 1:
            raise Ambiguous(f"{name} has several revisions in {location}; say which: {name}@REV", hint=listed)
        return known[0].revision
    if version := _VERSION_ASKED.fullmatch(asked):
        matching = [each.revision for each in known if each.version == int(version[1])]
    else:
        matching = [r.revision for r in known if r.revision.startswith(asked)] if len(asked) >= _SHORTEST_PREFIX else []
    if len(matching) > 1:
        raise Ambiguous(f"{name}@{asked} could be several revisions in {location}", hint=listed)
    if not matching:
        raise NotFound(f"{name} has no revision {asked[:80]} in the registry {location}", hint=listed)
    return matching[0]


def choose_torrent(
    name: str, asked: str | None, torrents: Sequence[InfoHash], has_revisions: bool, location: str
) -> InfoHash | None:
    """Return the torrent without a manifest that `name@asked` means, None where that may be a revision or nothing.

    `asked` is an info-hash or seven or more of its first digits. A bare name means its only torrent, unless it has
    revisions. Raises `Ambiguous` when it has several torrents and no revision.
    """
    if asked is not None:
        found = [t for t in torrents if len(asked) >= _SHORTEST_PREFIX and any(d.startswith(asked) for d in t.digests)]
        return found[0] if len(found) == 1 else None
    if has_revisions or not torrents:
        return None
    if len(torrents) > 1:
        digests = ", ".join(torrent.digests[0] for torrent in torrents[:_LISTED])
        raise Ambiguous(f"Which torrent of {name} in {location}? Say {name}@INFO-HASH", hint=f"known: {digests}")
    return torrents[0]


def documents_of(*, manifest: bool) -> tuple[str, ...]:
    """Return the documents that a release may have, or a torrent without a manifest."""
    return (MAGNET, MANIFEST, SIGNATURE, TORRENT) if manifest else (MAGNET, ABOUT, TORRENT)


def matching(releases: Iterable[ListedRelease], text: str) -> list[ListedRelease]:
    """Return the releases whose name or description has every word of `text`, upper or lower case; best first.

    Best are those whose name is the text, then those whose name has all words, each by name, `main` first.
    """
    words = text.casefold().split()

    def rank(release: ListedRelease) -> int | None:
        name = release.name.casefold()
        if name == text.casefold().strip():
            return 0
        if all(word in name for word in words):
            return 1
        spoken = f"{name}\n{(release.description or '').casefold()}"
        return 2 if all(word in spoken for word in words) else None

    ranked = [(found, release) for release in releases if (found := rank(release)) is not None]
    ranked.sort(key=lambda each: (each[0], each[1].name, not each[1].is_main, -(each[1].version or 0)))
    return [release for _, release in ranked]


def _shown(known: KnownRevision) -> str:
    return known.revision if known.version is None else f"{known.revision} (v{known.version})"
