"""Torrents: build them with the manifest inside, read them strictly, and agree on the file list. No network."""

from weightswarm.metainfo.agreement import Difference, check_agreement, differences
from weightswarm.metainfo.bencode import bdecode, bencode
from weightswarm.metainfo.build import (
    TorrentOptions,
    TorrentVersion,
    build_metainfo,
    v1_layout,
    with_added_sources,
    with_outer_fields,
    with_piece_layers,
    with_signature,
)
from weightswarm.metainfo.file_list import TorrentFile
from weightswarm.metainfo.hashed import HashedPieces, hashed_pieces
from weightswarm.metainfo.pieces import PieceMap
from weightswarm.metainfo.read import Metainfo, magnet_of, parse_info_dict, parse_metainfo

__all__ = [
    "Difference",
    "HashedPieces",
    "Metainfo",
    "PieceMap",
    "TorrentFile",
    "TorrentOptions",
    "TorrentVersion",
    "bdecode",
    "bencode",
    "build_metainfo",
    "check_agreement",
    "differences",
    "hashed_pieces",
    "magnet_of",
    "parse_info_dict",
    "parse_metainfo",
    "v1_layout",
    "with_added_sources",
    "with_outer_fields",
    "with_piece_layers",
    "with_signature",
]
