"""`weightswarm fetch`: nothing unverified is ever visible, nothing is fetched twice, and it says what went wrong."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import weightswarm
from conftest import make_model
from hostile import (
    NAME,
    NOWHERE,
    SLOW,
    WEIGHTS,
    contents,
    edited,
    fetch_json,
    flip_byte,
    http_folder,
    interrupted_fetch,
    peer_of,
    place,
    refused,
    release_of,
    serving,
    serving_release,
    staged_weights,
    visible,
    wait_until,
    with_manifest,
)
from running import CommandLine, Seeder
from weightswarm import Release
from weightswarm.cache import Staging
from weightswarm.metainfo import TorrentVersion

REPOSITORY = "models--org--model"
QUICK = ("--timeout", "3")


@pytest.fixture
def release(model: Path) -> Release:
    """The model as a hybrid release."""
    return release_of(model)


@pytest.fixture
def magnet(release: Release) -> Iterator[str]:
    """The magnet of the release, which a plain session seeds during the test."""
    with serving_release(release) as served:
        yield served


@pytest.fixture
def slow_magnet(release: Release) -> Iterator[str]:
    """As `magnet`, from a seeder that takes about three seconds."""
    with serving_release(release, SLOW) as served:
        yield served


def test_a_source_with_a_nul_in_it_is_refused_in_one_line(cli: CommandLine) -> None:
    for command in (("show", "--offline", "-"), ("fetch", "-")):
        refused(cli(*command, stdin="a\0b"), 2, "NUL")


# --- lies: nothing is placed -----------------------------------------------------------------------------------------

LIES: dict[str, dict[str, Any]] = {
    "size": {"size": 3_000_002},
    "path": {"path": "model-of-another-name.safetensors"},
    "hash": {"pieces_root": "ab" * 32},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_manifest_that_disagrees_with_its_torrent_is_refused_before_any_payload(
    cli: CommandLine, release: Release, hub: Path, lie: str
) -> None:
    liar = with_manifest(release.metainfo, edited(release.manifest, WEIGHTS, **LIES[lie]))
    with serving(liar, release.locations) as magnet:
        outcome = cli("fetch", magnet, *QUICK)
    refused(outcome, 3, "disagree", WEIGHTS)
    assert "Downloading" not in outcome.stderr
    assert visible(hub) == []
    assert staged_weights(hub, wanted=0) is None


@pytest.mark.parametrize("version", TorrentVersion)
def test_bytes_that_match_the_torrent_but_not_the_manifests_sha256_are_named_and_not_placed(
    cli: CommandLine, model: Path, hub: Path, version: TorrentVersion
) -> None:
    release = release_of(model, version)
    liar = with_manifest(release.metainfo, edited(release.manifest, WEIGHTS, sha256="ab" * 32))
    with serving(liar, release.locations) as magnet:
        refused(cli("fetch", magnet, *QUICK), 3, WEIGHTS, "wrong hash")
    assert visible(hub) == []


def test_a_torrent_whose_manifest_is_not_the_registrys_is_refused(
    cli: CommandLine, model: Path, release: Release, hub: Path, tmp_path: Path
) -> None:
    weightswarm.publish(model, name=NAME, output=tmp_path / "out", registry=tmp_path / "registry")
    listed = tmp_path / "registry" / NAME / release.manifest.revision / "manifest.json"
    listed.write_bytes(edited(release.manifest, WEIGHTS, sha256="ab" * 32))
    with serving_release(release) as magnet:
        refused(cli("fetch", magnet, *QUICK, "--registry", "registry"), 3, WEIGHTS)
    assert visible(hub) == []


def test_a_torrent_that_is_not_the_manifest_given_by_hand_is_refused(
    cli: CommandLine, release: Release, magnet: str, hub: Path, tmp_path: Path
) -> None:
    (tmp_path / "given.json").write_bytes(edited(release.manifest, "config.json", sha256="ab" * 32))
    refused(cli("fetch", magnet, *QUICK, "--manifest", "given.json"), 3, "config.json")
    assert visible(hub) == []


def test_pieces_that_fail_their_hash_end_the_fetch_and_nothing_is_placed(
    cli: CommandLine, release: Release, magnet: str, model: Path, hub: Path
) -> None:
    flip_byte(model / WEIGHTS)
    outcome = cli("fetch", magnet, *QUICK)
    assert outcome.code in (3, 4)
    assert WEIGHTS in outcome.stderr
    assert visible(hub) == []


def test_a_torrent_without_manifest_needs_trust_and_leaves_a_manifest_behind(
    cli: CommandLine, release: Release, hub: Path
) -> None:
    with serving(with_manifest(release.metainfo, None), release.locations) as magnet:
        outcome = cli("fetch", magnet, *QUICK)
        refused(outcome, 1, "no manifest")
        assert "Hint: --trust-magnet" in outcome.stderr
        assert visible(hub) == []
        snapshot = Path(cli.ok("fetch", magnet, "--name", NAME, "--trust-magnet").result)
    assert contents(snapshot) == contents(release.locations[0].parent)
    flip_byte((snapshot / WEIGHTS).resolve())
    assert cli("verify", NAME).stdout.startswith(f"wrong hash: {WEIGHTS}")


def test_a_v1_torrent_without_manifest_is_checked_piece_by_piece(cli: CommandLine, model: Path) -> None:
    release = release_of(model, TorrentVersion.V1)
    with serving(with_manifest(release.metainfo, None), release.locations) as magnet:
        snapshot = Path(cli.ok("fetch", magnet, "--trust-magnet").result)
    assert contents(snapshot) == contents(model)


# --- names -----------------------------------------------------------------------------------------------------------


def test_a_strangers_magnet_cannot_choose_whose_name_it_takes(cli: CommandLine, model: Path, hub: Path) -> None:
    release = release_of(model, name="famous-lab/famous-model")
    with serving_release(release) as magnet:
        fetched = fetch_json(cli, magnet)
    digest = str(release.metainfo.info_hash.v1)[:8]
    assert fetched["name"] == f"magnet/famous-model-{digest}"
    folder = f"models--magnet--famous-model-{digest}"
    assert Path(fetched["path"]).parents[1] == hub / folder
    assert {path.split("/")[0] for path in visible(hub)} == {folder}


def test_main_is_written_once_and_moved_only_on_request(cli: CommandLine, hub: Path, tmp_path: Path) -> None:
    main = hub / REPOSITORY / "refs" / "main"
    first, second = (release_of(make_model(tmp_path / f"m{seed}", 50_000, seed)) for seed in (1, 2))
    place(first, hub)
    assert main.read_bytes() == first.manifest.revision.encode()
    with serving_release(second) as magnet:
        cli.ok("fetch", magnet, "--name", NAME)
        assert main.read_bytes() == first.manifest.revision.encode(), "another revision does not take main over"
        cli.ok("fetch", magnet, "--name", NAME, "--set-main")
    assert main.read_bytes() == second.manifest.revision.encode()
    assert len(main.read_bytes()) == 40


# --- interrupted, damaged, crowded -----------------------------------------------------------------------------------


def test_a_killed_fetch_shows_nothing_and_the_next_one_goes_on_from_there(
    cli: CommandLine, slow_magnet: str, model: Path, hub: Path
) -> None:
    interrupted_fetch(cli, hub, slow_magnet)
    assert visible(hub) == []
    fetched = fetch_json(cli, slow_magnet)
    assert contents(Path(fetched["path"])) == contents(model)
    assert fetched["downloaded"] < 3_000_000 - 400_000
    assert staged_weights(hub, wanted=0) is None, "staging goes with the placement"


def test_what_is_too_long_in_staging_is_cut_off(release: Release, model: Path, hub: Path) -> None:
    staging = Staging(hub / ".locks" / "weightswarm", release.metainfo.info_hash)
    staging.prepare(release.metainfo.data, [entry.path for entry in release.manifest.files])
    staging.swarm_file(WEIGHTS).write_bytes((model / WEIGHTS).read_bytes() + b"more")
    assert contents(place(release, hub)) == contents(model)


def test_what_rotted_in_staging_is_fetched_again(cli: CommandLine, slow_magnet: str, model: Path, hub: Path) -> None:
    staged = interrupted_fetch(cli, hub, slow_magnet)
    good = (model / WEIGHTS).read_bytes()
    part = staged.read_bytes()
    offset = next(i for i in range(0, len(part) - 16384, 16384) if part[i : i + 16384] == good[i : i + 16384])
    flip_byte(staged, offset + 5, keep_times=True)
    assert contents(Path(cli.ok("fetch", slow_magnet).result)) == contents(model)


def test_of_two_fetches_at_once_one_works_and_the_other_waits(cli: CommandLine, slow_magnet: str, hub: Path) -> None:
    first = cli.start("fetch", slow_magnet)
    wait_until(lambda: staged_weights(hub, wanted=1) is not None, "the first fetch does not begin")
    second = cli.ok("fetch", slow_magnet, "--json")
    stdout, stderr = first.communicate(timeout=30)
    assert first.returncode == 0, stderr
    assert second.json["path"] == stdout.strip()
    assert second.json["downloaded"] == 0
    assert "waiting" in second.stderr


def test_a_wrong_blob_of_the_right_name_is_not_trusted(
    cli: CommandLine, release: Release, magnet: str, model: Path, hub: Path
) -> None:
    sha256 = hashlib.sha256((model / WEIGHTS).read_bytes()).hexdigest()
    for repository in (REPOSITORY, "models--org--other"):
        blob = hub / repository / "blobs" / sha256
        blob.parent.mkdir(parents=True)
        shutil.copy(model / WEIGHTS, blob)
        flip_byte(blob)
    snapshot = Path(cli.ok("fetch", magnet, "--name", NAME).result)
    assert contents(snapshot) == contents(model)


def test_too_small_a_disk_is_refused_with_both_sizes_before_anything_is_written(
    cli: CommandLine, magnet: str, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], capture_output=True, check=False, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        outcome = cli("fetch", magnet, "--cache-dir", small)
        refused(outcome, 1, "Not enough space", "bytes are needed", "2,0", "are free")
        assert "Hint: free some space" in outcome.stderr
        assert "Downloading" not in outcome.stderr
        assert visible(small) == []
    finally:
        subprocess.run(["umount", small], check=True)


# --- nobody there ----------------------------------------------------------------------------------------------------


def test_a_dead_magnet_ends_in_time_and_says_what_was_tried(cli: CommandLine, hub: Path) -> None:
    tracker = "http://127.0.0.1:9/announce"
    started = time.monotonic()
    outcome = cli("fetch", NOWHERE, "-t", tracker, "--peer", "127.0.0.1:9", "--timeout", "2")
    assert time.monotonic() - started < 8
    refused(outcome, 4, "within 2 seconds", "0 of 1 trackers answered", "0 peers connected")
    assert "Hint: " in outcome.stderr
    assert visible(hub) == []


def test_a_swarm_that_dries_up_ends_the_fetch_and_keeps_what_came(
    cli: CommandLine, release: Release, hub: Path
) -> None:
    with serving_release(release, SLOW) as magnet:
        process = cli.start("fetch", magnet, "--timeout", "2")
        wait_until(lambda: staged_weights(hub) is not None, "nothing arrived in staging")
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 4, stderr
    assert WEIGHTS in stderr.partition("missing: ")[2]
    assert "Traceback" not in stderr
    assert staged_weights(hub) is not None
    assert visible(hub) == []


def test_the_download_limit_holds_on_this_machine_and_the_local_network_too(cli: CommandLine, magnet: str) -> None:
    started = time.monotonic()
    cli.ok("fetch", magnet, "--download-limit", "600k")
    assert time.monotonic() - started > 4, "2.9 MiB at 600 KiB/s"


def test_what_is_in_the_cache_needs_no_network(cli: CommandLine, release: Release, hub: Path) -> None:
    snapshot = place(release, hub)
    magnet = str(release.magnet())
    for source in (magnet, NAME, str(release.metainfo.info_hash.v1)):
        fetched = fetch_json(cli, source, "--timeout", "1")
        assert fetched["path"] == str(snapshot)
        assert fetched["downloaded"] == 0
        assert fetched["complete"] is True


# --- sources ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["stdin", "file", "torrent", "url", "name", "info-hash"])
def test_a_release_is_fetched_from_every_kind_of_source(
    cli: CommandLine, model: Path, magnet: str, tmp_path: Path, kind: str
) -> None:
    published = weightswarm.publish(model, name=NAME, output=tmp_path / "out", registry=tmp_path / "registry")
    (tmp_path / "link.txt").write_text(f"take this:\n{magnet}\n")
    with http_folder(tmp_path / "out") as url:
        source = {
            "stdin": "-",
            "file": "link.txt",
            "torrent": str(published.torrent_path),
            "url": f"{url}/{published.torrent_path.name}",
            "name": NAME,
            "info-hash": str(published.magnet.info_hash.v1),
        }[kind]
        extra = ("--registry", "registry", "--peer", peer_of(magnet))
        fetched = fetch_json(cli, source, *extra, stdin=f"{magnet}\n" if kind == "stdin" else "")
    assert fetched["name"] == NAME, "the registry vouches for the name"
    assert contents(Path(fetched["path"])) == contents(model)


@pytest.mark.parametrize("shape", ["folder", "single file"])
@pytest.mark.parametrize("version", TorrentVersion)
def test_every_torrent_version_and_shape_arrives_whole(
    cli: CommandLine, model: Path, version: TorrentVersion, shape: str
) -> None:
    source = model if shape == "folder" else model / WEIGHTS
    with serving_release(release_of(source, version)) as magnet:
        fetched = fetch_json(cli, magnet)
    expected = contents(model) if shape == "folder" else {WEIGHTS: (model / WEIGHTS).read_bytes()}
    assert contents(Path(fetched["path"])) == expected
    assert fetched["complete"] is True
    assert fetched["size"] == sum(map(len, expected.values()))


# --- parts -----------------------------------------------------------------------------------------------------------


def test_a_partial_fetch_says_so_and_a_later_one_brings_only_the_rest(
    cli: CommandLine, magnet: str, model: Path
) -> None:
    part = cli.ok("fetch", magnet, "--name", NAME, "--include", "*.safetensors")
    snapshot = Path(part.result)
    assert contents(snapshot).keys() == {WEIGHTS}
    assert "is partial" in part.stderr
    assert cli.ok("ls", "--json").json[0]["state"] == "partial"
    assert "partial" in cli.ok("ls").stdout

    whole = fetch_json(cli, magnet, "--name", NAME)
    assert whole["path"] == str(snapshot)
    assert whole["complete"] is True
    assert whole["downloaded"] < 150_000
    assert contents(snapshot) == contents(model)
    assert cli.ok("ls", "--json").json[0]["state"] == "complete"


def test_a_dry_run_lists_what_would_come_and_writes_nothing(
    cli: CommandLine, magnet: str, release: Release, hub: Path
) -> None:
    plan = cli.ok("fetch", magnet, "--name", NAME, "--exclude", "tokenizer/", "--dry-run", "--json").json
    assert plan == {
        "name": NAME,
        "revision": release.manifest.revision,
        "target": str(hub / REPOSITORY / "snapshots" / release.manifest.revision),
        "signature": {"state": "unsigned", "key_id": None, "version": 0, "expires": None},
        "download_size": 3_000_001 + 23,
        "files": [
            {"path": "config.json", "size": 23, "source": "download", "code": None},
            {"path": "empty.txt", "size": 0, "source": "download", "code": None},
            {"path": WEIGHTS, "size": 3_000_001, "source": "download", "code": None},
        ],
    }
    assert visible(hub) == []
    assert staged_weights(hub, wanted=0) is None


def test_globs_that_match_nothing_are_a_usage_error_that_lists_the_files(cli: CommandLine, magnet: str) -> None:
    outcome = cli("fetch", magnet, "--include", "*.gguf")
    refused(outcome, 2, "--include")
    assert f"Hint: it holds: config.json, empty.txt, {WEIGHTS}" in outcome.stderr


def test_a_local_folder_gets_plain_files_and_the_cache_nothing(
    cli: CommandLine, magnet: str, model: Path, hub: Path, tmp_path: Path
) -> None:
    target = tmp_path / "plain"
    assert Path(cli.ok("fetch", magnet, "--local-dir", "plain").result) == target
    assert contents(target) == contents(model)
    assert not any(path.is_symlink() for path in target.rglob("*"))
    assert visible(hub) == []
    assert fetch_json(cli, magnet, "--local-dir", "plain")["downloaded"] == 0
    cli.ok("verify", "plain")


def test_a_local_folder_with_a_choice_of_files_is_verified_and_mended_by_that_choice(
    cli: CommandLine, magnet: str, tmp_path: Path, model: Path
) -> None:
    folder = tmp_path / "plain"
    cli.ok("fetch", magnet, "--local-dir", "plain", "--include", "*.safetensors")
    assert "partial" in cli.ok("verify", "plain").stderr
    flip_byte(folder / WEIGHTS)
    refused_names = cli("verify", "plain")
    assert (refused_names.code, WEIGHTS in refused_names.stdout) == (3, True)
    cli.ok("verify", "plain", "--repair", "--peer", peer_of(magnet))
    assert contents(folder) == {WEIGHTS: (model / WEIGHTS).read_bytes()}

    cli.ok("fetch", magnet, "--local-dir", "plain", "--include", "config.json")
    (folder / WEIGHTS).unlink()
    assert cli("verify", "plain").stdout == f"missing: {WEIGHTS}\n"
    cli.ok("fetch", magnet, "--local-dir", "plain")
    assert contents(folder) == contents(model)
    assert "partial" not in cli.ok("verify", "plain").stderr
    (folder / "config.json").unlink()
    assert cli("verify", "plain").stdout == "missing: config.json\n"


# --- reuse and passing on --------------------------------------------------------------------------------------------


def test_content_that_the_cache_has_under_another_name_is_not_downloaded(
    cli: CommandLine, release: Release, hub: Path, model: Path, tmp_path: Path
) -> None:
    place(release, hub, "org/elsewhere")
    newer = shutil.copytree(model, tmp_path / "newer")
    (newer / "config.json").write_text('{"model_type": "newer"}\n')
    with serving_release(release_of(newer, name="org/newer")) as magnet:
        fetched = fetch_json(cli, magnet)
    assert contents(Path(fetched["path"])) == contents(newer)
    assert fetched["downloaded"] < 100_000
    assert fetched["reused"] == 3_040_001


def test_a_fetched_model_is_seeded_from_the_cache_to_others(
    cli: CommandLine, seeder: Seeder, model: Path, tmp_path: Path
) -> None:
    origin = seeder(model, "--name", NAME)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    process = cli.start("fetch", origin.magnet, "--seed", "--listen", address)
    seeder.running.append(process)
    assert process.stdout is not None
    assert process.stdout.readline().strip()
    origin.stop()
    fetched = fetch_json(cli, origin.magnet, "--peer", address, "--cache-dir", tmp_path / "third")
    assert fetched["downloaded"] >= 3_040_024
    assert contents(Path(fetched["path"])) == contents(model)


def test_the_same_release_under_two_info_hashes_shares_its_blobs(cli: CommandLine, model: Path, hub: Path) -> None:
    place(release_of(model), hub)
    with serving_release(release_of(model, TorrentVersion.V1)) as magnet:
        fetched = fetch_json(cli, magnet, "--name", NAME)
    assert fetched["downloaded"] == 0
    assert len(list((hub / REPOSITORY / "blobs").iterdir())) == 4


def test_a_magnet_with_only_one_of_its_two_hashes_is_enough(cli: CommandLine, release: Release, model: Path) -> None:
    with serving_release(release) as magnet:
        for hash_ in (release.metainfo.info_hash.v1, release.metainfo.info_hash.v2):
            kind = "btih:" if len(str(hash_)) == 40 else "btmh:1220"
            short = f"magnet:?xt=urn:{kind}{hash_}&x.pe={peer_of(magnet)}"
            plan = cli.ok("fetch", short, "--dry-run", "--json").json
            assert plan["revision"] == release.manifest.revision


def test_a_release_may_claim_no_revision_that_is_another_releases(
    cli: CommandLine, release: Release, hub: Path, tmp_path: Path
) -> None:
    """Two releases under one name and revision with other bytes: the first one's files may not change silently."""
    snapshot = place(release, hub)
    before = contents(snapshot)
    other = release_of(make_model(tmp_path / "other", 50_000, seed=9))
    forged = replace(other.manifest, revision=release.manifest.revision)
    liar = with_manifest(other.metainfo, forged.to_bytes())
    with serving(liar, other.locations) as magnet:
        outcome = cli("fetch", magnet, "--name", NAME, *QUICK)
    assert outcome.code != 0
    assert contents(snapshot) == before
