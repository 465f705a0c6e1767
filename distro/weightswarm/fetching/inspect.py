"""What a source holds, without its payload: for `show`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from weightswarm.cache import ModelCache
from weightswarm.fetching.metadata import ask_swarm
from weightswarm.fetching.source import Wanted, network_for, resolve_source
from weightswarm.formats import code_by_name
from weightswarm.magnet import InfoHash
from weightswarm.manifest import Manifest, parse_manifest
from weightswarm.metainfo import Difference, Metainfo, differences
from weightswarm.progress import Note, Report, silent
from weightswarm.registry import Registry
from weightswarm.swarm import NetworkOptions, Swarm


@dataclass(frozen=True, slots=True)
class DescribedFile:
    """One file: `size` in bytes; `sha256` hex, None where no manifest says; `code` why it may run some when loaded, by
    its name."""

    path: str
    size: int
    sha256: str | None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """What a source says of itself. `name` is what the manifest claims, `vouched_name` what a registry says.

    `disagreements` lists where torrent and manifest differ: such a release cannot be fetched.
    """

    name: str | None
    vouched_name: str | None
    revision: str | None
    torrent_name: str | None
    info_hash: InfoHash | None
    piece_length: int | None
    total_size: int
    files: tuple[DescribedFile, ...]
    trackers: tuple[str, ...] = ()
    web_seeds: tuple[str, ...] = ()
    license: str | None = None
    description: str | None = None
    magnet: str | None = None
    disagreements: tuple[Difference, ...] = ()


def describe_source(
    source: str,
    *,
    cache: ModelCache,
    registries: Sequence[Registry],
    network: NetworkOptions,
    timeout: float,
    report: Report = silent,
) -> Description:
    """Describe a magnet, torrent, manifest file, name or info-hash; a magnet's metadata is asked of the swarm."""
    if (manifest := _manifest_file(Path(source))) is not None:
        return _describe(None, manifest)
    wanted = resolve_source(source, registries=registries, cache=cache, timeout=timeout, network=network.network)
    metainfo = wanted.metainfo
    if metainfo is None:
        with Swarm(network_for(wanted, network), lambda text: report(Note(text))) as swarm:
            metainfo, _ = ask_swarm(swarm, wanted.magnet, timeout=timeout, report=report)
    document = metainfo.manifest or wanted.manifest
    return _describe(wanted, None if document is None else parse_manifest(document), metainfo)


def _manifest_file(path: Path) -> Manifest | None:
    """Return the manifest in a file; None when there is no file, or it holds something else."""
    try:
        with open(path, "rb") as file:
            head = file.read(1)
            return parse_manifest(head + file.read(64 * 1024 * 1024)) if head == b"{" else None
    except OSError:
        return None


def _described(path: str, size: int, sha256: str | None) -> DescribedFile:
    kind = code_by_name(path)
    return DescribedFile(path, size, sha256, None if kind is None else kind.value)


def _describe(wanted: Wanted | None, manifest: Manifest | None, metainfo: Metainfo | None = None) -> Description:
    if manifest is not None:
        files = tuple(_described(e.path, e.size, e.sha256) for e in manifest.files)
    else:
        files = tuple(_described(f.path, f.size, None) for f in metainfo.files) if metainfo else ()
    magnet = wanted.magnet if wanted else None
    return Description(
        name=manifest.name if manifest else None,
        vouched_name=wanted.name if wanted else None,
        revision=manifest.revision if manifest else None,
        torrent_name=metainfo.name if metainfo else None,
        info_hash=metainfo.info_hash if metainfo else None,
        piece_length=metainfo.piece_length if metainfo else None,
        total_size=sum(file.size for file in files),
        files=files,
        trackers=magnet.trackers if magnet else (),
        web_seeds=magnet.web_seeds if magnet else (),
        license=manifest.license if manifest else None,
        description=manifest.description if manifest else None,
        magnet=str(magnet) if magnet else None,
        disagreements=differences(metainfo, manifest) if metainfo and manifest else (),
    )
