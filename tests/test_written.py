"""A piece counts as on disk when its hole is gone, and what was read too early is read again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from test_pieces_of_files import PIECE, torrent
from test_staged_verification import SIZES, Staged, settle
from weightswarm.errors import ContentMismatch
from weightswarm.fetching.written import Holes
from weightswarm.metainfo import PieceMap, TorrentVersion
from weightswarm.storage import holes as storage_holes
from weightswarm.storage import shows_holes


@pytest.fixture
def release(tmp_path: Path) -> tuple[PieceMap, dict[int, bytes]]:
    """Two files of six pieces and of one, and the bytes of each."""
    source = tmp_path / "source"
    source.mkdir()
    pieces = PieceMap(torrent(source, SIZES, TorrentVersion.HYBRID))
    return pieces, {index: (source / f"f{index:04}").read_bytes() for index in (0, 2)}


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    """An empty folder on a file system that tells holes from data."""
    folder = tmp_path / "staging"
    folder.mkdir()
    if not shows_holes(folder):
        pytest.skip("NOT TESTED: this file system shows no holes")
    return folder


def put(path: Path, data: bytes, offset: int) -> None:
    """Write a part of a file, as the swarm engine does."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        os.pwrite(file.fileno(), data, offset)


def test_a_piece_is_seen_once_all_of_it_is_written(release: tuple[PieceMap, dict[int, bytes]], staging: Path) -> None:
    pieces, data = release
    files = {index: staging / str(index) for index in data}
    holes = Holes(staging, files, pieces)
    assert holes.watch(2, 0.0)
    assert not holes.watch(2, 0.0), "what comes twice may be there from the first time"
    assert holes.look(0.05) == (set(), set())
    start, end = pieces.span(0, 2)
    for at in range(start, end, 4096):
        assert holes.look(0.05) == (set(), set())
        put(files[0], data[0][at : min(end, at + 4096)], at)
    assert holes.look(0.2) == ({2}, set())
    assert holes.look(0.2) == (set(), set())


def test_the_short_last_piece_of_a_file_is_seen(release: tuple[PieceMap, dict[int, bytes]], staging: Path) -> None:
    pieces, data = release
    files = {index: staging / str(index) for index in data}
    holes = Holes(staging, files, pieces)
    assert holes.watch(5, 0.0)
    put(files[0], data[0][5 * PIECE :], 5 * PIECE)
    assert holes.look(0.1) == ({5}, set())


def test_what_stood_there_before_is_not_taken_for_what_comes(
    release: tuple[PieceMap, dict[int, bytes]], staging: Path
) -> None:
    pieces, data = release
    files = {index: staging / str(index) for index in data}
    put(files[0], b"\1", 3 * PIECE + PIECE // 2)
    holes = Holes(staging, files, pieces)
    assert [piece for piece in range(6) if holes.watch(piece, 0.0)] == [0, 1, 2, 4, 5]


def test_a_piece_that_was_rejected_is_no_hole_any_more(
    release: tuple[PieceMap, dict[int, bytes]], staging: Path
) -> None:
    pieces, data = release
    holes = Holes(staging, {index: staging / str(index) for index in data}, pieces)
    holes.forget(0)
    assert not holes.watch(0, 0.0)
    assert holes.watch(1, 0.0)
    holes.forget(1)
    assert holes.look(9.0) == (set(), set())


def test_a_hole_that_stays_is_left_to_a_flush(release: tuple[PieceMap, dict[int, bytes]], staging: Path) -> None:
    """As where a file system keeps no zeros."""
    pieces, data = release
    holes = Holes(staging, {index: staging / str(index) for index in data}, pieces)
    assert holes.watch(0, 0.0)
    assert holes.look(0.05) == (set(), set())
    assert holes.look(0.3) == (set(), {0})


def test_pieces_that_share_a_page_are_left_to_a_flush(tmp_path: Path, staging: Path) -> None:
    """v1 alone packs files end to end: the page at a border shows nothing of who wrote to it."""
    source = tmp_path / "source"
    source.mkdir()
    pieces = PieceMap(torrent(source, SIZES, TorrentVersion.V1))
    holes = Holes(staging, {index: staging / str(index) for index in (0, 2)}, pieces)
    assert [piece for piece in range(7) if holes.watch(piece, 0.0)] == [0, 1, 2, 3, 4]


def test_without_holes_in_the_file_system_nothing_is_watched(
    release: tuple[PieceMap, dict[int, bytes]], staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces, data = release
    monkeypatch.setattr(storage_holes, "data_spans", lambda file: [(0, os.fstat(file).st_size)])
    holes = Holes(staging, {index: staging / str(index) for index in data}, pieces)
    assert not holes.watch(0, 0.0)


def test_links_are_not_followed(release: tuple[PieceMap, dict[int, bytes]], staging: Path, tmp_path: Path) -> None:
    pieces, data = release
    (tmp_path / "elsewhere").write_bytes(data[0])
    holes = Holes(staging, {0: staging / "0"}, pieces)
    assert holes.watch(0, 0.0)
    (staging / "0").symlink_to(tmp_path / "elsewhere")
    assert holes.look(0.05) == (set(), set())
    assert not Holes(staging, {0: staging / "0"}, pieces).watch(0, 0.0)


def test_what_was_read_too_early_is_flushed_and_read_again(staged: Staged) -> None:
    right = staged.files[0].read_bytes()
    staged.files[0].write_bytes(b"\xff" * len(right))
    verification = staged.verification()
    verification.readable({1, 3})
    verification.readable({0, 2, 4, 5}, flushed=False)
    again: set[int] = set()
    while verification.busy:
        again |= verification.collect()
    assert again == {0, 2, 4, 5}, "those that no flush had vouched for"
    assert not verification.done
    assert verification.hashed == 0
    staged.files[0].write_bytes(right)
    verification.readable(again)
    settle(verification)
    assert verification.done == {0}
    verification.close()


def test_a_flush_does_not_vouch_for_what_was_read_before_it(staged: Staged) -> None:
    right = staged.files[0].read_bytes()
    staged.files[0].write_bytes(b"\xff" * len(right))
    verification = staged.verification()
    verification.readable({0, 1}, flushed=False)
    while verification.busy:
        assert not verification.collect(), "its end has not come"
    staged.files[0].write_bytes(right)
    verification.readable(set(range(6)))
    again: set[int] = set()
    while verification.busy:
        again |= verification.collect()
    assert again == {0, 1}, "what was read before it was flushed is flushed and read again"
    verification.readable(again)
    settle(verification)
    assert verification.done == {0}
    verification.close()


def test_what_is_wrong_after_a_flush_is_wrong(staged: Staged) -> None:
    staged.files[0].write_bytes(b"\xff" * SIZES[0])
    verification = staged.verification()
    verification.readable(set(range(6)), flushed=False)
    while verification.busy:
        verification.readable(verification.collect())
        if not verification._unflushed:
            break
    with pytest.raises(ContentMismatch, match="f0000"):
        settle(verification)
    verification.close()


@pytest.fixture
def staged(tmp_path: Path) -> Staged:
    """Three staged files: of six pieces, of none, of one."""
    return Staged(tmp_path)
