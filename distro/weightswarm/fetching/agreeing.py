"""Which manifest counts: all who have one must say the same, and the torrent's file list must be its own."""

from __future__ import annotations

from weightswarm.errors import ContentMismatch, NoManifest
from weightswarm.fetching.options import FetchOptions
from weightswarm.fetching.source import Wanted
from weightswarm.manifest import Manifest, parse_manifest
from weightswarm.metainfo import Metainfo, check_agreement
from weightswarm.progress import Note, Report


def agreed_manifest(wanted: Wanted, options: FetchOptions, metainfo: Metainfo, report: Report) -> Manifest | None:
    """Return the manifest that everyone concerned agrees on; None for a torrent without one, taken on trust.

    Raises `NoManifest`, `ContentMismatch`, `InvalidManifest`.
    """
    given = [data for data in (wanted.manifest, options.manifest, metainfo.manifest) if data is not None]
    if not given and wanted.record is not None:
        given = [wanted.record.manifest.to_bytes()]
    if not given:
        if not options.trust_magnet and not wanted.vouched_torrent:
            raise NoManifest(
                f"The torrent {metainfo.name} carries no manifest, and no registry knows it",
                hint="--trust-magnet fetches it with the pieces under its info-hash as the only witness",
            )
        vouched = f"The registry says that this torrent is {wanted.name}. " if wanted.name else ""
        report(Note(f"{vouched}No manifest: the pieces under its info-hash are the only witness."))
        return None
    manifest = parse_manifest(given[0])
    if any(data != given[0] for data in given[1:]):
        paths = _different_paths(manifest, [parse_manifest(data) for data in given[1:]])
        raise ContentMismatch(
            f"The torrent's own manifest is not the one expected for {manifest.name}: {', '.join(paths[:5])}",
            paths=paths,
            hint="nothing was downloaded; the link or the registry is wrong",
        )
    if wanted.name is not None and wanted.manifest is not None and manifest.name != wanted.name:
        raise ContentMismatch(
            f"The manifest is for {manifest.name}, not for {wanted.name}", hint="nothing was downloaded"
        )
    if wanted.revision not in (None, manifest.revision):
        raise ContentMismatch(
            f"The manifest is for revision {manifest.revision[:8]} of {manifest.name}, not for"
            f" {str(wanted.revision)[:8]}",
            hint="nothing was downloaded",
        )
    check_agreement(metainfo, manifest)
    return manifest


def _different_paths(manifest: Manifest, others: list[Manifest]) -> tuple[str, ...]:
    entries = set(manifest.files)
    differing = {entry.path for other in others for entry in entries ^ set(other.files)}
    return tuple(sorted(differing)) or ("its name or revision",)
