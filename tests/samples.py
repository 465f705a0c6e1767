"""Small releases made from bytes, what libtorrent makes of them, and hypothesis strategies for names and paths."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libtorrent as lt
from hypothesis import settings
from hypothesis import strategies as st

from weightswarm.hashing import TreeHashes, hash_tree
from weightswarm.manifest import FileEntry, Manifest, check_path, check_paths_distinct, with_revision
from weightswarm.metainfo import Metainfo, TorrentOptions, TorrentVersion, bdecode, build_metainfo, v1_layout

# The same examples on every run, so that only a change can break one; no deadline, since cores are shared.
# PROPERTY_EXAMPLES=5000 goes looking for new ones.
_EXAMPLES = os.environ.get("PROPERTY_EXAMPLES")
PROPERTY = settings(deadline=None, derandomize=_EXAMPLES is None, max_examples=int(_EXAMPLES or 100))

TINY = {
    "config.json": b'{"model_type": "tiny"}\n',
    "empty.txt": b"",
    "model.safetensors": bytes(range(256)) * 200,
    "tokenizer/merges.txt": b"#version: 0.2\n",
    "tokenizer/vocab.txt": b"tiny\n" * 4000,
}
GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True, slots=True)
class Sample:
    """A release of files below `root`."""

    root: Path
    manifest: Manifest
    hashes: TreeHashes
    metainfo: Metainfo


def path_key(path: str) -> list[bytes]:
    """The order of files in a release."""
    return [component.encode() for component in path.split("/")]


def write_files(root: Path, contents: Mapping[str, bytes]) -> Path:
    """Write the files, with the folders they need."""
    for path, data in contents.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return root


def make_sample(
    folder: Path,
    contents: Mapping[str, bytes],
    version: TorrentVersion = TorrentVersion.HYBRID,
    *,
    name: str = "test-org/tiny",
    piece_length: int = 32 * 1024,
    options: TorrentOptions | None = None,
) -> Sample:
    """Make a release of `contents`, written below `folder` in a folder named after the model."""
    root = write_files(folder / name.partition("/")[2], contents)
    paths = sorted(contents, key=path_key)
    hashes = hash_tree(
        [(root / path, len(contents[path])) for path in paths], piece_length=piece_length, v1_layout=v1_layout(version)
    )
    entries = tuple(
        FileEntry(path, hashed.size, hashed.sha256.hex(), hashed.pieces_root.hex() if hashed.pieces_root else None)
        for path, hashed in zip(paths, hashes.files, strict=True)
    )
    manifest = with_revision(Manifest(name, "", entries), None)
    return Sample(root, manifest, hashes, build_metainfo(manifest, hashes, version, options or TorrentOptions()))


_FLAGS = {
    TorrentVersion.HYBRID: lt.create_torrent.canonical_files_no_tail_padding,
    TorrentVersion.V1: lt.create_torrent.v1_only,
    TorrentVersion.V2: lt.create_torrent.v2_only | lt.create_torrent.canonical_files_no_tail_padding,
}


def torrent_by_libtorrent(root: Path, version: TorrentVersion, piece_length: int = 32 * 1024) -> bytes:
    """The bytes of a torrent that libtorrent makes of a file or folder."""
    # It leaves the order of files to its caller, who has to take that of the v2 file tree.
    files = sorted(lt.list_files(str(root)), key=lambda entry: path_key(entry.filename))
    creator = lt.create_torrent(files, piece_length, flags=_FLAGS[version])
    lt.set_piece_hashes(creator, str(root.parent), lambda _piece: None)
    return lt.bencode(creator.generate())


def read_by_libtorrent(torrent: bytes) -> tuple[str | None, str | None, list[tuple[str, int]]]:
    """The v1 and v2 info-hash, and the paths and sizes of files but pad files, as libtorrent reads them."""
    info = lt.torrent_info(torrent)
    hashes, files = info.info_hashes(), info.layout()
    listed = [
        (files.file_path(i), files.file_size(i))
        for i in range(files.num_files())
        if not files.file_flags(i) & lt.file_storage.flag_pad_file
    ]
    return (
        str(hashes.v1) if hashes.has_v1() else None,
        str(hashes.v2) if hashes.has_v2() else None,
        listed,
    )


def info_of(torrent: bytes) -> dict[bytes, Any]:
    """The info dict of a torrent."""
    info: dict[bytes, Any] = bdecode(torrent)[b"info"]
    return info


_ORDINARY = ("config.json", "model-00001-of-00002.safetensors", "tokenizer", "weights", "Größe.bin", "模型", ".hidden")


def path_components() -> st.SearchStrategy[str]:
    """Names that a release may hold, ordinary and odd."""
    characters = st.characters(exclude_categories=["C", "Zl", "Zp"], exclude_characters="/\\:")
    odd = st.text(characters, min_size=1, max_size=12)
    return st.one_of(st.sampled_from(_ORDINARY), odd.filter(lambda name: check_path(name) is None))


def release_paths(max_size: int = 8) -> st.SearchStrategy[list[str]]:
    """Distinct paths that one release may hold, in the order of a release."""
    paths = st.lists(path_components(), min_size=1, max_size=4).map("/".join)
    return (
        st.lists(paths, min_size=1, max_size=max_size, unique=True)
        .filter(lambda chosen: check_paths_distinct(chosen) is None)
        .map(lambda chosen: sorted(chosen, key=path_key))
    )


def hex_digits(count: int) -> st.SearchStrategy[str]:
    """Lower-case hex of that many digits."""
    return st.binary(min_size=count // 2, max_size=count // 2).map(bytes.hex)
