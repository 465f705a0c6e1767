"""Staged files are hashed as far as they can be read, and nothing that changed afterwards passes."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from test_pieces_of_files import PIECE, torrent
from weightswarm.errors import ContentMismatch
from weightswarm.fetching.ordering import ALONE_SECONDS, WINDOW_BYTES, PieceOrder
from weightswarm.fetching.verification import StagedVerification
from weightswarm.metainfo import PieceMap, TorrentVersion
from weightswarm.swarm import TorrentStatus
from weightswarm.verifying import Expectation

SIZES = [5 * PIECE + 3, 0, PIECE]


class Staged:
    """Three staged files and what each must be."""

    def __init__(self, folder: Path) -> None:
        self.pieces = PieceMap(torrent(folder, SIZES, TorrentVersion.HYBRID))
        self.files = {index: folder / f"f{index:04}" for index in range(len(SIZES))}
        self.expectations = {
            index: Expectation(path.name, SIZES[index], hashlib.sha256(path.read_bytes()).hexdigest())
            for index, path in self.files.items()
        }

    def verification(self) -> StagedVerification:
        """Return a verification that has read nothing yet."""
        return StagedVerification(self.files, self.expectations, self.pieces)


@pytest.fixture
def staged(tmp_path: Path) -> Staged:
    """Three files: of six pieces, of none, of one."""
    return Staged(tmp_path)


def settle(verification: StagedVerification) -> None:
    """Collect until nothing is being hashed."""
    deadline = time.monotonic() + 10
    verification.collect()
    while verification.busy:
        assert time.monotonic() < deadline
        time.sleep(0.001)
        verification.collect()


def test_a_file_is_done_only_when_every_piece_of_it_could_be_read(staged: Staged) -> None:
    verification = staged.verification()
    for piece in (1, 0, 3, 5, 4):
        verification.readable({piece})
        settle(verification)
        assert 0 not in verification.done
    assert verification.hashed == 2 * PIECE, "pieces 0 and 1 are a prefix; what lies behind the gap waits"
    verification.readable({2})
    settle(verification)
    assert verification.done == {0}
    verification.all_readable()
    settle(verification)
    assert verification.done == {0, 1, 2}
    assert verification.hashed == sum(SIZES), "every byte is read once"
    verification.check_untouched()
    verification.close()


@pytest.mark.parametrize("offset", [0, 2 * PIECE, SIZES[0] - 1])
def test_a_wrong_byte_is_named_wherever_it_is(staged: Staged, offset: int) -> None:
    with staged.files[0].open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff")
    verification = staged.verification()
    verification.all_readable()
    with pytest.raises(ContentMismatch, match="f0000 is not what the manifest says") as caught:
        settle(verification)
    assert caught.value.paths == ("f0000",)
    verification.close()


def test_a_file_that_is_too_long_or_too_short_does_not_pass(staged: Staged) -> None:
    for size in (SIZES[0] + 1, SIZES[0] - 1):
        os.truncate(staged.files[0], size)
        verification = staged.verification()
        verification.all_readable()
        with pytest.raises(ContentMismatch, match="wrong size"):
            settle(verification)
        verification.close()


def test_a_file_that_is_replaced_while_it_comes_does_not_pass(staged: Staged) -> None:
    verification = staged.verification()
    verification.readable({0, 1})
    settle(verification)
    other = staged.files[0].with_name("other")
    other.write_bytes(staged.files[0].read_bytes())
    other.replace(staged.files[0])
    verification.all_readable()
    with pytest.raises(ContentMismatch, match="was replaced"):
        settle(verification)
    verification.close()


def test_a_link_in_place_of_a_file_is_not_followed(staged: Staged, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    staged.files[2].rename(target)
    staged.files[2].symlink_to(target)
    verification = staged.verification()
    verification.all_readable()
    with pytest.raises(Exception, match="symbolic links"):
        settle(verification)
    verification.close()


def test_what_is_written_to_after_its_hash_is_refused(staged: Staged) -> None:
    verification = staged.verification()
    verification.all_readable()
    settle(verification)
    with staged.files[2].open("r+b") as file:
        file.write(b"later")
    with pytest.raises(ContentMismatch, match="f0002 was written to after it was verified"):
        verification.check_untouched()
    verification.close()


def write_into(path: Path, offset: int, data: bytes) -> None:
    """Write in place: same file, same inode."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_after_a_new_beginning_what_was_hashed_before_counts_no_more(staged: Staged) -> None:
    """The bytes under an already hashed prefix are replaced in place; what follows is the same."""
    verification = staged.verification()
    verification.readable({0, 1})
    settle(verification)
    assert verification.hashed == 2 * PIECE
    write_into(staged.files[0], PIECE, b"other bytes")
    verification.begin_anew()
    assert verification.hashed == 0
    verification.all_readable()
    with pytest.raises(ContentMismatch, match="f0000 is not what the manifest says"):
        settle(verification)
    verification.close()


def test_a_new_beginning_makes_good_what_was_hashed_wrong_and_keeps_what_is_done(staged: Staged) -> None:
    right = staged.files[0].read_bytes()
    write_into(staged.files[0], 0, b"other bytes")
    verification = staged.verification()
    verification.readable({0, 1, 6})
    settle(verification)
    write_into(staged.files[0], 0, right)
    # One that is being hashed at that very moment ends unheard.
    verification.readable({2})
    verification.begin_anew()
    assert verification.done == {2}, "what was compared with its digest stays done"
    verification.all_readable()
    settle(verification)
    assert verification.done == {0, 1, 2}
    assert verification.hashed == sum(SIZES)
    verification.check_untouched()
    verification.close()


