"""What a place for verified releases can do. The model cache is one, a plain folder another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from weightswarm.magnet import InfoHash
from weightswarm.manifest import FileEntry


@dataclass(frozen=True, slots=True)
class VerifiedFiles:
    """Files whose SHA-256 was just read back from disk.

    `staged` maps paths of the release to files that wait to be moved; `kept` are paths that stand at the target.
    `torrent` is the metainfo document, `verified` the UTC time, `scratch` a folder beside the staged files for what
    is built before it is renamed.
    """

    staged: dict[str, Path]
    kept: tuple[str, ...]
    torrent: bytes
    info_hash: InfoHash
    verified: str
    scratch: Path


class Placement(Protocol):
    """Where a verified release goes."""

    @property
    def staging_parent(self) -> Path:
        """A folder on the same file system, for unfinished downloads."""

    @property
    def target(self) -> Path:
        """The folder that holds the files once they are placed."""

    def held(self, entry: FileEntry) -> Path | None:
        """Return a file at the target that may hold `entry` already; whoever relies on it hashes it first."""

    def check_conflicts(self) -> None:
        """Raise `ContentMismatch` when the target shows other bytes as this release already."""

    def place(self, files: VerifiedFiles) -> None:
        """Move the staged files in. Raises `StorageFailure` and `OutOfSpace`."""
