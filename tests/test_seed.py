"""`weightswarm seed`: magnets first, nothing written, nothing given away that is not what was published."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import weightswarm
from conftest import make_model
from hostile import (
    LOOPBACK,
    NAME,
    WEIGHTS,
    age,
    contents,
    fetch_json,
    flip_byte,
    listing,
    place,
    refused,
    release_of,
    visible,
)
from running import CommandLine, Seeder
from weightswarm import FetchOptions
from weightswarm.errors import SwarmTimeout


def fetched(magnet: str, cache: Path, timeout: float = 20) -> dict[str, bytes]:
    """Fetch by magnet in this process and return the files."""
    options = FetchOptions(timeout=timeout, network=LOOPBACK)
    return contents(weightswarm.fetch(magnet, cache_dir=cache, options=options).path)


# --- several at once -------------------------------------------------------------------------------------------------


def test_several_models_are_seeded_in_one_process_and_one_that_rots_does_not_stop_the_other(
    seeder: Seeder, hub: Path, tmp_path: Path
) -> None:
    models = {f"org/m{seed}": make_model(tmp_path / f"m{seed}", 200_000, seed) for seed in (1, 2)}
    snapshots = [place(release_of(folder, name=name), hub, name) for name, folder in models.items()]
    seeding = seeder(*models, releases=2)
    assert [magnet.partition("&dn=")[2][:2] for magnet in seeding.magnets] == ["m1", "m2"]

    blob = (snapshots[0] / WEIGHTS).resolve()
    blob.unlink()
    assert fetched(seeding.magnets[1], tmp_path / "before") == contents(models["org/m2"])
    with pytest.raises(SwarmTimeout):
        fetched(seeding.magnets[0], tmp_path / "rotten", timeout=4)
    assert seeding.process.poll() is None, "the other release is still seeded"
    assert fetched(seeding.magnets[1], tmp_path / "after") == contents(models["org/m2"])
    ended = seeding.stop()
    assert ended.code in (3, 130)
    assert str(blob) in ended.stderr, "whoever ends it must learn what went wrong meanwhile"


# --- stopping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_within_three_seconds(seeder: Seeder, model: Path, number: int, code: int) -> None:
    # A tracker that is not there must not hold up the end.
    seeding = seeder(model, "--name", NAME, "--tracker", "http://127.0.0.1:9/announce")
    ended = seeding.stop(number, timeout=3)
    assert ended.code == code
    assert "Error" not in ended.stderr


def test_it_ends_by_itself_after_the_seed_time(seeder: Seeder, model: Path) -> None:
    started = time.monotonic()
    ended = seeder(model, "--name", NAME, "--seed-time", "1").wait(10)
    assert time.monotonic() - started < 8
    assert ended.code == 0
    assert "org/model@" in ended.stderr
    assert "0 B given, ratio 0.00" in ended.stderr


def test_it_ends_by_itself_at_the_seed_ratio(seeder: Seeder, model: Path, tmp_path: Path) -> None:
    seeding = seeder(model, "--name", NAME, "--seed-ratio", "0.9")
    assert fetched(seeding.magnet, tmp_path / "cache") == contents(model)
    ended = seeding.wait(10)
    assert ended.code == 0
    assert "ratio 1.0" in ended.stderr


def test_the_upload_limit_holds_on_this_machine_and_the_local_network_too(
    seeder: Seeder, model: Path, tmp_path: Path
) -> None:
    seeding = seeder(model, "--name", NAME, "--upload-limit", "600k")
    started = time.monotonic()
    assert fetched(seeding.magnet, tmp_path / "cache") == contents(model)
    assert time.monotonic() - started > 4, "2.9 MiB at 600 KiB/s"


# --- what is seeded must be what was published -----------------------------------------------------------------------


def overwrite(file: Path) -> None:
    flip_byte(file, offset=5)


def truncate(file: Path) -> None:
    os.truncate(file, 1_000_000)


@pytest.mark.parametrize("harm", [overwrite, truncate, Path.unlink])
def test_a_file_harmed_while_it_is_seeded_ends_it_and_is_named(
    seeder: Seeder, model: Path, harm: Callable[[Path], None]
) -> None:
    seeding = seeder(model, "--name", NAME)
    harm(model / WEIGHTS)
    ended = seeding.wait(10)
    assert ended.code == 3
    assert f"Error: {model / WEIGHTS} " in ended.stderr
    assert "Hint: publish the folder again" in ended.stderr


def test_a_byte_that_flips_unseen_while_it_is_seeded_is_never_accepted_and_then_named(
    cli: CommandLine, seeder: Seeder, model: Path, hub: Path
) -> None:
    seeding = seeder(model, "--name", NAME)
    flip_byte(model / WEIGHTS, keep_times=True)
    assert cli("fetch", seeding.magnet, "--timeout", "3").code in (3, 4)
    assert visible(hub) == []
    ended = seeding.wait(10)
    assert ended.code == 3
    assert f"Error: {model / WEIGHTS} " in ended.stderr


def test_a_cached_blob_that_rotted_before_seeding_is_never_accepted_and_then_named(
    cli: CommandLine, seeder: Seeder, model: Path, hub: Path, tmp_path: Path
) -> None:
    blob = (place(release_of(model), hub) / WEIGHTS).resolve()
    flip_byte(blob, keep_times=True)
    seeding = seeder(NAME)
    elsewhere = tmp_path / "elsewhere"
    assert cli("fetch", seeding.magnet, "--cache-dir", elsewhere, "--timeout", "3").code in (3, 4)
    assert visible(elsewhere) == []
    ended = seeding.wait(10)
    assert ended.code == 3
    assert f"Error: {blob} " in ended.stderr


def test_remembered_hashes_are_not_used_for_a_byte_flipped_under_the_same_mtime(
    cli: CommandLine, seeder: Seeder, model: Path, tmp_path: Path
) -> None:
    age(model)
    before = cli.ok("publish", model, "--name", NAME).result
    flip_byte(model / WEIGHTS, keep_times=True)
    seeding = seeder(model, "--name", NAME)
    assert not seeding.magnet.startswith(before)
    assert fetched(seeding.magnet, tmp_path / "cache") == contents(model)


# --- what it leaves alone --------------------------------------------------------------------------------------------


def test_nothing_is_written_to_a_seeded_folder(seeder: Seeder, model: Path, tmp_path: Path) -> None:
    for path in model.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = listing(model)
    seeding = seeder(model, "--name", NAME)
    assert fetched(seeding.magnet, tmp_path / "cache") == contents(model)
    seeding.stop()
    assert listing(model) == before


def test_nothing_is_written_to_the_cache_a_model_is_seeded_from(
    seeder: Seeder, model: Path, hub: Path, tmp_path: Path
) -> None:
    place(release_of(model), hub)
    before = listing(hub / "models--org--model")
    seeding = seeder(NAME)
    assert fetched(seeding.magnet, tmp_path / "cache") == contents(model)
    assert seeding.stop().code == 130
    assert listing(hub / "models--org--model") == before


# --- what it says ----------------------------------------------------------------------------------------------------


def test_the_magnet_is_the_first_line_and_the_published_one(
    cli: CommandLine, seeder: Seeder, model: Path, tmp_path: Path
) -> None:
    published = cli.ok("publish", model, "--name", NAME, "-q").result
    seeding = seeder(model, "--name", NAME, "--advertise", "127.0.0.1:1", "-q")
    assert seeding.magnet.startswith(f"{published}&x.pe=127.0.0.1:1&x.pe=127.0.0.1:")
    assert fetched(seeding.magnet, tmp_path / "cache") == contents(model)
    assert seeding.stop().stderr.strip() in ("", "Interrupted."), "quiet: no progress, no summary"


def test_json_describes_each_release(cli: CommandLine, model: Path) -> None:
    release = release_of(model)
    described = cli.ok("seed", model, "--name", NAME, "--seed-time", "0.1", "--json").json
    assert described["name"] == NAME
    assert described["revision"] == release.manifest.revision
    assert described["info_hash_v1"] == release.metainfo.info_hash.v1
    assert described["info_hash_v2"] == release.metainfo.info_hash.v2
    assert described["magnet"].startswith(str(release.magnet()))


def test_a_taken_port_is_refused_with_a_hint(cli: CommandLine, seeder: Seeder, model: Path) -> None:
    seeding = seeder(model, "--name", NAME)
    outcome = cli("seed", model, "--name", NAME, "--listen", f"127.0.0.1:{seeding.port}", "--seed-time", "0.1")
    refused(outcome, 1, f"127.0.0.1:{seeding.port}")
    assert "--listen" in outcome.stderr


def test_one_name_for_several_folders_and_no_name_at_all_are_usage_errors(cli: CommandLine, model: Path) -> None:
    refused(cli("seed", model, model, "--name", NAME), 2, "name")
    refused(cli("seed", model), 2, "needs a name")


def test_a_release_given_twice_is_seeded_once_or_refused_at_once(cli: CommandLine, model: Path, hub: Path) -> None:
    place(release_of(model), hub)
    outcome = cli("seed", NAME, NAME, "--seed-time", "0.5", timeout=20)
    assert outcome.code in (0, 2), outcome.stderr


def test_a_cached_model_that_was_fetched_is_seeded_as_the_same_torrent(
    cli: CommandLine, seeder: Seeder, model: Path, hub: Path, tmp_path: Path
) -> None:
    release = release_of(model, name="org/original")
    place(release, hub, "org/alias")
    seeding = seeder("org/alias")
    assert seeding.magnet.startswith(str(release.magnet()))
    assert fetch_json(cli, seeding.magnet, "--cache-dir", tmp_path / "cache")["complete"] is True
