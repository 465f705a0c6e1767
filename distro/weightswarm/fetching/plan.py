"""What a fetch will do, file by file: which files are wanted, which are here already, which must come."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from weightswarm.cache import Placement, Staging
from weightswarm.errors import InvalidInput, OutOfSpace
from weightswarm.manifest import FileEntry, Manifest
from weightswarm.progress import Phase, Progress, Report
from weightswarm.storage import allocated_bytes, clone_or_copy, free_bytes, open_regular, storage_errors
from weightswarm.verifying import Expectation, check_file, check_open_file

_MARGIN = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """One wanted file. `source` is `download`, `reuse` (its content is elsewhere in the cache) or `here`."""

    entry: FileEntry
    source: str


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """What would come, for `--dry-run`. Sizes in bytes."""

    name: str
    revision: str
    target: Path
    files: tuple[PlannedFile, ...]

    @property
    def download_size(self) -> int:
        """Bytes that would come over the network."""
        return sum(file.entry.size for file in self.files if file.source == "download")


def select_entries(manifest: Manifest, include: Sequence[str], exclude: Sequence[str]) -> list[FileEntry]:
    """Return the entries that match any `include` glob (all, when there is none) and no `exclude` glob.

    Globs are matched against the whole path, case and all; one that ends in `/` means the folder. Raises
    `InvalidInput` when nothing is left.
    """
    chosen = [
        entry
        for entry in manifest.files
        if (not include or _matches(entry.path, include)) and not _matches(entry.path, exclude)
    ]
    if not chosen:
        raise InvalidInput(
            "No file of the release matches --include and --exclude",
            hint="it holds: " + ", ".join(entry.path for entry in manifest.files[:8]),
        )
    return chosen


def _matches(path: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(path, f"{glob}*" if glob.endswith("/") else glob) for glob in globs)


def sort_out(
    entries: list[FileEntry], placement: Placement, copies: dict[str, list[Path]], staging: Staging, report: Report
) -> tuple[list[FileEntry], dict[str, Path], list[FileEntry]]:
    """Use what is on this machine: return the entries already at the target, the staged copies by path, and what is
    left to download. Everything relied on is hashed here; a file that is wrong is left to be downloaded."""
    total = sum(entry.size for entry in entries if placement.held(entry) or copies.get(entry.sha256))
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        report(Progress(Phase.REUSING, done, total))

    kept: list[FileEntry] = []
    staged: dict[str, Path] = {}
    missing: list[FileEntry] = []
    for entry in entries:
        held = placement.held(entry)
        if held is not None and check_file(held, Expectation.of(entry), on_bytes=count) is None:
            kept.append(entry)
        elif (copy := stage_copy(entry, copies.get(entry.sha256, []), staging, count)) is not None:
            staged[entry.path] = copy
        else:
            missing.append(entry)
    return kept, staged, missing


def stage_copy(
    entry: FileEntry, sources: list[Path], staging: Staging, count: Callable[[int], None] | None = None
) -> Path | None:
    """Copy a file's content from one of `sources` into staging, hash the copy, and return it; None if none has it."""
    target = staging.reused_file(entry.path)
    if entry.size == 0:
        with storage_errors(target):
            target.unlink(missing_ok=True)
            target.touch()
        return target if check_file(target, Expectation.of(entry)) is None else None
    for source in sources:
        target.unlink(missing_ok=True)
        try:
            descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        with storage_errors(target):
            try:
                clone_or_copy(descriptor, target)
            finally:
                os.close(descriptor)
            copied = open_regular(target)
            try:
                if check_open_file(copied, Expectation.of(entry), on_bytes=count) is None:
                    os.fsync(copied)
                    return target
            finally:
                os.close(copied)
    target.unlink(missing_ok=True)
    return None


def check_space(placement: Placement, staging: Staging, entries: list[FileEntry]) -> None:
    """Raise `OutOfSpace` unless what is left to download fits beside what is on disk already."""
    needed = sum(max(0, entry.size - allocated_bytes(staging.swarm_file(entry.path))) for entry in entries)
    free = free_bytes(placement.staging_parent)
    if needed and needed + _MARGIN > free:
        raise OutOfSpace(str(placement.target), needed=needed + _MARGIN, free=free)
