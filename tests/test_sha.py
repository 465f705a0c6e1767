"""Every hash that is computed beside others is the one that hashlib computes alone, by our kernel and without it."""

from __future__ import annotations

import errno
import hashlib
import importlib
import os
import platform
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path
from random import Random
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samples import PROPERTY
from weightswarm.hashing import V1Layout, hash_tree, portable

KIB = 1024
LEAF = 16 * KIB
AROUND_A_BLOCK = [0, 1, 55, 56, 63, 64, 65, 119, 120, 127, 128, 1000]
LENGTHS = [*AROUND_A_BLOCK, LEAF - 1, LEAF, LEAF + 1, 2 * LEAF, 2 * LEAF + 63, 5 * LEAF]


def kernel() -> ModuleType | None:
    try:
        return importlib.import_module("weightswarm.hashing._sha")
    except ImportError:
        return None


KERNEL = kernel()
IMPLEMENTATIONS = [portable] if KERNEL is None else [portable, KERNEL]
each = pytest.mark.parametrize("sha", IMPLEMENTATIONS, ids=lambda module: module.__name__.rpartition(".")[2])


def has_sha_instructions() -> bool:
    try:
        return " sha_ni " in Path("/proc/cpuinfo").read_text().replace("\n", " ")
    except OSError:
        return False


def plain_leaves(data: bytes) -> bytes:
    return b"".join(hashlib.sha256(data[i : i + LEAF]).digest() for i in range(0, len(data), LEAF))


