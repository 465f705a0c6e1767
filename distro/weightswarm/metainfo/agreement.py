"""Do a torrent and a manifest speak of the same files? Settled before the first payload byte is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from weightswarm.errors import ContentMismatch
from weightswarm.manifest import Manifest
from weightswarm.metainfo.read import Metainfo

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Difference:
    """One path on which torrent and manifest disagree, and how."""

    path: str
    reason: str


def differences(metainfo: Metainfo, manifest: Manifest) -> tuple[Difference, ...]:
    """Return every path on which they disagree: its presence, its size, or (v2) its `pieces_root`."""
    expected = {entry.path: entry for entry in manifest.files}
    found = []
    for file in metainfo.files:
        entry = expected.pop(file.path, None)
        if entry is None:
            found.append(Difference(file.path, "is in the torrent but not in the manifest"))
        elif entry.size != file.size:
            found.append(
                Difference(file.path, f"has {file.size:,} bytes in the torrent, {entry.size:,} in the manifest")
            )
        elif metainfo.info_hash.v2 is not None and entry.pieces_root != file.pieces_root:
            found.append(Difference(file.path, "has another hash in the torrent than in the manifest"))
    found += [Difference(path, "is in the manifest but not in the torrent") for path in expected]
    return tuple(found)


def check_agreement(metainfo: Metainfo, manifest: Manifest) -> None:
    """Raise `ContentMismatch`, naming the paths, unless both hold the same files."""
    found = differences(metainfo, manifest)
    if not found:
        return
    shown = "; ".join(f"{d.path} {d.reason}" for d in found[:_SHOWN])
    more = f"; and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
    raise ContentMismatch(
        f"The torrent and the manifest disagree: {shown}{more}",
        paths=tuple(d.path for d in found),
        hint="nothing was downloaded; ask the publisher for the right link",
    )
