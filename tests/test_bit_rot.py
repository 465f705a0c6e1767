"""Bytes that change on the disk, and state that was tampered with: found, mended with little, never placed or given."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import weightswarm
from conftest import make_model
from faults import MIB, Source, all_right
from hostile import (
    NAME,
    WEIGHTS,
    age,
    contents,
    edited,
    fetch_json,
    flip_byte,
    interrupted_fetch,
    place,
    refused,
    release_of,
)
from running import CommandLine, Seeder
from weightswarm import Release
from weightswarm.cache import ModelCache

SIZE = 6 * MIB
PIECE = 16 * 1024


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of some hundred pieces."""
    return make_model(tmp_path_factory.mktemp("rot") / "model", SIZE)


@pytest.fixture(scope="module")
def release(folder: Path) -> Release:
    """The model as a release."""
    return release_of(folder)


@pytest.fixture
def source(release: Release) -> Iterator[Source]:
    """Gives the model and counts what it gives."""
    made = Source(release, rate=0)
    yield made
    made.session.pause()


def flipped(file: Path) -> None:
    flip_byte(file, offset=SIZE // 4, keep_times=True)


def truncated(file: Path) -> None:
    status = file.stat()
    file.chmod(0o644)
    os.truncate(file, status.st_size - PIECE - 1)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def grown(file: Path) -> None:
    status = file.stat()
    file.chmod(0o644)
    with file.open("ab") as stream:
        stream.write(b"more")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


ROT = [flipped, truncated, grown]


@pytest.mark.parametrize("rot", ROT)
def test_a_rotten_blob_is_named_and_mended_with_the_pieces_it_lacks(
    rot: Callable[[Path], None], source: Source, release: Release, folder: Path, hub: Path, cli: CommandLine,
    figure: Callable[[str, float], None],
) -> None:  # fmt: skip
    snapshot = place(release, hub)
    rot((snapshot / WEIGHTS).resolve())
    fault = "wrong hash" if rot is flipped else "wrong size"
    outcome = cli("verify", NAME)
    assert (outcome.code, outcome.stdout.partition(" (")[0]) == (3, f"{fault}: {WEIGHTS}")
    before = source.given
    cli.ok("verify", NAME, "--repair", "--timeout", "20", "--peer", source.magnet.rpartition("x.pe=")[2])
    assert source.given - before <= 3 * PIECE
    assert all_right(hub, folder)
    figure("KiB given to mend rot in the cache", (source.given - before) // 1024)


@pytest.mark.parametrize("rot", ROT)
def test_rot_in_staging_is_mended_with_the_pieces_it_lacks(
    rot: Callable[[Path], None], source: Source, folder: Path, hub: Path, cli: CommandLine,
    figure: Callable[[str, float], None],
) -> None:  # fmt: skip
    source.handle.set_upload_limit(4 * MIB)
    staged = interrupted_fetch(cli, hub, source.magnet, "--name", NAME)
    source.handle.set_upload_limit(0)
    rot(staged)
    if rot is grown:
        os.truncate(staged, SIZE + 4096)
    result = fetch_json(cli, source.magnet, "--name", NAME, "--timeout", "20")
    assert contents(Path(result["path"])) == contents(folder)
    assert all_right(hub, folder)
    again = source.given - sum(map(len, contents(folder).values()))
    assert again <= 2 * MIB
    figure("KiB downloaded again after rot in staging", max(0, again) // 1024)


@pytest.mark.parametrize("rot", ROT)
def test_a_seed_whose_files_rot_gives_no_wrong_byte(
    rot: Callable[[Path], None], release: Release, folder: Path, hub: Path, tmp_path: Path, cli: CommandLine,
    seeder: Seeder,
) -> None:  # fmt: skip
    snapshot = place(release, hub)
    seeding = seeder(NAME)
    rot((snapshot / WEIGHTS).resolve())
    outcome = cli("fetch", seeding.magnet, "--name", NAME, "--cache-dir", tmp_path / "second", "--timeout", "3")
    # What a file grew by belongs to no piece: all that it gives is still right, and it ends nevertheless.
    assert outcome.code in ((0, 3, 4) if rot is grown else (3, 4)), outcome.stderr
    assert all_right(tmp_path / "second", folder) is (outcome.code == 0)
    ended = seeding.wait(20)
    assert ended.code == 3
    assert WEIGHTS in ended.stderr or "blobs" in ended.stderr


def test_rotten_content_is_not_reused_under_another_name(
    source: Source, release: Release, folder: Path, hub: Path, cli: CommandLine
) -> None:
    flipped((place(release, hub) / WEIGHTS).resolve())
    result = fetch_json(cli, source.magnet, "--name", "org/twin", "--timeout", "20")
    # Of a blob with a flipped byte every piece but one is right.
    assert 0 < result["downloaded"] < SIZE
    assert result["downloaded"] + result["reused"] == result["size"]
    assert contents(Path(result["path"])) == contents(folder)


@pytest.mark.parametrize("swap", ["garbage", "another release", "nothing"])
def test_a_swapped_torrent_in_staging_is_not_followed(
    swap: str, source: Source, folder: Path, hub: Path, tmp_path: Path, cli: CommandLine
) -> None:
    source.handle.set_upload_limit(4 * MIB)
    staged = interrupted_fetch(cli, hub, source.magnet, "--name", NAME)
    source.handle.set_upload_limit(0)
    other = release_of(make_model(tmp_path / "other", 50_000, seed=9)).metainfo.data
    kept = staged.parents[1] / "release.torrent"
    kept.write_bytes({"garbage": b"d4:infod", "another release": other, "nothing": b""}[swap])
    result = fetch_json(cli, source.magnet, "--name", NAME, "--timeout", "20")
    assert contents(Path(result["path"])) == contents(folder)
    assert source.given <= SIZE + 2 * MIB, "what came before is used"


@pytest.mark.parametrize("lie", ["paths", "hash", "not JSON", "other types", "gone"])
def test_a_tampered_record_neither_hides_rot_nor_locks_the_release(
    lie: str, source: Source, release: Release, folder: Path, hub: Path, cli: CommandLine
) -> None:
    snapshot = place(release, hub)
    record = ModelCache(hub).repository(NAME).record(snapshot.name) / "record.json"
    facts = json.loads(record.read_bytes())
    (snapshot / "config.json").resolve().unlink()
    lies = {
        "paths": json.dumps({**facts, "paths": [*facts["paths"], "../../../etc/passwd", "ghost"]}),
        "hash": json.dumps({**facts, "info_hash_v1": "ab" * 20}),
        "not JSON": "{",
        "other types": json.dumps({**facts, "paths": 7, "verified": []}),
        "gone": None,
    }
    record.unlink()
    if (text := lies[lie]) is not None:
        record.write_text(text)
    outcome = cli("verify", NAME)
    assert outcome.code == 3 and "config.json" in outcome.stdout
    result = fetch_json(cli, source.magnet, "--name", NAME, "--timeout", "20")
    assert result["complete"] is True
    assert contents(snapshot) == contents(folder)
    cli.ok("verify", NAME)
    assert all_right(hub, folder)


def test_a_tampered_manifest_in_the_cache_is_found_by_verify_and_refused_by_fetch(
    source: Source, release: Release, hub: Path, cli: CommandLine
) -> None:
    snapshot = place(release, hub)
    kept = ModelCache(hub).repository(NAME).record(snapshot.name) / "manifest.json"
    kept.write_bytes(edited(release.manifest, WEIGHTS, sha256="ab" * 32))
    assert cli("verify", NAME).stdout.startswith(f"wrong hash: {WEIGHTS}")
    refused(cli("verify", NAME, "--repair", "--timeout", "20"), 3, WEIGHTS)
    refused(cli("fetch", source.magnet, "--name", NAME, "--timeout", "20"), 3, WEIGHTS)
    cli.ok("rm", NAME, "--yes")
    cli.ok("fetch", source.magnet, "--name", NAME, "--timeout", "20")


def test_remembered_hashes_that_were_tampered_with_are_no_memory(tmp_path: Path, cli: CommandLine) -> None:
    model = make_model(tmp_path / "model", 100_000)
    age(model)
    first = cli.ok("publish", model, "--name", NAME).result
    (memory,) = (tmp_path / "user-cache" / "weightswarm" / "hashes").iterdir()
    whole = memory.read_bytes()
    digest = re.search(rb'"([0-9a-f]{64})"', whole)
    assert digest is not None
    for tampered in (whole.replace(digest[1], b"ab" * 32), whole[:-7], b"", whole[:32] + b"{}"):
        memory.write_bytes(tampered)
        assert cli.ok("publish", model, "--name", NAME).result == first
        assert memory.read_bytes() == whole, "and it is put right"


def test_a_seeded_folder_that_rotted_before_it_started_is_found_by_rehash_and_gives_nothing_wrong(
    tmp_path: Path, cli: CommandLine, seeder: Seeder
) -> None:
    """Size, mtime and inode are as they were; ctime tells, unless the disk itself changed the byte."""
    model = make_model(tmp_path / "model", 100_000)
    age(model)
    first = cli.ok("publish", model, "--name", NAME).result
    flip_byte(model / WEIGHTS, keep_times=True)
    assert cli.ok("publish", model, "--name", NAME).result != first
    shutil.rmtree(tmp_path / "user-cache")
    seeding = seeder(model, "--name", NAME)
    assert contents(Path(fetch_json(cli, seeding.magnet, "--name", NAME)["path"])) == contents(model)


def test_a_partial_folder_release_with_rot_is_mended_in_place(
    source: Source, release: Release, folder: Path, tmp_path: Path, cli: CommandLine
) -> None:
    mine = tmp_path / "mine"
    cli.ok("fetch", source.magnet, "--local-dir", mine)
    for rot in ROT:
        rot(mine / WEIGHTS)
        assert cli("verify", mine).code == 3
        before = source.given
        cli.ok("verify", mine, "--repair", "--timeout", "20", "--peer", source.magnet.rpartition("x.pe=")[2])
        assert source.given - before <= 3 * PIECE
        assert contents(mine) == contents(folder)
    assert weightswarm.verify(mine).verdict.ok
