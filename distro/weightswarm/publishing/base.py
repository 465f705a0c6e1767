"""What a release was made from: a revision, and the torrent that clients may have it by (BEP 38)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from weightswarm.cache import ModelCache, load_record
from weightswarm.errors import InvalidMetainfo, NotFound
from weightswarm.magnet import InfoHash
from weightswarm.manifest import parse_manifest, parse_revision
from weightswarm.metainfo import parse_metainfo
from weightswarm.registry import Registry, RegistryEntry, find_name
from weightswarm.storage import is_file, looks_like_path, read_bounded, user_path

_MAX_TORRENT = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Base:
    """A revision (None of a torrent that carries no manifest) and its torrent's info-hash."""

    revision: str | None
    info_hash: InfoHash


def find_base(text: str, name: str | None, cache: ModelCache, registries: Sequence[Registry]) -> Base:
    """Read a torrent file, or find the torrent of a revision: among the releases of `name` in registries, and in the
    cache under any name.

    A base whose torrent is not known is refused: who publishes the same release must get the same info-hash. Raises
    `NotFound`, `InvalidInput`, `InvalidMetainfo`, `InvalidManifest`, `StorageFailure`.
    """
    path = user_path(text)
    if is_file(path):
        metainfo = parse_metainfo(read_bounded(path, _MAX_TORRENT))
        revision = None if metainfo.manifest is None else parse_manifest(metainfo.manifest).revision
        return Base(revision, metainfo.info_hash)
    if looks_like_path(text) or text.endswith(".torrent"):
        raise NotFound(f"There is no torrent file {path}")
    revision = parse_revision(text)
    with suppress(NotFound):
        if name is not None and (entry := find_name(registries, name, revision)) is not None:
            return Base(revision, _whole(entry))
    for repository in cache.repositories():
        record = load_record(repository, revision)
        if record is not None and record.info_hash is not None:
            return Base(revision, record.info_hash)
    raise NotFound(
        f"No torrent of revision {revision} is known here",
        hint="give the base's torrent file: --base FILE.torrent",
    )


def _whole(entry: RegistryEntry) -> InfoHash:
    """Return both hashes of a hybrid, of which a link may name one."""
    with suppress(InvalidMetainfo):
        if entry.torrent is not None and (found := parse_metainfo(entry.torrent).info_hash).matches(entry.info_hash):
            return found
    return entry.info_hash
