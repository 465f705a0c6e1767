"""What the user asked for: a magnet, a torrent, a name or an info-hash becomes one `Wanted`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from weightswarm.cache import ModelCache, ReleaseRecord, find_by_info_hash, load_record
from weightswarm.errors import InvalidInput, NotFound
from weightswarm.magnet import InfoHash, MagnetLink, looks_like_magnet, parse_magnet
from weightswarm.manifest import parse_model_name
from weightswarm.metainfo import Metainfo, magnet_of, parse_metainfo
from weightswarm.registry import DirectoryRegistry, download_metainfo, find_info_hash, find_name
from weightswarm.storage import storage_errors

_MAX_FILE = 128 * 1024 * 1024
_INFO_HASH = re.compile(r"[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64}|[A-Z2-7]{32}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A release to fetch. `name` is set only when somebody the user chose vouches for it: a registry.

    `manifest` is what that registry says the files are; a torrent that says otherwise is refused. `record` is the
    same torrent's release in the cache, where it is there already, whole or in part.
    """

    magnet: MagnetLink
    metainfo: Metainfo | None = None
    name: str | None = None
    manifest: bytes | None = None
    record: ReleaseRecord | None = None


def resolve_source(
    source: str,
    *,
    registries: Sequence[DirectoryRegistry],
    cache: ModelCache,
    timeout: float,
    loopback_only: bool,
) -> Wanted:
    """Read a source: magnet, `.torrent` path or URL, file holding a magnet, info-hash, or `org/model[@revision]`.

    Only a URL is asked over the network, for `timeout` seconds at most. Raises `InvalidInput`, `InvalidMetainfo`,
    `NotFound`, `NetworkFailure`, `StorageFailure`.
    """
    source = source.strip()
    if looks_like_magnet(source):
        return _known(Wanted(parse_magnet(source)), registries, cache)
    if source.lower().startswith(("http://", "https://")):
        data = download_metainfo(source, timeout=timeout, loopback_only=loopback_only)
        return _of_torrent(data, registries, cache)
    path = Path(source).expanduser()
    if _is_file(path):
        with storage_errors(path), open(path, "rb") as file:
            data = file.read(_MAX_FILE)
        if data[:1] == b"d":
            return _of_torrent(data, registries, cache)
        return _known(Wanted(parse_magnet(_first_magnet(data, path))), registries, cache)
    if _INFO_HASH.fullmatch(source):
        return _known(Wanted(MagnetLink(InfoHash.parse(source))), registries, cache)
    return _of_name(source, registries, cache)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _first_magnet(data: bytes, path: Path) -> str:
    for line in data[: 1024 * 1024].decode("utf-8", "replace").splitlines():
        if looks_like_magnet(line):
            return line
    raise InvalidInput(f"{path} holds neither a torrent nor a magnet link")


def _of_torrent(data: bytes, registries: Sequence[DirectoryRegistry], cache: ModelCache) -> Wanted:
    metainfo = parse_metainfo(data)
    return _known(Wanted(magnet_of(metainfo), metainfo), registries, cache)


def _known(wanted: Wanted, registries: Sequence[DirectoryRegistry], cache: ModelCache) -> Wanted:
    """Add what a registry and the cache know of the torrent."""
    entry = find_info_hash(registries, wanted.magnet.info_hash)
    record = find_by_info_hash(cache, wanted.magnet.info_hash)
    metainfo = wanted.metainfo or _metainfo_of(entry.torrent if entry else None)
    metainfo = metainfo or _metainfo_of(record.torrent if record else None)
    if entry is None:
        return Wanted(wanted.magnet, metainfo, record=record)
    return Wanted(_joined(wanted.magnet, entry.magnet), metainfo, entry.name, entry.manifest, record)


def _metainfo_of(torrent: bytes | None) -> Metainfo | None:
    return None if torrent is None else parse_metainfo(torrent)


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


def _of_name(source: str, registries: Sequence[DirectoryRegistry], cache: ModelCache) -> Wanted:
    name, _, revision = source.partition("@")
    try:
        parse_model_name(name)
    except InvalidInput:
        raise InvalidInput(
            f"Cannot tell what to fetch from: {source[:120]}",
            hint="give a magnet link in quotes, a .torrent file or URL, an info-hash, or org/model[@revision]",
        ) from None
    entry = find_name(registries, name, revision or None)
    if entry is not None:
        wanted = _known(Wanted(entry.magnet, _metainfo_of(entry.torrent)), registries, cache)
        return Wanted(wanted.magnet, wanted.metainfo, entry.name, entry.manifest, wanted.record)
    record = _cached(name, revision or None, cache)
    if record is None or record.info_hash is None:
        raise NotFound(
            f"No registry knows {source}, and it is not in the model cache",
            hint="paste its magnet link, or add a registry with --registry DIR",
        )
    return Wanted(MagnetLink(record.info_hash), _metainfo_of(record.torrent), name, None, record)


def _cached(name: str, revision: str | None, cache: ModelCache) -> ReleaseRecord | None:
    try:
        repository, found = cache.resolve(name, revision)
    except NotFound:
        return None
    return load_record(repository, found)
