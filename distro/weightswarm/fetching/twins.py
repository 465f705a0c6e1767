"""Files of equal content within one release: one of them is downloaded, and the others are copied from it."""

from __future__ import annotations

from weightswarm.cache import StagedFile, Staging
from weightswarm.errors import StorageFailure
from weightswarm.fetching.plan import stage_copy
from weightswarm.manifest import FileEntry


def split_twins(missing: list[FileEntry]) -> tuple[list[FileEntry], list[FileEntry]]:
    """Return the first file of each content, and those that have the same content as one of them."""
    first: dict[str, FileEntry] = {}
    twins = [entry for entry in missing if first.setdefault(entry.sha256, entry) is not entry]
    return list(first.values()), twins


def stage_twins(
    twins: list[FileEntry], first: list[FileEntry], staged: dict[str, StagedFile], staging: Staging
) -> dict[str, StagedFile]:
    """Copy files that have the content of one of `first`, which are staged by now. Raises `StorageFailure`."""
    sources = {entry.sha256: staged[entry.path].path for entry in first}
    copies = {}
    for entry in twins:
        if (copy := stage_copy(entry, [sources[entry.sha256]], staging)) is None:
            raise StorageFailure(str(staging.reused_file(entry.path)), "could not be copied from a file that was right")
        copies[entry.path] = copy
    return copies
