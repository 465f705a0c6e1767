"""From a release in a folder to its line in the index: what it holds is parsed and must agree with itself."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from pathlib import Path

from weightswarm.errors import InvalidInput
from weightswarm.manifest import Manifest, parse_manifest
from weightswarm.metainfo import Metainfo, parse_metainfo
from weightswarm.registry.entry import RegistryEntry
from weightswarm.registry.index import MAX_DESCRIPTION, MAX_LICENSE
from weightswarm.registry.listing import ABOUT, MAGNET, MANIFEST, SIGNATURE, TORRENT, Document, ListedRelease
from weightswarm.storage import hold_lock, make_real_folder

_LOCK = ".index.lock"
_LOCK_SECONDS = 120.0


def index_lock(root: Path) -> AbstractContextManager[None]:
    """Keep others from adding releases to the registry in `root`, waiting for who does so now."""
    make_real_folder(root)
    return hold_lock(root / _LOCK, root, timeout=_LOCK_SECONDS)


def listed(entry: RegistryEntry, magnet: bytes, *, is_main: bool) -> ListedRelease:
    """Return what an index says of a release whose `magnet.txt` holds `magnet`.

    Raises `InvalidManifest`, `InvalidMetainfo`, or `InvalidInput` where name, revision, manifest, torrent and magnet
    do not belong together.
    """
    manifest = None if entry.manifest is None else parse_manifest(entry.manifest)
    metainfo = None if entry.torrent is None else parse_metainfo(entry.torrent)
    _check(entry, manifest, metainfo)
    documents = {
        MAGNET: magnet,
        MANIFEST: entry.manifest,
        SIGNATURE: entry.signature,
        TORRENT: entry.torrent,
        ABOUT: entry.about,
    }
    size, files = entry.magnet.exact_length, None
    if manifest is not None:
        size, files = manifest.total_size, len(manifest.files)
    elif metainfo is not None:
        size, files = sum(file.size for file in metainfo.files), len(metainfo.files)
    return ListedRelease(
        name=entry.name,
        revision=entry.revision,
        info_hash=entry.info_hash if metainfo is None else metainfo.info_hash,
        documents={name: _document(data) for name, data in documents.items() if data},
        version=entry.version,
        size=size,
        files=files,
        license=_cut(manifest.license, MAX_LICENSE) if manifest else None,
        description=_cut(manifest.description, MAX_DESCRIPTION) if manifest else None,
        created=manifest.created if manifest else None,
        is_main=is_main,
    )


def _check(entry: RegistryEntry, manifest: Manifest | None, metainfo: Metainfo | None) -> None:
    if manifest is not None and (manifest.name, manifest.revision) != (entry.name, entry.revision):
        raise InvalidInput(f"its manifest is for {manifest.name}@{manifest.revision[:8]}")
    if metainfo is not None and not metainfo.info_hash.matches(entry.info_hash):
        raise InvalidInput(f"its magnet is not that of its {TORRENT}")
    if metainfo is not None and entry.revision is None and metainfo.info_hash != entry.info_hash:
        raise InvalidInput(f"its magnet has not every info-hash of its {TORRENT}")
    if metainfo is not None and None not in (entry.manifest, metainfo.manifest) and metainfo.manifest != entry.manifest:
        raise InvalidInput(f"its {TORRENT} carries another manifest")


def _document(data: bytes) -> Document:
    return Document(hashlib.sha256(data).hexdigest(), len(data))


def _cut(text: str | None, limit: int) -> str | None:
    return text if text is None or len(text) <= limit else f"{text[: limit - 1]}…"
