"""Torrents that labs published without a manifest: known by name, fetched on the registry's word, checked by MD5."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from answering import answering, tree
from hostile import LOOPBACK, NAME, WEIGHTS, contents, flip_byte, refused, release_of, serving, visible, with_manifest
from namespaces import network
from running import CommandLine
from test_magnet import GROK, MISTRAL, MIXTRAL_8X7B, MIXTRAL_8X22B, PIXTRAL
from weightswarm import Network, PeerAddress, api
from weightswarm.errors import NotFound
from weightswarm.magnet import InfoHash, PastedLink, parse_magnet, read_pasted
from weightswarm.manifest import is_revision, parse_manifest
from weightswarm.metainfo import TorrentVersion, parse_metainfo
from weightswarm.registry import DirectoryRegistry, HttpRegistry, RegistryEntry, bundled_registry

KNOWN = {
    "mistralai/Mistral-7B-v0.1": MISTRAL,
    "mistralai/Mixtral-8x7B-v0.1": MIXTRAL_8X7B,
    "mistralai/Mixtral-8x22B-v0.1": MIXTRAL_8X22B,
    "mistralai/Pixtral-12B-2409": PIXTRAL,
    "xai-org/grok-1": GROK,
}
KNOWN_GROK = "5f96d43576e3d386c9ba65b883210a393b68210e"
STAND_IN = "test-lab/announced"


# --- what ships ------------------------------------------------------------------------------------------------------


def test_every_file_of_the_registry_is_what_its_place_says() -> None:
    root = bundled_registry().root
    for path in sorted(p for p in root.rglob("*") if p.is_file() and p.parent != root):
        folder = path.parent
        if path.name == "main":
            assert is_revision(path.read_text().strip()), path
        elif path.name == "magnet.txt":
            text = path.read_text()
            link = parse_magnet(text)
            assert text == f"{link}\n", path
            assert read_pasted(text) == PastedLink(link), f"{path} needs mending"
            if folder.parent.name == "torrents":
                assert folder.name in link.info_hash.digests, path
        elif path.name == "manifest.json":
            manifest = parse_manifest(path.read_bytes())
            assert (manifest.name, manifest.revision) == ("/".join(folder.parts[-3:-1]), folder.name), path
        elif path.name == "release.torrent":
            torrent = parse_metainfo(path.read_bytes())
            assert torrent.info_hash.matches(parse_magnet((folder / "magnet.txt").read_text()).info_hash), path
        else:
            assert path.name == "about.json", path
            assert folder.parent.name == "torrents"
            about = json.loads(path.read_bytes())
            assert about.keys() <= {"publisher", "announced", "notes", "digests"}, path
            assert all(digest["algorithm"] == "md5" for digest in about.get("digests", [])), path


def test_the_five_official_magnets_are_known_by_name_with_clean_trackers() -> None:
    registry = bundled_registry()
    for name, text in KNOWN.items():
        entry = registry.find(name)
        assert entry is not None, name
        pasted = read_pasted(text).magnet
        assert entry.info_hash == pasted.info_hash
        assert set(pasted.trackers) <= set(entry.magnet.trackers)
        assert (entry.revision, entry.manifest, entry.torrent) == (None, None, None), "nobody here has seen its files"
        assert entry.announcement is not None
        assert entry.announcement.publisher
        assert registry.find_info_hash(pasted.info_hash) == entry
        assert registry.find(name, entry.info_hash.digests[0][:7]) == entry
    listed = {entry.name for entry in registry.entries() if entry.revision is None}
    assert listed == KNOWN.keys()


def test_published_digests_are_the_ones_that_are_known_and_no_others() -> None:
    found = {
        (entry.name, digest.value, digest.path)
        for entry in bundled_registry().entries()
        if entry.announcement is not None
        for digest in entry.announcement.digests
    }
    assert found == {
        ("mistralai/Mixtral-8x7B-v0.1", "1faa9bc9b20fcfe81fcd4eb7166a79e6", "consolidated.00.pth"),
        ("mistralai/Mixtral-8x7B-v0.1", "37974873eb68a7ab30c4912fc36264ae", "tokenizer.model"),
        ("mistralai/Mixtral-8x22B-v0.1", "0535902c85ddbb04d4bebbf4371c6341", None),
    }


def test_they_are_found_by_search_and_over_http_like_every_release(cli: CommandLine, tmp_path: Path) -> None:
    bundled = bundled_registry()
    with answering(tree(bundled.root)) as server:
        remote = HttpRegistry(server.url, network=Network.LOOPBACK)
        for name in KNOWN:
            entry = bundled.find(name)
            assert entry is not None
            digest = entry.info_hash.digests[0]
            assert remote.find(name) == remote.find(name, digest) == remote.find(name, digest[:7]) == entry
            assert remote.find(name, "0" * 40) is None
            assert remote.find_info_hash(entry.info_hash) == entry
        assert list(remote.releases()) == list(bundled.releases())
        told = cli.ok("show", "xai-org/grok-1", "--registry", server.url, "--offline")
        assert f"Registry {server.url} is not asked with --offline" in told.stderr
        assert len(server.asked) == 1 + 2 * len(KNOWN), "the index once, every document once, and none with --offline"
    lines = cli.ok("search", "mixtral").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["mistralai/Mixtral-8x22B-v0.1", "9238b092", "no", "manifest"],
        ["mistralai/Mixtral-8x7B-v0.1", "5546272d", "no", "manifest"],
    ]
    (found,) = cli.ok("search", "grok", "--json").json
    assert (found["revision"], found["manifest"], found["info_hash_v1"]) == (None, False, KNOWN_GROK)


# --- show ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any, **_keywords: Any) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr("weightswarm.fetching.inspect.Swarm", refuse)
    monkeypatch.setattr("weightswarm.fetching.source.download_metainfo", refuse)


@pytest.mark.usefixtures("no_network")
def test_show_offline_tells_of_all_five_by_name_link_and_hash() -> None:
    for name, text in KNOWN.items():
        pasted = read_pasted(text)
        for source in (name, text, pasted.magnet.info_hash.digests[0], f"Out now:\n\n{text}\n\nhave fun"):
            told = api.show(source, network=LOOPBACK, offline=True)
            assert told.vouched_name == name
            assert told.info_hash == pasted.magnet.info_hash
            assert told.torrent_version == "v1"
            assert set(pasted.magnet.trackers) <= set(told.trackers)
            assert told.announced is not None
            assert (told.files, told.total_size, told.revision) == ((), None, None)
        assert told.repairs == pasted.repairs


@pytest.mark.usefixtures("no_network")
def test_show_offline_tells_everything_that_a_link_says(model: Path) -> None:
    release = release_of(model)
    link = f"{release.magnet((PeerAddress('10.0.0.1', 6881),))}&so=0-1&xs=https://w.example/a.torrent&ws=https://w.example/"
    told = api.show(link, network=LOOPBACK, offline=True)
    assert told.info_hash == release.metainfo.info_hash
    assert (told.torrent_version, told.torrent_name, told.total_size) == (
        "hybrid",
        "model",
        release.manifest.total_size,
    )
    assert (told.peers, told.selection) == (("10.0.0.1:6881",), "0-1")
    assert (told.torrent_urls, told.web_seeds) == (("https://w.example/a.torrent",), ("https://w.example/",))


def test_show_prints_what_was_lost_and_repaired_of_a_link(cli: CommandLine) -> None:
    shown = cli.ok("show", "--offline", MIXTRAL_8X22B)
    assert "udp://open.demonii.com:1337/announce (repaired)" in shown.stdout
    assert "lost tracker    http:/%https://t.co/OdtBUsbeV5:1337/announce" in shown.stdout
    assert "announced by    Mistral AI" in shown.stdout
    assert "0535902c85ddbb04d4bebbf4371c6341" in shown.stdout
    assert "Lost: tracker http:/%https://t.co/" in shown.stderr
    assert (
        "From the registry's entry of mistralai/Mixtral-8x22B-v0.1: tracker http://tracker.opentrackr" in shown.stderr
    )
    document = cli.ok("show", "--offline", "--json", "-", stdin=f"Look\n{MIXTRAL_8X22B}\n").json
    assert [repair["fate"] for repair in document["repairs"]] == ["repaired", "lost"]
    assert document["announced"]["digests"][0]["algorithm"] == "md5"
    refused(cli("show", "--offline", "https://w.example/a.torrent"), 2, "--offline")


@pytest.mark.namespaces
def test_show_offline_sends_nothing(cli: CommandLine) -> None:
    with network(1) as (host,), host.commands():
        before = host.sent_packets()
        cli.ok("show", "--offline", "--network", "public", MIXTRAL_8X7B)
        cli.ok("show", "--offline", "--network", "public", "xai-org/grok-1")
        assert host.sent_packets() == before
        assert host.neighbours() == set()


# --- fetch -----------------------------------------------------------------------------------------------------------


def registry_with(folder: Path, name: str, magnet: str, digests: list[dict[str, Any]]) -> Path:
    """Write a registry that knows one torrent without a manifest."""
    link = parse_magnet(magnet)
    entry = folder / name / "torrents" / link.info_hash.digests[0]
    entry.mkdir(parents=True)
    (entry / "magnet.txt").write_text(f"{link}\n")
    about = {"publisher": "Test Lab", "announced": "a test", "digests": digests}
    (entry / "about.json").write_text(json.dumps(about))
    return folder


def md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.fixture
def announced(model: Path) -> Iterator[str]:
    """The magnet of a v1 torrent of weights and no manifest, as labs announce them, while it is seeded."""
    release = release_of(model, TorrentVersion.V1)
    with serving(with_manifest(release.metainfo, None), release.locations) as magnet:
        yield magnet


def test_a_known_torrent_is_fetched_by_name_and_leaves_a_manifest(
    cli: CommandLine, announced: str, model: Path, tmp_path: Path, figure: Callable[[str, float], None]
) -> None:
    digests: list[dict[str, Any]] = [
        {"algorithm": "md5", "value": md5(model / WEIGHTS), "path": WEIGHTS},
        {"algorithm": "md5", "value": "0" * 32, "path": None},
        {"algorithm": "md5", "value": "1" * 32, "path": "not-there.bin"},
    ]
    registry = registry_with(tmp_path / "registry", STAND_IN, announced, digests)
    cli.ok("index", registry)
    with answering(tree(registry)) as server:
        assert cli.ok("fetch", STAND_IN, "--registry", server.url, "--dry-run", "--json").json["name"] == STAND_IN
    fetched = cli.ok("fetch", STAND_IN, "--registry", registry, "--json")
    assert fetched.json["name"] == STAND_IN
    assert f"The registry says that this torrent is {STAND_IN}" in fetched.stderr
    assert "only witness" in fetched.stderr
    assert f"As published, by MD5 (no proof): {WEIGHTS}." in fetched.stderr
    assert fetched.stderr.count("is not checked") == 2
    snapshot = Path(fetched.json["path"])
    assert contents(snapshot) == contents(model)
    again = cli.ok("fetch", STAND_IN, "--registry", registry)
    assert "Already here" in again.stderr
    assert again.result == str(snapshot)
    pinned = f"{STAND_IN}@{fetched.json['revision']}"
    assert cli.ok("fetch", pinned, "--registry", registry).result == str(snapshot)
    refused(cli("fetch", f"{STAND_IN}@{'0' * 40}", "--registry", registry), 1, "not in the model cache")
    shown = cli.ok("show", STAND_IN, "--registry", registry, "--offline", "--json").json
    assert {f["path"] for f in shown["files"] if f["sha256"]} == contents(model).keys()
    flip_byte((snapshot / WEIGHTS).resolve())
    assert cli("verify", STAND_IN).stdout.startswith(f"wrong hash: {WEIGHTS}")
    figure("known torrents fetched without a manifest", 1)


def test_a_pasted_link_of_a_known_torrent_takes_its_name_and_its_peers_from_the_registry(
    cli: CommandLine, announced: str, tmp_path: Path
) -> None:
    registry = registry_with(tmp_path / "registry", STAND_IN, announced, [])
    info_hash = parse_magnet(announced).info_hash
    pasted = f"We release \u201cmagnet:?xt=urn:btih:{str(info_hash.v1).upper()}\u2026\u201d today"
    assert cli.ok("fetch", pasted, "--registry", registry, "--json").json["name"] == STAND_IN


def test_another_file_than_the_published_md5_says_is_named_and_nothing_is_placed(
    cli: CommandLine, announced: str, hub: Path, tmp_path: Path
) -> None:
    digests = [{"algorithm": "md5", "value": "0" * 32, "path": WEIGHTS}]
    registry = registry_with(tmp_path / "registry", STAND_IN, announced, digests)
    refused(cli("fetch", STAND_IN, "--registry", registry), 3, WEIGHTS, "MD5")
    assert visible(hub) == []


def test_only_a_registry_implies_trust(cli: CommandLine, announced: str) -> None:
    refused(cli("fetch", announced, "--name", STAND_IN), 1, "no manifest")


# --- the registry's format -------------------------------------------------------------------------------------------


def test_a_name_means_its_release_before_a_torrent_without_one(model: Path, tmp_path: Path) -> None:
    release = release_of(model)
    registry = DirectoryRegistry(registry_with(tmp_path, NAME, f"magnet:?xt=urn:btih:{'ab' * 20}", []))
    registry.add(RegistryEntry(NAME, release.manifest.revision, release.magnet(), release.manifest.to_bytes()))
    found, torrent = registry.find(NAME), registry.find(NAME, "abababa")
    assert found is not None
    assert found.revision == release.manifest.revision
    assert torrent is not None
    assert torrent.revision is None
    with pytest.raises(NotFound, match="has no revision"):
        registry.find(NAME, "ababab")


def test_of_several_torrents_one_has_to_be_chosen(tmp_path: Path) -> None:
    registry_with(tmp_path, NAME, f"magnet:?xt=urn:btih:{'ab' * 20}", [])
    registry = DirectoryRegistry(registry_with(tmp_path, NAME, f"magnet:?xt=urn:btih:{'cd' * 20}", []))
    with pytest.raises(NotFound, match="Which torrent") as caught:
        registry.find(NAME)
    assert "cd" * 20 in (caught.value.hint or "")
    found = registry.find(NAME, "cd" * 20)
    assert found is not None
    assert found.info_hash == InfoHash("cd" * 20)


@pytest.mark.parametrize(
    "about",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b'{"publisher": "x"}',
        b'{"publisher": 1, "announced": "x"}',
        b'{"publisher": "x", "announced": "x", "digests": [{"algorithm": "sha256", "value": "00"}]}',
        b'{"publisher": "x", "announced": "x", "digests": [{"algorithm": "md5", "value": "xyz"}]}',
        b'{"publisher": "x", "announced": "x", "digests": [1]}',
        b'{"publisher": "x", "announced": "x", "notes": {"a": 1}}',
    ],
    ids=range(9),
)
def test_an_about_that_is_none_takes_nothing_from_the_entry(about: bytes, tmp_path: Path) -> None:
    registry = DirectoryRegistry(registry_with(tmp_path, NAME, f"magnet:?xt=urn:btih:{'ab' * 20}", []))
    (tmp_path / NAME / "torrents" / ("ab" * 20) / "about.json").write_bytes(about)
    entry = registry.find(NAME)
    assert entry is not None
    assert entry.announcement is None


def test_an_entry_whose_link_is_of_another_torrent_than_its_folder_is_none(tmp_path: Path) -> None:
    registry = DirectoryRegistry(registry_with(tmp_path, NAME, f"magnet:?xt=urn:btih:{'ab' * 20}", []))
    (tmp_path / NAME / "torrents" / ("ab" * 20) / "magnet.txt").write_text(f"magnet:?xt=urn:btih:{'cd' * 20}\n")
    assert registry.find(NAME) is None
    assert registry.find_info_hash(InfoHash("cd" * 20)) is None
    assert list(registry.entries()) == []
    damaged = []
    assert list(registry.list_releases(lambda place, _reason: damaged.append(place))) == []
    assert damaged == [f"{NAME}/torrents/{'ab' * 20}"]
