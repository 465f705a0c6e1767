"""The files of an info dict: v1 lists and v2 trees of strangers, read within bounds, pad files told apart.

Names are UTF-8, as BEP 3 has them. Older v1 makers wrote their system's own bytes, and beside them `name.utf-8` and
`path.utf-8`, or said outside the info dict what `encoding` those are in: both are read, and nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from weightswarm.errors import InvalidMetainfo
from weightswarm.manifest import MAX_DEPTH, MAX_PATH_BYTES, MAX_PATHS_LENGTH, check_path, check_paths_distinct

_T = TypeVar("_T")

MAX_FILES = 100_000
MAX_TOTAL_SIZE = 2**50
_PLAIN = re.compile(rb"[A-Za-z0-9_.-]{1,255}+")
"""Components that need no closer look, most by far: they are UTF-8, without a slash, and short."""

_BITCOMET_PAD = b"_____padding_file_"
"""What BitComet names pad files, and names nothing else: it had them before BEP 47 gave them an attribute."""

_ENCODINGS = {
    "big5": "big5hkscs",
    "cp1250": "cp1250",
    "cp1251": "cp1251",
    "cp1252": "cp1252",
    "cp932": "cp932",
    "cp936": "gb18030",
    "cp949": "cp949",
    "eucjp": "euc_jp",
    "euckr": "cp949",
    "gb18030": "gb18030",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "iso88591": "latin_1",
    "iso885915": "iso8859_15",
    "koi8r": "koi8_r",
    "latin1": "latin_1",
    "shiftjis": "cp932",
    "sjis": "cp932",
    "windows1250": "cp1250",
    "windows1251": "cp1251",
    "windows1252": "cp1252",
}
"""Python's codecs for what torrents call their `encoding`, in lower case without `-` and `_`."""


@dataclass(frozen=True, slots=True)
class TorrentFile:
    """One file of a torrent: `path` below the torrent's own name, `size` in bytes, `pieces_root` hex (v2 only).

    `index` counts files in the torrent's order, pad files left out.
    """

    index: int
    path: str
    size: int
    pieces_root: str | None


def codec_of(encoding: Any) -> str | None:
    """Return the codec of a document's `encoding`; None for UTF-8, and for what is not known here."""
    if not isinstance(encoding, bytes) or len(encoding) > 40:
        return None
    return _ENCODINGS.get(encoding.decode("latin_1").lower().replace("-", "").replace("_", ""))


def read_name(info: dict[bytes, Any], codec: str | None) -> str:
    """Return the torrent's own name. Raises `InvalidMetainfo` unless it could name a file."""
    name = _text(info.get(b"name.utf-8", info.get(b"name")), "its name", codec)
    if reason := "it has a slash" if "/" in name else check_path(name):
        raise InvalidMetainfo(f"its name {name[:200]!r} is no usable file name: {reason}")
    return name


Spans = tuple[tuple[int | None, int], ...]
"""What v1 pieces cover, in order: the index of a file, None for a pad file, and a size."""


def read_files(
    info: dict[bytes, Any], name: str, codec: str | None, *, has_v1: bool, has_v2: bool
) -> tuple[tuple[TorrentFile, ...], Spans]:
    """Return the files but pad files, in the torrent's order, and what its v1 pieces cover.

    Raises `InvalidMetainfo`: for paths that a release may not hold, sizes and counts out of bounds, v1 and v2 lists
    that differ.
    """
    v2 = list(_bounded(_tree_entries(info.get(b"file tree")))) if has_v2 else []
    spans: list[tuple[int | None, int]] = []
    v1 = [(path, size) for path, size, _ in _bounded(_v1_entries(info, name, codec, spans))] if has_v1 else []
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
    if collision := check_paths_distinct([path for path, _, _ in entries]):
        raise InvalidMetainfo(f"{collision[0][:200]!r} {collision[1]}")
    if sum(size for _, size, _ in entries) > MAX_TOTAL_SIZE:
        raise InvalidMetainfo("its files are larger than 2^50 bytes together")
    files = tuple(TorrentFile(i, path, size, root) for i, (path, size, root) in enumerate(entries))
    return files, tuple(spans)


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


