"""What the user asked for: a magnet, a torrent, a name or an info-hash becomes one `Wanted`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from weightswarm.cache import ModelCache, ReleaseRecord, find_by_info_hash, load_record
from weightswarm.dialling import Route
from weightswarm.errors import InvalidInput, InvalidMetainfo, NetworkFailure, NotFound, SwarmTimeout, WeightswarmError
from weightswarm.magnet import MAX_TEXT, PUBLIC_TRACKERS, InfoHash, MagnetLink, PastedLink, holds_magnet, read_pasted
from weightswarm.manifest import parse_reference
from weightswarm.metainfo import Metainfo, magnet_of, parse_metainfo
from weightswarm.progress import Note, Report, silent
from weightswarm.reach import Network
from weightswarm.registry import Announcement, Registry, RegistryEntry, download_metainfo, find_info_hash, find_name
from weightswarm.storage import is_file, looks_like_path, storage_errors, user_path
from weightswarm.swarm import NetworkOptions

_MOST_NOTES = 8
_MAX_FILE = 128 * 1024 * 1024
_INFO_HASH = re.compile(r"[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64}|[A-Z2-7]{32}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A release to fetch. `name` (with its `revision`) is set only when somebody the user
    chose vouches for it: a registry, or the cache.

    `manifest` is what that registry says the files are; a torrent that says otherwise is refused. `record` is the
    same torrent's release in the cache, where it is there already, whole or in part. `signature` and
    `version` are the registry's, `listed` the registry's own link: who configured that registry named what it lists.

    `pasted` is the link as the user gave it, `announcement` what the registry knows of a torrent without a manifest.
    """

    magnet: MagnetLink
    metainfo: Metainfo | None = None
    name: str | None = None
    revision: str | None = None
    manifest: bytes | None = None
    record: ReleaseRecord | None = None
    signature: bytes | None = None
    version: int | None = None
    listed: MagnetLink | None = None
    pasted: PastedLink | None = None
    announcement: Announcement | None = None

    @property
    def vouched_torrent(self) -> bool:
        """Whether a registry says that the name is this torrent's, without a manifest: its pieces are the witness."""
        return self.name is not None and self.revision is None and self.manifest is None

    @property
    def advice(self) -> str | None:
        """What to tell who finds no peer by a link that came damaged."""
        if self.pasted is None or not (self.pasted.bare or self.pasted.cut):
            return None
        return "give the whole link, in quotes: the shell cuts it at '&', and this one came without its trackers"


def resolve_source(
    source: str,
    *,
    registries: Sequence[Registry],
    cache: ModelCache,
    timeout: float,
    network: Network,
    route: Route,
    report: Report = silent,
) -> Wanted:
    """Read a source: magnet, `.torrent` path or URL, file holding a magnet, info-hash, or `org/model[@revision]`.

    A magnet may stand anywhere in a text; what was mended or lost of it is reported. A torrent's URL is asked for
    `timeout` seconds at most. Raises `InvalidInput`, `InvalidMetainfo`, `NotFound`, `NetworkFailure`, `SwarmTimeout`,
    `StorageFailure`.
    """
    source = source.strip()
    if holds_magnet(source):
        return _of_pasted(source, registries, cache, report)
    if is_url(source):
        data = download_metainfo(source, timeout=timeout, network=network, route=route)
        return _of_torrent(data, registries, cache)
    path = user_path(source)
    if is_file(path):
        with storage_errors(path), open(path, "rb") as file:
            data = file.read(_MAX_FILE)
        if data[:1] == b"d":
            return _of_torrent(data, registries, cache)
        text = data[:MAX_TEXT].decode("utf-8", "replace")
        if not holds_magnet(text):
            raise InvalidInput(f"{path} holds neither a torrent nor a magnet link")
        return _of_pasted(text, registries, cache, report)
    if _INFO_HASH.fullmatch(source):
        return _of_pasted(str(MagnetLink(InfoHash.parse(source))), registries, cache, silent)
    return _of_name(source, registries, cache)


def network_for(
    wanted: Wanted, network: NetworkOptions, *, trackers: Iterable[str] = (), web_seeds: Iterable[str] = ()
) -> NetworkOptions:
    """Return the network options with what the user named for this release: by hand, or by choosing its registry."""
    listed = wanted.listed
    return replace(
        network,
        trackers=(*network.trackers, *trackers, *(listed.trackers if listed else ())),
        web_seeds=(*network.web_seeds, *web_seeds, *(listed.web_seeds if listed else ())),
        peers=tuple(dict.fromkeys((*network.peers, *(listed.peers if listed else ())))),
    )


def is_url(source: str) -> bool:
    """Tell whether a source is a URL of a torrent; one that has a magnet link in it is a link."""
    return source.strip().lower().startswith(("http://", "https://")) and not holds_magnet(source)


def with_public_trackers(wanted: Wanted, network: Network, report: Report) -> Wanted:
    """Add the well-known public trackers to a link that lost all of its own; only for the public network."""
    magnet, pasted = wanted.magnet, wanted.pasted
    if magnet.trackers or pasted is None or not pasted.lost_trackers or network is not Network.PUBLIC:
        return wanted
    report(Note(f"The link has no tracker left: {len(PUBLIC_TRACKERS)} public ones are asked."))
    return replace(wanted, magnet=replace(magnet, trackers=PUBLIC_TRACKERS))


