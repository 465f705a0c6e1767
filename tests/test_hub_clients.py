"""The Hub's own clients, from early 2024 to the newest, in one cache with `weightswarm fetch`."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import weightswarm
from conftest import make_model
from hostile import NAME, SLOW, WEIGHTS, contents, place, release_of, serving_release, staged_weights, wait_until
from hub_files import HubFiles, blob_id, hub_files
from loaders import CLIENTS, NEWEST, OLD_CLIENTS, client, hf, python, run
from running import CommandLine, CommandLineHere
from weightswarm import PublishOptions, Release
from weightswarm.storage import OpenFolder

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NEXT = "89abcdef0123456789abcdef0123456789abcdef"

_OFFLINE = """
import json, sys
import huggingface_hub as hub
name, revision = sys.argv[1:]
scanned = hub.scan_cache_dir()
print(json.dumps({
    "version": hub.__version__,
    "snapshots": [hub.snapshot_download(name), hub.snapshot_download(name, revision=revision)],
    "files": [
        hub.hf_hub_download(name, "tokenizer/vocab.txt"),
        hub.hf_hub_download(name, "vocab.txt", subfolder="tokenizer", revision=revision),
    ],
    "cached": [hub.try_to_load_from_cache(name, "config.json", revision=each) for each in (None, revision)],
    "absent": hub.try_to_load_from_cache(name, "absent.json"),
    "warnings": [str(warning) for warning in scanned.warnings],
    "repositories": {r.repo_id: {v.commit_hash: sorted(v.refs) for v in r.revisions} for r in scanned.repos},
    "sizes": {r.repo_id: [r.size_on_disk, r.nb_files] for r in scanned.repos},
}))
"""

_DELETE = """
import json, sys
import huggingface_hub as hub
strategy = hub.scan_cache_dir().delete_revisions(*sys.argv[1:])
strategy.execute()
print(json.dumps([strategy.expected_freed_size]))
"""

_DOWNLOAD = "import json, sys, huggingface_hub as h; print(json.dumps([h.snapshot_download(sys.argv[1])]))"


@pytest.fixture
def stub() -> Iterator[HubFiles]:
    """A Hub on loopback."""
    with hub_files() as served:
        yield served


@pytest.fixture
def here(tmp_path: Path) -> CommandLineHere:
    """The commands, in this process."""
    return CommandLineHere(tmp_path)


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """The model with another config."""
    folder = make_model(tmp_path / "newer")
    (folder / "config.json").write_text('{"model_type": "newer"}\n')
    return folder


def revision_of(folder: Path, commit: str) -> Release:
    """Make a release of a folder whose revision is the Hub's commit."""
    return weightswarm.prepare(folder, name=NAME, options=PublishOptions(revision=commit))


def refs(hub: Path) -> dict[str, str]:
    """Return the refs of the model, read as they stand."""
    folder = hub / "models--org--model" / "refs"
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def offline(hub: Path) -> dict[str, str]:
    """Return what keeps every client off the network, those that overlook HF_HUB_OFFLINE by a Hub that is not there."""
    return {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(hub), "HF_ENDPOINT": "http://127.0.0.1:9"}


