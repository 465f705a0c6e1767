"""`weightswarm ls`, `rm` and `prune`, and the peace with the Hub client's own tools in one cache."""

from __future__ import annotations

import errno
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

import weightswarm
from conftest import make_model
from hostile import (
    LOOPBACK,
    NAME,
    SLOW,
    WEIGHTS,
    contents,
    interrupted_fetch,
    listing,
    place,
    refused,
    release_of,
    serving_release,
    staged_weights,
    wait_until,
)
from running import CommandLine
from weights import safetensors_bytes
from weightswarm import FetchOptions, Release
from weightswarm.cache import Staging
from weightswarm.errors import StorageFailure
from weightswarm.fetching import plan
from weightswarm.magnet import InfoHash
from weightswarm.manifest import FileEntry
from weightswarm.storage import clone_or_copy

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def release(model: Path) -> Release:
    """The model as a hybrid release."""
    return release_of(model)


@pytest.fixture
def magnet(release: Release) -> Iterator[str]:
    """The magnet of the release, which a plain session seeds during the test."""
    with serving_release(release) as served:
        yield served


def place_part(magnet: str, hub: Path, name: str) -> None:
    """Fetch the small files of a release into a cache."""
    options = FetchOptions(name=name, exclude=("*.safetensors",), timeout=30, network=LOOPBACK)
    weightswarm.fetch(magnet, cache_dir=hub, options=options)


def place_foreign(hub: Path) -> Path:
    """Put a model there as the Hub client would, unknown to this program."""
    repository = hub / "models--org--foreign"
    blob = repository / "blobs" / ("ab" * 32)
    link = repository / "snapshots" / COMMIT / WEIGHTS
    for folder in (blob.parent, link.parent, repository / "refs"):
        folder.mkdir(parents=True)
    blob.write_bytes(b"weights")
    link.symlink_to(f"../../blobs/{blob.name}")
    (repository / "refs" / "main").write_text(COMMIT)
    return repository


def make_other(folder: Path) -> Path:
    """Write a model that shares nothing big with the fixture's."""
    return make_model(folder / "other", seed=8)


# --- ls --------------------------------------------------------------------------------------------------------------


def test_ls_tells_whole_from_partial_from_unknown(cli: CommandLine, release: Release, magnet: str, hub: Path) -> None:
    place(release, hub)
    place_part(magnet, hub, "org/part")
    place_foreign(hub)
    listed = {entry.pop("name"): entry for entry in cli.ok("ls", "--json").json}
    times = [listed[name].pop("verified") for name in (NAME, "org/part")]
    assert all(time.startswith("20") and time.endswith("Z") for time in times)
    signed = [listed[name].pop("signature") for name in (NAME, "org/part", "org/foreign")]
    unsigned = {"state": "unsigned", "key_id": None, "version": 0, "expires": None}
    assert signed == [unsigned, unsigned, None]
    revision = release.manifest.revision
    assert listed == {
        NAME: {"revision": revision, "size_on_disk": 3_040_024, "files": 4, "state": "complete", "is_main": True},
        "org/part": {"revision": revision, "size_on_disk": 40_023, "files": 3, "state": "partial", "is_main": True},
        "org/foreign": {
            "revision": COMMIT,
            "size_on_disk": 7,
            "files": 1,
            "state": "unknown",
            "verified": None,
            "is_main": True,
        },
    }
    lines = cli.ok("ls").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["org/foreign", NAME, "org/part"]
    assert [next(word for word in ("unknown", "complete", "partial") if word in line) for line in lines] == [
        "unknown",
        "complete",
        "partial",
    ]
    assert "never verified" in lines[0]


def test_ls_calls_a_model_partial_once_a_file_is_gone(cli: CommandLine, release: Release, hub: Path) -> None:
    snapshot = place(release, hub)
    (snapshot / WEIGHTS).resolve().unlink()
    assert cli.ok("ls", "--json").json[0]["state"] == "partial"


def test_an_empty_cache_is_no_error(cli: CommandLine) -> None:
    assert cli.ok("ls", "--json").json == []
    outcome = cli.ok("ls")
    assert outcome.stdout == ""
    assert "No models" in outcome.stderr
    cli.ok("prune")


# --- rm --------------------------------------------------------------------------------------------------------------


