"""A registry in a folder and its index: made again with every release, strict to read, and searched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from answering import canonical, entry_of, registry_of
from conftest import make_model
from hostile import NOWHERE, contents, flip_byte, refused, wait_until
from running import CommandLine
from weightswarm import Note
from weightswarm.errors import Ambiguous, InvalidInput, NotFound
from weightswarm.magnet import InfoHash, parse_magnet
from weightswarm.manifest import parse_manifest
from weightswarm.metainfo import parse_metainfo
from weightswarm.registry import DirectoryRegistry, RegistryEntry, find_name, search
from weightswarm.registry import index as index_module
from weightswarm.registry.index import InvalidIndex, index_bytes, parse_index
from weightswarm.registry.listing import MAX_DOCUMENT_SIZES, KnownRevision, ListedRelease, choose_revision

NAME = "org/model"
BUNDLED = Path(__file__).parents[1] / "manifests"


def index_of(registry: DirectoryRegistry) -> tuple[ListedRelease, ...]:
    return parse_index((registry.root / "index.json").read_bytes())


# --- the project's own ------------------------------------------------------------------------------------------------


def test_the_projects_own_index_lists_its_tree() -> None:
    registry = DirectoryRegistry(BUNDLED)
    damaged: list[str] = []
    made = index_bytes(registry.list_releases(lambda place, reason: damaged.append(f"{place}: {reason}")))
    assert damaged == []
    assert (BUNDLED / "index.json").read_bytes() == made, "out of date: run `weightswarm index manifests`"


def test_every_file_of_the_projects_registry_is_a_document_in_its_own_form() -> None:
    registry = DirectoryRegistry(BUNDLED)
    listed = {(release.name, release.place): release for release in index_of(registry)}
    known = {BUNDLED / "README.md", BUNDLED / "index.json", BUNDLED / ".index.lock"}
    for (name, place), release in listed.items():
        folder = BUNDLED / name / place
        known.add(BUNDLED / name / "main")
        known |= {folder / document for document in (*release.documents, "version.txt")}
        magnet = (folder / "magnet.txt").read_text()
        assert magnet == f"{parse_magnet(magnet)}\n"
        if "manifest.json" in release.documents:
            data = (folder / "manifest.json").read_bytes()
            assert parse_manifest(data).to_bytes() == data
        if "release.torrent" in release.documents:
            assert parse_metainfo((folder / "release.torrent").read_bytes()).info_hash == release.info_hash
    for main in BUNDLED.glob("*/*/main"):
        assert (main.parent.relative_to(BUNDLED).as_posix(), main.read_text().removesuffix("\n")) in listed
    assert {path for path in BUNDLED.rglob("*") if path.is_file()} <= known


# --- adding -----------------------------------------------------------------------------------------------------------


def test_publish_adds_a_release_and_makes_the_index_again(cli: CommandLine, model: Path, tmp_path: Path) -> None:
    described = ("--license", "apache-2.0", "--description", "A small model", "--created", "2026-01-31T00:00:00Z")
    add = ("--add-to", "registry", "--json", "-q")
    first = cli.ok("publish", model, "--name", NAME, *described, *add, "--release-version", "1").json
    (release,) = index_of(DirectoryRegistry(tmp_path / "registry"))
    folder = tmp_path / "registry" / NAME / first["revision"]
    assert {name: document.size for name, document in release.documents.items()} == {
        path.name: path.stat().st_size for path in folder.iterdir() if path.name != "version.txt"
    }
    assert release == ListedRelease(
        name=NAME,
        revision=first["revision"],
        info_hash=InfoHash(first["info_hash_v1"], first["info_hash_v2"]),
        documents=release.documents,
        version=1,
        size=first["size"],
        files=first["files"],
        license="apache-2.0",
        description="A small model",
        created="2026-01-31T00:00:00Z",
        is_main=True,
    )
    (model / "config.json").write_text("{}")
    outcome = cli("publish", model, "--name", NAME, *add, "--release-version", "1")
    refused(outcome, 2, "has a version 1 already", first["revision"])
    second = cli.ok("publish", model, "--name", NAME, *add, "--release-version", "2").json
    registry = DirectoryRegistry(tmp_path / "registry")
    assert {(each.revision, each.is_main) for each in index_of(registry)} == {
        (first["revision"], False), (second["revision"], True)
    }  # fmt: skip
    shown = cli.ok("search", "small MODEL", "--registry", "registry").stdout.splitlines()
    assert cli.ok("search", "small", "MODEL", "--registry", "registry").stdout.splitlines() == shown
    assert [line.split()[:3] for line in shown] == [[NAME, first["revision"][:8], "v1"]]
    assert "A small model" in shown[0]
    refused(cli("publish", model, "--name", NAME, "--release-version", "2"), 2, "--add-to")
    refused(cli("publish", model, "--name", NAME, "--expires", "9d", *add), 2, "--key FILE")


ADDING = """
import sys, time
from pathlib import Path
from weightswarm.magnet import InfoHash, MagnetLink
from weightswarm.registry import DirectoryRegistry, RegistryEntry
from weightswarm.registry.index import parse_index

