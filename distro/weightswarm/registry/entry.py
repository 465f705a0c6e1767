"""One release as a registry knows it."""

from __future__ import annotations

from dataclasses import dataclass

from weightswarm.magnet import InfoHash, MagnetLink
from weightswarm.registry.announcement import Announcement, parse_announcement


@dataclass(frozen=True, slots=True)
class RegistryEntry:
    """A release: `manifest`, `torrent` and `signature` (minisign's, of the manifest) are documents as stored, None
    where the registry has none.

    `version` is the publisher's own number for the revision, which `org/model@v3` asks for.

    `revision` is None for a torrent that somebody published without a manifest: the registry says that its info-hash is
    the name's, and its pieces are the only witness of what it holds. `about` is the document that tells of such a one.
    """

    name: str
    revision: str | None
    magnet: MagnetLink
    manifest: bytes | None = None
    torrent: bytes | None = None
    signature: bytes | None = None
    version: int | None = None
    about: bytes | None = None

    @property
    def info_hash(self) -> InfoHash:
        """The hashes that the magnet names."""
        return self.magnet.info_hash

    @property
    def announcement(self) -> Announcement | None:
        """What `about` says; None for what is none."""
        return None if self.about is None else parse_announcement(self.about)
