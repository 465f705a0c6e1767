"""`weightswarm verify`: every fault is named in one run, whatever says what the files should be; repair is small."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from pathlib import Path

import pytest

import weightswarm
from hostile import (
    NAME,
    WEIGHTS,
    contents,
    fetch_json,
    flip_byte,
    peer_of,
    place,
    refused,
    release_of,
    serving_release,
    with_manifest,
)
from running import CommandLine, Outcome
from weightswarm import Release
from weightswarm.metainfo import TorrentVersion
from weightswarm.verifying import list_files

PIECE = 16 * 1024


@pytest.fixture
def release(model: Path) -> Release:
    """The model as a hybrid release."""
    return release_of(model)


@pytest.fixture
def snapshot(release: Release, hub: Path) -> Path:
    """The release in the cache."""
    return place(release, hub)


@pytest.fixture
def local(cli: CommandLine, release: Release, tmp_path: Path) -> Path:
    """The release in a plain folder."""
    with serving_release(release) as magnet:
        return Path(cli.ok("fetch", magnet, "--local-dir", tmp_path / "plain").result)


def received(outcome: Outcome) -> int:
    """Return how many bytes a repair says it got from the swarm."""
    match = re.search(r"Repaired with ([\d,]+) bytes", outcome.stderr)
    assert match is not None, outcome.stderr
    return int(match[1].replace(",", ""))


# --- finding ---------------------------------------------------------------------------------------------------------


def test_a_good_model_is_verified_by_name_revision_and_snapshot_path(cli: CommandLine, snapshot: Path) -> None:
    for target in (NAME, f"{NAME}@{snapshot.name}", f"{NAME}@{snapshot.name[:8]}", str(snapshot)):
        outcome = cli.ok("verify", target)
        assert outcome.stdout == ""
        assert "4 files" in outcome.stderr


def test_a_flipped_byte_in_the_cache_is_named(cli: CommandLine, snapshot: Path) -> None:
    flip_byte((snapshot / WEIGHTS).resolve(), keep_times=True)
    for target in (NAME, str(snapshot)):
        outcome = cli("verify", target)
        assert outcome.code == 3
        assert outcome.stdout.startswith(f"wrong hash: {WEIGHTS} (SHA-256 ")
        assert len(outcome.stdout.splitlines()) == 1


def test_all_faults_are_reported_in_one_run(cli: CommandLine, local: Path) -> None:
    (local / "empty.txt").unlink()
    (local / "notes.txt").write_text("not of the release\n")
    (local / "config.json").write_text("{}")
    flip_byte(local / WEIGHTS)
    # A link that leads to itself cannot be read even by root.
    (local / "tokenizer" / "vocab.txt").unlink()
    (local / "tokenizer" / "vocab.txt").symlink_to("vocab.txt")

    outcome = cli("verify", local)
    assert outcome.code == 3
    assert [line.partition(" (")[0] for line in outcome.stdout.splitlines()] == [
        "wrong size: config.json",
        "missing: empty.txt",
        f"wrong hash: {WEIGHTS}",
        "extra: notes.txt",
        "unreadable: tokenizer/vocab.txt",
    ]
    document = cli("verify", local, "--json").json
    assert document["ok"] is False
    assert document["path"] == str(local)
    assert {(f["path"], f["fault"]) for f in document["findings"]} == {
        ("config.json", "wrong size"),
        ("empty.txt", "missing"),
        (WEIGHTS, "wrong hash"),
        ("notes.txt", "extra"),
        ("tokenizer/vocab.txt", "unreadable"),
    }


def test_an_unreadable_file_is_a_finding_not_an_end(cli: CommandLine, local: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (local / WEIGHTS).chmod(0)
    outcome = cli("verify", local)
    assert outcome.code == 3
    assert outcome.stdout.startswith(f"unreadable: {WEIGHTS}")


WITNESSES = [
    "manifest",
    "SHA256SUMS",
    *(f"{version.value} torrent{rest}" for version in TorrentVersion for rest in ("", " without manifest")),
]


def write_witness(kind: str, model: Path, folder: Path) -> Path:
    """Write a file of the given kind that says what the model's files are."""
    path = folder / "witness"
    if kind == "SHA256SUMS":
        sums = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in contents(model).items()]
        path.write_text("".join(sums))
        return path
    version = next((v for v in TorrentVersion if kind.startswith(v.value)), TorrentVersion.HYBRID)
    release = release_of(model, version)
    torrent = with_manifest(release.metainfo, None) if "without" in kind else release.metainfo
    path.write_bytes(release.manifest.to_bytes() if kind == "manifest" else torrent.data)
    return path


