"""Weights are held to their formats: no laxer than the formats' own readers, and cheaply, whatever a header claims."""

from __future__ import annotations

import json
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import gguf
import numpy as np
import pytest
import safetensors
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from hostile import NAME, fetch_json, refused, release_of, serving, serving_release, visible, with_manifest
from running import CommandLine
from samples import PROPERTY, write_files
from weights import safetensors_bytes, tensor, with_header
from weightswarm.formats import inspect_file
from weightswarm.formats.archives import zip_members
from weightswarm.formats.gguf import MAX_KEYS, check_gguf
from weightswarm.formats.safetensors import MAX_HEADER, check_safetensors
from weightswarm.formats.source import Malformed, Source, Unpacked

Figure = Callable[[str, float], None]


def fault(data: bytes, check: Callable[[Source], None] = check_safetensors) -> str | None:
    """Return what is wrong with a file."""
    try:
        check(Unpacked(data))
    except Malformed as error:
        return str(error)
    return None


def is_read(data: bytes) -> bool:
    """Tell whether the format's own reader takes a file."""
    try:
        safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError:
        return False
    return True


# --- safetensors -----------------------------------------------------------------------------------------------------

EVERY_SIZE = [*range(80, 140), 999, 1000, 1001, 3_000_001]


def test_what_the_tests_call_weights_is_valid() -> None:
    for size in EVERY_SIZE:
        made = safetensors_bytes(size, Random(1))
        assert len(made) == size
        assert fault(made) is None
        assert is_read(made)


def test_what_the_real_writer_writes_is_valid(figure: Figure) -> None:
    random = Random(2)
    types = [np.float64, np.float32, np.float16, np.int64, np.int8, np.uint8, np.bool_, np.uint16, np.complex64]
    for number in range(60):
        arrays: dict[str, Any] = {
            f"layer.{n}.ü" * random.choice([1, 9]): np.zeros(
                [random.randrange(4) for _ in range(random.randrange(4))], random.choice(types)
            )
            for n in range(random.randrange(12))
        }
        metadata = {"format": "pt", "words": '"\\\n\x01😀' * number} if number % 2 else None
        assert fault(save(arrays, metadata)) is None
    figure("safetensors files of the real writer taken", 60)


def test_the_real_model_is_valid(minilm: Path) -> None:
    descriptor = os.open(minilm / "model.safetensors", os.O_RDONLY)
    try:
        assert inspect_file("model.safetensors", descriptor).defect is None
    finally:
        os.close(descriptor)


