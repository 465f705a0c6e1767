"""Seeding what the Hub's own client downloaded: under its commit, from its blobs, the same release for everybody."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from unittest.mock import patch

import pytest

import weightswarm
from hostile import LOOPBACK, NAME, WEIGHTS, age, contents, flip_byte, listing, place, refused, serving_release
from hub_api import HubRepo, HubStub, blob_id, serving_hub, sha256
from running import CommandLine, CommandLineHere, Seeder
from weights import safetensors_bytes
from weightswarm import FetchOptions, Release
from weightswarm.errors import NotPublishable
from weightswarm.manifest import parse_manifest

FILES = {
    ".gitattributes": b"*.safetensors filter=lfs\n",
    "1_Pooling/config.json": b'{"pooling": true}\n',
    "config.json": b'{"model_type": "test"}\n',
    "empty.txt": b"",
    WEIGHTS: safetensors_bytes(300_001, Random(3)),
}
REPO = HubRepo(FILES, refs=("main", "v1.0", "refs/pr/1"))
BLOB = sha256(FILES[WEIGHTS])


@pytest.fixture
def stub() -> Iterator[HubStub]:
    """A Hub with one model."""
    with serving_hub({NAME: REPO}) as hub:
        yield hub


@pytest.fixture
def here(tmp_path: Path) -> CommandLineHere:
    """The command line, in this process."""
    return CommandLineHere(tmp_path)


def repository(cache: Path) -> Path:
    return cache / "models--org--model"


def release_in(cache: Path, source: str = NAME) -> Release:
    return weightswarm.prepare(source, cache_dir=cache)


# --- as it should be --------------------------------------------------------------------------------------------------


def test_what_hf_downloaded_is_published_under_the_hubs_commit_with_its_blob_ids_and_nothing_is_written_there(
    here: CommandLineHere, stub: HubStub, hub: Path
) -> None:
    stub.download(NAME, hub)
    stub.download(NAME, hub, revision="v1.0")
    stub.download(NAME, hub, revision="refs/pr/1")
    before = listing(hub)
    magnets = set()
    for source in (NAME, *(f"{NAME}@{rev}" for rev in (REPO.commit, REPO.commit[:7], "main", "v1.0", "refs/pr/1"))):
        published = here.ok("publish", source, "--json").json
        manifest = parse_manifest((here.folder / published["manifest"]).read_bytes())
        assert (manifest.name, manifest.revision) == (NAME, REPO.commit)
        assert {e.path: e.blob_id for e in manifest.files} == {p: blob_id(p, d) for p, d in FILES.items()}
        magnets.add(published["magnet"])
    assert len(magnets) == 1
    assert listing(hub) == before
    refused(here("publish", f"{NAME}@v2.0"), 1, "has no revision v2.0")
    for source in (f"{NAME}@../refs/main", f"{NAME}@/etc/hostname", f"{NAME}@v1.0/x"):
        refused(here("publish", source), 1, "has no revision")


def test_seeding_it_reaches_another_cache_where_hf_then_downloads_nothing(
    seeder: Seeder, stub: HubStub, hub: Path, tmp_path: Path
) -> None:
    stub.download(NAME, hub)
    before = listing(hub)
    seeding = seeder(NAME)
    other = tmp_path / "other"
    options = FetchOptions(name=NAME, timeout=30, network=LOOPBACK)
    fetched = weightswarm.fetch(seeding.magnet, cache_dir=other, options=options)
    assert seeding.stop().code == 130
    assert listing(hub) == before
    assert contents(fetched.path) == FILES
    assert fetched.path == repository(other) / "snapshots" / REPO.commit
    assert {p: os.readlink(fetched.path / p).rpartition("/")[2] for p in FILES} == {
        path: blob_id(path, data) for path, data in FILES.items()
    }
    stub.asked.clear()
    assert stub.download(NAME, other).resolve() == fetched.path.resolve()
    assert stub.downloads() == []


def test_two_people_get_one_info_hash_whoever_filled_their_caches_and_whenever(
    stub: HubStub, hub: Path, tmp_path: Path
) -> None:
    stub.download(NAME, hub)
    mine = release_in(hub)
    place(mine, tmp_path / "by-us")
    by_hf = tmp_path / "by-hf"
    snapshot = stub.download(NAME, by_hf, revision=REPO.commit)
    age(by_hf, 10_000)
    for path in (
        ".no_exist/x",
        f".no_exist/{REPO.commit}/added.json",
        "blobs/left.incomplete",
        f"trees/{'0' * 40}.json",
    ):
        (repository(by_hf) / path).parent.mkdir(parents=True, exist_ok=True)
        (repository(by_hf) / path).write_bytes(b"")
    os.chmod(snapshot / "config.json", 0o600)
    shutil.copytree(by_hf, tmp_path / "copied", symlinks=True)
    found = {release_in(cache).metainfo.info_hash for cache in (by_hf, tmp_path / "by-us", tmp_path / "copied")}
    assert found == {mine.metainfo.info_hash}


def test_a_cache_of_plain_files_as_without_links_gives_the_same_release(
    stub: HubStub, hub: Path, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    stub.download(NAME, hub)
    with patch.object(constants, "HF_HUB_DISABLE_SYMLINKS", True):
        snapshot = stub.download(NAME, tmp_path / "plain")
    assert not any(path.is_symlink() for path in snapshot.rglob("*"))
    assert release_in(tmp_path / "plain").metainfo.info_hash == release_in(hub).metainfo.info_hash


def test_what_hf_completed_of_a_partial_fetch_is_the_release_that_the_fetch_was_of(
    stub: HubStub, hub: Path, tmp_path: Path
) -> None:
    stub.download(NAME, hub)
    mine = release_in(hub)
    with serving_release(mine) as magnet:
        options = FetchOptions(name=NAME, include=("*.json",), timeout=30, network=LOOPBACK)
        weightswarm.fetch(magnet, cache_dir=tmp_path / "part", options=options)
    assert release_in(tmp_path / "part").manifest.revision != REPO.commit
    stub.download(NAME, tmp_path / "part")
    assert release_in(tmp_path / "part").metainfo.info_hash == mine.metainfo.info_hash


# --- parts ------------------------------------------------------------------------------------------------------------


def test_a_partial_download_is_said_to_be_another_release_under_the_same_revision(
    here: CommandLineHere, stub: HubStub, hub: Path, tmp_path: Path
) -> None:
    stub.download(NAME, hub)
    stub.download(NAME, tmp_path / "part", allow_patterns=["*.json"])
    whole = here.ok("publish", NAME, "--json")
    part = here.ok("publish", NAME, "--json", "--cache-dir", tmp_path / "part")
    assert "another release" not in whole.stderr
    assert "2 of the Hub's 5 files: another release than that of all of them" in part.stderr
    assert "model.safetensors" in part.stderr
    assert part.json["revision"] == whole.json["revision"] == REPO.commit
    assert part.json["info_hash_v2"] != whole.json["info_hash_v2"]
    left = here.ok(
        "publish", NAME, "--json", "--leave-out", "*.safetensors", "--leave-out", ".git*", "--leave-out", "e*"
    )
    assert left.json["magnet"] == part.json["magnet"], "who leaves the same out makes the same"
    assert "2 of the Hub's 5 files" in left.stderr


def test_a_file_that_the_hub_has_not_is_said_to_make_another_release(
    here: CommandLineHere, stub: HubStub, hub: Path
) -> None:
    (stub.download(NAME, hub) / "notes.txt").write_text("mine")
    assert "5 of the Hub's 5 files and 1 that it has not: another release" in here.ok("publish", NAME).stderr


def test_without_the_clients_list_of_files_it_is_said_that_nobody_was_asked(
    here: CommandLineHere, stub: HubStub, hub: Path
) -> None:
    stub.download(NAME, hub)
    known = here.ok("publish", NAME)
    tree = repository(hub) / "trees" / f"{REPO.commit}.json"
    for bad in (None, "", "[]", '{"format_version": 1}', '{"format_version": 2, "files": {}}', "[" * 100_000,
                '{"format_version": 1, "files": {"a": {"size": "1", "blob_id": 7}}}',
                '{"format_version": 1, "files": {"a": 1}}', '{"format_version": 1, "files": 1}'):  # fmt: skip
        tree.unlink(missing_ok=True)
        if bad is not None:
            tree.write_text(bad)
        told = here.ok("publish", NAME)
        assert told.stdout == known.stdout
        assert "as it lies in the cache, 5 files; --from-hub asks for all" in told.stderr


def test_a_download_that_was_broken_off_is_named_and_not_published(
    here: CommandLineHere, stub: HubStub, hub: Path
) -> None:
    snapshot = stub.download(NAME, hub, ignore_patterns=["*.safetensors"])
    (repository(hub) / "blobs" / f"{BLOB}.0123abcd.incomplete").write_bytes(b"half")
    outcome = here("publish", NAME)
    refused(outcome, 1, "its download was broken off: model.safetensors")
    assert f"hf download {NAME} --revision {REPO.commit}" in outcome.stderr
    assert not list(here.folder.glob("*.torrent"))
    assert "4 of the Hub's 5 files" in here.ok("publish", NAME, "--leave-out", "*.safetensors").stderr

    stub.download(NAME, hub)
    (repository(hub) / "blobs" / BLOB).unlink()
    outcome = here("publish", NAME)
    refused(outcome, 1, str(snapshot / WEIGHTS), "its blob is not in the cache")
    assert f"hf download {NAME} --revision {REPO.commit}" in outcome.stderr


# --- damage -----------------------------------------------------------------------------------------------------------


def test_all_damaged_blobs_are_named_and_nothing_is_published_or_seeded(
    here: CommandLineHere, cli: CommandLine, stub: HubStub, hub: Path
) -> None:
    snapshot = stub.download(NAME, hub)
    age(hub)
    here.ok("publish", NAME, "-o", "before")  # what is remembered of the files must not hide it
    for path in (WEIGHTS, "config.json"):
        flip_byte((snapshot / path).resolve(), offset=3, keep_times=True)
    for command in ("publish", "seed"):
        outcome = (cli if command == "seed" else here)(command, NAME)
        refused(outcome, 3, "The model cache is damaged", f"{WEIGHTS}: blob {BLOB} hashes to", "config.json: blob ")
        assert "nothing was published" in outcome.stderr
    assert not list(here.folder.glob("*.torrent"))


# --- links ------------------------------------------------------------------------------------------------------------


def test_blobs_in_the_clients_shared_store_are_seeded_from_there_as_the_same_release(
    stub: HubStub, hub: Path, tmp_path: Path
) -> None:
    from huggingface_hub.utils._shared_blobs import publish_blob_to_shared_store

    stub.download(NAME, hub)
    blob, store = repository(hub) / "blobs" / BLOB, "ab" * 32
    release = release_in(hub)
    assert publish_blob_to_shared_store(
        blob_path=str(blob), xet_hash=store, cache_dir=hub, expected_size=len(FILES[WEIGHTS])
    )
    assert os.readlink(blob) == f"../../blobs/ab/{store}"
    before = listing(hub)
    shared = release_in(hub)
    assert shared.metainfo.data == release.metainfo.data
    assert hub / "blobs" / "ab" / store in shared.locations
    assert contents(place(shared, tmp_path / "other")) == FILES
    assert listing(hub) == before


@pytest.mark.parametrize("link", ["blob", "blob of another name", "file", "folder", "blobs", "snapshot"])
def test_no_link_in_a_shared_cache_gives_away_a_file_of_this_users_own(
    link: str, stub: HubStub, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = stub.download(NAME, hub)
    private = tmp_path / "private"
    shutil.copytree(snapshot, private)
    blobs = repository(hub) / "blobs"
    if link.startswith("blob") and link != "blobs":
        # The very bytes, so that no hash gives it away.
        blob, target = blobs / BLOB, private / WEIGHTS
        blob.unlink()
        if link != "blob":
            blob, target = blobs / "weights", hub / "models--org--gated" / WEIGHTS
            shutil.copytree(private, target.parent)
            (snapshot / WEIGHTS).unlink()
            (snapshot / WEIGHTS).symlink_to("../../blobs/weights")
        blob.symlink_to(target)
    elif link == "file":
        (snapshot / "config.json").unlink()
        (snapshot / "config.json").symlink_to(private / "config.json")
    elif link == "folder":
        shutil.rmtree(snapshot / "1_Pooling")
        (snapshot / "1_Pooling").symlink_to(private / "1_Pooling")
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        moved = blobs if link == "blobs" else snapshot
        elsewhere = moved.rename(tmp_path / "elsewhere")
        moved.symlink_to(elsewhere)
        if os.getuid() == 0:  # whose links are everybody's
            os.lchown(moved, 12346, 12346)
    with pytest.raises(NotPublishable) as refusal:
        release_in(hub)
    assert str(repository(hub)) in str(refusal.value)


def test_links_in_a_circle_and_what_is_no_file_are_named(stub: HubStub, hub: Path) -> None:
    snapshot = stub.download(NAME, hub)
    blob = repository(hub) / "blobs" / BLOB
    makers: list[Callable[[], object]] = [lambda: blob.symlink_to(blob.name), blob.mkdir, lambda: os.mkfifo(blob)]
    for make in makers:
        blob.unlink()
        make()
        with pytest.raises(NotPublishable, match=re.escape(str(snapshot / WEIGHTS))):
            release_in(hub)
        if blob.is_dir():
            blob.rmdir()
            blob.touch()
    shutil.rmtree(repository(hub) / "blobs")
    (repository(hub) / "blobs").symlink_to("blobs")
    with pytest.raises(NotPublishable, match="symbolic links"):
        release_in(hub)


def test_a_model_that_its_user_moved_to_another_disk_by_a_link_is_published_from_there(
    stub: HubStub, hub: Path, tmp_path: Path
) -> None:
    stub.download(NAME, hub)
    expected = release_in(hub).metainfo.data
    for number, folder in enumerate((repository(hub) / "blobs", repository(hub))):
        moved = folder.rename(tmp_path / f"disk{number}")
        folder.symlink_to(moved)
        assert release_in(hub).metainfo.data == expected