def without_public_trackers(wanted: Wanted, metainfo: Metainfo) -> Wanted:
    """Take them off again when the torrent turns out to be private: it may be announced to its own alone (BEP 27)."""
    if not metainfo.private or wanted.magnet.trackers != PUBLIC_TRACKERS:
        return wanted
    return replace(wanted, magnet=replace(wanted.magnet, trackers=()))


def _of_pasted(text: str, registries: Sequence[Registry], cache: ModelCache, report: Report) -> Wanted:
    pasted = read_pasted(text)
    for repair in pasted.repairs[:_MOST_NOTES]:
        report(Note(f"{repair}."))
    if len(pasted.repairs) > _MOST_NOTES:
        report(Note(f"{len(pasted.repairs) - _MOST_NOTES:,} more parts of the link were repaired or lost."))
    wanted = _known(Wanted(pasted.magnet, pasted=pasted), registries, cache)
    added = [tracker for tracker in wanted.magnet.trackers if tracker not in pasted.magnet.trackers]
    if pasted.lost_trackers and added:
        report(Note(f"From the registry's entry of {wanted.name}: tracker {', '.join(added[:_MOST_NOTES])}."))
    elif pasted.bare and "&" not in text and "magnet:" in text.lower() and wanted.metainfo is None:
        report(
            Note("The link is a hash and nothing else. If yours is longer, put it in quotes: the shell cut it at '&'.")
        )
    return wanted


def _of_torrent(data: bytes, registries: Sequence[Registry], cache: ModelCache) -> Wanted:
    metainfo = parse_metainfo(data)
    return _known(Wanted(magnet_of(metainfo), metainfo), registries, cache)


def _known(wanted: Wanted, registries: Sequence[Registry], cache: ModelCache) -> Wanted:
    """Add what a registry and the cache know of the torrent."""
    entry = find_info_hash(registries, wanted.magnet.info_hash)
    record = find_by_info_hash(cache, wanted.magnet.info_hash)
    info_hash = wanted.magnet.info_hash
    metainfo = wanted.metainfo or kept_metainfo(entry.torrent if entry else None, info_hash)
    metainfo = metainfo or kept_metainfo(record.torrent if record else None, info_hash)
    if entry is None:
        return replace(wanted, metainfo=metainfo, record=record)
    return Wanted(
        _joined(wanted.magnet, entry.magnet),
        metainfo,
        entry.name,
        entry.revision,
        entry.manifest,
        record,
        entry.signature,
        entry.version,
        entry.magnet,
        wanted.pasted,
        entry.announcement,
    )


def kept_metainfo(torrent: bytes | None, info_hash: InfoHash) -> Metainfo | None:
    """Read a torrent that was kept; None for one that is damaged or another: the swarm is asked instead."""
    with suppress(InvalidMetainfo):
        if torrent is not None and (metainfo := parse_metainfo(torrent)).info_hash.matches(info_hash):
            return metainfo
    return None


def _joined(pasted: MagnetLink, listed: MagnetLink) -> MagnetLink:
    """Return the pasted link with the trackers, web seeds and peers that the registry lists added."""
    return replace(
        pasted,
        info_hash=InfoHash(
            pasted.info_hash.v1 or listed.info_hash.v1,
            pasted.info_hash.v2 or listed.info_hash.v2,
        ),
        display_name=pasted.display_name or listed.display_name,
        exact_length=listed.exact_length or pasted.exact_length,
        trackers=tuple(dict.fromkeys((*pasted.trackers, *listed.trackers))),
        web_seeds=tuple(dict.fromkeys((*pasted.web_seeds, *listed.web_seeds))),
        peers=tuple(dict.fromkeys((*pasted.peers, *listed.peers))),
        exact_sources=tuple(dict.fromkeys((*pasted.exact_sources, *listed.exact_sources))),
        signature=pasted.signature or listed.signature,
    )


def _of_name(source: str, registries: Sequence[Registry], cache: ModelCache) -> Wanted:
    if looks_like_path(source):
        raise NotFound(f"There is no file {source}")
    try:
        name, revision = parse_reference(source)
    except InvalidInput:
        raise InvalidInput(
            f"Cannot tell what to fetch from: {source[:120]}",
            hint="give a magnet link in quotes, a .torrent file or URL, an info-hash, or org/model[@revision]",
        ) from None
    entry: RegistryEntry | None = None
    absent: WeightswarmError = NotFound(
        f"No registry knows {source}, and it is not in the model cache",
        hint="paste its magnet link, or add a registry with --registry DIR or URL",
    )
    try:
        entry = find_name(registries, name, revision)
    except (NetworkFailure, SwarmTimeout) as unanswered:
        absent = unanswered
    if entry is not None:
        metainfo = kept_metainfo(entry.torrent, entry.info_hash)
        wanted = _known(Wanted(entry.magnet, metainfo), registries, cache)
        return replace(
            wanted,
            name=entry.name,
            revision=entry.revision,
            manifest=entry.manifest,
            signature=entry.signature,
            version=entry.version,
            listed=entry.magnet,
            announcement=entry.announcement,
        )
    record = _cached(name, revision, cache)
    if record is None or record.info_hash is None:
        raise absent
    metainfo = kept_metainfo(record.torrent, record.info_hash)
    return Wanted(MagnetLink(record.info_hash), metainfo, name, record.manifest.revision, None, record)


def _cached(name: str, revision: str | None, cache: ModelCache) -> ReleaseRecord | None:
    try:
        repository, found = cache.resolve(name, revision)
    except NotFound:
        return None
    return load_record(repository, found)