@pytest.mark.parametrize("version", CLIENTS)
def test_each_client_finds_every_revision_offline_and_warns_of_nothing(
    version: str, hub: Path, model: Path, newer: Path, figure: Callable[[str, float], None]
) -> None:
    environment = client(version, offline(hub))
    first, second = place(release_of(model), hub), place(release_of(newer), hub)

    seen = python(_OFFLINE, environment, NAME, second.name)

    assert version in (seen["version"], NEWEST)
    assert seen["snapshots"] == [str(first), str(second)]
    assert seen["files"] == [str(path / "tokenizer" / "vocab.txt") for path in (first, second)]
    assert seen["cached"] == [str(path / "config.json") for path in (first, second)]
    assert (seen["absent"], seen["warnings"]) == (None, [])
    assert seen["repositories"] == {NAME: {first.name: ["main"], second.name: [f"weightswarm/{second.name}"]}}
    blobs = {blob.name: blob.stat().st_size for blob in (hub / "models--org--model" / "blobs").iterdir()}
    assert seen["sizes"] == {NAME: [sum(blobs.values()), len(blobs)]}
    figure("versions of huggingface_hub that found a fetched model", 1)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("0.20.3", ("huggingface_hub.commands.huggingface_cli", "scan-cache")),
        ("0.36.2", ("huggingface_hub.cli.hf", "cache", "scan")),
        ("1.0.1", ("huggingface_hub.cli.hf", "cache", "ls")),
        (NEWEST, ("huggingface_hub.cli.hf", "cache", "ls", "--show-warnings")),
    ],
)
def test_each_clients_own_list_shows_it(version: str, words: tuple[str, ...], hub: Path, model: Path) -> None:
    environment = client(version, offline(hub))
    place(release_of(model), hub)
    said = run([sys.executable, "-m", *words], environment)
    assert NAME in said
    assert "warning" not in said.lower()


@pytest.mark.parametrize("version", OLD_CLIENTS)
def test_a_revision_that_an_old_client_deletes_is_gone_for_us_and_comes_again(
    version: str, here: CommandLineHere, hub: Path, model: Path, newer: Path
) -> None:
    environment = client(version, offline(hub))
    first, second = place(release_of(model), hub), place(release_of(newer), hub)
    for gone, kept in ((second, first), (first, None)):
        python(_DELETE, environment, gone.name)
        assert [each["revision"] for each in here.ok("ls", "--json").json] == ([kept.name] if kept else [])
        if kept:
            assert contents(kept) == contents(model)
            assert refs(hub) == {"main": kept.name}
    assert contents(place(release_of(model), hub)) == contents(model)


# --- the newest one's commands ---------------------------------------------------------------------------------------


def test_hf_cache_prune_leaves_every_revision_that_was_fetched(
    here: CommandLineHere, hub: Path, model: Path, newer: Path
) -> None:
    first, second = place(release_of(model), hub), place(release_of(newer), hub)
    environment = client(NEWEST, offline(hub))
    assert "Nothing to prune" in hf(environment, "cache", "prune", "--yes")
    assert contents(first) == contents(model)
    assert contents(second) == contents(newer)

    here.ok("rm", f"{NAME}@{second.name}", "--yes")
    assert refs(hub) == {"main": first.name}
    with serving_release(release_of(newer)) as magnet:
        here.ok("fetch", magnet, "--name", NAME, "--set-main")
    assert refs(hub) == {"main": second.name}
    assert "1 unreferenced revision" in hf(environment, "cache", "prune", "--yes")
    assert [each["revision"] for each in here.ok("ls", "--json").json] == [second.name]


def test_a_fetch_that_was_killed_before_its_ref_writes_it_the_next_time(
    here: CommandLineHere, hub: Path, model: Path, newer: Path
) -> None:
    place(release_of(model), hub)
    second = place(release_of(newer), hub)
    (hub / "models--org--model" / "refs" / "weightswarm" / second.name).unlink()
    place(release_of(newer), hub)
    assert refs(hub)[f"weightswarm/{second.name}"] == second.name


