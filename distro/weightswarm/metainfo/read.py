"""Reading torrents from strangers: metainfo bytes become a `Metainfo`, or an `InvalidMetainfo` that says why.

What passes here has paths that `weightswarm.manifest.check_path` allows, v1 and v2 file lists that agree, and
bounded sizes. Whether the files are the manifest's is `agreement`'s question.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard, TypeVar

from weightswarm.errors import InvalidMetainfo
from weightswarm.hashing import BLOCK
from weightswarm.magnet import InfoHash, MagnetLink, PeerAddress
from weightswarm.manifest import MAX_DEPTH, MAX_PATH_BYTES, MAX_PATHS_LENGTH, check_path, check_paths_distinct
from weightswarm.metainfo.bencode import bdecode, bdecode_with_info

_T = TypeVar("_T")

MANIFEST_KEY = b"weightswarm manifest"
"""Where the info dict carries the exact manifest bytes. Clients that do not know the key pass over it (BEP 3)."""

SIGNATURE_KEY = b"weightswarm signature"
"""Where the document, outside the info dict, carries the manifest's minisign signature: the info-hash stays."""

MAX_SIGNATURE_BYTES = 8192
MAX_BYTES = 128 * 1024 * 1024
MAX_FILES = 100_000
MAX_TOTAL_SIZE = 2**50
MAX_PIECE_LENGTH = 512 * 1024 * 1024
MAX_URLS = 256
_MAX_URL_BYTES = 4096
_MAX_COMMENT = 4096
_LENGTH_KEY = b"6:length"


@dataclass(frozen=True, slots=True)
class TorrentFile:
    """One file of a torrent: `path` below the torrent's own name, `size` in bytes, `pieces_root` hex (v2 only).

    `index` counts files in the torrent's order, pad files left out.
    """

    index: int
    path: str
    size: int
    pieces_root: str | None


@dataclass(frozen=True, slots=True)
class Metainfo:
    """A torrent. `info_bytes` is the bencoded info dict that the info-hash covers; `manifest` what it embeds.

    `v1_pieces` are 20-byte digests and `v1_spans` what they cover, in order: an index into `files` (None for a pad
    file) and a size; both are empty for v2-only torrents.
    `piece_layers` maps 32-byte roots to layers and is empty when only the info dict is known. `data` is the whole
    document as it was read; `signature` what stands beside the info dict for the manifest, checked by nobody yet.
    """

    data: bytes
    info_bytes: bytes
    info_hash: InfoHash
    name: str
    piece_length: int
    files: tuple[TorrentFile, ...]
    single_file: bool
    v1_pieces: bytes
    v1_spans: tuple[tuple[int | None, int], ...]
    piece_layers: dict[bytes, bytes]
    manifest: bytes | None
    private: bool
    trackers: tuple[str, ...]
    web_seeds: tuple[str, ...]
    comment: str | None
    signature: bytes | None = None

    @property
    def has_piece_layers(self) -> bool:
        """Whether every file's v2 pieces can be checked with what is known here; never so for v1 torrents."""
        return self.info_hash.v2 is not None and all(
            file.pieces_root is None
            or file.size <= self.piece_length
            or bytes.fromhex(file.pieces_root) in self.piece_layers
            for file in self.files
        )

    @property
    def total_size(self) -> int:
        """Bytes of all files, pad files left out."""
        return sum(file.size for file in self.files)


def parse_metainfo(data: bytes) -> Metainfo:
    """Read a `.torrent` document. Raises `InvalidMetainfo`."""
    if len(data) > MAX_BYTES:
        raise InvalidMetainfo(f"it is larger than {MAX_BYTES:,} bytes")
    _check_count(data)
    document, info_bytes = bdecode_with_info(data)
    return read_document(document, info_bytes, data)


