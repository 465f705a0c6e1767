"""What may run code when a model is loaded: named before it comes, found under other names, refused where unwanted."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

import weightswarm
from conftest import make_model
from hostile import LOOPBACK, NAME, contents, refused, release_of, serving, serving_release, visible, with_manifest
from running import CommandLine
from samples import write_files
from weights import safetensors_bytes
from weightswarm import FetchOptions, Note, Progress
from weightswarm.errors import ContentMismatch, UnsafeFiles
from weightswarm.formats import Code, code_by_name
from weightswarm.formats.pickles import holds_pickle
from weightswarm.formats.source import Unpacked

Figure = Callable[[str, float], None]
QUICK = ("--name", NAME, "--timeout", "30")
MARK = "code-that-ran"


class Payload:
    """Unpickled, it would leave a file behind."""

    def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
        return os.mkdir, (MARK,)


def torch_zip(data: bytes, folder: str = "archive/") -> bytes:
    """An archive as torch has written since 1.6."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{folder}data.pkl", data)
        archive.writestr(f"{folder}data/0", bytes(400))
        archive.writestr(f"{folder}version", b"3\n")
    return buffer.getvalue()


def torch_legacy(data: bytes) -> bytes:
    """A stream of pickles, as torch wrote before: a magic number, a version, the system, the object."""
    parts = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    return b"".join(pickle.dumps(part, 2) for part in parts) + data