def test_after_hf_cache_rm_ls_is_right_and_a_fetch_brings_what_is_missing(
    here: CommandLineHere, hub: Path, model: Path, newer: Path
) -> None:
    environment = client(NEWEST, offline(hub))
    first, second = place(release_of(model), hub), place(release_of(newer), hub)
    hf(environment, "cache", "rm", second.name, "--yes")
    assert [(each["revision"], each["state"]) for each in here.ok("ls", "--json").json] == [(first.name, "complete")]
    assert refs(hub) == {"main": first.name}
    here.ok("prune")
    assert not (hub / "models--org--model" / ".weightswarm" / second.name).exists()

    hf(environment, "cache", "rm", f"hf://{NAME}/{WEIGHTS}", "--yes")
    assert here.ok("ls", "--json").json[0]["state"] == "partial"
    with serving_release(release_of(model)) as magnet:
        again = here.ok("fetch", magnet, "--name", NAME, "--json").json
    size = (model / WEIGHTS).stat().st_size
    assert size <= again["downloaded"] < size + 100_000
    assert again["complete"]

    hf(environment, "cache", "rm", f"model/{NAME}", "--yes")
    assert here.ok("ls", "--json").json == []
    assert not (hub / "models--org--model").exists()
    assert contents(place(release_of(model), hub)) == contents(model)


# --- downloads from the Hub into the same cache ----------------------------------------------------------------------


@pytest.mark.parametrize("version", CLIENTS)
def test_a_client_online_downloads_nothing_of_a_revision_that_was_fetched(
    version: str, hub: Path, model: Path, stub: HubFiles
) -> None:
    environment = client(version, stub.environment())
    stub.put(NAME, COMMIT, model)
    snapshot = place(revision_of(model, COMMIT), hub)
    assert python(_DOWNLOAD, environment, NAME) == [str(snapshot)]
    assert stub.downloads == []
    assert [path for _, path in stub.asked], "it did ask which revision main is"


def test_hf_cache_verify_finds_what_was_fetched_as_the_hub_has_it(
    hub: Path, model: Path, stub: HubFiles, tmp_path: Path
) -> None:
    stub.put(NAME, COMMIT, model)
    place(revision_of(model, COMMIT), hub)
    environment = client(NEWEST, stub.environment())
    assert "Verified 4" in hf(environment, "cache", "verify", NAME)


def test_a_release_of_the_hubs_own_cache_has_the_hubs_blobs_and_either_takes_the_others(
    here: CommandLineHere, hub: Path, model: Path, newer: Path, stub: HubFiles, tmp_path: Path
) -> None:
    """Downloaded, published and fetched elsewhere, where the Hub's next commit costs only what changed."""
    environment = client(NEWEST, stub.environment())
    stub.put(NAME, COMMIT, model)
    hf({**environment, "HF_HUB_CACHE": str(tmp_path / "lab")}, "download", NAME)
    stub.asked.clear()
    release = weightswarm.prepare(NAME, cache_dir=tmp_path / "lab")
    snapshot = place(release, hub)
    blobs = hub / "models--org--model" / "blobs"
    ids = {blob_id(path, data) for path, data in contents(model).items()}
    assert {blob.name for blob in blobs.iterdir()} == ids

    stub.put(NAME, NEXT, newer)
    hf(environment, "download", NAME)
    assert stub.downloads == ["config.json"]
    assert refs(hub)["main"] == NEXT
    assert contents(snapshot) == contents(model)
    assert contents(snapshot.with_name(NEXT)) == contents(newer)
    assert [each["revision"] for each in here.ok("ls", "--json").json] == [COMMIT, NEXT]
    assert here.ok("verify", f"{NAME}@{COMMIT}").code == 0


def test_a_fetch_beside_the_hubs_newer_main_leaves_main_alone_and_is_kept(
    here: CommandLineHere, hub: Path, model: Path, newer: Path, stub: HubFiles
) -> None:
    environment = client(NEWEST, stub.environment())
    stub.put(NAME, NEXT, newer)
    hf(environment, "download", NAME)
    with serving_release(revision_of(model, COMMIT)) as magnet:
        fetched = here.ok("fetch", magnet, "--name", NAME, "--json").json
    assert fetched["downloaded"] < 50_000, "the weights are those of the Hub's revision"
    assert refs(hub) == {"main": NEXT, f"weightswarm/{COMMIT}": COMMIT}
    assert "Nothing to prune" in hf(environment, "cache", "prune", "--yes")
    here.ok("rm", f"{NAME}@{COMMIT}", "--yes")
    assert refs(hub) == {"main": NEXT}
    assert contents(hub / "models--org--model" / "snapshots" / NEXT) == contents(newer)


