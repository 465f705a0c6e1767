"""One pass gives the digests that plain reference code and libtorrent give, or says what changed under it."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samples import PROPERTY, info_of, make_sample, read_by_libtorrent, torrent_by_libtorrent
from weightswarm.errors import Cancelled, InvalidInput, SourceChanged, StorageFailure
from weightswarm.hashing import (
    MAX_PIECE_LENGTH,
    V1Layout,
    choose_piece_length,
    digest_file,
    hash_tree,
    parse_piece_length,
)
from weightswarm.hashing.pool import WorkerPool
from weightswarm.hashing.workers import LocalWorker, ProcessWorker, Worker
from weightswarm.metainfo import TorrentVersion, bdecode

KIB, MIB = 1024, 1024 * 1024
BLOCK = 16 * KIB
PIECE = 32 * KIB
CHUNK = 4 * MIB

# --- the reference: BEP 3, BEP 47 and BEP 52 as plainly as they can be written -----------------------------------


def plain_root(leaves: Sequence[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    half = len(leaves) // 2
    return hashlib.sha256(plain_root(leaves[:half]) + plain_root(leaves[half:])).digest()


def plain_leaves(data: bytes) -> list[bytes]:
    return [hashlib.sha256(data[i : i + BLOCK]).digest() for i in range(0, len(data), BLOCK)]


def filled(leaves: list[bytes], width: int) -> list[bytes]:
    return leaves + [bytes(32)] * (width - len(leaves))


def plain_pieces_root(data: bytes) -> bytes | None:
    leaves = plain_leaves(data)
    width = 1
    while width < len(leaves):
        width *= 2
    return plain_root(filled(leaves, width)) if leaves else None


def plain_piece_layer(data: bytes, piece_length: int) -> bytes:
    if len(data) <= piece_length:
        return b""
    pieces = [data[i : i + piece_length] for i in range(0, len(data), piece_length)]
    return b"".join(plain_root(filled(plain_leaves(piece), piece_length // BLOCK)) for piece in pieces)


def plain_v1_pieces(contents: Sequence[bytes], piece_length: int, layout: V1Layout) -> bytes:
    if layout is V1Layout.NONE:
        return b""
    stream = b""
    for data in contents:
        if data and layout is V1Layout.ALIGNED:
            stream += bytes(-len(stream) % piece_length)
        stream += data
    pieces = [stream[i : i + piece_length] for i in range(0, len(stream), piece_length)]
    return b"".join(hashlib.sha1(piece).digest() for piece in pieces)


def check_against_reference(
    folder: Path, contents: Sequence[bytes], piece_length: int, layout: V1Layout, workers: int | None = None
) -> None:
    files = []
    for index, data in enumerate(contents):
        path = folder / f"{index:03}"
        path.write_bytes(data)
        files.append((path, len(data)))
    counts: list[int] = []
    result = hash_tree(files, piece_length=piece_length, v1_layout=layout, on_bytes=counts.append, workers=workers)
    assert result.piece_length == piece_length
    assert len(result.files) == len(contents)
    for data, hashed in zip(contents, result.files, strict=True):
        assert hashed.size == len(data)
        assert hashed.sha256 == hashlib.sha256(data).digest()
        assert hashed.pieces_root == plain_pieces_root(data)
        assert hashed.piece_layer == plain_piece_layer(data, piece_length)
    assert result.v1_pieces == plain_v1_pieces(contents, piece_length, layout)
    assert sum(counts) == sum(map(len, contents))
    assert all(count > 0 for count in counts)


# --- digests ------------------------------------------------------------------------------------------------------

EDGES = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 1, 5 * PIECE + BLOCK]


@pytest.mark.parametrize("layout", V1Layout)
@pytest.mark.parametrize("size", EDGES)
def test_one_file_of_every_awkward_size(tmp_path: Path, size: int, layout: V1Layout) -> None:
    check_against_reference(tmp_path, [Random(size).randbytes(size)], PIECE, layout)


@pytest.mark.parametrize("workers", [None, 1, 2, 3, 16])
@pytest.mark.parametrize("layout", V1Layout)
def test_many_files_of_awkward_sizes(tmp_path: Path, layout: V1Layout, workers: int | None) -> None:
    random = Random(1)
    contents = [random.randbytes(size) for size in [*EDGES, 0, *reversed(EDGES), 7, 0, 0]]
    check_against_reference(tmp_path, contents, PIECE, layout, workers)


@PROPERTY
@given(
    st.lists(st.sampled_from(EDGES) | st.integers(0, 3 * PIECE), max_size=6),
    st.sampled_from([BLOCK, PIECE, 4 * PIECE]),
    st.sampled_from(V1Layout),
    st.integers(1, 4),
)
def test_any_files_hash_as_the_reference_says(
    sizes: list[int], piece_length: int, layout: V1Layout, workers: int
) -> None:
    random = Random(str(sizes))
    with tempfile.TemporaryDirectory() as folder:
        contents = [random.randbytes(size) for size in sizes]
        check_against_reference(Path(folder), contents, piece_length, layout, workers)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("piece_length", [BLOCK, 8 * MIB])
@pytest.mark.parametrize("layout", V1Layout)
def test_files_longer_than_a_read_buffer(tmp_path: Path, layout: V1Layout, piece_length: int, workers: int) -> None:
    random = Random(2)
    buffer = max(CHUNK, piece_length)
    sizes = [5, buffer + 1, 0, buffer - 1, 100_000, buffer, 3]
    check_against_reference(tmp_path, [random.randbytes(size) for size in sizes], piece_length, layout, workers)


@pytest.mark.parametrize("size", [2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + BLOCK + 1])
def test_a_file_of_several_read_buffers_at_their_edges(tmp_path: Path, size: int) -> None:
    contents = [b"first", Random(size).randbytes(size), b"last"]
    for layout in V1Layout:
        check_against_reference(tmp_path, contents, BLOCK, layout, workers=3)


def test_more_small_files_than_a_read_buffer_holds(tmp_path: Path) -> None:
    random = Random(3)
    contents = [random.randbytes(40_000 + index) for index in range(250)]
    check_against_reference(tmp_path, contents, PIECE, V1Layout.PACKED, workers=3)


@pytest.mark.parametrize("sizes", [[], [0], [0, 0]])
def test_nothing_but_empty_files_has_no_pieces(tmp_path: Path, sizes: list[int]) -> None:
    for layout in V1Layout:
        check_against_reference(tmp_path, [bytes(size) for size in sizes], PIECE, layout)


TREES = {
    "one file": {"only": 123_456},
    "one short file": {"only": 5},
    "one file of a piece": {"only": PIECE},
    "empty first": {"a": 0, "b": 100_000, "c": 7},
    "empty last": {"a": 100_000, "z": 0},
    "empty between": {"a": PIECE + 5, "e1": 0, "e2": 0, "f": 7},
    "empty all around": {"a": 0, "b": 100_000, "c": 0},
    "nested": {"a": 10, "b/x": 50_000, "bc": BLOCK, "bd/d/e": BLOCK + 1, "e": 0, "z": PIECE - 1},
    "folders first": {"s/a": 2 * PIECE, "s/b": 2 * PIECE + 1, "s/t/u/v": 3, "t": MIB},
    "names beyond ASCII": {"Größe": 5, "模型/a": 70_000, "z": 1},
}


@pytest.mark.parametrize("version", [TorrentVersion.HYBRID, TorrentVersion.V2])
@pytest.mark.parametrize("sizes", TREES.values(), ids=TREES)
def test_the_info_dict_is_libtorrents_own_but_for_the_manifest(
    tmp_path: Path, sizes: dict[str, int], version: TorrentVersion
) -> None:
    random = Random(4)
    sample = make_sample(tmp_path, {path: random.randbytes(size) for path, size in sizes.items()}, version)

    theirs = torrent_by_libtorrent(sample.root, version)

    info, their_info = info_of(sample.metainfo.data), info_of(theirs)
    assert info.pop(b"weightswarm manifest") == sample.manifest.to_bytes()
    assert info == their_info
    assert bdecode(sample.metainfo.data).get(b"piece layers") == bdecode(theirs).get(b"piece layers")


def test_libtorrent_reads_names_on_both_sides_of_a_slash_in_the_order_of_the_tree(tmp_path: Path) -> None:
    # Its own creator lays these out by whole paths and so makes hybrids whose two lists differ.
    contents = {"b-c": bytes(BLOCK), "b.c/d": bytes(5), "b/x": bytes(70_000), "b0": bytes(9)}
    sample = make_sample(tmp_path, contents)

    _, _, listed = read_by_libtorrent(sample.metainfo.data)

    assert listed == [(f"tiny/{path}", len(contents[path])) for path in ("b/x", "b-c", "b.c/d", "b0")]


# --- what goes wrong ----------------------------------------------------------------------------------------------


def changed(files: list[tuple[Path, int]], workers: int = 2) -> SourceChanged:
    with pytest.raises(SourceChanged) as caught:
        hash_tree(files, piece_length=PIECE, v1_layout=V1Layout.PACKED, workers=workers)
    return caught.value


@pytest.mark.parametrize("size", [0, 1, 100_000, 2 * CHUNK])
@pytest.mark.parametrize("expected", [0, 1, 99_999, 100_001, 3 * CHUNK])
def test_a_file_of_another_size_is_named(tmp_path: Path, size: int, expected: int) -> None:
    if size == expected:
        return
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(bytes(10))
    bad.write_bytes(bytes(size))
    error = changed([(good, 10), (bad, expected)])
    assert error.paths == (str(bad),)
    assert "bad" in str(error)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_was_written_to_before_its_hash_began_is_named(tmp_path: Path, workers: int) -> None:
    files = [(tmp_path / name, 10) for name in ("good", "bad")]
    for path, size in files:
        path.write_bytes(bytes(size))
    seen = [path.stat().st_mtime_ns for path, _ in files]
    hash_tree(files, piece_length=PIECE, v1_layout=V1Layout.ALIGNED, modified=seen, workers=workers)

    os.utime(files[1][0], ns=(seen[1] + 1, seen[1] + 1))

    with pytest.raises(SourceChanged) as caught:
        hash_tree(files, piece_length=PIECE, v1_layout=V1Layout.ALIGNED, modified=seen, workers=workers)
    assert caught.value.paths == (str(files[1][0]),)


def test_a_vanished_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(bytes(10))
    error = changed([(tmp_path / "good", 10), (tmp_path / "gone", 10)])
    assert (error.paths, error.reason) == ((str(tmp_path / "gone"),), "vanished")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_regular_file_is_named_and_not_waited_for(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "odd")
    assert changed([(tmp_path / "odd", 0)]).paths == (str(tmp_path / "odd"),)


def shrink(path: Path) -> None:
    os.truncate(path, CHUNK + 5)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def rewrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"other")


@pytest.mark.parametrize("change", [shrink, grow, rewrite])
def test_a_file_that_changes_while_it_is_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(bytes(3 * CHUNK))
    os.utime(path, (1_000_000_000, 1_000_000_000))
    read = os.preadv
    pending = [change]

    def read_then_change(*arguments: Any) -> int:
        count = read(*arguments)
        if pending:
            pending.pop()(path)
        return count

    monkeypatch.setattr(os, "preadv", read_then_change)
    assert changed([(path, 3 * CHUNK)]).paths == (str(path),)


def hashing_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("hash-")]


def sparse(path: Path, size: int) -> tuple[Path, int]:
    """A file long enough that hashing it cannot end before it is told to stop."""
    path.touch()
    os.truncate(path, size)
    return path, size


@pytest.mark.parametrize("layout", V1Layout)
def test_a_stop_cancels_and_leaves_no_thread(tmp_path: Path, layout: V1Layout) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        hash_tree([sparse(tmp_path / "long", 8 * 1024 * MIB)], piece_length=MIB, v1_layout=layout, stop=stop)
    assert hashing_threads() == []


def test_progress_is_reported_on_the_way_and_an_exception_in_it_ends_the_pass(tmp_path: Path) -> None:
    class EnoughError(Exception):
        pass

    total = 8 * 1024 * MIB
    threads = set()

    def report(count: int) -> None:
        threads.add(threading.current_thread())
        assert 0 < count < total
        raise EnoughError

    with pytest.raises(EnoughError):
        hash_tree(
            [sparse(tmp_path / "long", total)], piece_length=MIB, v1_layout=V1Layout.ALIGNED, on_bytes=report, workers=2
        )
    assert threads == {threading.current_thread()}
    assert hashing_threads() == []


# --- one file in order --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, 2 * MIB + 1])
def test_digests_of_an_open_file_are_those_of_sha256_and_git(tmp_path: Path, size: int) -> None:
    data = Random(size).randbytes(size)
    (tmp_path / "file").write_bytes(data)
    counts: list[int] = []
    with (tmp_path / "file").open("rb") as file:
        digests = digest_file(file.fileno(), git_blob=True, on_bytes=counts.append)
        plain = digest_file(file.fileno())
    assert digests is not None
    assert plain is not None
    assert (digests.size, digests.sha256) == (size, hashlib.sha256(data).hexdigest())
    assert digests.git_sha1 == hashlib.sha1(b"blob %d\0" % size + data).hexdigest()
    assert (plain.sha256, plain.git_sha1) == (digests.sha256, None)
    assert sum(counts) == size


def test_digesting_stops_when_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(3 * MIB))
    answers = iter([False, True])
    with (tmp_path / "file").open("rb") as file:
        assert digest_file(file.fileno(), stop=lambda: next(answers)) is None


# --- how long a piece is ------------------------------------------------------------------------------------------

GIB = 1024 * MIB


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (0, 16 * KIB),
        (1, 16 * KIB),
        (16 * MIB, 16 * KIB),
        (16 * MIB + 1, 32 * KIB),
        (256 * MIB, 256 * KIB),
        (256 * MIB + 1, 512 * KIB),
        (GIB, MIB),
        (4 * GIB, 4 * MIB),
        (4 * GIB + 1, 8 * MIB),
        (16 * GIB, 16 * MIB),
        (16 * GIB + 1, 16 * MIB),
        (10_000 * GIB, 16 * MIB),
    ],
)
def test_the_piece_length_of_a_large_file_follows_from_its_size(total: int, expected: int) -> None:
    # What remains of the last piece is not filled up beyond a sixteenth here.
    assert choose_piece_length([total]) == expected


@PROPERTY
@given(st.integers(0, 2**50))
def test_every_chosen_piece_length_is_allowed_and_no_smaller_one_would_do(total: int) -> None:
    length = choose_piece_length([total])
    assert parse_piece_length(length) == length
    assert length == MAX_PIECE_LENGTH or -(-total // length) <= 1024
    assert length == BLOCK or -(-total // (length // 2)) > 1024


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([64 * KIB] * 10_000, 64 * KIB),
        ([5 * KIB] * 10_000, 16 * KIB),
        ([300 * KIB] * 10_000, 256 * KIB),
        ([GIB, GIB, *[5 * KIB] * 20], 4 * MIB),
        ([1000 * GIB, *[5 * KIB] * 100_000], MIB),
    ],
    ids=["64 KiB", "5 KiB", "300 KiB", "a model", "large and small"],
)
def test_many_small_files_get_pieces_that_they_fill(sizes: list[int], expected: int) -> None:
    assert choose_piece_length(sizes) == expected


@pytest.mark.parametrize("value", [16 * KIB, 32 * KIB, MIB, 16 * MIB])
def test_powers_of_two_from_16_kib_to_16_mib_are_piece_lengths(value: int) -> None:
    assert parse_piece_length(value) == value


@pytest.mark.parametrize("value", [-16384, 0, 1, 8 * KIB, 16 * KIB - 1, 16 * KIB + 1, 48 * KIB, 32 * MIB, 2**64])
def test_other_piece_lengths_are_refused(value: int) -> None:
    with pytest.raises(InvalidInput, match="Not a piece length") as caught:
        parse_piece_length(value)
    assert "power of two" in (caught.value.hint or "")


@pytest.mark.parametrize("kind", [LocalWorker, ProcessWorker])
def test_a_worker_that_was_closed_hashes_nothing_more(kind: type[Worker], tmp_path: Path) -> None:
    """Whoever stops a verification does not wait for the rest of it to be hashed some other way."""
    file = tmp_path / "file"
    file.write_bytes(b"data")
    worker = kind()
    call = (0, (str(file), 4, 0, 4), True, None)
    assert worker.call("run", [([call],)])[0][0][1] == hashlib.sha256(b"data").digest()
    worker.close()
    with pytest.raises(Cancelled):
        worker.call("run", [([call],)])
    worker.close()


@pytest.mark.parametrize("kind", [LocalWorker, ProcessWorker])
def test_small_files_hashed_together_are_each_named_when_they_changed(kind: type[Worker], tmp_path: Path) -> None:
    good, bad = (str(tmp_path / name) for name in ("good", "bad"))
    Path(good).write_bytes(b"data")
    worker = kind()
    digests = [hashlib.sha256(b"data").digest()] * 2 + [hashlib.sha1(b"data").digest()]
    assert worker.call("whole", [([(good, 4)], PIECE, True, 0)]) == [b"".join(digests)]
    for content, how in ((None, "vanished"), (b"dat", "from 4 to 3"), (b"data.", "from 4 to 5")):
        if content is not None:
            Path(bad).write_bytes(content)
        with pytest.raises(SourceChanged, match=how) as caught:
            worker.call("whole", [([(good, 4), (bad, 4)], PIECE, True, 0)])
        assert caught.value.paths == (bad,)
    if isinstance(worker, ProcessWorker):
        assert worker._process is not None
        worker._process.kill()
        with pytest.raises(SourceChanged, match="grew"):
            worker.call("whole", [([(good, 4), (bad, 4)], PIECE, True, 0)])
    worker.close()


def test_closing_a_worker_ends_what_it_does_at_once(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with file.open("wb") as sparse:
        sparse.truncate(64 * 1024 * MIB)
    worker = ProcessWorker()
    ended: list[Exception] = []

    def hash_on() -> None:
        try:
            worker.call("run", [([(0, (str(file), None, 0, 64 * 1024 * MIB), True, None)],)])
        except (Cancelled, StorageFailure, ValueError, AttributeError) as error:
            ended.append(error)

    thread = threading.Thread(target=hash_on)
    thread.start()
    time.sleep(0.5)
    worker.close()
    thread.join(10)
    assert not thread.is_alive()
    assert [type(error) for error in ended] == [Cancelled]


def test_a_pool_whose_threads_a_signal_kept_from_starting_is_closed_all_the_same() -> None:
    pool = WorkerPool(1)
    pool._threads = [threading.Thread(target=print)]
    pool.close()
