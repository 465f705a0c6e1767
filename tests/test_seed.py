"""`weightswarm seed`: magnets first, nothing written, nothing given away that is not what was published."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import weightswarm
from conftest import make_model
from endless import hostile_server
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
    serving_release,
    visible,
)
from running import CommandLine, Seeder
from weightswarm import FetchOptions
from weightswarm import seeding as seeding_module
from weightswarm.errors import SwarmTimeout
from weightswarm.magnet import parse_magnet
from weightswarm.metainfo import TorrentOptions
from weightswarm.progress import silent
from weightswarm.publishing import PublishOptions
from weightswarm.seeding import SeedOptions
from weightswarm.swarm import StorageFailed, TorrentStatus
from weightswarm.verifying import Finding, check_file


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


def test_what_was_fetched_is_announced_where_it_was_asked_for(cli: CommandLine, model: Path) -> None:
    tracker = "http://127.0.0.1:9/announce"
    with serving_release(release_of(model)) as magnet:
        process = cli.start("fetch", f"{magnet}&tr={quote(tracker, safe='')}", "--name", NAME, "--seed")
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        try:
            assert process.stderr is not None
            (line,) = islice((line for line in process.stderr if line.startswith("Seeding it: ")), 1)
        finally:
            watchdog.cancel()
            process.kill()
            process.communicate()
    assert parse_magnet(line.removeprefix("Seeding it: ").strip()).trackers == (tracker,)


@pytest.mark.parametrize("private", [False, True])
def test_a_seed_asks_more_trackers_unless_its_torrent_is_private(model: Path, private: bool) -> None:
    options = PublishOptions(torrent=TorrentOptions(private=private))
    with hostile_server() as server:
        more = (server.tracker("silent"),)
        seeded = weightswarm.seed(
            [model],
            name=NAME,
            publish_options=options,
            options=SeedOptions(LOOPBACK, seconds=1.5, trackers=more),
        )
        assert bool(server.asked) is not private
    assert seeded[0].magnet.trackers == (() if private else more)


def test_a_seed_that_is_wrong_is_stopped_before_its_files_are_hashed_and_a_stop_ends_that(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = release_of(model)
    order: list[str] = []
    stop = threading.Event()

    def check(*arguments: Any, **options: Any) -> Finding | None:
        order.append("hashed")
        stop.set()
        return check_file(*arguments, **options)

    class Recorded:
        status = TorrentStatus()

        def remove(self, _torrent: object) -> None:
            order.append("removed")

    monkeypatch.setattr(seeding_module, "check_file", check)
    torrent: Any = Recorded()
    session = seeding_module._Seeding(torrent, SeedOptions(LOOPBACK), silent, stop)
    session.active[torrent] = seeded = seeding_module.SeededRelease(release, release.magnet())
    session._handle([StorageFailed(torrent, "a file", "cannot be read", out_of_space=False)])
    assert order == ["removed", "hashed"]
    assert "cannot be read" in str(seeded.error)