def read_document(document: dict[bytes, Any], info_bytes: bytes, data: bytes) -> Metainfo:
    """Read a `.torrent` document that is decoded already. Raises `InvalidMetainfo`."""
    layers = document.get(b"piece layers", {})
    if not isinstance(layers, dict) or not all(isinstance(v, bytes) for v in layers.values()):
        raise InvalidMetainfo("piece layers is not a dictionary of strings")
    return _read(data, info_bytes, document, layers)


def parse_info_dict(info_bytes: bytes) -> Metainfo:
    """Read a bare info dict, as peers send it for a magnet link (BEP 9). Raises `InvalidMetainfo`."""
    if len(info_bytes) > MAX_BYTES:
        raise InvalidMetainfo(f"it is larger than {MAX_BYTES:,} bytes")
    _check_count(info_bytes)
    return _read(b"d4:info" + info_bytes + b"e", info_bytes, {b"info": bdecode(info_bytes)}, {})


def magnet_of(
    metainfo: Metainfo,
    *,
    trackers: tuple[str, ...] | None = None,
    web_seeds: tuple[str, ...] | None = None,
    peers: tuple[PeerAddress, ...] = (),
) -> MagnetLink:
    """Return the magnet link of a torrent, with its own trackers and web seeds unless others are given."""
    return MagnetLink(
        info_hash=metainfo.info_hash,
        display_name=metainfo.name,
        exact_length=metainfo.total_size,
        trackers=metainfo.trackers if trackers is None else trackers,
        web_seeds=metainfo.web_seeds if web_seeds is None else web_seeds,
        peers=peers,
    )


def _check_count(data: bytes) -> None:
    """Refuse a torrent of far too many files before each of them becomes a handful of objects."""
    # A file has a length in the v1 list, as may a pad file after it, and one in the v2 tree.
    if data.count(_LENGTH_KEY) > 3 * MAX_FILES + 100:
        raise InvalidMetainfo(f"it has more than {MAX_FILES:,} files")


def _read(data: bytes, info_bytes: bytes, document: dict[bytes, Any], layers: dict[bytes, bytes]) -> Metainfo:
    info = document[b"info"]
    if not isinstance(info, dict):
        raise InvalidMetainfo("info is not a dictionary")
    name = _text(info.get(b"name"), "its name")
    if reason := "it has a slash" if "/" in name else check_path(name):
        raise InvalidMetainfo(f"its name {name[:200]!r} is no usable file name: {reason}")
    has_v2 = b"meta version" in info
    if has_v2 and info[b"meta version"] != 2:
        raise InvalidMetainfo("its meta version is not known here, only 2")
    has_v1 = b"pieces" in info
    if not has_v1 and not has_v2:
        raise InvalidMetainfo("it has neither v1 pieces nor a v2 file tree")
    piece_length = info.get(b"piece length")
    if type(piece_length) is not int or not 1024 <= piece_length <= MAX_PIECE_LENGTH:
        raise InvalidMetainfo("its piece length is out of bounds")
    if has_v2 and (piece_length < BLOCK or piece_length & (piece_length - 1)):
        raise InvalidMetainfo("its piece length is not a power of two of 16 KiB or more, as BEP 52 demands")
    files = _files(info, name, has_v1, has_v2)
    manifest = info.get(MANIFEST_KEY)
    if manifest is not None and not isinstance(manifest, bytes):
        raise InvalidMetainfo("its manifest is not a string")
    pieces = info.get(b"pieces", b"")
    if not isinstance(pieces, bytes) or len(pieces) % 20:
        raise InvalidMetainfo("its v1 pieces are not a string of 20-byte digests")
    spans = _v1_spans(info, name) if has_v1 else ()
    if has_v1 and len(pieces) // 20 != -(-sum(size for _, size in spans) // piece_length):
        raise InvalidMetainfo("its v1 pieces do not cover its files")
    return Metainfo(
        data=data,
        info_bytes=info_bytes,
        info_hash=InfoHash(
            v1=hashlib.sha1(info_bytes, usedforsecurity=False).hexdigest() if has_v1 else None,
            v2=hashlib.sha256(info_bytes).hexdigest() if has_v2 else None,
        ),
        name=name,
        piece_length=piece_length,
        files=files,
        single_file=len(files) == 1 and files[0].path == name and b"files" not in info,
        v1_pieces=pieces,
        v1_spans=spans,
        piece_layers=layers,
        manifest=manifest,
        private=info.get(b"private") == 1,
        trackers=_trackers(document),
        web_seeds=_urls(document.get(b"url-list", [])),
        comment=_optional_text(document.get(b"comment")),
        signature=_signature(document.get(SIGNATURE_KEY)),
    )


