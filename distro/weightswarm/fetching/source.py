"""What the user asked for: a magnet, a torrent, a name or an info-hash becomes one `Wanted`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from weightswarm.cache import ModelCache, ReleaseRecord, find_by_info_hash, load_record
from weightswarm.errors import InvalidInput, InvalidMetainfo, NetworkFailure, NotFound, SwarmTimeout, WeightswarmError
from weightswarm.magnet import InfoHash, MagnetLink, looks_like_magnet, parse_magnet
from weightswarm.manifest import parse_reference
from weightswarm.metainfo import Metainfo, magnet_of, parse_metainfo
from weightswarm.reach import Network
from weightswarm.registry import Registry, RegistryEntry, download_metainfo, find_info_hash, find_name
from weightswarm.storage import is_file, looks_like_path, storage_errors, user_path
from weightswarm.swarm import NetworkOptions

_MAX_FILE = 128 * 1024 * 1024
_INFO_HASH = re.compile(r"[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64}|[A-Z2-7]{32}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A release to fetch. `name` (with its `revision`) is set only when somebody the user
    chose vouches for it: a registry, or the cache.

    `manifest` is what that registry says the files are; a torrent that says otherwise is refused. `record` is the
    same torrent's release in the cache, where it is there already, whole or in part. `listed` is the registry's own
    link: who configured that registry named what it lists.
    """

    magnet: MagnetLink
    metainfo: Metainfo | None = None
    name: str | None = None
    revision: str | None = None
    manifest: bytes | None = None
    record: ReleaseRecord | None = None
    listed: MagnetLink | None = None


def resolve_source(
    source: str,
    *,
    registries: Sequence[Registry],
    cache: ModelCache,
    timeout: float,
    network: Network,
) -> Wanted:
    """Read a source: magnet, `.torrent` path or URL, file holding a magnet, info-hash, or `org/model[@revision]`.

    A torrent's URL is asked for `timeout` seconds at most. Raises `InvalidInput`, `InvalidMetainfo`, `NotFound`,
    `NetworkFailure`, `SwarmTimeout`, `StorageFailure`.
    """
    source = source.strip()
    if looks_like_magnet(source):
        return _known(Wanted(parse_magnet(source)), registries, cache)
    if source.lower().startswith(("http://", "https://")):
        data = download_metainfo(source, timeout=timeout, network=network)
        return _of_torrent(data, registries, cache)
    path = user_path(source)
    if is_file(path):
        with storage_errors(path), open(path, "rb") as file:
            data = file.read(_MAX_FILE)
        if data[:1] == b"d":
            return _of_torrent(data, registries, cache)
        return _known(Wanted(parse_magnet(_first_magnet(data, path))), registries, cache)
    if _INFO_HASH.fullmatch(source):
        return _known(Wanted(MagnetLink(InfoHash.parse(source))), registries, cache)
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


def _first_magnet(data: bytes, path: Path) -> str:
    for line in data[: 1024 * 1024].decode("utf-8", "replace").splitlines():
        if looks_like_magnet(line):
            return line
    raise InvalidInput(f"{path} holds neither a torrent nor a magnet link")


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
        return Wanted(wanted.magnet, metainfo, record=record)
    magnet = _joined(wanted.magnet, entry.magnet)
    return Wanted(magnet, metainfo, entry.name, entry.revision, entry.manifest, record, entry.magnet)


def kept_metainfo(torrent: bytes | None, info_hash: InfoHash) -> Metainfo | None:
    """Read a torrent that was kept; None for one that is damaged or another: the swarm is asked instead."""
    with suppress(InvalidMetainfo):
        if torrent is not None and (metainfo := parse_metainfo(torrent)).info_hash.matches(info_hash):
            return metainfo
    return None


def _joined(pasted: MagnetLink, listed: MagnetLink) -> MagnetLink:
    """Return the pasted link with the trackers, web seeds and peers that the registry lists added."""
    return MagnetLink(
        info_hash=InfoHash(
            pasted.info_hash.v1 or listed.info_hash.v1,
            pasted.info_hash.v2 or listed.info_hash.v2,
        ),
        display_name=pasted.display_name or listed.display_name,
        exact_length=listed.exact_length or pasted.exact_length,
        trackers=tuple(dict.fromkeys((*pasted.trackers, *listed.trackers))),
        web_seeds=tuple(dict.fromkeys((*pasted.web_seeds, *listed.web_seeds))),
        peers=tuple(dict.fromkeys((*pasted.peers, *listed.peers))),
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
        return replace(wanted, name=entry.name, revision=entry.revision, manifest=entry.manifest, listed=entry.magnet)
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