ONE = json.dumps({"a": tensor(0, 2)}).encode()
TWICE = b'{"a":%b,"a":%b}' % (json.dumps(tensor(0, 2)).encode(), json.dumps(tensor(0, 2)).encode())
BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "shorter than the 8 bytes"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "header would be"),
    "length of 2^63": (with_header(b"{}", length=2**63), "over the format's limit"),
    "length of 100 MB and 1": (with_header(b"{}", length=MAX_HEADER + 1), "over the format's limit"),
    "length past the end": (with_header(b"{}", length=3), "in a file of 10"),
    "not UTF-8": (with_header(b'{"\xff":1}'), "not UTF-8"),
    "no object": (with_header(b"[]"), "does not begin with {"),
    "space first": (with_header(b" {}"), "does not begin with {"),
    "something after it": (with_header(b"{}\0"), "follows the end"),
    "truncated": (with_header(ONE, 1), "0 to 2 of 1 bytes"),
    "trailing bytes": (with_header(ONE, 3), "end at 2 of 3 bytes"),
    "overlap": (with_header({"a": tensor(0, 2), "b": tensor(1, 3)}, 3), "overlap at byte 1"),
    "the same bytes twice": (with_header({"a": tensor(0, 2), "b": tensor(0, 2)}, 2), "overlap at byte 0"),
    "gap": (with_header({"a": tensor(0, 2), "b": tensor(3, 5)}, 5), "leave a gap at byte 2"),
    "gap in front": (with_header({"a": tensor(1, 2)}, 2), "leave a gap at byte 0"),
    "backwards": (with_header({"a": tensor(2, 0, shape=[0])}, 2), "2 to 0"),
    "past 2^64": (with_header({"a": tensor(0, 2**64 + 2, shape=[2])}, 2), "to 18,446,744,073,709,551,618 of 2"),
    "another size": (with_header({"a": tensor(0, 2, "F32", [1])}, 2), "takes 4 bytes by its shape, 2 by its offsets"),
    "overflowing shape": (with_header({"a": tensor(0, 0, shape=[2**63, 2, 2**63])}), "larger than a file can be"),
    "half a byte": (with_header({"a": tensor(0, 2, "F4", [3])}, 2), "whole byte"),
    "unknown dtype": (with_header({"a": tensor(0, 2, "Q8")}, 2), "unknown dtype, Q8"),
    "one name twice": (with_header(TWICE, 2), "stands twice"),
    "one name spelled twice": (with_header(TWICE.replace(b'"a"', b'"\\u0061"', 1), 2), "stands twice"),
    "one word twice": (with_header(b'{"__metadata__":{"a":"","a":""}}'), "stands twice"),
    "metadata twice": (with_header(b'{"__metadata__":{},"__metadata__":{}}'), "stands twice"),
    "metadata not of strings": (with_header({"__metadata__": {"a": 1}}), "no string"),
    "NaN": (with_header(b'{"__metadata__":{"a":NaN}}'), "no string"),
    "NaN in a shape": (with_header(ONE.replace(b"[2]", b"[NaN]"), 2), "other fields"),
    "a fraction": (with_header(ONE.replace(b"[2]", b"[2.0]"), 2), "other fields"),
    "less than nothing": (with_header({"a": tensor(0, 0, shape=[-1, 0])}), "other fields"),
    "a field twice": (with_header({"a": {**tensor(0, 2), "x": 1}}, 2), "other fields"),
    "a field missing": (with_header({"a": {"dtype": "U8", "shape": [2]}}, 2), "other fields"),
    "lone surrogate": (with_header(b'{"__metadata__":{"a":"\\ud800"}}'), "holds what no string may"),
    "control character": (with_header(b'{"__metadata__":{"a":"\n"}}'), "holds what no string may"),
    "deep": (with_header(b'{"a":' + b"[" * 100_000), "no object"),
    "deep objects": (with_header(b'{"a":' * 100_000), "other fields"),
    "a pickle": (pickle.dumps({"a": 1}), "header would be"),
}  # fmt: skip


@pytest.mark.parametrize("data, reason", BROKEN.values(), ids=BROKEN)
def test_a_broken_safetensors_file_is_named_with_its_reason(data: bytes, reason: str, figure: Figure) -> None:
    said = fault(data)
    assert said is not None
    assert reason in said
    figure("broken headers refused", 1)


STRICTER = {"space first", "one name twice", "one name spelled twice", "one word twice", "a field twice"}


@pytest.mark.parametrize("name", BROKEN)
def test_the_formats_own_reader_refuses_the_same_but_what_no_writer_writes(name: str) -> None:
    assert is_read(BROKEN[name][0]) == (name in STRICTER)


_PARTS = st.sampled_from(
    [b"{", b"}", b"[", b"]", b",", b":", b'"', b'"a"', b"0", b"1", b"2", b"-1", b"1e2", b" ", b"\\", b"\\u0061",
     b'"dtype"', b'"shape"', b'"data_offsets"', b'"U8"', b'"F16"', b'"__metadata__"', b"null", b"\0", b"\xff"]
)  # fmt: skip


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    """A right or nearly right header, some of its bytes replaced."""
    names = draw(st.lists(st.sampled_from(["a", "b", "ü", '"', "__metadata__x", ""]), max_size=3, unique=True))
    document: dict[str, Any] = {}
    if draw(st.booleans()):
        document["__metadata__"] = draw(st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2))
    at = 0
    for name in names:
        dtype, bits = draw(st.sampled_from([("U8", 8), ("F16", 16), ("F4", 4), ("F64", 64)]))
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        size = bits * int(np.prod(shape, dtype=np.int64)) // 8 + draw(st.sampled_from([0, 0, 0, 0, 0, 1]))
        document[name] = tensor(at, at + size, dtype, shape)
        at += size
    keys = draw(st.permutations(list(document)))
    spaced = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    raw = json.dumps({key: document[key] for key in keys}, separators=spaced, ensure_ascii=draw(st.booleans())).encode()
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        place = draw(st.integers(0, len(raw)))
        raw = raw[:place] + draw(_PARTS) + raw[place + draw(st.integers(0, 3)) :]
    return with_header(raw, max(0, at + draw(st.sampled_from([0, 0, 0, 0, 1, -1]))))


