"""What a source holds, without its payload: for `show` and the exports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from weightswarm.cache import ModelCache
from weightswarm.errors import InvalidInput
from weightswarm.fetching.metadata import ask_swarm
from weightswarm.fetching.source import Wanted, is_url, network_for, resolve_source, with_public_trackers
from weightswarm.formats import code_by_name
from weightswarm.magnet import InfoHash, Repair
from weightswarm.manifest import Manifest, parse_manifest
from weightswarm.metainfo import Difference, Metainfo, differences
from weightswarm.progress import Note, Report, silent
from weightswarm.registry import Announcement, Registry
from weightswarm.signing import MAX_SIGNATURE_BYTES, Signature
from weightswarm.swarm import NetworkOptions, Swarm
from weightswarm.trusting import UNSIGNED, Standing, TrustStore, read_signatures, standing_of


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
    `signature` is what its signature is worth here.

    `torrent_version` is `v1`, `v2` or `hybrid`. `info_hash` is the torrent's, or what the link says of it;
    `total_size`, in bytes, is None where nothing says. `repairs` are what was mended or lost of a pasted link, and
    `announced` what the registry knows of a torrent without a manifest. `offline` tells that only the link or file
    itself was read, so that files may be missing here. `disagreements` lists where torrent and manifest differ: such a
    release cannot be fetched.
    """

    name: str | None
    vouched_name: str | None
    revision: str | None
    torrent_name: str | None
    info_hash: InfoHash | None
    piece_length: int | None
    total_size: int | None
    files: tuple[DescribedFile, ...]
    torrent_version: str | None = None
    trackers: tuple[str, ...] = ()
    web_seeds: tuple[str, ...] = ()
    license: str | None = None
    description: str | None = None
    magnet: str | None = None
    peers: tuple[str, ...] = ()
    selection: str | None = None
    torrent_urls: tuple[str, ...] = ()
    repairs: tuple[Repair, ...] = ()
    announced: Announcement | None = None
    offline: bool = False
    disagreements: tuple[Difference, ...] = ()
    signature: Standing = UNSIGNED


class Depth(IntEnum):
    """How much must be known of a source: the swarm is asked only for what the source itself does not tell."""

    LINK = 1
    FILES = 2
    TORRENT = 3


@dataclass(frozen=True, slots=True)
class Looked:
    """What a source led to. `wanted` is None for a manifest file, `metainfo` where nobody was asked for it.

    `name` is the one that a registry or the cache vouches for, else the manifest's own claim.
    """

    wanted: Wanted | None
    manifest: Manifest | None
    metainfo: Metainfo | None
    name: str | None = None
    signatures: tuple[Signature, ...] = ()
    standing: Standing = UNSIGNED


def describe_source(
    source: str,
    *,
    cache: ModelCache,
    registries: Sequence[Registry],
    network: NetworkOptions,
    timeout: float,
    trust_store: TrustStore,
    offline: bool = False,
    report: Report = silent,
) -> Description:
    """Describe a magnet, torrent, manifest file, name or info-hash; a magnet's metadata is asked of the swarm.

    With `offline` nobody is asked: a link tells what it says itself, and a URL of a torrent is refused.
    """
    if offline and is_url(source):
        raise InvalidInput(
            "--offline cannot ask a URL for its torrent", hint="download it first, or leave --offline out"
        )
    looked = look_up(
        source,
        cache=cache,
        registries=registries,
        network=network,
        timeout=timeout,
        trust_store=trust_store,
        depth=Depth.LINK if offline else Depth.TORRENT,
        report=report,
    )
    return _describe(looked, offline=offline and looked.wanted is not None)


