"""What a fetch will do, file by file: which files are wanted, which are here already, which must come."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from glob import escape as glob_escape
from pathlib import Path

from weightswarm.cache import Placement, StagedFile, Staging
from weightswarm.errors import InvalidInput, OutOfSpace
from weightswarm.formats import code_by_name
from weightswarm.magnet import FileSelection
from weightswarm.manifest import FileEntry, Manifest, matches_any
from weightswarm.metainfo import Metainfo
from weightswarm.progress import Phase, Progress, Report
from weightswarm.storage import (
    FileIdentity,
    OpenFolder,
    allocated_bytes,
    clone_or_copy,
    free_bytes,
    is_out_of_space,
    storage_errors,
)
from weightswarm.trusting import Standing
from weightswarm.verifying import Expectation, check_file, check_open_file

_MARGIN = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """One wanted file. `source` is `download`, `reuse` (its content is elsewhere on this machine), `here`, or `partly`:
    an older file may have up to `shared` bytes of it, which only its pieces' hashes tell."""

    entry: FileEntry
    source: str
    shared: int = 0

    @property
    def code(self) -> str | None:
        """Why it may run code when it is loaded, by its name; None when nothing says so."""
        kind = code_by_name(self.entry.path)
        return None if kind is None else kind.value


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """What would come, for `--dry-run`. Sizes in bytes; `standing` tells who signed it."""

    name: str
    revision: str
    target: Path
    files: tuple[PlannedFile, ...]
    standing: Standing

    @property
    def download_size(self) -> int:
        """Bytes that would come over the network, at most."""
        return sum(file.entry.size for file in self.files if file.source in ("download", "partly"))


def unhashed(metainfo: Metainfo) -> tuple[PlannedFile, ...]:
    """Return the files of a torrent without a manifest."""
    return tuple(PlannedFile(FileEntry(f.path, f.size, "", f.pieces_root), "download") for f in metainfo.files)


def select_entries(manifest: Manifest, include: Sequence[str], exclude: Sequence[str]) -> list[FileEntry]:
    """Return the entries that match any `include` glob (all, when there is none) and no `exclude` glob.

    Globs are matched against the whole path, case and all; one that ends in `/` means the folder. Raises
    `InvalidInput` when nothing is left.
    """
    chosen = [
        entry
        for entry in manifest.files
        if (not include or matches_any(entry.path, include)) and not matches_any(entry.path, exclude)
    ]
    if not chosen:
        raise InvalidInput(
            "No file of the release matches --include and --exclude",
            hint="it holds: " + ", ".join(entry.path for entry in manifest.files[:8]),
        )
    return chosen


def selected_globs(metainfo: Metainfo, selection: FileSelection) -> tuple[str, ...]:
    """Return globs for exactly the files that a magnet selects (BEP 53), none when it selects nothing there is.

    Indices count the torrent's own list: v1's, pad files included, else the v2 file tree.
    """
    listed = [index for index, _ in metainfo.v1_spans] or [file.index for file in metainfo.files]
    indices = [index for number, index in enumerate(listed) if index is not None and number in selection]
    return tuple(glob_escape(metainfo.files[index].path) for index in indices)


def sort_out(
    entries: list[FileEntry], placement: Placement, copies: dict[str, list[Path]], staging: Staging, report: Report
) -> tuple[list[FileEntry], dict[str, StagedFile], list[FileEntry]]:
    """Use what is on this machine: return the entries already at the target, the staged copies by path, and what is
    left to download. Everything relied on is hashed here; a file that is wrong is left to be downloaded."""
    there = placement.all_held(entries)
    total = sum(entry.size for entry in entries if entry.path in there or copies.get(entry.sha256))
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        report(Progress(Phase.REUSING, done, total))

    kept: list[FileEntry] = []
    staged: dict[str, StagedFile] = {}
    missing: list[FileEntry] = []
    for entry in entries:
        held = there.get(entry.path)
        if held is not None and check_file(held, Expectation.of(entry), on_bytes=count) is None:
            kept.append(entry)
        elif (copy := stage_copy(entry, copies.get(entry.sha256, []), staging, count)) is not None:
            staged[entry.path] = copy
        else:
            missing.append(entry)
    return kept, staged, missing


def stage_copy(
    entry: FileEntry, sources: list[Path], staging: Staging, count: Callable[[int], None] | None = None
) -> StagedFile | None:
    """Copy a file's content from one of `sources` into staging, hash the copy, and return it; None if none has it."""
    sources = [Path(os.devnull)] if entry.size == 0 else sources
    if not sources:
        return None
    target = staging.reused_file(entry.path)
    with storage_errors(target), OpenFolder.at(target.parent, staging.base) as folder:
        for source in sources:
            try:
                original = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                continue
            folder.remove(target.name)
            try:
                copy = folder.open_file(target.name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
                try:
                    clone_or_copy(original, copy)
                    identity = FileIdentity.of(os.fstat(copy))
                    if check_open_file(copy, Expectation.of(entry), on_bytes=count) is None:
                        os.fsync(copy)
                        return StagedFile(target, identity)
                finally:
                    os.close(copy)
            except OSError as error:
                if is_out_of_space(error):
                    raise
                # A bad sector, or a network file system that is gone: the next one has it, or the swarm.
            finally:
                os.close(original)
        folder.remove(target.name)
    return None


def check_space(placement: Placement, staging: Staging, entries: list[FileEntry]) -> None:
    """Raise `OutOfSpace` unless what is left to download fits beside what is on disk already."""
    begun = staging.begun()
    needed = sum(
        max(0, entry.size - allocated_bytes(staging.swarm_path(entry.path))) if entry.path in begun else entry.size
        for entry in entries
    )
    free = free_bytes(placement.staging_parent)
    if needed and needed + _MARGIN > free:
        raise OutOfSpace(str(placement.target), needed=needed + _MARGIN, free=free)