@pytest.mark.parametrize("kind", WITNESSES)
def test_any_folder_is_verified_against_any_witness(cli: CommandLine, model: Path, tmp_path: Path, kind: str) -> None:
    witness = write_witness(kind, model, tmp_path)
    options = weightswarm.VerifyOptions(manifest=witness)
    assert weightswarm.verify(model, options=options).verdict.ok

    flip_byte(model / WEIGHTS, offset=1_500_000)
    (model / "empty.txt").unlink()
    outcome = cli("verify", model, "--manifest", witness)
    assert outcome.code == 3
    faults = [line.partition(" (")[0] for line in outcome.stdout.splitlines()]
    assert faults == ["missing: empty.txt", f"wrong hash: {WEIGHTS}"]


def test_sums_as_sha256sum_writes_them_are_read(cli: CommandLine, model: Path) -> None:
    def line(name: str, style: str) -> str:
        return f"{hashlib.sha256((model / name).read_bytes()).hexdigest()}{style}{name}\n"

    names = sorted(contents(model))
    styles = ["  ", " *", "  ./", " *./"]
    sums = model.parent / "SUMS"
    sums.write_text("# by hand\n\n" + "".join(map(line, names, styles)))
    cli.ok("verify", model, "--manifest", sums)


@pytest.mark.parametrize(
    "line", ["not a sum", f"{'ab' * 32}  ../../etc/passwd", f"{'ab' * 32}  /etc/passwd", f"{'ab' * 20}  sha1"]
)
def test_a_bad_line_in_the_sums_is_named_by_its_number(cli: CommandLine, model: Path, line: str) -> None:
    sums = model.parent / "SUMS"
    sums.write_text(f"{'cd' * 32}  config.json\n{line}\n")
    refused(cli("verify", model, "--manifest", sums), 2, "line 2")


def test_what_nobody_vouches_for_is_not_called_verified(cli: CommandLine, model: Path) -> None:
    outcome = cli("verify", model)
    refused(outcome, 1, "no manifest")
    assert "Hint: name one with --manifest" in outcome.stderr
    refused(cli("verify", "org/unknown"), 1, "org/unknown")
    refused(cli("verify", "unknown"), 1, "no folder unknown")
    refused(cli("verify", model / WEIGHTS), 2, "is a file")


def test_a_partial_release_is_verified_as_far_as_it_was_fetched(cli: CommandLine, release: Release) -> None:
    with serving_release(release) as magnet:
        cli.ok("fetch", magnet, "--name", NAME, "--include", "config.json", "--include", "tokenizer/")
    document = cli.ok("verify", NAME, "--json").json
    assert document == {
        "path": document["path"],
        "ok": True,
        "partial": True,
        "files": 2,
        "size": 40_023,
        "findings": [],
        "code": [],
        "repaired": [],
        "signature": {"state": "unsigned", "key_id": None, "version": 0, "expires": None},
    }


# --- repairing -------------------------------------------------------------------------------------------------------


def test_repair_fetches_the_bad_piece_alone_into_a_fresh_blob(
    cli: CommandLine, release: Release, snapshot: Path, model: Path
) -> None:
    blob = (snapshot / WEIGHTS).resolve()
    flip_byte(blob, keep_times=True)
    with open(blob, "rb") as loaded, serving_release(release) as magnet:
        damaged = loaded.read()
        outcome = cli.ok("verify", NAME, "--repair", "--peer", peer_of(magnet))
        loaded.seek(0)
        assert loaded.read() == damaged, "a program that has the old file open keeps it"
    assert received(outcome) <= 3 * PIECE
    assert f"Repaired: {WEIGHTS}" in outcome.stderr
    assert contents(snapshot) == contents(model)
    assert stat.S_IMODE((snapshot / WEIGHTS).stat().st_mode) == 0o444
    assert (snapshot / WEIGHTS).is_symlink()
    assert cli.ok("verify", NAME).stdout == ""