def look_up(
    source: str,
    *,
    cache: ModelCache,
    registries: Sequence[Registry],
    network: NetworkOptions,
    timeout: float,
    trust_store: TrustStore,
    depth: Depth = Depth.TORRENT,
    report: Report = silent,
) -> Looked:
    """Read a source and ask the swarm for its metadata where `depth` needs it. Raises what `resolve_source` does,
    `SwarmTimeout` and `InvalidMetainfo`."""
    pins = trust_store.pins()
    if (manifest := _manifest_file(Path(source))) is not None:
        beside = Path(f"{source}.minisig")
        signatures = read_signatures([_head(beside, MAX_SIGNATURE_BYTES)])
        standing = standing_of(manifest.name, manifest, signatures, pins.for_name(manifest.name))
        return Looked(None, manifest, None, manifest.name, signatures, standing)
    reach = network.network
    wanted = resolve_source(
        source,
        registries=registries,
        cache=cache,
        timeout=timeout,
        network=reach,
        route=network.route,
        report=report,
    )
    metainfo, document = wanted.metainfo, _document(wanted, wanted.metainfo)
    if metainfo is None and depth > (Depth.LINK if document is None else Depth.FILES):
        asked = with_public_trackers(wanted, reach, report)
        with Swarm(network_for(wanted, network), lambda text: report(Note(text))) as swarm:
            metainfo, _ = ask_swarm(swarm, asked.magnet, timeout=timeout, report=report, advice=wanted.advice)
        document = _document(wanted, metainfo)
    if document is None:
        return Looked(wanted, None, metainfo, wanted.name)
    manifest = parse_manifest(document)
    kept = None if wanted.record is None else wanted.record.signature
    carried = None if metainfo is None else metainfo.signature
    signatures = read_signatures((wanted.signature, carried, kept), wanted.magnet.signature)
    name = wanted.name or manifest.name
    return Looked(
        wanted, manifest, metainfo, name, signatures, standing_of(name, manifest, signatures, pins.for_name(name))
    )


def _document(wanted: Wanted, metainfo: Metainfo | None) -> bytes | None:
    document = (metainfo.manifest if metainfo else None) or wanted.manifest
    return wanted.record.manifest.to_bytes() if document is None and wanted.record is not None else document


def _head(path: Path, size: int) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except (OSError, ValueError):
        return None


def _manifest_file(path: Path) -> Manifest | None:
    """Return the manifest in a file; None when there is no file, or it holds something else."""
    try:
        with open(path, "rb") as file:
            head = file.read(1)
            return parse_manifest(head + file.read(64 * 1024 * 1024)) if head == b"{" else None
    except (OSError, ValueError):  # the latter for what can be no path, with a NUL in it
        return None


def _described(path: str, size: int, sha256: str | None) -> DescribedFile:
    kind = code_by_name(path)
    return DescribedFile(path, size, sha256, None if kind is None else kind.value)


def _describe(looked: Looked, *, offline: bool) -> Description:
    wanted, manifest, metainfo = looked.wanted, looked.manifest, looked.metainfo
    if manifest is not None:
        files = tuple(_described(e.path, e.size, e.sha256) for e in manifest.files)
    else:
        files = tuple(_described(f.path, f.size, None) for f in metainfo.files) if metainfo else ()
    magnet = wanted.magnet if wanted else None
    info_hash = metainfo.info_hash if metainfo else magnet.info_hash if magnet else None
    said = magnet.exact_length if magnet else None
    return Description(
        name=manifest.name if manifest else None,
        vouched_name=wanted.name if wanted else None,
        revision=manifest.revision if manifest else None,
        torrent_name=metainfo.name if metainfo else magnet.display_name if magnet else None,
        info_hash=info_hash,
        torrent_version=_version(info_hash) if info_hash else None,
        piece_length=metainfo.piece_length if metainfo else None,
        total_size=sum(file.size for file in files) if files else said,
        files=files,
        trackers=magnet.trackers if magnet else (),
        web_seeds=magnet.web_seeds if magnet else (),
        license=manifest.license if manifest else None,
        description=manifest.description if manifest else None,
        magnet=str(magnet) if magnet else None,
        peers=tuple(map(str, magnet.peers)) if magnet else (),
        selection=str(magnet.selection) if magnet and magnet.selection else None,
        torrent_urls=(*magnet.exact_sources, *magnet.acceptable_sources) if magnet else (),
        repairs=wanted.pasted.repairs if wanted and wanted.pasted else (),
        announced=wanted.announcement if wanted else None,
        offline=offline,
        disagreements=differences(metainfo, manifest) if metainfo and manifest else (),
        signature=looked.standing,
    )


def _version(info_hash: InfoHash) -> str:
    return "hybrid" if len(info_hash.digests) == 2 else "v1" if info_hash.v1 is not None else "v2"
