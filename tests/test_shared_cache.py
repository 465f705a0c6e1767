"""A cache that other programs and commands change as well: nothing good is lost, nothing false is said."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import make_model
from hostile import (
    NAME,
    contents,
    fetch_json,
    flip_byte,
    peer_of,
    place,
    refused,
    release_of,
    serving,
    serving_release,
    with_manifest,
)
from running import CommandLine, Seeder
from weights import with_header
from weightswarm import Release
from weightswarm.cache import CachePlacement, ModelCache, VerifiedFiles, load_record
from weightswarm.errors import ContentMismatch
from weightswarm.registry import DirectoryRegistry, RegistryEntry

WEIGHTS = "model.safetensors"


@pytest.fixture
def release(model: Path) -> Release:
    """The model folder as a release."""
    return release_of(model)


def test_repair_keeps_good_files_that_stand_elsewhere_than_this_program_puts_them(
    cli: CommandLine, release: Release, model: Path, hub: Path, tmp_path: Path
) -> None:
    """A snapshot that the Hub's client made: small files under git names, one even a plain file."""
    repository = ModelCache(hub).repository(NAME)
    snapshot = repository.snapshot(release.manifest.revision)
    shutil.copytree(model, snapshot)
    repository.blobs.mkdir()
    config = (snapshot / "config.json").read_bytes()
    git = hashlib.sha1(b"blob %d\0" % len(config) + config).hexdigest()
    (snapshot / "config.json").rename(repository.blobs / git)
    (snapshot / "config.json").symlink_to(f"../../blobs/{git}")
    flip_byte(snapshot / WEIGHTS)
    registry = DirectoryRegistry(tmp_path / "registry")
    registry.add(
        RegistryEntry(
            NAME, release.manifest.revision, release.magnet(), release.manifest.to_bytes(), release.metainfo.data
        )
    )
    with serving_release(release) as magnet:
        cli.ok("verify", NAME, "--repair", "--registry", registry.root, "--peer", peer_of(magnet), "--timeout", "20")
    assert contents(snapshot) == contents(model)
    assert fetch_json(cli, NAME, "--registry", registry.root, "--timeout", "1")["complete"] is True


@pytest.mark.parametrize("place_", ["cache", "folder"])
def test_repair_mends_a_file_that_grew_also_by_a_relative_path(
    cli: CommandLine, release: Release, model: Path, hub: Path, tmp_path: Path, place_: str
) -> None:
    if place_ == "cache":
        snapshot = place(release, hub)
        target, grown = NAME, (snapshot / WEIGHTS).resolve()
    else:
        with serving_release(release) as magnet:
            cli.ok("fetch", magnet, "--local-dir", "here")
        snapshot, target, grown = tmp_path / "here", "./here", tmp_path / "here" / WEIGHTS
    grown.chmod(0o644)
    with grown.open("ab") as file:
        file.write(b"more")
    (tmp_path / "here" / "config.json").write_text("other") if place_ == "folder" else None
    with serving_release(release) as magnet:
        cli.ok("verify", target, "--repair", "--peer", peer_of(magnet), "--timeout", "20")
    assert contents(snapshot) == contents(model)


def test_an_empty_file_cannot_take_another_files_blob(
    cli: CommandLine, release: Release, hub: Path, tmp_path: Path
) -> None:
    snapshot = place(release, hub)
    before = contents(snapshot)
    other = release_of(make_model(tmp_path / "other", 50_000, seed=9))
    victim = os.path.basename(os.readlink(snapshot / "config.json"))[:40]
    lie = tuple(replace(e, blob_id=victim) if e.size == 0 else e for e in other.manifest.files)
    liar = with_manifest(other.metainfo, replace(other.manifest, files=lie).to_bytes())
    with serving(liar, other.locations) as magnet:
        refused(cli("fetch", magnet, "--name", NAME, "--timeout", "10"), 1, "empty.txt", "blob_id")
    assert contents(snapshot) == before


def test_a_blob_that_was_removed_during_the_download_is_no_dangling_link(release: Release, hub: Path) -> None:
    cache = ModelCache(hub)
    placement = CachePlacement(cache, cache.repository(NAME), release.manifest)
    files = VerifiedFiles({}, (WEIGHTS,), b"", release.metainfo.info_hash, "2026-01-31T00:00:00Z", hub / "scratch")
    with pytest.raises(ContentMismatch, match=f"{WEIGHTS} was removed"):
        placement.place(files)
    assert not placement.target.exists()


def test_what_another_tool_deleted_does_not_count_as_there(cli: CommandLine, release: Release, hub: Path) -> None:
    snapshot = place(release, hub)
    shutil.rmtree(snapshot)
    with serving_release(release) as magnet:
        assert fetch_json(cli, magnet, "--name", NAME, "--include", "config.json")["complete"] is False
    assert sorted(contents(snapshot)) == ["config.json"]