deadline = time.monotonic() + 30
Path(f"ready-{sys.argv[1]}").touch()
while not Path("go").exists() and time.monotonic() < deadline:
    time.sleep(0.001)
for number in range(25):
    name = f"org/model-{sys.argv[1]}-{number}"
    DirectoryRegistry(Path("registry")).add(RegistryEntry(name, "a" * 40, MagnetLink(InfoHash(v1="b" * 40))))
    index = parse_index(Path("registry/index.json").read_bytes())
    assert name in [release.name for release in index], f"{name} was added, and then lost from the index"
"""


def test_releases_that_are_added_at_once_are_listed_from_then_on(
    tmp_path: Path, figure: Callable[[str, float], None]
) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", ADDING, str(n)], cwd=tmp_path) for n in range(3)]
    wait_until(lambda: len(list(tmp_path.glob("ready-*"))) == 3, "the publishers do not start")
    (tmp_path / "go").touch()
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    registry = DirectoryRegistry(tmp_path / "registry")
    assert len(index_of(registry)) == 75
    assert index_of(registry) == registry.releases()
    figure("releases added to one registry at once", 75)


def test_what_is_damaged_is_left_out_of_the_index_and_named(cli: CommandLine, tmp_path: Path) -> None:
    registry = registry_of(tmp_path, *((f"org/model-{i}", bytes([i]), None) for i in range(6)))
    folders = [registry.root / release.name / release.place for release in registry.releases()]
    cli.ok("index", "registry")
    flip_byte(folders[0] / "manifest.json", 5)
    (folders[1] / "magnet.txt").unlink()
    (folders[2] / "magnet.txt").write_text(NOWHERE)
    (folders[3] / "manifest.json").write_bytes((folders[4] / "manifest.json").read_bytes())
    (folders[4] / "release.torrent").unlink()
    os.mkfifo(folders[4] / "release.torrent")  # nobody waits for what never comes
    outcome = cli("index", "registry", timeout=20)
    assert outcome.code == 1
    assert outcome.result == str(registry.root / "index.json")
    told = outcome.stderr.splitlines()
    assert [line.partition(" is left out")[0] for line in told] == [str(folder) for folder in folders[:4]]
    assert [release.name for release in index_of(registry)] == ["org/model-4", "org/model-5"]
    assert "release.torrent" not in index_of(registry)[0].documents
    refused(cli("index", "nowhere"), 1, "There is no registry folder")


def test_nothing_is_written_into_a_folder_that_is_no_registry(cli: CommandLine, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    before = contents(model)
    refused(cli("index", model), 1, "is no registry")
    assert contents(model) == before


def test_a_release_known_by_its_magnet_alone_is_listed_with_what_the_magnet_says(tmp_path: Path) -> None:
    registry = DirectoryRegistry(tmp_path)
    magnet = parse_magnet(f"{NOWHERE}&xl=12345")
    registry.add(RegistryEntry(NAME, "ab" * 20, magnet))
    (release,) = index_of(registry)
    assert (release.info_hash, release.size, release.files) == (magnet.info_hash, 12345, None)
    assert list(release.documents) == ["magnet.txt"]
    assert registry.find_info_hash(magnet.info_hash) == registry.find(NAME)


# --- finding ----------------------------------------------------------------------------------------------------------


def test_a_revision_is_asked_for_by_its_digits_or_its_version() -> None:
    known = [
        KnownRevision("1234567" + "0" * 33, 3),
        KnownRevision("1234567" + "1" * 33),
        KnownRevision("f" * 40, 123456),
    ]

    def choose(asked: str | None, main: str | None = None) -> str:
        return choose_revision(NAME, asked, known, main, "here")

    assert choose("3") == choose("v3") == choose(known[0].revision) == choose("12345670") == known[0].revision
    assert choose("123456") == choose("v123456") == choose("fffffff") == choose(None, "f" * 40) == known[2].revision
    for asked, error in (
        ("1234567", Ambiguous), (None, Ambiguous), ("ffffff", NotFound), ("v4", NotFound), ("03", NotFound),
        ("v03", NotFound), ("", NotFound), ("٣", NotFound), ("FFFFFFF", NotFound), ("v1234567", NotFound),
    ):  # fmt: skip
        with pytest.raises(error) as caught:
            choose(asked)
        assert type(caught.value) is error
        assert "f" * 40 in (caught.value.hint or "")
    assert choose_revision(NAME, None, known[:1], "e" * 40, "here") == known[0].revision


def test_the_next_registry_is_asked_for_a_revision_that_one_lacks_but_not_for_what_is_ambiguous(tmp_path: Path) -> None:
    first = registry_of(tmp_path / "1", (NAME, b"one", 1))
    second = registry_of(tmp_path / "2", (NAME, b"two", 2), (NAME, b"one", 1))
    chain = [first, second]
    found = find_name(chain, NAME, "v2")
    assert found is not None and found == second.find(NAME, "v2")
    with pytest.raises(NotFound, match=f"no revision v3 in the registry {first.root}"):
        find_name(chain, NAME, "v3")
    (second.root / NAME / "main").unlink()
    assert find_name(chain, NAME, None) == first.find(NAME)
    with pytest.raises(Ambiguous):
        find_name([second, first], NAME, None)


def test_search_wants_every_word_and_puts_names_first(tmp_path: Path) -> None:
    registry = DirectoryRegistry(tmp_path)
    listed = [
        ("org/Llama-7B", "a chat model"),
        ("org/chat", "Über llama"),
        ("llama/base", None),
        ("org/other", "x" * 5000),
    ]
    for number, (name, description) in enumerate(listed):
        entry = entry_of(tmp_path / "sources", name, bytes([number]))
        assert entry.manifest is not None
        manifest = replace(parse_manifest(entry.manifest), description=description)
        registry.add(replace(entry, manifest=manifest.to_bytes(), torrent=None))
    found = {text: [each.release.name for each in search([registry, registry], text)] for text in (
        "llama", "LLAMA CHAT", "über", "org/chat", "7b chat model", "nothing", "", "chat",
    )}  # fmt: skip
    assert found == {
        "llama": ["llama/base", "org/Llama-7B", "org/chat"],
        "LLAMA CHAT": ["org/Llama-7B", "org/chat"],
        "über": ["org/chat"],
        "org/chat": ["org/chat"],
        "7b chat model": ["org/Llama-7B"],
        "nothing": [],
        "": ["llama/base", "org/Llama-7B", "org/chat", "org/other"],
        "chat": ["org/chat", "org/Llama-7B"],
    }
    cut = next(release.description for release in index_of(registry) if release.name == "org/other")
    assert cut == "x" * 999 + "…"


def test_search_prints_strangers_words_escaped_and_no_more_than_its_limit(cli: CommandLine, tmp_path: Path) -> None:
    registry = registry_of(tmp_path, *((f"org/model-{i}", bytes([i]), None) for i in range(3)))
    entry = next(registry.entries())
    assert entry.manifest is not None and entry.revision is not None
    (registry.root / entry.name / entry.revision / "release.torrent").unlink()
    manifest = replace(parse_manifest(entry.manifest), description="\x1b[2J\u202egnp\n" * 30)
    registry.add(replace(entry, manifest=manifest.to_bytes(), torrent=None))
    outcome = cli.ok("search", "model", "--registry", "registry", "--limit", "2")
    assert len(outcome.stdout.splitlines()) == 2
    assert outcome.stdout.replace("\n", "").isprintable()
    assert outcome.stderr == "1 more match: say more words, or --limit\n"
    assert cli.ok("search", "absent", "--registry", "registry", "--json").json == []
    refused(cli("search", "x" * 201), 2, "longer than 200")


# --- reading strictly -------------------------------------------------------------------------------------------------


def release(**changes: Any) -> dict[str, Any]:
    """One release of an index, changed; None takes a key out."""
    whole: dict[str, Any] = {
        "name": NAME,
        "revision": "a" * 40,
        "info_hash_v1": "b" * 40,
        "documents": {"magnet.txt": {"sha256": "c" * 64, "size": 60}},
    }
    return {key: value for key, value in {**whole, **changes}.items() if value is not None}


def index(*releases: Any, **changes: Any) -> bytes:
    return canonical({"weightswarm_index": 1, "releases": list(releases), **changes})


def document(name: str, **changes: Any) -> dict[str, Any]:
    magnet = {"sha256": "c" * 64, "size": 60}
    return release(documents={"magnet.txt": magnet, name: {**magnet, **changes}})


def torrent(**changes: Any) -> dict[str, Any]:
    """One torrent without a manifest of an index, changed."""
    return release(**{"revision": None, **changes})


WRONG: list[tuple[bytes, str]] = [
    (b"", "no JSON"),
    (b"\xff{}", "no JSON"),
    (b"[" * 100_000, "nested too deeply"),
    (b"[]", "no JSON object"),
    (b'{"a": 1, "a": 2}', "a key stands twice"),
    (b'{"a": NaN}', "NaN is not an integer"),
    (b'{"a": 1.5}', "1.5 is not an integer"),
    (b'{"a": ' + b"9" * 5000 + b"}", "no JSON"),
    (canonical({"releases": []}), "format version None"),
    (index(weightswarm_index=2), "format version 2"),
    (index(weightswarm_index=True), "format version True"),
    (index(extra=1), "unknown key 'extra'"),
    (index(releases={}), "releases are missing"),
    (index(releases=None), "releases are missing"),
    (index(3), "is no object with a name"),
    (index({}), "is no object with a name"),
    (index(release(name="../../etc")), "Not a model name"),
    (index(release(name="org/..")), "Not a model name"),
    (index(release(name="org/model/../x")), "Not a model name"),
    (index(release(name="/etc/passwd")), "Not a model name"),
    (index(release(name="org/\u202emodel")), "Not a model name"),
    (index(release(revision="../" + "a" * 37)), "no revision"),
    (index(release(revision="A" * 40)), "no revision"),
    (index(release(revision=4)), "no revision"),
    (index(release(path="x")), "unknown key 'path'"),
    (index(release(main=False)), "main is true or absent"),
    (index(release(main=1)), "main is true or absent"),
    (index(release(info_hash_v1="b" * 39)), "Not a v1 info-hash"),
    (index(release(info_hash_v1=None)), "needs a v1 or a v2 digest"),
    (index(release(info_hash_v2=7)), "an info-hash is not a string"),
    (index(release(documents=None)), "documents is no object"),
    (index(release(documents=[])), "documents is no object"),
    (index(release(documents={})), "documents is no object that has magnet.txt"),
    (index(document("../../.bashrc")), "is no document of a release"),
    (index(document("manifest.json", url="http://elsewhere/")), "has not just sha256 and size"),
    (index(document("manifest.json", sha256="C" * 64)), "sha256 of manifest.json"),
    (index(document("manifest.json", sha256=None)), "sha256 of manifest.json"),
    (index(document("manifest.json", size=0)), "size of manifest.json"),
    (index(document("manifest.json", size=True)), "size of manifest.json"),
    (index(document("magnet.txt", size=64 * 1024 + 1)), "size of magnet.txt"),
    (index(document("release.torrent", size=2**40)), "size of release.torrent"),
    (index(release(size=-1)), "size is not an integer"),
    (index(release(size=2**63)), "size is not an integer"),
    (index(release(files="3")), "files is not an integer"),
    (index(release(version=1_000_000)), "version is not an integer"),
    (index(release(license="")), "license is not a string"),
    (index(release(license="x" * 201)), "license is not a string"),
    (index(release(description="x" * 1001)), "description is not a string"),
    (index(release(description="X")).replace(b'"X"', b'"\\ud800"'), "lone surrogate"),
    (index(release(created="2026-02-30T00:00:00Z")), "created is not a time"),
    (index(release(created="yesterday")), "created is not a time"),
    (index(torrent(main=True)), "main is a revision's"),
    (index(torrent(version=1)), "version is a revision's"),
    (index(torrent(description="x")), "description is a revision's"),
    (index(torrent(revision="")), "no revision"),
    (index(torrent(documents=document("manifest.json")["documents"])), "'manifest.json' is no document"),
    (index(document("about.json")), "'about.json' is no document"),
    (index(torrent(documents=document("about.json", size=2**20 + 1)["documents"])), "size of about.json"),
    (index(torrent(), torrent()), "twice"),
    (index(torrent(), release()), "not in canonical form"),
    (index(release(), release()), "twice"),
    (index(release(main=True), release(revision="b" * 40, main=True)), "main twice"),
    (index(release(version=1), release(revision="b" * 40, version=1)), "1 twice"),
    (index(release(revision="b" * 40), release()), "not in canonical form"),
    (index(release())[:-1], "not in canonical form"),
    (json.dumps({"weightswarm_index": 1, "releases": [release()]}).encode(), "not in canonical form"),
]


@pytest.mark.parametrize(("data", "reason"), WRONG, ids=[reason[:30] for _, reason in WRONG])
def test_an_index_that_breaks_its_rules_is_refused_in_a_few_words(
    data: bytes, reason: str, figure: Callable[[str, float], None]
) -> None:
    with pytest.raises(InvalidIndex) as caught:
        parse_index(data)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 400
    figure("indexes refused", 1)


def test_the_bounds_of_an_index_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(parse_index(index(release(), release(revision="b" * 40)))) == 2
    assert len(parse_index(index(release(), torrent(), torrent(info_hash_v1="c" * 40)))) == 3
    monkeypatch.setattr(index_module, "MAX_RELEASES", 1)
    with pytest.raises(InvalidIndex, match="more than 1"):
        parse_index(index(release(), release(revision="b" * 40)))
    monkeypatch.setattr(index_module, "_MAX_OBJECTS", 5)
    with pytest.raises(InvalidIndex, match="more than 1 releases"):
        parse_index(index(release(documents={str(n): {} for n in range(5)})))
    monkeypatch.setattr(index_module, "MAX_BYTES", 100)
    with pytest.raises(InvalidIndex, match="larger than 100 bytes"):
        parse_index(index(release()))
    assert max(MAX_DOCUMENT_SIZES.values()) == 128 * 2**20


def test_a_note_is_told_of_every_release_that_add_leaves_out(tmp_path: Path) -> None:
    registry = registry_of(tmp_path, (NAME, b"one", None))
    flip_byte(next(registry.root.glob("*/*/*/manifest.json")), 3)
    notes: list[str] = []
    registry.add(entry_of(tmp_path / "sources", "org/other"), lambda event: notes.append(str(isinstance(event, Note))))
    assert notes == ["True"]
    assert [each.name for each in index_of(registry)] == ["org/other"]


def test_a_version_number_that_two_revisions_would_share_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    registry = registry_of(tmp_path, (NAME, b"one", 1))
    before = sorted(registry.root.rglob("*"))
    with pytest.raises(InvalidInput, match="has a version 1 already"):
        registry.add(entry_of(tmp_path / "sources", NAME, b"two", 1))
    assert sorted(registry.root.rglob("*")) == before
