"""Publishing what a `SHA256SUMS` file lists, and nothing else: the list may be older, and known to others."""

from __future__ import annotations

from pathlib import Path

from weightswarm.errors import ContentMismatch, InvalidInput
from weightswarm.expected import expected_by_file
from weightswarm.publishing.release import Release

_SHOWN = 5


def check_listed(release: Release, sums: Path) -> None:
    """Raise `ContentMismatch`, naming the paths, unless the release is what the file lists, hash by hash.

    The list itself may be among the files, since it cannot list itself. Raises `InvalidInput` for what is no list.
    """
    expected = expected_by_file(sums)
    if expected.metainfo is not None:
        raise InvalidInput(f"{sums} is a torrent, not a SHA256SUMS file")
    listed = {each.path: each.sha256 for each in expected.expectations}
    found = {entry.path: entry.sha256 for entry in release.manifest.files}
    for file, location in zip(release.metainfo.files, release.locations, strict=True):
        if file.path not in listed and location.samefile(sums):
            del found[file.path]
    faults = [
        f"{path} is not the file that it lists" for path in found if listed.get(path, "") not in ("", found[path])
    ]
    faults += [f"{path} is not listed" for path in found if path not in listed]
    faults += [f"{path} is listed and not there" for path in listed if path not in found]
    if faults:
        more = f"; and {len(faults) - _SHOWN:,} more" if len(faults) > _SHOWN else ""
        raise ContentMismatch(
            f"Not what {sums} lists: {'; '.join(faults[:_SHOWN])}{more}",
            paths=tuple(sorted(path for path in {*found, *listed} if found.get(path) != listed.get(path))),
            hint="nothing was published",
        )
