"""`weightswarm publish`: equal releases get equal magnets, nothing is hashed twice, nothing unfit is published."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hostile import (
    NAME,
    WEIGHTS,
    age,
    contents,
    fetch_json,
    flip_byte,
    listing,
    peer_of,
    refused,
    serving_release,
)
from running import CommandLine
from weightswarm import prepare
from weightswarm.cli.main import weightswarm
from weightswarm.magnet import parse_magnet
from weightswarm.manifest import Manifest, parse_manifest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def publish(cli: CommandLine, path: str | Path, *arguments: str | Path) -> tuple[str, bytes, bytes]:
    """Publish as org/model and return magnet, manifest bytes and torrent bytes."""
    document = cli.ok("publish", path, "--name", NAME, "--json", *arguments).json
    folder = cli.folder
    return document["magnet"], *((folder / document[key]).read_bytes() for key in ("manifest", "torrent"))


def publish_here(model: Path, *arguments: str) -> Result:
    """Publish inside this process, where many runs are quick."""
    done = CliRunner().invoke(weightswarm, ["publish", str(model), "--name", NAME, "-o", f"{model}.out", *arguments])
    assert done.exit_code == 0, done.stderr
    return done


# --- the same release is the same everywhere -------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["model", "minilm"])
def test_copies_with_other_times_and_another_parent_are_one_release(
    cli: CommandLine, source: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    original: Path = request.getfixturevalue(source)
    copy = Path(shutil.copytree(original, tmp_path / "far" / "away", copy_function=shutil.copyfile))
    age(copy, 1_000_000)
    assert publish(cli, original, "-o", "first") == publish(cli, f"{copy}/", "-o", "second")


def test_options_under_the_info_hash_change_it_and_the_others_do_not(cli: CommandLine, model: Path) -> None:
    age(model)
    plain = parse_magnet(publish(cli, model)[0]).info_hash
    outside = ["--tracker", "udp://127.0.0.1:9/announce", "--comment", "hello", "--web-seed", "http://127.0.0.1:9/"]
    magnet = parse_magnet(publish(cli, model, *outside)[0])
    assert magnet.info_hash == plain
    assert magnet.trackers == ("udp://127.0.0.1:9/announce",)
    assert magnet.web_seeds == ("http://127.0.0.1:9/",)
    under = [
        ["--private"],
        ["--license", "mit"],
        ["--description", "words"],
        ["--created", "2026-01-31T00:00:00Z"],
        ["--revision", COMMIT],
        ["--piece-length", "64k"],
        ["--v1-only"],
        ["--v2-only"],
    ]
    hashes = {parse_magnet(publish_here(model, *options).stdout).info_hash for options in under}
    assert len(hashes | {plain}) == len(under) + 1


def test_one_file_is_a_release_of_its_own(cli: CommandLine, model: Path) -> None:
    _, manifest, _ = publish(cli, model / WEIGHTS)
    files = parse_manifest(manifest).files
    assert [(f.path, f.size) for f in files] == [(WEIGHTS, 3_000_001)]
    assert files[0].sha256 == hashlib.sha256((model / WEIGHTS).read_bytes()).hexdigest()


# --- memory ----------------------------------------------------------------------------------------------------------


def test_only_what_changed_is_hashed_again(model: Path) -> None:
    def hashes(*options: str) -> bool:
        return "Hashing" in publish_here(model, *options).stderr

    age(model)
    assert hashes()
    assert not hashes()
    assert not hashes("--comment", "what is outside the files needs no hash")
    assert hashes("--rehash")
    age(model / "tokenizer", 30)
    assert hashes(), "a touched file"
    assert not hashes()
    flip_byte(model / WEIGHTS, keep_times=True)
    assert hashes(), "a file that changed under the same mtime"


def test_a_remembered_release_is_the_hashed_one(cli: CommandLine, model: Path) -> None:
    age(model)
    assert publish(cli, model) == publish(cli, model) == publish(cli, model, "--rehash")


def test_a_damaged_memory_is_no_memory(cli: CommandLine, model: Path, tmp_path: Path) -> None:
    age(model)
    before = publish(cli, model)
    memories = [path for path in (tmp_path / "user-cache").rglob("hashes/*") if path.is_file()]
    assert len(memories) == 1
    flip_byte(memories[0], offset=200)
    outcome = cli.ok("publish", model, "--name", NAME)
    assert "Hashing" in outcome.stderr
    assert outcome.result == before[0]


def test_publishing_writes_nothing_to_the_folder(cli: CommandLine, model: Path) -> None:
    before = listing(model)
    publish(cli, model)
    assert listing(model) == before


# --- what is refused -------------------------------------------------------------------------------------------------


def make_socket(path: Path) -> None:
    # A socket's address is short; the tests' folders are not.
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


UNFIT: dict[str, tuple[Callable[[Path], None], str]] = {
    "a link out of the folder": (lambda path: path.symlink_to("/etc/hostname"), "leaves the folder"),
    "a link to nothing": (lambda path: path.symlink_to("nothing"), "leads nowhere"),
    "a link to a folder": (lambda path: path.symlink_to("tokenizer"), "link to a folder"),
    "a link to itself": (lambda path: path.symlink_to("unfit"), ""),
    "a FIFO": (os.mkfifo, "a FIFO"),
    "a socket": (make_socket, "a socket"),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_what_is_no_file_of_the_folder_is_refused_by_name(cli: CommandLine, model: Path, kind: str) -> None:
    make, reason = UNFIT[kind]
    make(model / "unfit")
    refused(cli("publish", model, "--name", NAME, timeout=20), 1, str(model / "unfit"), reason)
    assert not list(cli.folder.glob("*.torrent"))


def test_an_unreadable_file_is_refused_by_name(cli: CommandLine, model: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (model / "config.json").chmod(0)
    refused(cli("publish", model, "--name", NAME), 1, str(model / "config.json"), "permission denied")


@pytest.mark.parametrize(
    "name", ["back\\slash", "line\nfeed", "right-to-left\u202e.txt", "dot.", "con", "a:b", b"latin-\xe9", "CONFIG.json"]
)
def test_a_name_that_some_system_cannot_hold_is_refused(cli: CommandLine, model: Path, name: str | bytes) -> None:
    (model / os.fsdecode(name)).write_text("x")
    outcome = cli("publish", model, "--name", NAME)
    refused(outcome, 1, "Cannot publish")
    assert "Hint: " in outcome.stderr or "differs from" in outcome.stderr
    assert outcome.stderr.isprintable() or outcome.stderr.replace("\n", "").isprintable(), "the name is shown escaped"


def test_links_inside_the_folder_are_followed(cli: CommandLine, model: Path) -> None:
    (model / "again.txt").symlink_to("tokenizer/vocab.txt")
    manifest = parse_manifest(publish(cli, model)[1])
    by_path = {entry.path: entry.sha256 for entry in manifest.files}
    assert by_path["again.txt"] == by_path["tokenizer/vocab.txt"]


def test_bookkeeping_is_left_out(cli: CommandLine, model: Path) -> None:
    expected = publish(cli, model)
    for path in (".git/HEAD", ".cache/huggingface/download/x.metadata", "tokenizer/.git/HEAD", ".weightswarm/x"):
        (model / path).parent.mkdir(parents=True, exist_ok=True)
        (model / path).write_text("x")
    assert publish(cli, model) == expected


def test_an_empty_folder_holds_nothing_to_publish(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(cli("publish", "empty", "--name", NAME), 1, "it holds no bytes")
    refused(cli("publish", "missing", "--name", NAME), 1, "no file or folder missing")
    refused(cli("publish", "./missing"), 1, "no file or folder ./missing")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "needs a name"),
        (["--name", "noslash"], "noslash"),
        (["--name", NAME, "--v1-only", "--v2-only"], "exclude each other"),
        (["--name", NAME, "--piece-length", "100k"], "102,400"),
        (["--name", NAME, "--tracker", "ftp://127.0.0.1"], "ftp://127.0.0.1"),
        (["--name", NAME, "--created", "yesterday"], "yesterday"),
        (["--name", NAME, "--revision", "main"], "main"),
    ],
)
def test_unusable_options_are_usage_errors_with_a_hint(
    cli: CommandLine, model: Path, arguments: list[str], word: str
) -> None:
    outcome = cli("publish", model, *arguments)
    refused(outcome, 2, word)
    assert "Hint: " in outcome.stderr


# --- a model of the Hub's cache --------------------------------------------------------------------------------------


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@pytest.fixture
def cached(model: Path, hub: Path) -> Path:
    """The model in the Hub client's own layout: weights by SHA-256, small files by git's SHA-1."""
    repository = hub / "models--org--model"
    snapshot = repository / "snapshots" / COMMIT
    (repository / "blobs").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    for path, data in contents(model).items():
        blob = hashlib.sha256(data).hexdigest() if path == WEIGHTS else git_sha1(data)
        (repository / "blobs" / blob).write_bytes(data)
        link = snapshot / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to("../" * (2 + path.count("/")) + f"blobs/{blob}")
    return snapshot


def test_a_cached_model_is_published_under_its_commit_with_its_blob_ids(
    cli: CommandLine, cached: Path, model: Path, hub: Path
) -> None:
    before = listing(hub)
    manifests: list[Manifest] = []
    for target in (NAME, f"{NAME}@{COMMIT[:7]}"):
        document = cli.ok("publish", target, "--json").json
        assert document["revision"] == COMMIT
        manifests.append(parse_manifest((cli.folder / document["manifest"]).read_bytes()))
    assert manifests[0] == manifests[1]
    assert {entry.path: entry.blob_id for entry in manifests[0].files} == {
        path: os.readlink(cached / path).rpartition("/")[2] for path in contents(model)
    }
    assert listing(hub) == before


def test_a_model_from_the_hub_arrives_in_another_cache_under_the_same_blob_names(
    cli: CommandLine, cached: Path, hub: Path, tmp_path: Path
) -> None:
    release = prepare(NAME, cache_dir=hub)
    with serving_release(release) as magnet:
        fetched = fetch_json(cli, magnet, "--name", NAME, "--cache-dir", tmp_path / "other")
    snapshot = Path(fetched["path"])
    assert snapshot.name == COMMIT
    links = {p: os.readlink(snapshot / p) for p in contents(cached)}
    assert links == {p: os.readlink(cached / p) for p in contents(cached)}


@pytest.mark.parametrize("path", [WEIGHTS, "config.json"])
def test_a_damaged_blob_of_the_hubs_cache_is_not_published(cli: CommandLine, cached: Path, path: str) -> None:
    flip_byte((cached / path).resolve(), offset=3, keep_times=True)
    refused(cli("publish", NAME), 3, path, "damaged")
    assert not list(cli.folder.glob("*.torrent"))


# --- where it goes ---------------------------------------------------------------------------------------------------


def test_the_result_goes_where_it_was_told(cli: CommandLine, model: Path, tmp_path: Path) -> None:
    outcome = cli.ok("publish", model, "--name", NAME, "-o", "deep/down")
    revision = parse_manifest(next((tmp_path / "deep" / "down").glob("*.manifest.json")).read_bytes()).revision
    names = {f"model-{revision[:8]}.manifest.json", f"model-{revision[:8]}.torrent"}
    assert {path.name for path in (tmp_path / "deep" / "down").iterdir()} == names
    assert outcome.stdout.startswith("magnet:?xt=urn:btih:")
    assert outcome.stdout.count("\n") == 1
    document = cli.ok("publish", model, "--name", NAME, "-o", "deep/down", "--json").json
    assert document == {
        "name": NAME,
        "revision": revision,
        "magnet": outcome.result,
        "info_hash_v1": parse_magnet(outcome.result).info_hash.v1,
        "info_hash_v2": parse_magnet(outcome.result).info_hash.v2,
        "key_id": None,
        "model_sig": None,
        "manifest": f"deep/down/model-{revision[:8]}.manifest.json",
        "torrent": f"deep/down/model-{revision[:8]}.torrent",
        "files": 4,
        "size": 3_040_024,
    }


def test_a_registry_that_was_added_to_serves_name_and_info_hash(cli: CommandLine, model: Path, tmp_path: Path) -> None:
    document = json.loads(cli.ok("publish", model, "--name", NAME, "--add-to", "registry", "--json").stdout)
    release = prepare(model, name=NAME)
    with serving_release(release) as magnet:
        extra = ("--registry", "registry", "--peer", peer_of(magnet))
        by_name = fetch_json(cli, NAME, *extra)
        by_hash = fetch_json(cli, document["info_hash_v2"], *extra, "--cache-dir", tmp_path / "second")
    assert by_name["name"] == by_hash["name"] == NAME
    assert by_name["revision"] == by_hash["revision"] == document["revision"]
