"""Signing what is published already, or renewing its signature: neither manifest nor info-hash changes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from weightswarm.cache import ModelCache, hold, load_record, save_signature
from weightswarm.errors import ContentMismatch, InvalidInput, InvalidMetainfo, NotFound, StorageFailure
from weightswarm.magnet import MagnetLink
from weightswarm.manifest import Manifest, parse_manifest, parse_reference
from weightswarm.metainfo import Metainfo, magnet_of, parse_metainfo, with_signature
from weightswarm.publishing.signed import Signer, signature_path, signed_version
from weightswarm.registry import DirectoryRegistry, RegistryEntry, find_name
from weightswarm.signing import MAX_SIGNATURE_BYTES, Signature
from weightswarm.storage import is_file, looks_like_path, read_bounded, user_path, write_atomically

_MAX_FILE = 128 * 1024 * 1024
_MANIFEST, _TORRENT = ".manifest.json", ".torrent"


@dataclass(frozen=True, slots=True)
class Resigned:
    """A manifest's new signature, the files that hold it now, and the magnet that carries it, where one is known."""

    manifest: Manifest
    signature: Signature
    written: tuple[Path, ...]
    magnet: MagnetLink | None


def sign_published(
    source: str, signer: Signer, *, cache: ModelCache, registries: Sequence[DirectoryRegistry]
) -> Resigned:
    """Sign a manifest file, a torrent file, or `org/model[@revision]` in a registry, else in the cache.

    The torrents beside a manifest that hold the same one are given the signature as well. Raises `NotFound`,
    `InvalidManifest`, `InvalidMetainfo`, `InvalidInput` where the version must be said, `ContentMismatch` for a
    registry that lists the manifest of another release, `StorageFailure`.
    """
    path = user_path(source)
    if is_file(path):
        data = read_bounded(path, _MAX_FILE)
        return _torrent(path, parse_metainfo(data), signer) if data[:1] == b"d" else _manifest(path, data, signer)
    if looks_like_path(source):
        raise NotFound(f"There is no file {source}")
    name, revision = parse_reference(source)
    for registry in registries:
        if (entry := find_name([registry], name, revision)) is not None:
            return _listed(registry, entry, signer)
    return _cached(name, revision, cache, signer)


def _torrent(path: Path, metainfo: Metainfo, signer: Signer) -> Resigned:
    if metainfo.manifest is None:
        raise InvalidInput(f"{path} carries no manifest to sign", hint="publish its files: weightswarm publish PATH")
    manifest = parse_manifest(metainfo.manifest)
    stem = path.name.removesuffix(_TORRENT).removesuffix(".v1").removesuffix(".v2")
    beside = signature_path(path.with_name(f"{stem}{_MANIFEST}"))
    signature = signer.sign_again(manifest, (metainfo.signature, _kept(beside)))
    return _written(manifest, signature, beside, [(path, metainfo)])


def _manifest(path: Path, data: bytes, signer: Signer) -> Resigned:
    manifest = parse_manifest(data)
    stem = path.name.removesuffix(_MANIFEST)
    found = []
    for kind in ("", ".v1", ".v2"):
        torrent = path.with_name(f"{stem}{kind}{_TORRENT}")
        try:
            metainfo = parse_metainfo(read_bounded(torrent, _MAX_FILE))
        except (StorageFailure, InvalidMetainfo):
            continue
        if metainfo.manifest == data:
            found.append((torrent, metainfo))
    beside = signature_path(path)
    signature = signer.sign_again(manifest, (_kept(beside), *(metainfo.signature for _, metainfo in found)))
    return _written(manifest, signature, beside, found)


def _kept(signature: Path) -> bytes | None:
    """Return the signature that is to be replaced; what cannot be one is nothing."""
    with suppress(StorageFailure):
        return read_bounded(signature, MAX_SIGNATURE_BYTES) if is_file(signature) else None
    return None


def _written(manifest: Manifest, signature: Signature, beside: Path, torrents: list[tuple[Path, Metainfo]]) -> Resigned:
    write_atomically(beside, signature.to_bytes())
    for path, metainfo in torrents:
        write_atomically(path, with_signature(metainfo, signature.to_bytes()).data)
    magnet = None
    if torrents:
        magnet = replace(magnet_of(torrents[0][1]), signature=signature.to_link_value())
    return Resigned(manifest, signature, (beside, *(path for path, _ in torrents)), magnet)


def _listed(registry: DirectoryRegistry, entry: RegistryEntry, signer: Signer) -> Resigned:
    metainfo = None if entry.torrent is None else parse_metainfo(entry.torrent)
    data = entry.manifest or (metainfo.manifest if metainfo else None)
    if data is None or entry.revision is None:
        raise NotFound(f"The registry {registry.root} has no manifest of {entry.name} to sign")
    manifest = parse_manifest(data)
    if (manifest.name, manifest.revision) != (entry.name, entry.revision):
        raise ContentMismatch(
            f"The registry {registry.root} lists {manifest.name}@{manifest.revision[:8]} as"
            f" {entry.name}@{entry.revision[:8]}",
            hint="nothing was signed; put the registry right first",
        )
    before = (entry.signature, None if metainfo is None else metainfo.signature)
    signature = signer.sign_again(manifest, before, entry.version)
    torrent = None if metainfo is None else with_signature(metainfo, signature.to_bytes()).data
    magnet = replace(entry.magnet, signature=signature.to_link_value())
    version = signed_version(signature.to_bytes())
    folder = registry.resign(
        replace(
            entry,
            magnet=magnet,
            torrent=torrent,
            signature=signature.to_bytes(),
            version=entry.version if version is None else version,
        )
    )
    return Resigned(manifest, signature, (folder,), magnet)


def _cached(name: str, revision: str | None, cache: ModelCache, signer: Signer) -> Resigned:
    repository, found = cache.resolve(name, revision)
    with hold(repository.lock):
        record = load_record(repository, found)
        if record is None:
            raise NotFound(f"The cache has no manifest of {name}@{found[:8]} to sign", hint="publish it first")
        signature = signer.sign_again(record.manifest, (record.signature,))
        save_signature(replace(record, signature=signature.to_bytes()))
    magnet = None
    if record.torrent is not None:
        magnet = replace(magnet_of(parse_metainfo(record.torrent)), signature=signature.to_link_value())
    return Resigned(record.manifest, signature, (repository.record(found),), magnet)