@pytest.mark.parametrize("wrong_first", [False, True])
def test_a_piece_that_comes_again_after_its_bytes_were_hashed_is_hashed_again(
    staged: Staged, wrong_first: bool
) -> None:
    right = staged.files[0].read_bytes()
    bytes_ = [right[:11], b"other bytes"]
    verification = staged.verification()
    write_into(staged.files[0], 0, bytes_[wrong_first])
    verification.readable({0, 1, 2})
    settle(verification)
    write_into(staged.files[0], 0, bytes_[not wrong_first])
    verification.rewritten(0)
    verification.readable({3, 4, 5})
    settle(verification)
    assert verification.hashed == 0, "nothing is hashed before the piece can be read again"
    verification.readable({0})
    if wrong_first:
        settle(verification)
        assert verification.done == {0}
    else:
        with pytest.raises(ContentMismatch, match="f0000"):
            settle(verification)
    verification.close()


class RecordedTorrent:
    """Stands for a torrent in a session: keeps what it was asked to prefer."""

    def __init__(self, peer_id: bytes = b"me") -> None:
        self.peer_id = peer_id
        self.status: TorrentStatus = TorrentStatus(peers=1, seeds=1)
        self.others: set[bytes] = set()
        self.known: set[int] = set()
        self.sequential: list[bool] = []
        self.preferred: list[dict[int, int]] = []

    def fetchers(self) -> set[bytes]:
        """Return who else fetches."""
        return self.others

    def new_pieces(self) -> set[int]:
        """Return what only seeds have."""
        return set(range(1000)) - self.known

    def set_sequential(self, sequential: bool) -> None:
        """Note the order asked for."""
        self.sequential.append(sequential)

    def prefer(self, priorities: dict[int, int]) -> None:
        """Note the priorities asked for."""
        self.preferred.append(priorities)

    @property
    def levels(self) -> dict[int, int]:
        """What was last asked for."""
        return self.preferred[-1]

    @property
    def first(self) -> set[int]:
        """The files (of four pieces each) whose pieces were last asked for before those of others."""
        return {piece // 4 for piece, level in self.levels.items() if level >= 5}


class FourEach:
    """A torrent's pieces: each file has four."""

    def pieces_of(self, index: int) -> range:
        """Return a file's pieces."""
        return range(4 * index, 4 * index + 4)


def order_of(files: int, torrent_: RecordedTorrent, *, size: int = 1000) -> PieceOrder:
    order = PieceOrder(dict.fromkeys(range(files), size), FourEach(), now=0)
    order.update(torrent_, set(), now=0)
    return order


def test_alone_with_seeds_pieces_come_in_order_but_not_before_other_fetchers_had_time_to_show() -> None:
    torrent_ = RecordedTorrent()
    order = order_of(8, torrent_, size=WINDOW_BYTES // 2)
    assert torrent_.sequential == [False]
    order.update(torrent_, set(), now=ALONE_SECONDS)
    assert torrent_.sequential == [False, True]
    assert len(set(torrent_.levels.values())) == 1, "no piece goes before others"
    torrent_.status = TorrentStatus(peers=2, seeds=1)
    order.update(torrent_, set(), now=ALONE_SECONDS + 1)
    assert torrent_.sequential == [False, True, False]


def test_among_fetchers_a_few_files_come_at_a_time() -> None:
    torrent_ = RecordedTorrent()
    order = order_of(8, torrent_, size=WINDOW_BYTES // 2)
    assert len(torrent_.first) == 2
    done = torrent_.first
    order.update(torrent_, done, now=1)
    assert len(torrent_.first) == 2
    assert not torrent_.first & done
    order.update(torrent_, done, now=1)
    assert len(torrent_.preferred) == 2, "nothing changed, nothing is asked for"


def test_fetchers_deal_out_the_pieces_among_each_other() -> None:
    ids = [b"a", b"b", b"c"]
    shares = []
    for own in ids:
        torrent_ = RecordedTorrent(own)
        torrent_.others = set(ids) - {own}
        order_of(6, torrent_)
        assert torrent_.levels.keys() == set(range(24)), "every piece is asked for"
        shares.append({piece for piece, level in torrent_.levels.items() if level >= 6})
    assert [len(share) for share in shares] == [8, 8, 8]
    assert set().union(*shares) == set(range(24)), "no piece is in two shares"


def test_a_share_is_worked_off_from_the_front_and_others_help_from_the_back() -> None:
    torrent_ = RecordedTorrent(b"a")
    torrent_.others = {b"b"}
    order_of(2, torrent_)
    assert [torrent_.levels[piece] for piece in (0, 2, 4, 6)] == [7, 7, 6, 6], "its own"
    assert [torrent_.levels[piece] for piece in (1, 3, 5, 7)] == [1, 1, 5, 5], "the other's"


def test_what_fetchers_hold_is_asked_of_a_seed_after_what_they_lack() -> None:
    torrent_ = RecordedTorrent(b"a")
    torrent_.others = {b"b"}
    torrent_.known = {0, 1, 2, 3}
    order_of(2, torrent_)
    assert max(torrent_.levels[piece] for piece in torrent_.known) == 2
    assert [torrent_.levels[piece] for piece in (4, 5, 6, 7)] == [7, 1, 6, 5]


def test_a_newcomer_takes_its_share_of_the_pieces() -> None:
    torrent_ = RecordedTorrent(b"a")
    order = order_of(1, torrent_)
    assert sorted(torrent_.levels.values()) == [6, 6, 7, 7], "alone, all is one's own"
    torrent_.others = {b"b"}
    order.update(torrent_, set(), now=1)
    assert sorted(torrent_.levels.values()) == [1, 5, 6, 7]