def _files(info: dict[bytes, Any], name: str, has_v1: bool, has_v2: bool) -> tuple[TorrentFile, ...]:
    v2 = list(_bounded(_tree_entries(info.get(b"file tree")))) if has_v2 else []
    v1 = [(path, size) for path, size, _ in _bounded(e for e in _v1_entries(info, name) if not e[2])] if has_v1 else []
    if has_v1 and has_v2 and v1 != [(path, size) for path, size, _ in v2]:
        raise InvalidMetainfo("its v1 and v2 file lists differ")
    entries = v2 if has_v2 else [(path, size, None) for path, size in v1]
    if not entries:
        raise InvalidMetainfo("it has no files")
    for path, size, _ in entries:
        if reason := check_path(path):
            raise InvalidMetainfo(f"{path[:200]!r}: {reason}")
        if not 0 <= size <= MAX_TOTAL_SIZE:
            raise InvalidMetainfo(f"{path[:200]!r}: its size is out of bounds")
    if collision := check_paths_distinct(path for path, _, _ in entries):
        raise InvalidMetainfo(f"{collision[0][:200]!r} {collision[1]}")
    if sum(size for _, size, _ in entries) > MAX_TOTAL_SIZE:
        raise InvalidMetainfo("its files are larger than 2^50 bytes together")
    return tuple(TorrentFile(i, path, size, root) for i, (path, size, root) in enumerate(entries))


def _bounded(entries: Iterator[tuple[str, int, _T]]) -> Iterator[tuple[str, int, _T]]:
    """Pass entries on while they are no more, and their paths no longer, than a release's."""
    length = 0
    for count, entry in enumerate(entries, 1):
        length += len(entry[0])
        if count > MAX_FILES:
            raise InvalidMetainfo(f"it has more than {MAX_FILES:,} files")
        if length > MAX_PATHS_LENGTH:
            raise InvalidMetainfo(f"its paths are longer than {MAX_PATHS_LENGTH:,} characters together")
        yield entry


def _v1_spans(info: dict[bytes, Any], name: str) -> tuple[tuple[int | None, int], ...]:
    counter = itertools.count()
    return tuple((None if pad else next(counter), size) for _, size, pad in _v1_entries(info, name))


def _v1_entries(info: dict[bytes, Any], name: str) -> Iterator[tuple[str, int, bool]]:
    """Yield path, size and whether it is a pad file (BEP 47), in the order of the v1 list."""
    if b"files" not in info:
        yield name, _size(info.get(b"length"), name), False
        return
    if not isinstance(info[b"files"], list):
        raise InvalidMetainfo("its v1 file list is not a list")
    if len(info[b"files"]) > 2 * MAX_FILES:  # a pad file after each
        raise InvalidMetainfo(f"it has more than {MAX_FILES:,} files")
    for item in info[b"files"]:
        if not isinstance(item, dict) or not isinstance(item.get(b"path"), list):
            raise InvalidMetainfo("a v1 file entry has no path")
        attributes = item.get(b"attr", b"")
        if not isinstance(attributes, bytes) or b"l" in attributes or b"symlink path" in item:
            raise InvalidMetainfo("it holds a symbolic link")
        path = "/".join(_component(component) for component in item[b"path"][: MAX_DEPTH + 1])
        yield path, _size(item.get(b"length"), path), b"p" in attributes


