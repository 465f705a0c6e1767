"""Where files lie over pieces, for every layout, against libtorrent's own map."""

from __future__ import annotations

from pathlib import Path

import libtorrent as lt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samples import PROPERTY
from weightswarm.hashing import hash_tree
from weightswarm.manifest import FileEntry, Manifest, with_revision
from weightswarm.metainfo import Metainfo, PieceMap, TorrentOptions, TorrentVersion, build_metainfo, v1_layout

PIECE = 16 * 1024


def torrent(folder: Path, sizes: list[int], version: TorrentVersion) -> Metainfo:
    """Return a torrent of files `f0000`, `f0001`, … of the given sizes."""
    files = []
    for number, size in enumerate(sizes):
        path = folder / f"f{number:04}"
        path.write_bytes(bytes([number % 251]) * size)
        files.append((path, size))
    hashes = hash_tree(files, piece_length=PIECE, v1_layout=v1_layout(version))
    entries = tuple(
        FileEntry(path.name, h.size, h.sha256.hex(), h.pieces_root.hex() if h.pieces_root else None)
        for (path, _), h in zip(files, hashes.files, strict=True)
    )
    manifest = with_revision(Manifest("org/model", "", entries), None)
    return build_metainfo(manifest, hashes, version, TorrentOptions())


def libtorrent_files_of(info: lt.torrent_info, piece: int) -> tuple[int, ...]:
    """Return which files, pad files left out, libtorrent says have bytes in a piece."""
    storage = info.layout()
    real = [i for i in range(storage.num_files()) if not storage.file_flags(i) & lt.file_storage.flag_pad_file]
    parts = info.map_block(piece, 0, info.piece_size(piece))
    return tuple(real.index(part.file_index) for part in parts if part.size and part.file_index in real)


@pytest.mark.parametrize("version", list(TorrentVersion))
@pytest.mark.parametrize(
    "sizes",
    [
        [1],
        [PIECE],
        [PIECE + 1, 5],
        [0, PIECE - 1, 0, 3 * PIECE + 7, 0],
        [10, 20, 30, 2 * PIECE, 40],
        [PIECE // 2] * 5,
    ],
)
def test_files_lie_over_pieces_as_libtorrent_says(tmp_path: Path, sizes: list[int], version: TorrentVersion) -> None:
    metainfo = torrent(tmp_path, sizes, version)
    info = lt.torrent_info(metainfo.data)
    pieces = PieceMap(metainfo)
    found = {piece: pieces.files_of(piece) for piece in range(info.num_pieces())}
    assert found == {piece: libtorrent_files_of(info, piece) for piece in range(info.num_pieces())}
    for index, size in enumerate(sizes):
        assert set(pieces.pieces_of(index)) == {piece for piece, files in found.items() if index in files}
        assert pieces.prefix(index, range(info.num_pieces())) == size


@pytest.mark.parametrize("version", list(TorrentVersion))
@PROPERTY
@given(have=st.sets(st.integers(0, 12)), data=st.data())
def test_a_prefix_holds_only_bytes_of_pieces_that_are_there(
    tmp_path_factory: pytest.TempPathFactory, version: TorrentVersion, have: set[int], data: st.DataObject
) -> None:
    sizes = [100, 3 * PIECE + 1, 0, 2 * PIECE, 77]
    pieces = PieceMap(torrent(tmp_path_factory.mktemp("files"), sizes, version))
    for index, size in enumerate(sizes):
        prefix = pieces.prefix(index, have)
        spanned = pieces.pieces_of(index)
        missing = [piece for piece in spanned if piece not in have]
        assert 0 <= prefix <= size
        assert (prefix == size) == (not missing)
        earlier = data.draw(st.sets(st.sampled_from(sorted(have)) if have else st.nothing()))
        assert pieces.prefix(index, have, pieces.prefix(index, earlier)) == prefix
