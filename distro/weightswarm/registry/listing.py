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

MAX_DOCUMENT_SIZES: Mapping[str, int] = {
    MAGNET: 64 * 1024,
    MANIFEST: 32 * 1024 * 1024,
    SIGNATURE: 16 * 1024,
    TORRENT: 128 * 1024 * 1024,
}
"""The documents that a release's folder may hold, and the most bytes of each."""

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

    `is_main` marks the revision that the bare name means. `documents` are by file name.
    """

    name: str
    revision: str
    info_hash: InfoHash
    documents: Mapping[str, Document] = field(hash=False)
    version: int | None = None
    size: int | None = None
    files: int | None = None
    license: str | None = None
    description: str | None = None
    created: str | None = None
    is_main: bool = False


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