def test_a_registry_that_holds_another_torrent_by_mistake_is_not_followed(
    cli: CommandLine, release: Release, model: Path, tmp_path: Path
) -> None:
    other = release_of(make_model(tmp_path / "other", 50_000, seed=9))
    registry = DirectoryRegistry(tmp_path / "registry")
    registry.add(RegistryEntry(NAME, release.manifest.revision, release.magnet(), None, other.metainfo.data))
    with serving_release(release) as magnet:
        fetched = fetch_json(cli, magnet, "--registry", registry.root, "--timeout", "20")
    assert contents(Path(fetched["path"])) == contents(model)


def test_a_damaged_torrent_in_the_record_does_not_lock_the_release(
    cli: CommandLine, release: Release, model: Path, hub: Path
) -> None:
    snapshot = place(release, hub)
    record = ModelCache(hub).repository(NAME).record(release.manifest.revision)
    (record / "release.torrent").write_bytes(b"d4:infod")
    (snapshot / WEIGHTS).unlink()
    with serving_release(release) as magnet:
        cli.ok("fetch", magnet, "--name", NAME, "--timeout", "20")
    assert contents(snapshot) == contents(model)


def test_a_contradicting_manifest_counts_for_what_is_cached_too(
    cli: CommandLine, release: Release, hub: Path, tmp_path: Path
) -> None:
    place(release, hub)
    other = release_of(make_model(tmp_path / "other", 50_000, seed=9))
    (tmp_path / "other.json").write_bytes(other.manifest.to_bytes())
    refused(cli("fetch", str(release.magnet()), "--name", NAME, "--manifest", "other.json"), 3, "manifest")


def test_what_was_here_already_is_not_called_verified_now(cli: CommandLine, release: Release, hub: Path) -> None:
    snapshot = place(release, hub)
    fetched = cli.ok("fetch", str(release.magnet()), "--name", NAME)
    assert fetched.result == str(snapshot)
    assert "Already here, verified 20" in fetched.stderr
    assert "weightswarm verify org/model" in fetched.stderr


def test_verify_names_files_that_nothing_gives_a_hash_for(cli: CommandLine, hub: Path) -> None:
    repository = ModelCache(hub).repository(NAME)
    snapshot = repository.snapshot("1" * 40)
    snapshot.mkdir(parents=True)
    repository.blobs.mkdir()
    weights = with_header({})
    digest = hashlib.sha256(weights).hexdigest()
    (repository.blobs / digest).write_bytes(weights)
    (snapshot / WEIGHTS).symlink_to(f"../../blobs/{digest}")
    (snapshot / "plain.bin").write_bytes(b"?")
    outcome = cli("verify", NAME)
    assert outcome.code == 3
    assert outcome.result == "no hash known: plain.bin"


def test_verifying_does_not_bring_a_removed_release_back(cli: CommandLine, release: Release, hub: Path) -> None:
    place(release, hub)
    repository = ModelCache(hub).repository(NAME)
    assert load_record(repository, release.manifest.revision) is not None
    cli.ok("rm", f"{NAME}@{release.manifest.revision}", "--yes")
    assert cli("verify", NAME).code == 1
    assert not repository.path.exists()


def test_rm_frees_blobs_however_the_cache_is_spelled(cli: CommandLine, release: Release, hub: Path) -> None:
    place(release, hub)
    spelled = hub.parent / "somewhere" / ".." / "hub"
    assert "Freed 2.9 MiB" in cli.ok("rm", NAME, "--yes", "--cache-dir", spelled).stderr
    assert not (hub / "models--org--model").exists()


def test_a_local_folder_keeps_the_users_own_files(
    cli: CommandLine, release: Release, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("mine")
    with serving_release(release) as magnet:
        refused(cli("fetch", magnet, "--local-dir", "mine", "--timeout", "10"), 3, "config.json", "mine")
        assert contents(tmp_path / "mine") == {"config.json": b"mine"}
        (tmp_path / "mine" / "config.json").unlink()
        cli.ok("fetch", magnet, "--local-dir", "mine", "--include", "config.json")
        assert fetch_json(cli, magnet, "--local-dir", "mine")["complete"] is True
    assert contents(tmp_path / "mine") == contents(model)


def test_empty_paths_and_links_in_a_circle_name_nothing(cli: CommandLine, model: Path) -> None:
    refused(cli("publish", "", "--name", NAME), 2, "empty")
    refused(cli("seed", "org/model="), 2, "empty")
    refused(cli("fetch", "org/model", "--local-dir", ""), 2, "empty")
    refused(cli("ls", "--cache-dir", ""), 2, "empty")
    refused(cli("publish", model, "--name", NAME, "-o", model / "out"), 2, "is in the folder that is published")


def test_options_that_would_make_another_release_are_not_dropped(
    cli: CommandLine, seeder: Seeder, release: Release, hub: Path
) -> None:
    place(release, hub)
    assert cli.ok("publish", NAME, "-q").result == str(release.magnet())
    assert cli.ok("publish", NAME, "-q", "--v1-only").result != str(release.magnet())
    refused(cli("publish", NAME, "--name", "org/other"), 2, "has its name already")