def _v1_entries(
    info: dict[bytes, Any], name: str, codec: str | None, spans: list[tuple[int | None, int]]
) -> Iterator[tuple[str, int, None]]:
    """Yield path and size in the order of the v1 list, and append to `spans` what is there, pad files (BEP 47) too."""
    if b"files" not in info:
        size = _size(info.get(b"length"), name)
        spans.append((0, size))
        yield name, size, None
        return
    if not isinstance(info[b"files"], list):
        raise InvalidMetainfo("its v1 file list is not a list")
    if len(info[b"files"]) > 2 * MAX_FILES:  # a pad file after each
        raise InvalidMetainfo(f"it has more than {MAX_FILES:,} files")
    count = 0
    for item in info[b"files"]:
        if not isinstance(item, dict):
            raise InvalidMetainfo("a v1 file entry is not a dictionary")
        if (plain := _plain_v1(item)) is not None:
            spans.append((count, plain[1]))
            count += 1
            yield plain
            continue
        parts = item.get(b"path.utf-8", item.get(b"path"))
        if _is_pad(item, parts):
            # It has no place on disk, so its path is nobody's: some makers write none.
            spans.append((None, _size(item.get(b"length"), "a pad file")))
            continue
        if not isinstance(parts, list):
            raise InvalidMetainfo("a v1 file entry has no path")
        path = "/".join([_component(component, codec) for component in parts[: MAX_DEPTH + 1]])
        _refuse_link(item, path)
        size = _size(item.get(b"length"), path)
        spans.append((count, size))
        count += 1
        yield path, size, None


def _plain_v1(item: dict[bytes, Any]) -> tuple[str, int, None] | None:
    """Read an entry of a plain name and a length, and nothing beside, as most are; None for any other."""
    size, parts = item.get(b"length"), item.get(b"path")
    if len(item) != 2 or type(size) is not int or size < 0 or type(parts) is not list or len(parts) != 1:
        return None
    name = parts[0]
    if type(name) is not bytes or not _PLAIN.fullmatch(name) or _BITCOMET_PAD in name:
        return None
    return name.decode(), size, None


def _is_pad(item: dict[bytes, Any], parts: Any) -> bool:
    attributes = item.get(b"attr", b"")
    if isinstance(attributes, bytes) and b"p" in attributes:
        return b"l" not in attributes and b"symlink path" not in item
    if isinstance(parts, list):
        for part in parts:
            if isinstance(part, bytes) and _BITCOMET_PAD in part:
                return True
    return False


def _refuse_link(entry: dict[bytes, Any], path: str) -> None:
    attributes = entry.get(b"attr", b"")
    if not isinstance(attributes, bytes) or b"l" in attributes or b"symlink path" in entry:
        raise InvalidMetainfo(f"it holds a symbolic link, {path[:200]!r}: only files can be verified")


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


def _component(value: Any, codec: str | None = None) -> str:
    if isinstance(value, bytes) and _PLAIN.fullmatch(value):
        return value.decode()
    component = _text(value, "a path", codec)
    if not component or "/" in component:
        raise InvalidMetainfo("a path component is empty or has a slash")
    return component


def _tree_leaf(leaf: Any, path: str) -> tuple[int, str | None]:
    if not isinstance(leaf, dict):
        raise InvalidMetainfo("its file tree is malformed")
    length, root = leaf.get(b"length"), leaf.get(b"pieces root")
    if len(leaf) == 2 and type(length) is int and length > 0 and type(root) is bytes and len(root) == 32:
        return length, root.hex()  # as most are, and nothing beside
    _refuse_link(leaf, path)
    size = _size(length, path)
    if size == 0:
        return 0, None
    if not isinstance(root, bytes) or len(root) != 32:
        raise InvalidMetainfo(f"{path[:200]!r} has no pieces root of 32 bytes")
    return size, root.hex()


def _size(value: Any, path: str) -> int:
    if type(value) is not int or value < 0:
        raise InvalidMetainfo(f"{path[:200]!r} has no valid length")
    return value


def _text(value: Any, what: str, codec: str | None) -> str:
    if not isinstance(value, bytes):
        raise InvalidMetainfo(f"{what} is missing or not a string")
    if len(value) > MAX_PATH_BYTES:
        raise InvalidMetainfo(f"{what} is longer than {MAX_PATH_BYTES} bytes: {value[:80]!r}…")
    try:
        return value.decode()
    except UnicodeDecodeError:
        return _of_another_encoding(value, what, codec)


def _of_another_encoding(value: bytes, what: str, codec: str | None) -> str:
    try:
        return value.decode(codec or "ascii")
    except UnicodeDecodeError:
        raise InvalidMetainfo(f"{what} is not UTF-8, and nothing says what else it is: {value[:80]!r}") from None