def _tree_entries(tree: Any) -> Iterator[tuple[str, int, str | None]]:
    """Yield path, size and root in the file tree's own order (BEP 52): folders in place, keys sorted by bytes."""
    folders = [_folder("", tree)]
    while folders:
        for path, node in folders[-1]:
            if not isinstance(node, dict) or b"" not in node:
                folders.append(_folder(f"{path}/", node))
                break
            if len(node) != 1:
                raise InvalidMetainfo(f"{path[:200]!r} is a file and a folder")
            yield path, *_tree_leaf(node[b""], path)
        else:
            folders.pop()


def _folder(prefix: str, node: Any) -> Iterator[tuple[str, Any]]:
    """Yield the path and node of everything in a folder of the file tree; one path at a time is held."""
    if not isinstance(node, dict) or not node:
        raise InvalidMetainfo("its file tree is malformed")
    if len(prefix) > MAX_PATH_BYTES:
        raise InvalidMetainfo(f"{prefix[:200]!r}: the path is longer than {MAX_PATH_BYTES} bytes")
    for key in sorted(node):
        yield prefix + _component(key), node[key]


def _component(value: Any) -> str:
    component = _text(value, "a path")
    if not component or "/" in component:
        raise InvalidMetainfo("a path component is empty or has a slash")
    return component


def _tree_leaf(leaf: Any, path: str) -> tuple[int, str | None]:
    if not isinstance(leaf, dict):
        raise InvalidMetainfo("its file tree is malformed")
    attributes = leaf.get(b"attr", b"")
    if not isinstance(attributes, bytes) or b"l" in attributes or b"symlink path" in leaf:
        raise InvalidMetainfo("it holds a symbolic link")
    size = _size(leaf.get(b"length"), path)
    root = leaf.get(b"pieces root")
    if size == 0:
        return 0, None
    if not isinstance(root, bytes) or len(root) != 32:
        raise InvalidMetainfo(f"{path[:200]!r} has no pieces root of 32 bytes")
    return size, root.hex()


def _size(value: Any, path: str) -> int:
    if type(value) is not int or value < 0:
        raise InvalidMetainfo(f"{path[:200]!r} has no valid length")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, bytes):
        raise InvalidMetainfo(f"{what} is missing or not a string")
    if len(value) > MAX_PATH_BYTES:
        raise InvalidMetainfo(f"{what} is longer than {MAX_PATH_BYTES} bytes: {value[:80]!r}…")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidMetainfo(f"{what} is not UTF-8: {value[:80]!r}") from None


def _signature(value: Any) -> bytes | None:
    return value if isinstance(value, bytes) and len(value) <= MAX_SIGNATURE_BYTES else None


def _optional_text(value: Any) -> str | None:
    return value[: 4 * _MAX_COMMENT].decode("utf-8", "replace")[:_MAX_COMMENT] if isinstance(value, bytes) else None


def _trackers(document: dict[bytes, Any]) -> tuple[str, ...]:
    tiers = document.get(b"announce-list")
    flat = [url for tier in tiers if isinstance(tier, list) for url in tier] if isinstance(tiers, list) else []
    return _urls(flat or [document.get(b"announce")])


def _urls(value: Any) -> tuple[str, ...]:
    values = [value] if isinstance(value, bytes) else value if isinstance(value, list) else []
    usable: dict[str, None] = {}
    for text in (v.decode("utf-8", "replace").strip() for v in values if _is_short(v)):
        if "://" in text and text.isprintable():
            usable[text] = None
        if len(usable) == MAX_URLS:
            break
    return tuple(usable)


def _is_short(value: Any) -> TypeGuard[bytes]:
    return isinstance(value, bytes) and len(value) <= _MAX_URL_BYTES