@pytest.mark.parametrize("commit", [COMMIT, NEXT])
def test_a_client_that_downloads_while_a_fetch_places_loses_nothing_and_breaks_nothing(
    commit: str, here: CommandLineHere, hub: Path, model: Path, newer: Path, stub: HubFiles
) -> None:
    """The same revision, and another: the client waits for its payload while ours is placed."""
    folder = model if commit == COMMIT else newer
    stub.put(NAME, commit, folder)
    stub.gate.clear()
    command = [str(Path(sys.executable).with_name("hf")), "download", NAME]
    process = subprocess.Popen(command, env=client(NEWEST, stub.environment()), stdout=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: bool(stub.downloads), "the client downloads nothing")
        snapshot = place(revision_of(model, COMMIT), hub)
        assert contents(snapshot) == contents(model)
        stub.gate.set()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()
    assert contents(snapshot) == contents(model)
    assert contents(snapshot.with_name(commit)) == contents(folder)
    for each in here.ok("ls", "--json").json:
        assert each["state"] in ("complete", "unknown")
    assert here.ok("verify", f"{NAME}@{COMMIT}").code == 0
    seen = python(_OFFLINE, client(NEWEST, offline(hub)), NAME, COMMIT)
    assert seen["warnings"] == []
    assert {*seen["repositories"][NAME]} == {COMMIT, commit}


def test_a_fetch_ends_well_while_a_client_downloads_the_same_revision(
    cli: CommandLine, hub: Path, model: Path, stub: HubFiles
) -> None:
    """The client is done before the fetch is: its snapshot becomes ours, file by file."""
    stub.put(NAME, COMMIT, model)
    with serving_release(revision_of(model, COMMIT), SLOW) as magnet:
        process = cli.start("fetch", magnet, "--name", NAME)
        try:
            wait_until(lambda: staged_weights(hub) is not None, "nothing arrived in staging")
            hf(client(NEWEST, stub.environment()), "download", NAME)
            snapshot = hub / "models--org--model" / "snapshots" / COMMIT
            assert process.poll() is None
            assert contents(snapshot) == contents(model)
            stdout, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
            process.communicate()
    assert (process.returncode, stdout.strip()) == (0, str(snapshot)), stderr
    assert contents(snapshot) == contents(model)
    seen = python(_OFFLINE, client(NEWEST, offline(hub)), NAME, COMMIT)
    assert (seen["warnings"], seen["repositories"]) == ([], {NAME: {COMMIT: ["main"]}})
    cli.ok("verify", NAME)


@pytest.mark.parametrize("links", ["one of the client's", "none yet"])
def test_a_snapshot_that_the_client_begins_at_the_last_moment_gains_our_files(
    links: str, hub: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look for a snapshot and the rename of ours to its place."""
    snapshot = hub / "models--org--model" / "snapshots" / COMMIT
    begun = threading.Event()
    move = OpenFolder.move

    def overtaken(folder: OpenFolder, name: str, target: OpenFolder, new_name: str) -> None:
        if name == "snapshot" and not begun.is_set():
            begun.set()
            snapshot.mkdir(parents=True)
            if links != "none yet":
                blob = (
                    hub / "models--org--model" / "blobs" / blob_id("config.json", (model / "config.json").read_bytes())
                )
                blob.write_bytes((model / "config.json").read_bytes())
                (snapshot / "config.json").symlink_to(os.path.relpath(blob, snapshot))
        move(folder, name, target, new_name)

    monkeypatch.setattr(OpenFolder, "move", overtaken)
    assert place(revision_of(model, COMMIT), hub) == snapshot
    assert begun.is_set()
    assert contents(snapshot) == contents(model)
    assert refs(hub) == {"main": COMMIT}
