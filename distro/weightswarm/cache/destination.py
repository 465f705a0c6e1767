"""What a place for verified releases can do. The model cache is one, a plain folder another."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Protocol

from weightswarm.errors import ContentMismatch, StorageFailure
from weightswarm.magnet import InfoHash
from weightswarm.manifest import FileEntry
from weightswarm.storage import FileIdentity, OpenFolder, storage_errors


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file that waits to be moved, and what it was when its SHA-256 was read back."""

    path: Path
    identity: FileIdentity


@dataclass(frozen=True, slots=True)
class VerifiedFiles:
    """Files whose SHA-256 was just read back from disk.

    `staged` maps paths of the release to files that wait to be moved; `kept` are paths that stand at the target.
    `torrent` is the metainfo document, `signature` the manifest's, where it has one, `verified` the UTC time, `scratch`
    a folder beside the staged files for what is built before it is renamed.
    """

    staged: dict[str, StagedFile]
    kept: tuple[str, ...]
    torrent: bytes
    info_hash: InfoHash
    verified: str
    scratch: Path
    signature: bytes | None = None


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

    def all_held(self, entries: Iterable[FileEntry]) -> dict[str, Path]:
        """Return what `held` does for each of `entries`, by path, where that is a file."""

    def check_conflicts(self) -> None:
        """Raise `ContentMismatch` when the target shows other bytes as this release already."""

    def place(self, files: VerifiedFiles) -> bool:
        """Move the staged files in; return whether the target has the whole release now.

        Raises `StorageFailure` and `OutOfSpace`.
        """


def by_folder(staged: Mapping[str, StagedFile], below: Path) -> Iterator[tuple[str, StagedFile, OpenFolder]]:
    """Yield staged files, by the path in the release, each with its folder held open; none is reached by a link
    beneath `below`."""

    parents = {path: os.fspath(file.path).rpartition("/")[0] for path, file in staged.items()}
    for parent, paths in groupby(sorted(staged, key=parents.__getitem__), key=parents.__getitem__):
        with OpenFolder.at(Path(parent), below, create=False) as folder:
            for path in paths:
                yield path, staged[path], folder


def check_free(folder: OpenFolder, names: Iterable[str]) -> None:
    """Raise `StorageFailure` for a folder where a file is to go."""
    wanted = {*names}
    if len(wanted) > 1:
        # Most often nothing stands there at all.
        wanted &= {*os.listdir(folder.descriptor)}
    for name in sorted(wanted):
        status = folder.status(name)
        if status is not None and stat.S_ISDIR(status.st_mode):
            path = str(folder.path / name)
            raise StorageFailure(path, "is a folder where a file should be", hint="move it away and fetch again")


def move_verified(path: str, file: StagedFile, source: OpenFolder, target: OpenFolder, name: str, mode: int) -> None:
    """Rename a staged file to `name` in `target`, if it still is the very file that was verified.

    A file with another name somewhere is refused: whoever has that name can write to it. Raises `ContentMismatch`,
    which leaves nothing at `name` that was put there instead.
    """
    staged = file.path.name
    with storage_errors(file.path):
        try:
            descriptor = source.open_file(staged)
        except OSError as error:
            raise _swapped(path) from error
        try:
            status = os.fstat(descriptor)
            if FileIdentity.of(status) != file.identity or status.st_nlink != 1:
                raise _swapped(path)
            os.fchmod(descriptor, mode)
            source.move(staged, target, name)
            placed = target.status(name)
            if placed is None or (placed.st_ino, placed.st_nlink) != (status.st_ino, 1):
                target.unlink(name)
                raise _swapped(path)
        finally:
            os.close(descriptor)


def _swapped(path: str) -> ContentMismatch:
    return ContentMismatch(
        f"{path} was written to or replaced after it was verified; it was not placed",
        paths=(path,),
        hint="another program writes to the staging folder; fetch again: what is right there is kept",
    )
