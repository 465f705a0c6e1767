"""`publish --from-hub`: a release is what the Hub lists, file by file and hash by hash, or it is nothing."""

from __future__ import annotations

import json
import re
import shutil
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

import weightswarm
from answering import Asked as RawAsked
from answering import answering, http
from hostile import LOOPBACK, NAME, WEIGHTS, contents, fetch_json, flip_byte, refused, serving_release
from hub_api import Asked, HubRepo, HubStub, Reply, blob_id, serving_hub
from running import CommandLineHere, Seeder
from samples import write_files
from weights import safetensors_bytes
from weightswarm import FetchOptions, Network, Note, Progress
from weightswarm.errors import InvalidInput, NetworkFailure, NotFound, WeightswarmError
from weightswarm.hub import Hub, HubListing
from weightswarm.manifest import parse_manifest
from weightswarm.publishing import Signer
from weightswarm.registry import http as client
from weightswarm.registry import hub as asking
from weightswarm.registry import list_hub_files
from weightswarm.signing import SecretKey

FILES = {
    ".gitattributes": b"*.safetensors filter=lfs\n",
    "1_Pooling/config.json": b'{"pooling": true}\n',
    "config.json": b'{"model_type": "test"}\n',
    "empty.txt": b"",
    WEIGHTS: safetensors_bytes(300_001, Random(3)),
}
REPO = HubRepo(FILES, refs=("main", "v1.0"))
COMMIT = REPO.commit


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStub]:
    """A Hub with one model, which commands ask."""
    monkeypatch.setattr(client, "_BACK_OFF", 0.01)
    with serving_hub({NAME: REPO}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def here(tmp_path: Path) -> CommandLineHere:
    """The command line, in this process."""
    return CommandLineHere(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The model's files as plain files."""
    return write_files(tmp_path / "model", FILES)


def nothing_was_published(here: CommandLineHere) -> bool:
    return not [*here.folder.glob("*.torrent"), *here.folder.glob("*.manifest.json")]


def list_files(hub: HubStub | str, token: str | None = None, revision: str = "main", seconds: float = 10) -> HubListing:
    url = hub if isinstance(hub, str) else hub.url
    return list_hub_files(NAME, revision, hub=Hub(url, token), network=Network.LOOPBACK, seconds=seconds)


# --- as it should be --------------------------------------------------------------------------------------------------


def test_a_folder_and_a_cache_give_one_release_which_hf_finds_complete_where_it_was_fetched(
    here: CommandLineHere, seeder: Seeder, stub: HubStub, folder: Path, hub: Path, tmp_path: Path
) -> None:
    stub.download(NAME, hub)
    (folder / ".cache" / "huggingface").mkdir(parents=True)
    (folder / ".cache" / "huggingface" / "x.metadata").write_text("the client's own")
    by_folder = here.ok("publish", folder, "--from-hub", f"{NAME}@main", "--json")
    manifest = parse_manifest((here.folder / by_folder.json["manifest"]).read_bytes())
    assert (manifest.name, manifest.revision) == (NAME, COMMIT)
    assert {e.path: e.blob_id for e in manifest.files} == {p: blob_id(p, d) for p, d in FILES.items()}
    assert f"lists 5 files of {NAME}@{COMMIT[:8]}" in by_folder.stderr
    for source in (
        (NAME,),
        (NAME, "--from-hub", NAME),
        (f"{NAME}@v1.0", "--from-hub", f"{NAME}@{COMMIT}") if stub.download(NAME, hub, revision="v1.0") else (),
        (folder, "--from-hub", f"{NAME}@v1.0"),
        (f"{NAME}={folder}", "--from-hub", NAME),
    ):
        assert here.ok("publish", *source, "--json").json["magnet"] == by_folder.json["magnet"], source

    seeding = seeder(folder, "--from-hub", NAME)
    other = tmp_path / "other"
    fetched = fetch_json(here, seeding.magnet, "--name", NAME, "--cache-dir", other)
    assert contents(Path(fetched["path"])) == FILES
    stub.asked.clear()
    assert stub.download(NAME, other).resolve() == Path(fetched["path"]).resolve()
    assert stub.downloads() == []


def test_another_name_is_the_users_to_give(here: CommandLineHere, stub: HubStub, folder: Path) -> None:
    published = here.ok("publish", folder, "--name", "my/mirror", "--from-hub", NAME, "--json").json
    assert (published["name"], published["revision"]) == ("my/mirror", COMMIT)


def test_a_cached_model_is_held_to_the_revision_that_the_cache_holds_unless_another_is_said(
    here: CommandLineHere, stub: HubStub, hub: Path
) -> None:
    stub.download(NAME, hub)
    stub.repos[NAME] = later = HubRepo({**FILES, "config.json": b'{"model_type": "new"}\n'})
    refused(here("publish", NAME, "--from-hub", NAME), 1, f"has no revision {COMMIT} of {NAME}")
    refused(here("publish", NAME, "--from-hub", f"{NAME}@main"), 1, f"{NAME} has no revision {later.commit}")
    outcome = here("publish", f"{NAME}@{COMMIT}", "--from-hub", f"{NAME}@main")
    refused(outcome, 3, "1 file is not as the Hub lists", "config.json (23 bytes, not 22)")
    stub.download(NAME, hub)
    assert here.ok("publish", NAME, "--from-hub", f"{NAME}@main", "--json").json["revision"] == later.commit


def test_a_release_that_was_fetched_keeps_its_signature_when_the_hub_says_the_same(
    stub: HubStub, folder: Path, tmp_path: Path
) -> None:
    signer = Signer(SecretKey.generate(), 1)
    release = weightswarm.prepare(folder, from_hub=NAME, network=Network.LOOPBACK, signer=signer)
    with serving_release(release) as magnet:
        options = FetchOptions(name=NAME, signature=release.signed, network=LOOPBACK)
        weightswarm.fetch(magnet, cache_dir=tmp_path / "c", options=options)
    again = weightswarm.prepare(NAME, cache_dir=tmp_path / "c", from_hub=NAME, network=Network.LOOPBACK)
    assert again.metainfo.info_hash == release.metainfo.info_hash
    assert again.signed == release.signed is not None


@pytest.mark.parametrize("page", [1, 2, 6, 7, 1000])
def test_every_page_of_the_list_is_read(stub: HubStub, page: int) -> None:
    stub.page = page
    entries = len(REPO.tree())
    assert entries == 6
    listing = list_files(stub)
    assert {f.path: (f.size, f.blob_id) for f in listing.files} == {
        path: (len(data), blob_id(path, data)) for path, data in FILES.items()
    }
    assert len([each for each in stub.asked if "/tree/" in each.path]) == -(-entries // page)


# --- what is not as the Hub says --------------------------------------------------------------------------------------


def test_files_that_are_missing_too_many_or_of_another_size_are_all_named_before_anything_is_hashed(
    here: CommandLineHere, stub: HubStub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from weightswarm.publishing import release

    monkeypatch.setattr(release, "hash_tree", lambda *_a, **_k: pytest.fail("hashed"))
    (folder / "empty.txt").unlink()
    (folder / "README.md").write_text("mine")
    (folder / "config.json").write_bytes(b"{}")
    outcome = here("publish", folder, "--from-hub", NAME)
    refused(outcome, 3, f"3 files are not as the Hub lists {NAME}@{COMMIT[:8]}", "empty.txt (not here)",
            "README.md (not at the Hub)", "config.json (2 bytes, not 23)")  # fmt: skip
    assert "--leave-out" in outcome.stderr and "nothing was published" in outcome.stderr
    assert nothing_was_published(here)


@pytest.mark.parametrize("source", ["folder", "cache"])
def test_files_of_another_hash_are_all_named(
    here: CommandLineHere, stub: HubStub, folder: Path, hub: Path, source: str
) -> None:
    root = folder if source == "folder" else stub.download(NAME, hub)
    for path in (WEIGHTS, "config.json"):
        flip_byte((root / path).resolve(), offset=3)
    outcome = here("publish", folder if source == "folder" else NAME, "--from-hub", NAME)
    refused(outcome, 3, "2 files are not as the Hub lists", f"{WEIGHTS} (hashes to ", "config.json (hashes to ",
            f"not {blob_id('config.json', FILES['config.json'])})")  # fmt: skip
    assert nothing_was_published(here)


def test_a_link_in_the_cache_that_names_another_right_blob_is_found_out(
    here: CommandLineHere, stub: HubStub, hub: Path
) -> None:
    stub.repos[NAME] = HubRepo({"a.json": b"{1}", "b.json": b"{2}"})
    snapshot = stub.download(NAME, hub)
    other = (snapshot / "b.json").readlink()
    (snapshot / "a.json").unlink()
    (snapshot / "a.json").symlink_to(other)
    refused(here("publish", NAME, "--from-hub", NAME), 3, "1 file is not as the Hub lists", "a.json (hashes to")


def test_a_folder_that_has_nothing_of_it_is_refused_in_one_bounded_line(
    here: CommandLineHere, stub: HubStub, folder: Path
) -> None:
    many = {f"{'x' * 190}{i}\x1b[2J": b"1" for i in range(3000)}
    stub.repos[NAME] = HubRepo(many)
    outcome = here("publish", folder, "--from-hub", NAME)
    refused(outcome, 3, "3,005 files are not as", "and 2,995 more")
    assert max(map(len, outcome.stderr.splitlines())) < 5000
    assert "\x1b" not in outcome.stderr


def test_who_leaves_files_out_says_which_and_is_told_that_it_is_another_release(
    here: CommandLineHere, stub: HubStub, folder: Path, hub: Path
) -> None:
    whole = here.ok("publish", folder, "--from-hub", NAME, "--json").json
    (folder / WEIGHTS).unlink()
    part = here.ok("publish", folder, "--from-hub", NAME, "--leave-out", "*.safetensors", "--json")
    assert "4 of the Hub's 5 files: another release than that of all of them" in part.stderr
    assert part.json["revision"] == whole["revision"] and part.json["info_hash_v2"] != whole["info_hash_v2"]
    stub.download(NAME, hub)
    same = here.ok("publish", NAME, "--from-hub", NAME, "--leave-out", "*.safetensors", "--json")
    assert same.json["magnet"] == part.json["magnet"]
    refused(here("publish", folder, "--from-hub", NAME, "--leave-out", "*"), 2, "Nothing is left to publish")
    refused(here("publish", folder, "--from-hub", NAME, "--leave-out", "[ef]*"), 3, f"{WEIGHTS} (not here)")


def test_what_scanning_passes_over_is_not_asked_for(here: CommandLineHere, stub: HubStub, folder: Path) -> None:
    stub.repos[NAME] = HubRepo({**FILES, ".DS_Store": b"x", "sub/.DS_Store": b"x", ".cache/huggingface/y/z": b"x"})
    assert here.ok("publish", folder, "--from-hub", NAME, "--json").json["files"] == 5


def test_what_cannot_be_meant_is_a_usage_error(here: CommandLineHere, stub: HubStub, folder: Path) -> None:
    for arguments, word in (
        ((folder, "--from-hub", "noslash"), "noslash"),
        ((folder, "--from-hub", f"{NAME}@a..b"), "a..b"),
        ((folder, "--from-hub", f"{NAME}@{'x' * 300}"), "Not a revision"),
        ((folder, "--from-hub", NAME, "--revision", "0" * 40), COMMIT),
    ):
        refused(here("publish", *arguments), 2, word)
    with pytest.raises(InvalidInput, match="One model of the Hub"):
        weightswarm.seed([folder, folder], from_hub=NAME)


# --- who is asked, and as whom ----------------------------------------------------------------------------------------


def test_at_loopback_no_hub_but_one_on_this_machine_is_asked(
    here: CommandLineHere, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: pytest.fail("a name was looked up"))
    for endpoint in ("https://huggingface.co", "http://192.0.2.1:80"):
        outcome = here("publish", folder, "--from-hub", NAME, HF_ENDPOINT=endpoint)
        refused(outcome, 1, endpoint, "--network loopback asks nobody but this machine")


def test_the_token_opens_a_private_model_and_is_sent_nowhere_else(
    here: CommandLineHere, stub: HubStub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.repos[NAME] = HubRepo(FILES, token="hf_secret")
    stub.page = 2
    outcome = here("publish", folder, "--from-hub", NAME)
    refused(outcome, 1, "knows no org/model@main that everybody may see")
    assert "HF_TOKEN" in outcome.stderr
    refused(here("publish", folder, "--from-hub", NAME, HF_TOKEN="hf_wrong"), 1, "that this token may see")
    here.ok("publish", folder, "--from-hub", NAME, HF_TOKEN="hf_secret")
    assert {each.authorization for each in stub.asked} == {None, "Bearer hf_wrong", "Bearer hf_secret"}

    with serving_hub({NAME: REPO}) as other:
        # A page elsewhere, and a redirect elsewhere: the one is asked of the Hub itself, the other without the token.
        stub.asked.clear()
        stub.instead = lambda asked: (
            Reply(307, b"", {"Location": f"{other.url}{asked.path}"}) if "/tree/" in asked.path else None
        )
        here.ok("publish", folder, "--from-hub", NAME, HF_TOKEN="hf_secret")
        assert [each.authorization for each in other.asked] == [None]
        other.asked.clear()
        listed = REPO.tree()
        link = f'<{other.url}/api/models/{NAME}/tree/{COMMIT}?recursive=true&cursor=2>; rel="next"'
        stub.instead = lambda asked: (
            Reply.json(listed[:2], Link=link) if asked.path.endswith("?recursive=true") else None
        )
        here.ok("publish", folder, "--from-hub", NAME, HF_TOKEN="hf_secret")
        assert other.asked == []
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password other\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        stub.asked.clear()
        list_hub_files(NAME, "main", hub=Hub(stub.url, "hf_secret"), network=Network.LAN)
        assert {each.authorization for each in stub.asked} == {"Bearer hf_secret"}


@pytest.mark.parametrize(
    ("status", "code", "token", "error", "word", "hint"),
    [
        (401, "GatedRepo", None, NetworkFailure, "org/model is gated", "accept its terms on the Hub and set HF_TOKEN"),
        (403, "GatedRepo", "t", NetworkFailure, "org/model is gated", "accept its terms on the Hub"),
        (401, "RepoNotFound", None, NotFound, "knows no org/model@main that everybody may see", "set HF_TOKEN"),
        (404, "RepoNotFound", "t", NotFound, "knows no org/model@main that this token may see", "check the name"),
        (404, "RevisionNotFound", None, NotFound, "has no revision main of org/model", None),
        (404, "", None, NotFound, "knows no org/model@main", "check the name"),
        (401, "", "t", NetworkFailure, "does not accept this token: it answered 401", "set another HF_TOKEN"),
        (403, "", "t", NetworkFailure, "does not accept this token: it answered 403", "set another HF_TOKEN"),
        (500, "", None, NetworkFailure, "does not list org/model: it answered 500", None),
        (418, "x\x1b" * 200, None, NetworkFailure, "it answered 418", None),
    ],
)
def test_refusals_of_the_hub_say_what_can_be_done(
    stub: HubStub, status: int, code: str, token: str | None, error: type[WeightswarmError], word: str, hint: str | None
) -> None:
    stub.instead = lambda _asked: Reply(status, b"{}", {"X-Error-Code": code} if code else {})
    with pytest.raises(error) as caught:
        list_files(stub, token)
    assert stub.url in str(caught.value) and word in str(caught.value)
    assert caught.value.hint is None if hint is None else hint in str(caught.value.hint)


def test_a_hub_that_is_busy_is_asked_again_when_it_says_but_not_waited_for_all_day(stub: HubStub) -> None:
    busy = iter([Reply(429, b"", {"Retry-After": "1"})])
    stub.instead = lambda asked: next(busy, None) if "/tree/" in asked.path else None
    started = time.monotonic()
    assert len(list_files(stub).files) == len(FILES)
    assert time.monotonic() - started >= 1
    stub.instead = lambda _asked: Reply(429, b"", {"Retry-After": "3600"})
    with pytest.raises(NetworkFailure, match=r"it answered 429 .*wants to be asked again in 3,600 s"):
        list_files(stub)
    stub.asked.clear()
    stub.instead = lambda _asked: Reply(503)
    with pytest.raises(NetworkFailure, match="503"):
        list_files(stub)
    assert len(stub.asked) == client.TRIES


# --- answers that are none --------------------------------------------------------------------------------------------

FILE: dict[str, Any] = {"type": "file", "oid": "0" * 40, "size": 1, "path": "a"}
LFS: dict[str, Any] = {**FILE, "lfs": {"oid": "0" * 64, "size": 1, "pointerSize": 3}}


@pytest.mark.parametrize(
    ("revision", "word"),
    [
        (b"[]", "names no commit"),
        (b'"x"', "names no commit"),
        (b'{"id": "org/model"}', "names no commit"),
        (json.dumps({"id": NAME, "sha": COMMIT.upper()}).encode(), "names no commit"),
        (json.dumps({"id": NAME, "sha": [COMMIT]}).encode(), "names no commit"),
        (json.dumps({"id": "org/renamed", "sha": COMMIT}).encode(), "calls this model org/renamed"),
        (json.dumps({"id": ["\x1b[2J" * 1000], "sha": COMMIT}).encode(), "calls this model"),
        (json.dumps({"sha": COMMIT}).encode(), "calls this model None"),
        (b'{"id": "org/model", "id": "x", "sha": "1"}', "a key stands twice"),
        (b"<html>", "no JSON"),
        (b"", "no JSON"),
        (b"\xff\xfe{}", "no JSON"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"1" * 5000, "no JSON"),
    ],
)
def test_a_commit_that_is_none_is_refused(stub: HubStub, revision: bytes, word: str, figure: Any) -> None:
    stub.instead = lambda asked: Reply(200, revision) if "/revision/" in asked.path else None
    figure("answers of a Hub refused", 1)
    with pytest.raises(NetworkFailure, match=re.escape(word)) as caught:
        list_files(stub)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500


def test_another_commit_than_the_one_asked_for_is_refused(stub: HubStub) -> None:
    stub.instead = lambda asked: Reply.json({"id": NAME, "sha": COMMIT}) if "/revision/" in asked.path else None
    with pytest.raises(NetworkFailure, match="another commit"):
        list_files(stub, revision="0" * 40)


@pytest.mark.parametrize(
    ("tree", "word"),
    [
        ({}, "is no list"),
        ([], "lists 0 files"),
        ([{"type": "directory", "path": "a", "oid": "0" * 40, "size": 0}], "lists 0 files"),
        ([1], "no object"),
        ([FILE, FILE], "'a' twice"),
        ([{**FILE, "path": 7}], "a path is no text"),
        ([{**FILE, "path": ""}], "a path is no text"),
        ([{**FILE, "path": "a" * 5000}], "a path is no text"),
        ([{**FILE, "size": "1"}], "size"),
        ([{**FILE, "size": -1}], "size"),
        ([{**FILE, "size": True}], "size"),
        ([{**FILE, "size": 1.0}], "size"),
        ([{**FILE, "size": 2**60}], "size"),
        ([{**FILE, "oid": "0" * 64}], "no digest of the right length"),
        ([{**FILE, "oid": None}], "no digest of the right length"),
        ([{**FILE, "lfs": []}], "LFS is no object"),
        ([{**FILE, "lfs": {}}], "two sizes"),
        ([{**LFS, "size": 2}], "two sizes"),
        ([{**LFS, "lfs": {"oid": "0" * 40, "size": 1}}], "no digest of the right length"),
        ([{**LFS, "lfs": {"oid": None, "size": 1}}], "no digest of the right length"),
        ([{**LFS, "lfs": {"oid": "Z" * 64, "size": 1}}], "no digest of the right length"),
    ],
)
def test_a_list_that_is_none_is_refused(stub: HubStub, tree: object, word: str, figure: Any) -> None:
    stub.instead = lambda asked: Reply.json(tree) if "/tree/" in asked.path else None
    figure("answers of a Hub refused", 1)
    with pytest.raises(NetworkFailure, match=re.escape(word)):
        list_files(stub)


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a\\b", "con", "line\nfeed", "a/../b", "\ud800"])
def test_a_path_that_no_release_may_hold_is_compared_and_nothing_else(
    here: CommandLineHere, stub: HubStub, folder: Path, path: str
) -> None:
    listed = [*REPO.tree(), {**FILE, "path": path}]
    stub.instead = lambda asked: Reply.json(listed) if "/tree/" in asked.path else None
    outcome = here("publish", folder, "--from-hub", NAME)
    refused(outcome, 3, "1 file is not as the Hub lists", "(not here)")
    assert here.ok("publish", folder, "--from-hub", NAME, "--leave-out", path.replace("\ud800", "?")).result


def test_a_size_that_the_hub_lies_about_stops_it(here: CommandLineHere, stub: HubStub, folder: Path) -> None:
    listed = [{**each, "size": 1, "lfs": {**each["lfs"], "size": 1}} if "lfs" in each else each  # type: ignore[dict-item]
              for each in REPO.tree()]  # fmt: skip
    stub.instead = lambda asked: Reply.json(listed) if "/tree/" in asked.path else None
    refused(here("publish", folder, "--from-hub", NAME), 3, f"{WEIGHTS} (300,001 bytes, not 1)")


def test_lists_without_end_are_left(stub: HubStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MAX_PAGES", 20)
    monkeypatch.setattr(asking, "_MAX_ENTRIES", 50)
    base = f"{stub.url}/api/models/{NAME}/tree/{COMMIT}"

    def pages(query: Callable[[int], str], entries: int = 1) -> Callable[[Asked], Reply | None]:
        def answer(asked: Asked) -> Reply | None:
            if "/tree/" not in asked.path:
                return None
            number = len(stub.asked)
            listed = [{**FILE, "path": f"{number}-{i}"} for i in range(entries)]
            return Reply.json(listed, Link=f'<{query(number)}>; rel="next"')

        return answer

    for instead, word in (
        (pages(lambda number: f"{base}?cursor={number}"), "more than 20 pages"),
        (pages(lambda _number: f"{base}?cursor=same"), "in a circle"),
        (pages(lambda _number: base), "next page cannot be used"),
        (pages(lambda _number: f"{base}?{'x' * 5000}"), "next page cannot be used"),
        (pages(lambda _number: f"http://[{base}?x"), "next page cannot be used"),
        (pages(lambda number: f"{base}?cursor={number}", entries=9), "more than 50 entries"),
    ):
        stub.asked.clear()
        stub.instead = instead
        with pytest.raises(NetworkFailure, match=word):
            list_files(stub)
        assert len(stub.asked) <= 22


def test_an_answer_that_swells_takes_little_memory(stub: HubStub, monkeypatch: pytest.MonkeyPatch, figure: Any) -> None:
    # An eighth of everything: to trace memory takes long.
    size = asking.MAX_PAGE_BYTES // 8
    monkeypatch.setattr(asking, "MAX_PAGE_BYTES", size)
    monkeypatch.setattr(asking, "_MAX_ENTRIES", asking.MAX_FILES // 4)
    for body, word in (
        (b"[" + b"{}," * (size // 3 - 2) + b"{}]", "too many objects"),
        (b"[" + b"[]," * (size // 3 - 2) + b"[]]", "entries"),
        (b" " * (size + 1), "more than"),
    ):
        stub.instead = lambda asked, body=body: Reply(200, body) if "/tree/" in asked.path else None  # type: ignore[misc]
        tracemalloc.start()
        with pytest.raises(NetworkFailure, match=word):
            list_files(stub)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        print(f"{word}: {peak:,}")
        assert peak < 32 * 2**20, f"{word}: {peak:,}"
        figure("swollen answers of a Hub refused", 1)


def test_a_connection_that_is_cut_or_drips_and_redirects_without_end_end_in_one_line(stub: HubStub) -> None:
    def cut(_asked: RawAsked) -> bytes:
        return http(b"x" * 100)[:-50]

    def loop(asked: RawAsked) -> bytes:
        return http(b"", "302 Found", Location=asked.path)

    for answer, word in ((cut, "broke off"), (loop, "redirects more than")):
        with answering(answer) as server, pytest.raises(NetworkFailure, match=word):
            list_files(server.url.rstrip("/"))
    with answering(lambda _asked: server.drip(b"HTTP/1.1 200 OK\r\n")) as server:
        started = time.monotonic()
        with pytest.raises(NetworkFailure, match=r"in time|too slow"):
            list_files(server.url.rstrip("/"), seconds=1)
        assert time.monotonic() - started < 10


def test_who_asks_learns_how_many_files_the_hub_lists(stub: HubStub, folder: Path) -> None:
    notes: list[str] = []

    def report(event: Progress | Note) -> None:
        if isinstance(event, Note):
            notes.append(event.text)

    release = weightswarm.prepare(folder, from_hub=NAME, network=Network.LOOPBACK, report=report)
    assert release.manifest.revision == COMMIT
    assert notes == [f"The Hub at {stub.url} lists 5 files of {NAME}@{COMMIT[:8]}"]
    shutil.rmtree(folder)
    stub.asked.clear()
    with pytest.raises(NotFound):
        weightswarm.prepare(folder, from_hub=NAME, network=Network.LOOPBACK)