def tarred(**members: bytes) -> bytes:
    """A tar archive, as torch wrote first of all."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def npy(array: Any) -> bytes:
    """A numpy array, pickled where it holds objects."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def npz(**arrays: Any) -> bytes:
    """An archive of numpy arrays, compressed."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


EVIL = pickle.dumps(Payload(), 4)
PLAIN = pickle.dumps({"weight": list(range(100)), "name": "x" * 10_000}, 2)
PICKLES: dict[str, bytes] = {
    **{f"protocol {number}": pickle.dumps(Payload(), number) for number in range(6)},
    **{f"harmless, protocol {number}": pickle.dumps([1, {"a": (2.5, None)}], number) for number in range(6)},
    **{f"many values, protocol {number}": pickle.dumps(dict.fromkeys(range(3000)), number) for number in range(6)},
    "old instance": b"(S'" + MARK.encode() + b"'\nios\nmkdir\n.",
    "no protocol named": EVIL[2:],
    "a long string first": b"X" + struct.pack("<I", 100_000) + bytes(100_000) + b"0" + EVIL,
    "padded": b"\x80\x02" + b"N0" * 2000 + EVIL[2:],
    "arrays between": pickle.dumps(np.zeros(3), 2)[:-1] + b"\xff\xfe" * 100 + b".",
    "torch zip": torch_zip(EVIL),
    "torch zip without a folder": torch_zip(EVIL, ""),
    "torch zip by another name": torch_zip(EVIL).replace(b"data.pkl", b"data.txt"),
    "torch zip behind a prefix": b"PK\x03\x04" + bytes(500) + torch_zip(EVIL),
    "torch legacy": torch_legacy(EVIL),
    "torch tar": tarred(sys_info=b"", pickle=EVIL, storages=b""),
    "tar with another name": tarred(first=b"text", second=EVIL),
    "gzip": gzip.compress(EVIL),
    "zlib": zlib.compress(EVIL),
    "bz2": bz2.compress(EVIL),
    "xz": lzma.compress(EVIL),
    "lzma": lzma.compress(EVIL, lzma.FORMAT_ALONE),
    "gzipped tar": gzip.compress(tarred(weights=EVIL)),
    "large and compressed": zlib.compress(EVIL + Random(1).randbytes(300_000)),
    "object array": npy(np.array([Payload(), 1], dtype=object)),
    "object field": npy(np.array([(1, None)], dtype=[("a", "<i4"), ("b", "O")])),
    "archive of object arrays": npz(a=np.zeros(3), b=np.array([{}], dtype=object)),
}  # fmt: skip


@pytest.mark.parametrize("data", PICKLES.values(), ids=PICKLES)
def test_a_pickle_is_told_by_its_content(data: bytes, figure: Figure) -> None:
    assert holds_pickle(Unpacked(data))
    figure("pickles told by their content", 1)


HARMLESS: dict[str, bytes] = {
    "empty": b"",
    "json": b'{"model_type": "test"}\n',
    "a list": b"[1, 2, 3]\n",
    "a vocabulary": b"cat\ndog\n(\nR\n.\n",
    "merges": b"#version: 0.2\ni n\nt h\n",
    "prose": b"In the beginning there was a file. (It was long.)\n",
    "one letter": b"N",
    "a stop": b".",
    "safetensors": safetensors_bytes(5000, Random(4)),
    "numpy": npy(np.zeros((3, 4), np.float32)),
    "fields": npy(np.zeros(3, [("Object", "<f4")])),
    "archive of arrays": npz(a=np.zeros(3), b=np.ones((2, 2))),
    "zip": torch_zip(b"text").replace(b"data.pkl", b"data.txt"),
    "tar": tarred(readme=b"text", pickled=b"cucumbers"),
    "gzip": gzip.compress(b"text" * 1000),
    "a cut gzip": gzip.compress(Random(5).randbytes(5000))[:20],
    "a zip's end alone": b"PK\x05\x06" + bytes(18),
    "a zip with a directory past its end": b"PK\x03\x04PK\x05\x06" + bytes(8) + b"\xff\xff\xff\x7f" * 2 + bytes(2),
    "zlib by accident": b"\x78\x9c" + bytes(50),
    "protocol 9": b"\x80\x09.",
    "a protocol and no more": b"\x80",
    "a string past the end": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"a",
}  # fmt: skip


@pytest.mark.parametrize("data", HARMLESS.values(), ids=HARMLESS)
def test_what_is_no_pickle_is_not_called_one(data: bytes) -> None:
    assert not holds_pickle(Unpacked(data))


def test_random_bytes_and_real_text_are_not_called_pickles(minilm: Path, figure: Figure) -> None:
    random = Random(6)
    assert not any(holds_pickle(Unpacked(random.randbytes(64))) for _ in range(20_000))
    files = [path for path in minilm.rglob("*") if path.is_file()]
    assert not [path for path in files if holds_pickle(Unpacked(path.read_bytes()[:1_000_000]))]
    figure("files that are no pickles looked at", 20_000 + len(files))


def test_looking_runs_nothing_and_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Figure) -> None:
    monkeypatch.chdir(tmp_path)
    bombs = [
        zlib.compress(bytes(50_000_000)),
        gzip.compress(b"N0" * 20_000_000),
        b"(" * 1_000_000,
        b"V" + b"a" * 5_000_000,
        b"\x80\x04" + b"\x96" + struct.pack("<Q", 2**63),
        b"PK\x03\x04%bPK\x05\x06%b\0\0" % (b"PK\x01\x02" * 300_000, struct.pack("<4I", 0, 0, 1_200_000, 4)),
        lzma.compress(bytes(50_000_000)),
    ]  # fmt: skip
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (256 * 2**20,) * 2); import os, time\n"
        "from weightswarm.formats import inspect_file\n"
        "for path in sys.argv[1:]:\n"
        "    began = time.process_time()\n"
        "    inspect_file('x.txt', os.open(path, os.O_RDONLY))\n"
        "    print(time.process_time() - began)\n"
    )
    files = []
    for number, data in enumerate([*bombs, *PICKLES.values()]):
        files.append(tmp_path / f"{number}.dat")
        files[-1].write_bytes(data)
    done = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True, check=True, timeout=100)
    assert max(map(float, done.stdout.split())) < 2
    assert not (tmp_path / MARK).exists()
    figure("hostile files looked at within bounds", len(files))


@pytest.mark.parametrize(
    "path, kind",
    [
        ("pytorch_model.bin", Code.PICKLE),
        ("a/b.PT", Code.PICKLE),
        ("x.ckpt", Code.PICKLE),
        ("scaler.joblib", Code.PICKLE),
        ("modeling_x.py", Code.PROGRAM),
        ("kernel.so", Code.PROGRAM),
        ("tf_model.h5", Code.LAYERS),
        ("model.safetensors", None),
        ("model.gguf", None),
        ("bin", None),
        ("config.json", None),
    ],
)
def test_names_that_loaders_run_are_known(path: str, kind: Code | None) -> None:
    assert code_by_name(path) is kind


# --- through the command line ----------------------------------------------------------------------------------------


@pytest.fixture
def unsafe(tmp_path: Path) -> Path:
    """A model with pickled weights and code of its own."""
    folder = make_model(tmp_path / "unsafe", 50_000)
    return write_files(folder, {"pytorch_model.bin": torch_zip(EVIL), "modeling_x.py": b"print('hello')\n"})


NAMED = "may run code when loaded: modeling_x.py (program code), pytorch_model.bin (pickle)"


def test_what_may_run_code_is_named_before_it_comes_and_runs_nowhere(
    cli: CommandLine, unsafe: Path, tmp_path: Path
) -> None:
    with serving_release(release_of(unsafe)) as magnet:
        fetched = cli.ok("fetch", magnet, *QUICK)
    lines = fetched.stderr.splitlines()
    warnings = [number for number, line in enumerate(lines) if NAMED in line]
    assert len(warnings) == 1
    assert lines[warnings[0]].startswith("2 files of ")
    assert warnings[0] < min(n for n, line in enumerate(lines) if line.startswith(("Downloading", "Verifying")))
    assert contents(Path(fetched.result)) == contents(unsafe)

    verified = cli.ok("verify", NAME)
    assert NAMED in verified.stderr
    assert "all as the manifest says" in verified.stderr
    assert cli.ok("verify", NAME, "--json").json["code"] == [
        {"path": "modeling_x.py", "kind": "program code", "disguised": False},
        {"path": "pytorch_model.bin", "kind": "pickle", "disguised": False},
    ]
    assert not (tmp_path / MARK).exists()


def test_only_safe_refuses_by_name_before_any_payload(cli: CommandLine, unsafe: Path, hub: Path) -> None:
    with serving_release(release_of(unsafe)) as magnet:
        outcome = cli("fetch", magnet, *QUICK, "--only-safe")
        refused(outcome, 1, NAMED, "nothing was downloaded")
        assert "Hint: to fetch the rest: --exclude '*.py' --exclude '*.bin'" in outcome.stderr
        refused(cli("fetch", magnet, *QUICK, WEIGHTSWARM_ONLY_SAFE="1"), 1, "pytorch_model.bin")
        refused(cli("fetch", magnet, *QUICK, "--only-safe", "--dry-run"), 1, "pytorch_model.bin")
        assert visible(hub) == []
        assert not [path for path in hub.rglob("files/*") if path.is_file()], "nothing came"

        part = cli.ok("fetch", magnet, *QUICK, "--only-safe", "--exclude", "*.py", "--exclude", "*.bin")
        assert not contents(Path(part.result)).keys() & {"pytorch_model.bin", "modeling_x.py"}
        assert NAMED not in part.stderr
        cli.ok("fetch", magnet, *QUICK)
        refused(cli("fetch", magnet, *QUICK, "--only-safe"), 1, NAMED)


def test_show_and_a_dry_run_say_which_files_may_run_code(cli: CommandLine, unsafe: Path) -> None:
    with serving_release(release_of(unsafe)) as magnet:
        for command, keywords in (("show", []), ("fetch", [*QUICK, "--dry-run"])):
            listed = cli.ok(command, magnet, *keywords)
            marked = [line.strip().rpartition("  ")[2] for line in listed.stdout.splitlines() if "  [" in line]
            assert marked == ["[program code]", "[pickle]"]
            files = cli.ok(command, magnet, *keywords, "--json").json["files"]
            assert {file["path"]: file["code"] for file in files if file["code"]} == {
                "modeling_x.py": "program code",
                "pytorch_model.bin": "pickle",
            }


def test_a_torrent_without_a_manifest_is_held_to_the_same(cli: CommandLine, unsafe: Path, hub: Path) -> None:
    release = release_of(unsafe)
    with serving(with_manifest(release.metainfo, None), release.locations) as magnet:
        refused(cli("fetch", magnet, *QUICK, "--trust-magnet", "--only-safe"), 1, NAMED)
        assert visible(hub) == []
        assert NAMED in cli.ok("fetch", magnet, *QUICK, "--trust-magnet").stderr


@pytest.mark.parametrize("shape", ["torch zip", "protocol 2", "gzip"])
@pytest.mark.parametrize("trusted", [False, True], ids=["manifest", "trust-magnet"])
def test_a_pickle_by_another_name_is_reported_and_with_only_safe_not_placed(
    tmp_path: Path, hub: Path, shape: str, trusted: bool
) -> None:
    folder = write_files(tmp_path / "disguised", {"config.json": b"{}", "weights.dat": PICKLES[shape]})
    release = release_of(folder)
    metainfo = with_manifest(release.metainfo, None) if trusted else release.metainfo
    said: list[str] = []

    def report(event: Progress | Note) -> None:
        if isinstance(event, Note):
            said.append(event.text)

    def fetch(*, only_safe: bool) -> Path:
        options = FetchOptions(name=NAME, timeout=30, network=LOOPBACK, only_safe=only_safe, trust_magnet=trusted)
        return weightswarm.fetch(magnet, cache_dir=hub, options=options, report=report).path

    with serving(metainfo, release.locations) as magnet:
        with pytest.raises(ContentMismatch, match=r"weights\.dat \(pickle\); nothing was placed") as caught:
            fetch(only_safe=True)
        assert caught.value.paths == ("weights.dat",)
        assert visible(hub) == []
        assert not any("may run code" in text for text in said)
        path = fetch(only_safe=False)
        assert [text for text in said if "weights.dat (pickle)" in text]
        assert (path / "weights.dat").read_bytes() == PICKLES[shape]
        with pytest.raises(ContentMismatch, match=r"weights\.dat \(pickle\)"):
            fetch(only_safe=True)
    [found] = weightswarm.verify(NAME, cache_dir=hub).verdict.code
    assert (found.path, found.kind, found.disguised) == ("weights.dat", Code.PICKLE, True)


def test_a_pickle_called_safetensors_is_refused_whatever_is_asked_for(cli: CommandLine, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "disguised", {"model.safetensors": torch_zip(EVIL)})
    with serving_release(release_of(folder)) as magnet:
        refused(cli("fetch", magnet, *QUICK), 3, "model.safetensors", "it is a pickle")
        refused(cli("fetch", magnet, *QUICK, "--only-safe", "--allow-malformed"), 3, "model.safetensors", "(pickle)")
        cli.ok("fetch", magnet, *QUICK, "--allow-malformed")
    refused_verify = cli("verify", NAME)
    assert refused_verify.code == 3
    assert refused_verify.stdout == "malformed: model.safetensors (it is a pickle)\n"


def test_the_error_names_the_files(tmp_path: Path, unsafe: Path, hub: Path) -> None:
    with serving_release(release_of(unsafe)) as magnet, pytest.raises(UnsafeFiles) as caught:
        options = FetchOptions(name=NAME, timeout=30, network=LOOPBACK, only_safe=True)
        weightswarm.fetch(magnet, cache_dir=hub, options=options)
    assert caught.value.paths == ("modeling_x.py", "pytorch_model.bin")