def test_nothing_is_taken_that_the_formats_own_reader_refuses(figure: Figure) -> None:
    verdicts = {True: 0, False: 0}

    @PROPERTY
    @given(headers())
    def agree(data: bytes) -> None:
        ours, theirs = fault(data), is_read(data)
        verdicts[theirs] += 1
        if ours is None:
            assert theirs
        elif theirs:
            # Duplicates, a tensor's further or spelled-out fields, no metadata at all, a space in front: no writer's.
            assert any(words in ours for words in ("twice", "fields", "no { where", "begin with", "no object")), ours

    agree()
    assert min(verdicts.values()) > 20, "both verdicts were met"
    figure("safetensors headers judged beside the real reader", sum(verdicts.values()))


# --- GGUF ------------------------------------------------------------------------------------------------------------


def string(text: bytes) -> bytes:
    """A GGUF string."""
    return struct.pack("<Q", len(text)) + text


def key(name: bytes, kind: int, value: bytes) -> bytes:
    """A GGUF key with its value."""
    return string(name) + struct.pack("<I", kind) + value


def info(name: bytes, offset: int, shape: tuple[int, ...] = (8,), kind: int = 0) -> bytes:
    """What a GGUF header says of a tensor."""
    return string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def gguf_bytes(keys: list[bytes], infos: list[bytes], data: int = 0, **claimed: int) -> bytes:
    """A GGUF file, which may claim another `count` of keys, of `tensors`, or another `version`."""
    said = {"version": 3, "tensors": len(infos), "count": len(keys), **claimed}
    head = b"GGUF" + struct.pack("<IQQ", said["version"], said["tensors"], said["count"]) + b"".join(keys + infos)
    return head.ljust(-(-len(head) // 32) * 32, b"\0") + bytes(data)


@pytest.fixture(scope="module")
def real_gguf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file that the real writer made: keys of every kind, a vocabulary, tensors plain and in blocks."""
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint32("an.int", 7)
    writer.add_float32("a.float", 0.5)
    writer.add_bool("a.bool", True)
    writer.add_array("an.array", [1, 2, 3])
    writer.add_token_list([f"token {n}" for n in range(5000)])
    writer.add_token_scores([0.5] * 5000)
    writer.add_tensor("plain", np.zeros((3, 5), np.float32))
    writer.add_tensor("half", np.zeros((7,), np.float16))
    writer.add_tensor("blocks", np.zeros((4, 34), np.uint8), raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def test_what_the_real_gguf_writer_writes_is_valid(real_gguf: bytes) -> None:
    assert fault(real_gguf, check_gguf) is None


def test_every_cut_of_a_gguf_file_is_named(real_gguf: bytes, figure: Figure) -> None:
    cuts = [*range(0, len(real_gguf) - 32, 997), *range(200), len(real_gguf) - 33]
    assert all(fault(real_gguf[:cut], check_gguf) is not None for cut in cuts)
    figure("cut GGUF files refused", len(cuts))


def test_block_sizes_are_those_of_the_real_writer() -> None:
    from weightswarm.formats.gguf import _BLOCKS

    assert {int(kind): sizes for kind, sizes in gguf.GGML_QUANT_SIZES.items()} == _BLOCKS


BROKEN_GGUF: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "ends early"),
    "another magic": (b"GGML" + bytes(100), "does not begin with GGUF"),
    "version 1": (gguf_bytes([], [], version=1), "version 1"),
    "version 9": (gguf_bytes([], [], version=9), "version 9"),
    "big-endian": (gguf_bytes([], [], version=3 << 24), "big-endian"),
    "2^60 keys": (gguf_bytes([], [], count=2**60), "1,152,921,504,606,846,976 keys"),
    "more keys than there are": (gguf_bytes([], [], count=MAX_KEYS), "no name"),
    "2^60 tensors": (gguf_bytes([], [], tensors=2**60), "tensors"),
    "a string of 2^62": (gguf_bytes([key(b"a", 8, struct.pack("<Q", 2**62))], []), "past the end"),
    "a key of 2^62": (gguf_bytes([struct.pack("<Q", 2**62)], []), "over the limit"),
    "an array of 2^61": (gguf_bytes([key(b"a", 9, struct.pack("<IQ", 10, 2**61))], []), "past the end"),
    "2^50 strings": (gguf_bytes([key(b"a", 9, struct.pack("<IQ", 8, 2**50))], []), "strings"),
    "an array of arrays": (gguf_bytes([key(b"a", 9, struct.pack("<IQ", 9, 2**40) * 1000)], []), "array of arrays"),
    "an unknown kind": (gguf_bytes([key(b"a", 13, b"")], []), "unknown type, 13"),
    "a key twice": (gguf_bytes([key(b"a", 0, b"1")] * 2, []), "stands twice"),
    "a key without a name": (gguf_bytes([key(b"", 0, b"1")], []), "no name"),
    "no power of two": (gguf_bytes([key(b"general.alignment", 4, b"\x07\0\0\0")], []), "no power of two"),
    "alignment of text": (gguf_bytes([key(b"general.alignment", 8, string(b"32"))], []), "32-bit"),
    "a tensor twice": (gguf_bytes([], [info(b"a", 0), info(b"a", 32)], 64), "stands twice"),
    "a tensor's long name": (gguf_bytes([], [info(b"a" * 64, 0)], 64), "over the limit"),
    "2^31 dimensions": (gguf_bytes([], [string(b"a") + struct.pack("<I", 2**31)]), "dimensions"),
    "2^64 elements": (gguf_bytes([], [info(b"a", 0, (2**32, 2**32))]), "larger than a file"),
    "an unknown type": (gguf_bytes([], [info(b"a", 0, kind=4)], 64), "unknown type, 4"),
    "half a block": (gguf_bytes([], [info(b"a", 0, (33,), 8)], 64), "no multiple"),
    "not aligned": (gguf_bytes([], [info(b"a", 8)], 64), "begins at 8"),
    "a gap": (gguf_bytes([], [info(b"a", 0), info(b"b", 64)], 128), "begins at 64"),
    "an overlap": (gguf_bytes([], [info(b"a", 0, (64,)), info(b"b", 32)], 512), "begins at 32"),
    "past the end": (gguf_bytes([], [info(b"a", 0, (2**40,))], 64), "past the end"),
}


@pytest.mark.parametrize("data, reason", BROKEN_GGUF.values(), ids=BROKEN_GGUF)
def test_a_broken_gguf_file_is_named_with_its_reason(data: bytes, reason: str, figure: Figure) -> None:
    said = fault(data, check_gguf)
    assert said is not None
    assert reason in said
    figure("broken headers refused", 1)


def test_a_gguf_type_newer_than_this_program_is_held_to_what_can_be_known() -> None:
    assert fault(gguf_bytes([], [info(b"a", 0, kind=99), info(b"b", 320)], 352), check_gguf) is None
    assert fault(gguf_bytes([], [info(b"a", 0, kind=99), info(b"b", 320)], 351), check_gguf) is not None
    assert fault(gguf_bytes([], [info(b"a", 0, kind=99), info(b"b", 321)], 400), check_gguf) is not None


# --- bounds ----------------------------------------------------------------------------------------------------------

_MEASURED = """
import os, resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (256 * 2**20, 256 * 2**20))
from weightswarm.formats import inspect_file
for path in sys.argv[1:]:
    began = time.process_time()
    defect = inspect_file(path, os.open(path, os.O_RDONLY)).defect
    print(f"{time.process_time() - began:.3f}", defect)
"""


def padded(length: int) -> bytes:
    """A header's start that claims 100 MB; the file's rest is a hole, which reads as zeros."""
    return struct.pack("<Q", MAX_HEADER) + b'{"a":' + b"[" * length


@pytest.mark.parametrize("ending", ["safetensors", "gguf"])
def test_no_header_takes_more_than_two_seconds_or_256_mib(tmp_path: Path, ending: str, figure: Figure) -> None:
    cases = BROKEN if ending == "safetensors" else BROKEN_GGUF
    files = []
    for number, (data, _) in enumerate(cases.values()):
        files.append(tmp_path / f"{number}.{ending}")
        files[-1].write_bytes(data)
    large = {
        "safetensors": [padded(100_000), struct.pack("<Q", MAX_HEADER), struct.pack("<Q", MAX_HEADER) + b'{"a' ],
        "gguf": [gguf_bytes([key(b"a", 9, struct.pack("<IQ", 8, 2**22))], []), gguf_bytes([], [], tensors=2**18)],
    }[ending]  # fmt: skip
    for number, data in enumerate(large):
        files.append(tmp_path / f"large-{number}.{ending}")
        files[-1].write_bytes(data)
        os.truncate(files[-1], 200_000_000)
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, *files], capture_output=True, text=True, check=True, timeout=120
    )
    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    assert len(lines) == len(files)
    assert all(float(seconds) < 2 for seconds, _ in lines), done.stdout
    # Empty strings without end are right as far as a header goes.
    assert sum(defect == "None" for _, defect in lines) == (ending == "gguf")
    figure("hostile headers measured", len(files))


# --- through the command line ----------------------------------------------------------------------------------------


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A model whose weights are one byte short."""
    weights = safetensors_bytes(50_000, Random(3))
    return write_files(tmp_path / "broken", {"config.json": b"{}\n", "model.safetensors": weights[:-1]})


QUICK = ("--name", NAME, "--timeout", "30")


@pytest.mark.parametrize("where", ["cache", "local-dir", "trust-magnet"])
def test_malformed_weights_are_not_placed_unless_allowed(
    cli: CommandLine, broken: Path, hub: Path, tmp_path: Path, where: str
) -> None:
    release = release_of(broken)
    metainfo = with_manifest(release.metainfo, None) if where == "trust-magnet" else release.metainfo
    options = {"cache": [], "local-dir": ["--local-dir", "out"], "trust-magnet": ["--trust-magnet"]}[where]
    with serving(metainfo, release.locations) as magnet:
        outcome = cli("fetch", magnet, *QUICK, *options)
        refused(outcome, 3, "model.safetensors", "breaks its own format", "nothing was placed")
        assert "--allow-malformed" in outcome.stderr
        assert visible(hub) == []
        assert not (tmp_path / "out" / "model.safetensors").exists()
        placed = fetch_json(cli, magnet, *QUICK, *options, "--allow-malformed")
    assert placed["downloaded"] == 0, "what came before was kept"
    assert (Path(placed["path"]) / "model.safetensors").stat().st_size == 49_999

    verified = cli("verify", NAME if where != "local-dir" else "./out")
    assert verified.code == 3
    assert verified.stdout.startswith("malformed: model.safetensors (tensor 'w' lies at ")
    cli.ok("verify", NAME if where != "local-dir" else "./out", WEIGHTSWARM_ALLOW_MALFORMED="1")


def test_repair_leaves_malformed_weights_that_are_the_publishers(cli: CommandLine, broken: Path, hub: Path) -> None:
    with serving_release(release_of(broken)) as magnet:
        path = Path(fetch_json(cli, magnet, *QUICK, "--allow-malformed")["path"])
        config = (path / "config.json").resolve()
        config.chmod(0o644)
        config.write_bytes(b"[]\n")
        mended = cli("verify", NAME, "--repair", "--peer", magnet.rpartition("x.pe=")[2], "--json")
    assert mended.code == 3
    assert mended.json["repaired"] == ["config.json"]
    assert [finding["fault"] for finding in mended.json["findings"]] == ["malformed"]
    assert (path / "model.safetensors").exists()


def test_a_zip64_record_that_is_cut_off_is_no_archive() -> None:
    """The end of central directory right behind the first four bytes of the record that it sends the reader to."""
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert zip_members(Unpacked(b"PK\x03\x04" + b"PK\x06\x06" + end)) == []


def test_repair_brings_back_no_malformed_weights_that_a_fetch_would_refuse(
    cli: CommandLine, broken: Path, hub: Path
) -> None:
    with serving_release(release_of(broken)) as magnet:
        path = Path(fetch_json(cli, magnet, *QUICK, "--allow-malformed")["path"])
        weights = path / "model.safetensors"
        weights.resolve().unlink()
        weights.unlink()
        repair = ("verify", NAME, "--repair", "--peer", magnet.rpartition("x.pe=")[2])
        refused(cli(*repair), 3, "breaks its own format", "nothing was placed")
        assert not weights.exists()
        cli.ok(*repair, "--allow-malformed")
    assert weights.exists()
