"""Building torrents: hybrid, v1-only or v2-only info dicts from hashes, with the manifest embedded.

Nothing under the info-hash depends on a clock, a machine or a path: equal releases give equal info-hashes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from weightswarm.hashing import TreeHashes, V1Layout
from weightswarm.magnet import InfoHash
from weightswarm.manifest import Manifest
from weightswarm.metainfo.bencode import bdecode, bencode
from weightswarm.metainfo.read import MANIFEST_KEY, SIGNATURE_KEY, SIMILAR_KEY, Metainfo, parse_metainfo, read_document


class TorrentVersion(Enum):
    """Which BitTorrent versions a torrent speaks."""

    HYBRID = "hybrid"
    V1 = "v1"
    V2 = "v2"


@dataclass(frozen=True, slots=True)
class TorrentOptions:
    """What a publisher may choose. `private` and `similar` are under the info-hash; the other fields are not.

    `similar` are torrents that share files with this one: clients that have one of them take those from it (BEP 38).
    `created` is seconds since 1970 UTC.
    """

    trackers: tuple[str, ...] = ()
    web_seeds: tuple[str, ...] = ()
    private: bool = False
    comment: str | None = None
    created: int | None = None
    similar: tuple[InfoHash, ...] = ()


def v1_layout(version: TorrentVersion) -> V1Layout:
    """Return how v1 pieces lie for a torrent of `version`: pad files only where v2 needs the alignment."""
    return {
        TorrentVersion.HYBRID: V1Layout.ALIGNED,
        TorrentVersion.V1: V1Layout.PACKED,
        TorrentVersion.V2: V1Layout.NONE,
    }[version]


def build_metainfo(
    manifest: Manifest, hashes: TreeHashes, version: TorrentVersion, options: TorrentOptions
) -> Metainfo:
    """Return the torrent of a release. `hashes.files` are in the order of `manifest.files`, made with
    `v1_layout(version)`. The torrent is named after the model."""
    info: dict[bytes, Any] = {
        b"name": manifest.name.partition("/")[2].encode(),
        b"piece length": hashes.piece_length,
        MANIFEST_KEY: manifest.to_bytes(),
    }
    if options.private:
        info[b"private"] = 1
    if options.similar:
        # The list has no place for 32 bytes: in it a v2 info-hash is cut as it is for peers and trackers (BEP 52).
        info[SIMILAR_KEY] = [bytes.fromhex(digest)[:20] for each in options.similar for digest in each.digests]
    if version is not TorrentVersion.V2:
        info[b"pieces"] = hashes.v1_pieces
        info[b"files"] = _v1_files(manifest, hashes.piece_length if version is TorrentVersion.HYBRID else None)
    document: dict[bytes, Any] = {b"info": info, b"created by": b"weightswarm"}
    if version is not TorrentVersion.V1:
        info[b"meta version"] = 2
        info[b"file tree"] = _file_tree(manifest)
        document[b"piece layers"] = {
            file.pieces_root: file.piece_layer for file in hashes.files if file.pieces_root and file.piece_layer
        }
    _set_outer_fields(document, options)
    info_bytes = bencode(info)
    return read_document(document, info_bytes, _with_info(document, info_bytes))


def with_outer_fields(metainfo: Metainfo, options: TorrentOptions) -> Metainfo:
    """Return the torrent with the trackers, web seeds, comment and date of `options` in place of its own.

    The info-hash stays, as do `private` and `similar`.
    """
    document = bdecode(metainfo.data)
    _set_outer_fields(document, options)
    return parse_metainfo(_with_info(document, metainfo.info_bytes))


def with_added_sources(metainfo: Metainfo, trackers: Iterable[str], web_seeds: Iterable[str]) -> Metainfo:
    """Return the torrent with these trackers, a tier each, and web seeds after its own. All else stays, byte for byte
    under the info-hash; with nothing to add, so does the whole document."""
    new_trackers = [url for url in dict.fromkeys(trackers) if url not in metainfo.trackers]
    new_web_seeds = [url for url in dict.fromkeys(web_seeds) if url not in metainfo.web_seeds]
    document = bdecode(metainfo.data)
    if new_trackers:
        tiers = document.get(b"announce-list")
        if not isinstance(tiers, list) or not tiers:
            tiers = [[url.encode()] for url in metainfo.trackers]
        document[b"announce-list"] = [*tiers, *([url.encode()] for url in new_trackers)]
        document.setdefault(b"announce", new_trackers[0].encode())
    if new_web_seeds:
        document[b"url-list"] = [url.encode() for url in (*metainfo.web_seeds, *new_web_seeds)]
    if not new_trackers and not new_web_seeds:
        return metainfo
    return parse_metainfo(_with_info(document, metainfo.info_bytes))


def _set_outer_fields(document: dict[bytes, Any], options: TorrentOptions) -> None:
    for key in (b"announce", b"announce-list", b"url-list", b"comment", b"creation date"):
        document.pop(key, None)
    if options.trackers:
        document[b"announce"] = options.trackers[0].encode()
        # One tracker a tier: a client works down the list (BEP 12).
        document[b"announce-list"] = [[url.encode()] for url in options.trackers]
    if options.web_seeds:
        document[b"url-list"] = [url.encode() for url in options.web_seeds]
    if options.comment:
        document[b"comment"] = options.comment.encode()
    if options.created is not None:
        document[b"creation date"] = options.created


def with_piece_layers(metainfo: Metainfo, layers: dict[bytes, bytes]) -> Metainfo:
    """Return the torrent with its piece layers, given by `pieces root`. The info-hash stays."""
    return parse_metainfo(_with_info(bdecode(metainfo.data) | {b"piece layers": layers}, metainfo.info_bytes))


def with_signature(metainfo: Metainfo, signature: bytes) -> Metainfo:
    """Return the torrent with its manifest's signature beside the info dict. The info-hash stays."""
    return parse_metainfo(_with_info(bdecode(metainfo.data) | {SIGNATURE_KEY: signature}, metainfo.info_bytes))


def _with_info(document: dict[bytes, Any], info_bytes: bytes) -> bytes:
    """Return a metainfo document around the info dict's exact bytes: to encode it anew could change its hash."""
    parts = [
        bencode(key) + (info_bytes if key == b"info" else bencode(value)) for key, value in sorted(document.items())
    ]
    return b"d" + b"".join(parts) + b"e"


def _v1_files(manifest: Manifest, align_to: int | None) -> list[dict[bytes, Any]]:
    files: list[dict[bytes, Any]] = []
    gap = 0
    for entry in manifest.files:
        if gap and entry.size:
            files.append({b"attr": b"p", b"length": gap, b"path": [b".pad", b"%d" % gap]})
        files.append({b"length": entry.size, b"path": entry.path.encode().split(b"/")})
        if entry.size:
            gap = -entry.size % align_to if align_to else 0
    return files


def _file_tree(manifest: Manifest) -> dict[bytes, Any]:
    tree: dict[bytes, Any] = {}
    for entry in manifest.files:
        *folders, name = entry.path.encode().split(b"/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        leaf: dict[bytes, Any] = {b"length": entry.size}
        if entry.pieces_root is not None:
            leaf[b"pieces root"] = bytes.fromhex(entry.pieces_root)
        node[name] = {b"": leaf}
    return tree
