"""Releases of odd sizes, names and numbers of files: published, fetched and verified exactly, from end to end."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import weightswarm
from hostile import LOOPBACK, NAME, contents, flip_byte, refused, release_of, serving
from running import CommandLine
from samples import write_files
from weightswarm import FetchOptions, PublishOptions, VerifyOptions
from weightswarm.cache import ModelCache, Staging
from weightswarm.metainfo import TorrentVersion

BLOCK = 16 * 1024
PIECE = 64 * 1024
GIB = 2**30


def pattern(size: int, seed: int = 1) -> bytes:
    """Bytes that differ from block to block."""
    return b"".join(hash((seed, n)).to_bytes(8, "little", signed=True) * 128 for n in range(size // 1024 + 1))[:size]


def there_and_back(folder: Path, hub: Path, version: TorrentVersion, piece_length: int | None = None) -> Path:
    """Publish a folder, fetch it into a cache, verify that, and return the snapshot."""
    options = PublishOptions(version=version, piece_length=piece_length)
    release = weightswarm.prepare(folder, name=NAME, options=options)
    with serving(release.metainfo, release.locations) as magnet:
        fetched = weightswarm.fetch(
            magnet, cache_dir=hub, options=FetchOptions(name=NAME, timeout=60, network=LOOPBACK)
        )
    assert weightswarm.verify(NAME, cache_dir=hub).verdict.ok
    return fetched.path


@pytest.mark.parametrize("version", TorrentVersion)
def test_files_around_the_length_of_a_block_and_a_piece_arrive_exactly(
    version: TorrentVersion, tmp_path: Path, hub: Path
) -> None:
    sizes = [0, 1, *(n * unit + d for unit in (BLOCK, PIECE) for n in (1, 2, 3) for d in (-1, 0, 1)), 0]
    files = {f"{number:02}-{size}.bin": pattern(size, number) for number, size in enumerate(sizes)}
    folder = write_files(tmp_path / "model", files)
    assert contents(there_and_back(folder, hub, version, PIECE)) == files


@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, BLOCK + 1, PIECE - 1, PIECE, PIECE + 1])
def test_a_release_of_one_file_of_any_size_arrives_exactly(size: int, tmp_path: Path, hub: Path) -> None:
    files = {"model.bin": pattern(size)}
    folder = write_files(tmp_path / "model", files)
    assert contents(there_and_back(folder, hub, TorrentVersion.HYBRID, PIECE)) == files


@pytest.mark.parametrize("version", TorrentVersion)
def test_names_with_spaces_and_of_all_scripts_and_deep_folders_arrive_exactly(
    version: TorrentVersion, tmp_path: Path, hub: Path
) -> None:
    names = (
        "two words.bin", " leading space", "Größe «Gewichte».bin",
        "模型/权重 01.bin", "модель.bin", "नमूना.bin", "🤗.bin",
        "a'b.bin", "$HOME `x`;&.bin", "%41%2F..bin", "#hash+plus=.bin", "-rf", "~user", "é" * 127, "x" * 255,
    )  # fmt: skip
    files = {name: pattern(5000 + number, number) for number, name in enumerate(names)}
    files["/".join(["deep"] * 31 + ["file"])] = pattern(40_000)
    folder = write_files(tmp_path / "model", files)
    assert contents(there_and_back(folder, hub, version)) == files


def test_folders_deeper_than_a_release_may_have_are_refused_by_name(tmp_path: Path, cli: CommandLine) -> None:
    write_files(tmp_path / "model", {"/".join(["deep"] * 100 + ["file"]): b"x", "config.json": b"{}"})
    refused(cli("publish", tmp_path / "model", "--name", NAME), 1, "more than 32 folders deep")


def test_ten_thousand_files_arrive_exactly(tmp_path: Path, hub: Path, figure: Callable[[str, float], None]) -> None:
    files = {f"shard-{n // 500:02}/{n:05}.bin": b"%d\n" % n * (1 + n % 40) for n in range(10_000)}
    folder = write_files(tmp_path / "model", files)
    used = time.process_time()
    snapshot = there_and_back(folder, hub, TorrentVersion.V1)
    figure("CPU seconds for 10,000 files, there and back", round(time.process_time() - used, 1))
    assert contents(snapshot) == files
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert len(os.listdir("/proc/self/fd")) < min(soft, 200), "folders and files are let go of"


def test_a_file_of_more_than_four_gib_is_published_fetched_and_verified_to_its_last_byte(
    tmp_path: Path, hub: Path, figure: Callable[[str, float], None]
) -> None:
    """Sparse, and fetched as a download that was broken off goes on, so that no 4 GiB are written."""
    used = time.process_time() + sum(os.times()[2:4])
    folder = tmp_path / "model"
    folder.mkdir()
    size = 4 * GIB + 12_345
    places = (0, 2 * GIB - 5, 4 * GIB - 5, size - 10)
    with (folder / "model.bin").open("wb") as file:
        file.truncate(size)
        for place in places:
            os.pwrite(file.fileno(), b"0123456789", place)
    release = release_of(folder, TorrentVersion.V2)
    assert release.manifest.total_size == size
    root = release.manifest.files[0].pieces_root
    assert root == release.metainfo.files[0].pieces_root

    staging = Staging(ModelCache(hub).private, release.metainfo.info_hash)
    staging.prepare(release.metainfo.data, ["model.bin"])
    with staging.swarm_file("model.bin").open("wb") as file:
        file.truncate(size)
    with serving(release.metainfo, release.locations) as magnet:
        options = FetchOptions(name=NAME, timeout=60, network=LOOPBACK)
        fetched = weightswarm.fetch(magnet, cache_dir=hub, options=options)
    assert 0 < fetched.downloaded <= 6 * release.metainfo.piece_length
    with (fetched.path / "model.bin").open("rb") as file:
        assert os.fstat(file.fileno()).st_size == size
        assert all(os.pread(file.fileno(), 10, place) == b"0123456789" for place in places)

    flip_byte(folder / "model.bin", offset=size - 1)
    witness = tmp_path / "manifest.json"
    witness.write_bytes(release.manifest.to_bytes())
    verdict = weightswarm.verify(folder, options=VerifyOptions(manifest=witness)).verdict
    assert [(finding.path, finding.fault.value) for finding in verdict.findings] == [("model.bin", "wrong hash")]
    assert verdict.hashed == size
    figure("CPU seconds for a file of 4 GiB", round(time.process_time() + sum(os.times()[2:4]) - used, 1))
