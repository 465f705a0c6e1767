"""One release as a registry knows it."""

from __future__ import annotations

from dataclasses import dataclass

from weightswarm.magnet import InfoHash, MagnetLink


@dataclass(frozen=True, slots=True)
class RegistryEntry:
    """A release: `manifest`, `torrent` and `signature` are documents as stored, None where the registry has none.

    `version` is the publisher's own number for the revision, which `org/model@v3` asks for.
    """

    name: str
    revision: str
    magnet: MagnetLink
    manifest: bytes | None = None
    torrent: bytes | None = None
    signature: bytes | None = None
    version: int | None = None

    @property
    def info_hash(self) -> InfoHash:
        """The hashes that the magnet names."""
        return self.magnet.info_hash
