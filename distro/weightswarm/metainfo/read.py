"""Reading torrents from strangers: metainfo bytes become a `Metainfo`, or an `InvalidMetainfo` that says why.

What passes here has paths that `weightswarm.manifest.check_path` allows, v1 and v2 file lists that agree, and
bounded sizes. Whether the files are the manifest's is `agreement`'s question.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, TypeGuard

from weightswarm.errors import InvalidMetainfo
from weightswarm.hashing import BLOCK
from weightswarm.magnet import InfoHash, MagnetLink, PeerAddress
from weightswarm.metainfo.bencode import bdecode, bdecode_with_info
from weightswarm.metainfo.file_list import MAX_FILES, TorrentFile, codec_of, read_files, read_name

MANIFEST_KEY = b"weightswarm manifest"
"""Where the info dict carries the exact manifest bytes. Clients that do not know the key pass over it (BEP 3)."""

SIGNATURE_KEY = b"weightswarm signature"
"""Where the document, outside the info dict, carries the manifest's minisign signature: the info-hash stays."""

SIMILAR_KEY = b"similar"
"""Where the info dict, or the document, names torrents that may share files (BEP 38)."""

MAX_SIMILAR = 64
MAX_SIGNATURE_BYTES = 8192
MAX_BYTES = 128 * 1024 * 1024
MAX_PIECE_LENGTH = 512 * 1024 * 1024
MAX_URLS = 256
_MAX_URL_BYTES = 4096
_MAX_COMMENT = 4096
_LENGTH_KEY = b"6:length"


@dataclass(frozen=True, slots=True)
class Metainfo:
    """A torrent. `info_bytes` is the bencoded info dict that the info-hash covers; `manifest` what it embeds.

    `v1_pieces` are 20-byte digests and `v1_spans` what they cover, in order: an index into `files` (None for a pad
    file) and a size; both are empty for v2-only torrents.
    `piece_layers` maps 32-byte roots to layers and is empty when only the info dict is known. `data` is the whole
    document as it was read; `signature` what stands beside the info dict for the manifest, checked by nobody yet.
    `similar` names torrents that may share files (BEP 38), by 40 hex digits each: a v1 info-hash, or a v2 one's first.
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
    similar: tuple[str, ...] = ()

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
    codec = codec_of(document.get(b"encoding"))
    name = read_name(info, codec)
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
    files, spans = read_files(info, name, codec, has_v1=has_v1, has_v2=has_v2)
    manifest = info.get(MANIFEST_KEY)
    if manifest is not None and not isinstance(manifest, bytes):
        raise InvalidMetainfo("its manifest is not a string")
    pieces = info.get(b"pieces", b"")
    if not isinstance(pieces, bytes) or len(pieces) % 20:
        raise InvalidMetainfo("its v1 pieces are not a string of 20-byte digests")
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
        private=_is_private(info.get(b"private")),
        trackers=_trackers(document),
        web_seeds=_urls(document.get(b"url-list", [])),
        comment=_optional_text(document.get(b"comment")),
        signature=_signature(document.get(SIGNATURE_KEY)),
        similar=_similar(info.get(SIMILAR_KEY), document.get(SIMILAR_KEY)),
    )


def _is_private(value: Any) -> bool:
    """BEP 27 says 1; who writes another number wants nothing else, and libtorrent takes it so."""
    return type(value) is int and value != 0


def _similar(*lists: Any) -> tuple[str, ...]:
    """Read the lists inside and outside the info dict, which count as one."""
    values = (value for each in lists if isinstance(each, list) for value in each[:MAX_SIMILAR])
    digests = (value.hex() for value in values if isinstance(value, bytes) and len(value) == 20)
    return tuple(dict.fromkeys(digests))[:MAX_SIMILAR]


def _signature(value: Any) -> bytes | None:
    return value if isinstance(value, bytes) and len(value) <= MAX_SIGNATURE_BYTES else None


def _optional_text(value: Any) -> str | None:
    return value[: 4 * _MAX_COMMENT].decode("utf-8", "replace")[:_MAX_COMMENT] if isinstance(value, bytes) else None


def _trackers(document: dict[bytes, Any]) -> tuple[str, ...]:
    tiers = document.get(b"announce-list")
    flat = [url for tier in tiers if isinstance(tier, list) for url in tier] if isinstance(tiers, list) else []
    # Some makers write a list of one empty text beside the one tracker.
    return _urls(flat) or _urls([document.get(b"announce")])


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