def test_rm_frees_what_no_other_revision_uses_and_the_last_one_takes_the_model_along(
    cli: CommandLine, model: Path, hub: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(model, tmp_path / "other")
    (other / WEIGHTS).write_bytes(safetensors_bytes(13_000, Random(9)))
    first, second = place(release_of(model), hub), place(release_of(other), hub)
    repository = first.parents[1]
    assert (repository / "refs" / "main").read_text() == first.name

    outcome = cli.ok("rm", f"{NAME}@{first.name[:8]}", "--yes")
    assert "Freed 2.86 MiB" in outcome.stderr
    assert not first.exists()
    assert not (repository / "refs" / "main").exists(), "a ref to nothing is what the Hub's tools call corrupt"
    assert contents(second) == contents(other)
    assert [entry["revision"] for entry in cli.ok("ls", "--json").json] == [second.name]
    cli.ok("verify", NAME)

    cli.ok("rm", NAME, "--yes", "--quiet")
    assert not repository.exists()
    refused(cli("rm", NAME, "--yes"), 1, NAME)


def test_rm_asks_first_and_no_means_no(cli: CommandLine, release: Release, hub: Path) -> None:
    snapshot = place(release, hub)
    before = listing(hub / "models--org--model")
    for answer in ("n\n", ""):
        outcome = cli("rm", NAME, stdin=answer)
        refused(outcome, 2, "Nothing was removed")
        assert "Hint: --yes removes without asking" in outcome.stderr
        assert f"{NAME}@{snapshot.name[:8]}" in outcome.stderr
        assert listing(hub / "models--org--model") == before
    cli.ok("rm", NAME, stdin="y\n")
    assert not snapshot.exists()


def test_rm_takes_nothing_when_one_of_its_targets_is_unknown(cli: CommandLine, release: Release, hub: Path) -> None:
    place(release, hub)
    before = listing(hub / "models--org--model")
    refused(cli("rm", NAME, "org/unknown", "--yes"), 1, "org/unknown")
    refused(cli("rm", "../../etc", "--yes"), 2, "../../etc")
    assert listing(hub / "models--org--model") == before


def test_rm_leaves_what_links_point_at_outside_the_repository(cli: CommandLine, hub: Path, tmp_path: Path) -> None:
    repository = place_foreign(hub)
    treasure = tmp_path / "treasure"
    treasure.write_text("mine")
    (repository / "snapshots" / COMMIT / "link").symlink_to(treasure)
    (repository / "snapshots" / COMMIT / "folder").symlink_to(tmp_path)
    cli.ok("rm", "org/foreign", "--yes")
    assert not repository.exists()
    assert treasure.read_text() == "mine"


# --- prune -----------------------------------------------------------------------------------------------------------


def test_prune_removes_what_a_killed_fetch_left_and_no_model(
    cli: CommandLine, release: Release, magnet: str, hub: Path
) -> None:
    snapshot = place(release, hub, "org/kept")
    before = listing(snapshot.parents[1])
    with serving_release(release_of(make_other(hub.parent)), SLOW) as other:
        interrupted_fetch(cli, hub, other)
    outcome = cli.ok("prune")
    assert "Removed 1 unfinished" in outcome.stderr
    assert staged_weights(hub, wanted=0) is None
    assert listing(snapshot.parents[1]) == before
    assert "Removed 0 unfinished" in cli.ok("prune").stderr


def test_prune_leaves_a_running_fetch_alone(cli: CommandLine, release: Release, hub: Path, model: Path) -> None:
    with serving_release(release, SLOW) as magnet:
        process = cli.start("fetch", magnet)
        wait_until(lambda: staged_weights(hub, wanted=1) is not None, "the fetch does not begin")
        assert "Removed 0 unfinished" in cli.ok("prune").stderr
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stderr
    assert contents(Path(stdout.strip())) == contents(model)


# --- the Hub's own tools ---------------------------------------------------------------------------------------------


def test_the_hubs_tools_find_nothing_to_warn_of_after_whole_partial_and_interrupted_fetches(
    cli: CommandLine, release: Release, magnet: str, hub: Path
) -> None:
    place(release, hub)
    place_part(magnet, hub, "org/part")
    with serving_release(release_of(make_other(hub.parent)), SLOW) as other:
        interrupted_fetch(cli, hub, other)

    from huggingface_hub import scan_cache_dir

    seen = scan_cache_dir(hub)
    assert seen.warnings == []
    assert {repository.repo_id for repository in seen.repos} == {NAME, "org/part"}
    listed = subprocess.run(
        [Path(sys.executable).with_name("hf"), "cache", "ls", "--cache-dir", str(hub)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "warning" not in (listed.stdout + listed.stderr).lower()


def test_the_hubs_tools_find_nothing_to_warn_of_after_a_revision_was_removed(
    cli: CommandLine, model: Path, hub: Path, tmp_path: Path
) -> None:
    first = place(release_of(model), hub)
    place(release_of(make_model(tmp_path / "other", 1000, seed=8)), hub)
    cli.ok("rm", f"{NAME}@{first.name}", "--yes")

    from huggingface_hub import scan_cache_dir

    assert scan_cache_dir(hub).warnings == []


def test_a_short_run_leaves_an_unfinished_long_one_where_it_is(tmp_path: Path) -> None:
    """`--include` of one file, or a repair, while most of the release waits half fetched."""
    staging = Staging(tmp_path / ".locks" / "weightswarm", InfoHash("ab" * 20, None))
    paths = ["config.json", "sub/large.bin", "sub/other.bin"]
    staging.prepare(b"torrent", paths)
    for path in paths:
        staging.swarm_file(path).write_bytes(b"half")
    staging.reused_file("config.json").write_bytes(b"copy")

    staging.discard(["config.json", "sub/other.bin"])
    assert [path for path in paths if staging.swarm_file(path).exists()] == ["sub/large.bin"]
    assert not staging.reused_file("config.json").exists()
    assert staging.load_metainfo() == b"torrent"

    staging.discard(["sub/large.bin"])
    assert not staging.folder.exists()


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_cached_copy_that_cannot_be_read_is_passed_over(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = Staging(tmp_path / ".locks" / "weightswarm", InfoHash("ab" * 20, None))
    staging.prepare(b"torrent", ["a"])
    bad, good = tmp_path / "bad", tmp_path / "good"
    for source in (bad, good):
        source.write_bytes(b"data")
    entry = FileEntry("a", 4, hashlib.sha256(b"data").hexdigest(), None)
    left = [number]

    def copy(source: int, target: int) -> None:
        if left:
            raise OSError(left.pop(), "bad sector")
        clone_or_copy(source, target)

    monkeypatch.setattr(plan, "clone_or_copy", copy)
    staged = plan.stage_copy(entry, [bad, good], staging)
    assert staged is not None
    assert staged.path.read_bytes() == b"data"
    left.append(number)
    assert plan.stage_copy(entry, [bad], staging) is None, "it is left to the swarm"
    left.append(errno.ENOSPC)
    with pytest.raises(StorageFailure, match="full"):
        plan.stage_copy(entry, [bad, good], staging)