def test_repair_brings_back_what_is_missing_in_a_folder(
    cli: CommandLine, release: Release, local: Path, model: Path
) -> None:
    flip_byte(local / WEIGHTS)
    (local / "tokenizer" / "vocab.txt").unlink()
    (local / "tokenizer").rmdir()
    (local / "empty.txt").unlink()
    (local / "config.json").write_text("{}")
    (local / "notes.txt").write_text("mine\n")
    with serving_release(release) as magnet:
        outcome = cli("verify", local, "--repair", "--peer", peer_of(magnet))
    assert outcome.stdout.splitlines() == ["extra: notes.txt"]
    assert outcome.code == 3, "what is not of the release stays, and stays reported"
    assert received(outcome) < 40_000 + 5 * PIECE
    assert contents(local) == {**contents(model), "notes.txt": b"mine\n"}


def test_a_missing_cached_file_is_repaired(cli: CommandLine, release: Release, snapshot: Path, model: Path) -> None:
    (snapshot / WEIGHTS).resolve().unlink()
    (snapshot / "config.json").unlink()
    with serving_release(release) as magnet:
        outcome = cli.ok("verify", NAME, "--repair", "--peer", peer_of(magnet), "--json").json
    assert sorted(outcome["repaired"]) == ["config.json", WEIGHTS]
    assert contents(snapshot) == contents(model)


def test_a_folder_is_repaired_by_a_torrent_from_elsewhere(
    cli: CommandLine, release: Release, model: Path, tmp_path: Path
) -> None:
    good = contents(model)
    with serving_release(release) as magnet:
        hurt = tmp_path / "hurt"
        (hurt / "tokenizer").mkdir(parents=True)
        for path, data in good.items():
            (hurt / path).write_bytes(data)
        flip_byte(hurt / WEIGHTS)
        (tmp_path / "release.torrent").write_bytes(release.metainfo.data)
        arguments = ("--manifest", "release.torrent", "--repair", "--peer", peer_of(magnet))
        assert received(cli.ok("verify", hurt, *arguments)) <= 3 * PIECE
    assert contents(hurt) == good


def test_a_repair_that_finds_nobody_leaves_everything_as_it_was(cli: CommandLine, snapshot: Path) -> None:
    blob = (snapshot / WEIGHTS).resolve()
    flip_byte(blob)
    before = blob.read_bytes()
    outcome = cli("verify", NAME, "--repair", "--timeout", "2")
    refused(outcome, 4, WEIGHTS)
    assert blob.read_bytes() == before


def test_a_repair_without_a_torrent_says_what_is_missing(cli: CommandLine, model: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(release_of(model).manifest.to_bytes())
    flip_byte(model / WEIGHTS)
    outcome = cli("verify", model, "--manifest", "manifest.json", "--repair")
    refused(outcome, 1, "cannot be repaired")
    assert "--manifest" in outcome.stderr


def test_a_repair_adds_nothing_that_was_left_out(cli: CommandLine, release: Release, model: Path) -> None:
    """Not even what another revision's blob would give at once."""
    with serving_release(release) as magnet:
        path = Path(fetch_json(cli, magnet, "--name", NAME, "--include", "config.json")["path"])
        config = (path / "config.json").resolve()
        weights = next(entry for entry in release.manifest.files if entry.path == WEIGHTS)
        shutil.copy(model / WEIGHTS, config.with_name(weights.sha256))
        config.chmod(0o644)
        config.write_bytes(b"[]")
        cli.ok("verify", NAME, "--repair", "--peer", peer_of(magnet))
    assert [file.name for file in path.iterdir()] == ["config.json"]


def test_links_are_listed_as_files_and_never_entered(tmp_path: Path) -> None:
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    for folder in (tree / "inside", tree / ".git", outside):
        folder.mkdir(parents=True)
        (folder / "file").touch()
    (tree / "folder").symlink_to(outside)
    (tree / "nowhere").symlink_to("gone")
    (tree / "up").symlink_to("..")
    assert list_files(tree) == ["folder", "inside/file", "nowhere", "up"]