def plain_root(hashes: list[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    half = len(hashes) // 2
    return hashlib.sha256(plain_root(hashes[:half]) + plain_root(hashes[half:])).digest()


def test_the_kernel_is_there_where_the_processor_has_the_instructions() -> None:
    if platform.machine() != "x86_64" or not has_sha_instructions():
        pytest.skip("NOT TESTED: this processor has no SHA instructions, so hashlib does the work")
    assert KERNEL is not None, "it was not built: is there a C compiler?"


@each
@pytest.mark.parametrize("before", [0, 1, 63, 64, 130])
@pytest.mark.parametrize("length", LENGTHS)
def test_leaves_and_two_streams_beside_them(sha: ModuleType, length: int, before: int) -> None:
    random = Random(length)
    data, prefix = random.randbytes(length), random.randbytes(before)
    for with_sha256, with_sha1 in ((False, False), (True, False), (False, True), (True, True)):
        stream, sha1 = sha.Sha256(), sha.Sha1()
        stream.update(prefix)
        sha1.update(prefix)
        assert sha.leaves(data, stream if with_sha256 else None, sha1 if with_sha1 else None) == plain_leaves(data)
        assert stream.digest() == hashlib.sha256(prefix + data * with_sha256).digest()
        assert sha1.digest() == hashlib.sha1(prefix + data * with_sha1).digest()


@each
@given(data=st.data())
@PROPERTY
def test_streams_in_parts_of_any_length(sha: ModuleType, data: st.DataObject) -> None:
    random = Random(data.draw(st.integers(0, 2**32)))
    streams, came = [sha.Sha256(), sha.Sha256()], [b"", b""]
    for _ in range(data.draw(st.integers(1, 5))):
        parts = [random.randbytes(data.draw(st.sampled_from(LENGTHS) | st.integers(0, 300))) for _ in streams]
        sha.update_two(streams[0], parts[0], streams[1], parts[1])
        one = random.randbytes(data.draw(st.integers(0, 200)))
        streams[0].update(one)
        came = [came[0] + parts[0] + one, came[1] + parts[1]]
        assert [stream.digest() for stream in streams] == [hashlib.sha256(all_of_it).digest() for all_of_it in came]


@each
@pytest.mark.parametrize("width", [1, 2, 4, 8, 64, 1024])
def test_roots_of_trees_that_are_filled_up(sha: ModuleType, width: int) -> None:
    random, filler = Random(width), bytes(range(32))
    for count in sorted({0, 1, width // 2, width // 2 + 1, width - 1, width}):
        hashes = [random.randbytes(32) for _ in range(count)]
        assert sha.tree_root(b"".join(hashes), width, filler) == plain_root(hashes + [filler] * (width - count))


@each
def test_what_is_no_tree_is_refused(sha: ModuleType) -> None:
    for hashes, width, filler in [
        (b"", 0, bytes(32)),
        (b"", -4, bytes(32)),
        (b"", 3, bytes(32)),
        (bytes(31), 1, bytes(32)),
        (bytes(64), 1, bytes(32)),
        (bytes(32), 2, bytes(31)),
    ]:
        with pytest.raises(ValueError, match="no tree"):
            sha.tree_root(hashes, width, filler)


@each
def test_one_hash_cannot_take_two_streams(sha: ModuleType) -> None:
    stream = sha.Sha256()
    with pytest.raises(ValueError, match="two streams"):
        sha.update_two(stream, b"a", stream, b"b")
    assert stream.digest() == hashlib.sha256().digest()


@each
@pytest.mark.parametrize("ahead", [0, LEAF])
@pytest.mark.parametrize("offset", [0, 1, LEAF, 3 * LEAF + 7])
def test_a_span_is_mapped_where_the_file_reaches_its_end(
    sha: ModuleType, tmp_path: Path, offset: int, ahead: int
) -> None:
    data = Random(offset).randbytes(3 * LEAF + 7)
    (tmp_path / "file").write_bytes(data)
    (tmp_path / "link").symlink_to("file")
    status = os.stat(tmp_path / "file")
    for name in ("file", "link"):
        for length in {0, 1, 2 * LEAF, 3 * LEAF + 6, 3 * LEAF + 7, 3 * LEAF + 7 - offset, 3 * LEAF + 8 - offset, 2**62}:
            span, *told = sha.map_span(str(tmp_path / name), offset, length, ahead)
            assert told == [status.st_dev, status.st_ino, len(data)]
            if length and offset + length <= len(data):
                assert bytes(span) == data[offset : offset + length]
                assert memoryview(span).readonly
            else:
                assert span is None


@each
def test_what_is_looked_at_stays_mapped_and_nothing_else_does(sha: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc" * LEAF)

    def mapped() -> int:
        return Path("/proc/self/maps").read_text().count(str(tmp_path / "file"))

    opened = len(os.listdir("/proc/self/fd"))
    part = memoryview(sha.map_span(str(tmp_path / "file"), 0, 3 * LEAF, 0)[0])[3:6]
    assert (mapped(), bytes(part)) == (1, b"abc")
    del part
    assert (mapped(), len(os.listdir("/proc/self/fd"))) == (0, opened)


@each
def test_what_cannot_be_mapped_is_named(sha: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "file").touch()
    (tmp_path / "file").chmod(0)
    os.mkfifo(tmp_path / "pipe")
    wrong = {"gone": errno.ENOENT, "circle": errno.ELOOP, "file/x": errno.ENOTDIR}
    if os.geteuid():
        wrong["file"] = errno.EACCES
    opened = len(os.listdir("/proc/self/fd"))
    for name, number in wrong.items():
        with pytest.raises(OSError, match=name) as caught:
            sha.map_span(str(tmp_path / name), 0, 1, 0)
        assert caught.value.errno == number
    # No file of that size, and for a folder none that can be mapped.
    assert sha.map_span(str(tmp_path / "pipe"), 0, 1, 0)[0] is None
    assert sha.map_span(str(tmp_path), 0, 1, 0)[0] is None
    for path, numbers in (("nul\0", (0, 1, 0)), (__file__, (-1, 1, 0)), (__file__, (0, -1, 0)), (__file__, (0, 1, -1))):
        with pytest.raises(ValueError, match=r"null|no span"):
            sha.map_span(path, *numbers)
    assert len(os.listdir("/proc/self/fd")) == opened


def test_the_kernel_takes_nothing_but_its_own_hashes_and_bytes() -> None:
    if KERNEL is None:
        pytest.skip("NOT TESTED: there is no kernel here")
    for no_bytes in ("text", None, 7):
        with pytest.raises(TypeError):
            KERNEL.leaves(no_bytes)
        with pytest.raises(TypeError):
            KERNEL.Sha256().update(no_bytes)
    for wrong in (KERNEL.Sha1(), portable.Sha256(), hashlib.sha256(), object()):
        with pytest.raises(TypeError):
            KERNEL.leaves(b"", wrong)
        with pytest.raises(TypeError):
            KERNEL.update_two(KERNEL.Sha256(), b"", wrong, b"")
    with pytest.raises(TypeError):
        KERNEL.leaves(b"", None, KERNEL.Sha256())
    for no_span in ((None, 0, 1, 0), (__file__, 0.5, 1, 0), (__file__, 0, 1), (__file__, 0, 2**64, 0)):
        with pytest.raises((TypeError, OverflowError)):
            KERNEL.map_span(*no_span)
    with pytest.raises(TypeError, match="cannot create"):
        type(KERNEL.map_span(__file__, 0, 1, 0)[0])()


def test_threads_hash_at_the_same_time_and_never_each_others_bytes() -> None:
    random = Random(3)
    contents = [random.randbytes(3 * LEAF + 7) for _ in range(8)]
    wrong: list[int] = []

    def work(number: int) -> None:
        for sha in IMPLEMENTATIONS:
            for _ in range(50):
                a, b = sha.Sha256(), sha.Sha256()
                leaves = sha.leaves(contents[number], a)
                sha.update_two(a, contents[number], b, contents[number - 1])
                if (leaves, a.digest(), b.digest()) != (
                    plain_leaves(contents[number]),
                    hashlib.sha256(contents[number] * 2).digest(),
                    hashlib.sha256(contents[number - 1]).digest(),
                ):
                    wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(contents))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


_WITHOUT = """
import sys
from pathlib import Path
sys.modules["weightswarm.hashing._sha"] = None
from weightswarm.hashing import V1Layout, hash_tree, sha
assert sha.leaves.__module__ == "weightswarm.hashing.portable"
files = [(path, path.stat().st_size) for path in sorted(Path(sys.argv[1]).iterdir())]
print(hash_tree(files, piece_length=32768, v1_layout=V1Layout.ALIGNED))
"""


def test_a_machine_without_the_kernel_publishes_the_same(tmp_path: Path) -> None:
    random = Random(9)
    for first, second in pairwise(LENGTHS):
        (tmp_path / f"{first:06}").write_bytes(random.randbytes(first + second))
    files = [(path, path.stat().st_size) for path in sorted(tmp_path.iterdir())]
    here = hash_tree(files, piece_length=32 * KIB, v1_layout=V1Layout.ALIGNED)
    command = [sys.executable, "-c", _WITHOUT, str(tmp_path)]
    there = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert there.stdout.strip() == repr(here)
