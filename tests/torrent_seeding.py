"""A plain client that seeds a torrent of others, and fetching it from there in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import weightswarm
from hostile import LOOPBACK, NAME, contents, serving
from samples import path_key
from weightswarm import FetchOptions
from weightswarm.hashing import V1Layout, hash_tree
from weightswarm.magnet import parse_magnet
from weightswarm.manifest import FileEntry, Manifest, with_revision
from weightswarm.metainfo import Metainfo

_ANY_PIECE_LENGTH = 16 * 1024


def manifest_of(folder: Path, files: Mapping[str, bytes]) -> Manifest:
    """Return the manifest of files, as their publisher would give it: made of the files, without any torrent."""
    paths = sorted(files, key=path_key)
    hashes = hash_tree(
        [(folder / path, len(files[path])) for path in paths], piece_length=_ANY_PIECE_LENGTH, v1_layout=V1Layout.NONE
    ).files
    entries = tuple(
        FileEntry(path, h.size, h.sha256.hex(), h.pieces_root.hex() if h.pieces_root else None)
        for path, h in zip(paths, hashes, strict=True)
    )
    return with_revision(Manifest(NAME, "", entries), None)


@contextmanager
def seeded(metainfo: Metainfo, folder: Path) -> Iterator[tuple[str, FetchOptions]]:
    """Seed a torrent by a plain libtorrent session; yield its magnet, and options that name the peer."""
    with serving(metainfo, [folder / file.path for file in metainfo.files]) as magnet:
        peer = parse_magnet(magnet).peers[0]
        yield magnet, FetchOptions(name=NAME, timeout=20, network=replace(LOOPBACK, peers=(peer,)))


def fetched(source: str | Path, hub: Path, options: FetchOptions) -> dict[str, bytes]:
    """Fetch into a cache of its own and return the files."""
    return contents(weightswarm.fetch(str(source), cache_dir=hub, options=options).path)
