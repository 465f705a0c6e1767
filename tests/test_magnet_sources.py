"""What a pasted link makes a fetch do: torrent URLs, file selections, lost trackers, links that a shell cut."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from hostile import NOWHERE, WEIGHTS, contents, http_folder, refused, release_of, serving, with_manifest
from running import CommandLine
from test_magnet import LINK, V1
from test_pasted import wrapped
from weightswarm import Network, Note, Release
from weightswarm.fetching.plan import selected_globs
from weightswarm.fetching.source import Wanted, with_public_trackers, without_public_trackers
from weightswarm.magnet import PUBLIC_TRACKERS, FileSelection, parse_magnet, read_pasted
from weightswarm.metainfo import TorrentVersion

PARTS = ("fetch", "--timeout", "20", "--json")


@pytest.fixture
def release(model: Path) -> Release:
    return release_of(model)


@pytest.fixture
def magnet(release: Release) -> Iterator[str]:
    with serving(release.metainfo, release.locations) as link:
        yield link


def by_index(release: Release, *paths: str) -> str:
    """Return the indices of files, counted as BEP 53 does: in v1's list, pad files included."""
    spans = [index for index, _ in release.metainfo.v1_spans]
    wanted = [file.index for file in release.metainfo.files if file.path in paths]
    return ",".join(str(spans.index(index)) for index in wanted)


# --- torrent URLs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["xs", "as"])
def test_the_torrent_at_a_links_url_is_taken_when_no_peer_is_there(
    cli: CommandLine, release: Release, tmp_path: Path, key: str
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.torrent").write_bytes(release.metainfo.data)
    with http_folder(tmp_path / "site") as url:
        link = f"magnet:?xt=urn:btih:{release.metainfo.info_hash.v1}&{key}={url}/a.torrent"
        shown = cli.ok("show", link, "--timeout", "20", "--json").json
    assert {file["path"] for file in shown["files"]} == {entry.path for entry in release.manifest.files}
    assert shown["info_hash"]["v2"] == release.metainfo.info_hash.v2


@pytest.mark.parametrize("served", ["another", "nothing", "garbage"])
def test_a_torrent_url_that_gives_another_torrent_or_none_falls_back_to_the_swarm(
    cli: CommandLine, magnet: str, model: Path, release: Release, tmp_path: Path, served: str
) -> None:
    (tmp_path / "site").mkdir()
    if served != "nothing":
        another = with_manifest(release.metainfo, None).data if served == "another" else b"<html>"
        (tmp_path / "site" / "a.torrent").write_bytes(another)
    # No peer at first: what is wrong with the URL is heard of before the swarm answers.
    with http_folder(tmp_path / "site") as url:
        alone = cli("show", f"{magnet.partition('&x.pe')[0]}&xs={url}/a.torrent", "--timeout", "4")
        refused(alone, 4, "No peer")
        assert "the swarm is asked" in alone.stderr
        fetched = cli.ok(*PARTS, f"{magnet}&xs={url}/a.torrent").json
    assert contents(Path(fetched["path"])) == contents(model)


def test_a_hybrids_second_hash_may_not_be_another(cli: CommandLine, release: Release, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.torrent").write_bytes(with_manifest(release.metainfo, None).data)
    v1 = with_manifest(release.metainfo, None).info_hash.v1
    with http_folder(tmp_path / "site") as url:
        link = f"magnet:?xt=urn:btih:{v1}&xt=urn:btmh:1220{release.metainfo.info_hash.v2}&xs={url}/a.torrent"
        outcome = cli("show", link, "--timeout", "4")
    refused(outcome, 4, "No peer")
    assert "another torrent than the magnet's" in outcome.stderr


def test_a_url_that_never_answers_costs_nothing(cli: CommandLine, magnet: str, model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dead = f"http://127.0.0.1:{silent.getsockname()[1]}/a.torrent"
        fetched = cli.ok(*PARTS, f"{magnet}&xs={dead}")
    assert contents(Path(fetched.json["path"])) == contents(model)
    assert "did not answer in time" not in fetched.stderr, "nobody waited the ten seconds that a URL may take"


# --- file selections -------------------------------------------------------------------------------------------------


def test_a_links_selection_decides_which_files_come(cli: CommandLine, release: Release, magnet: str) -> None:
    wanted = {"config.json", "tokenizer/vocab.txt"}
    link = f"{magnet}&so={by_index(release, *wanted)}"
    outcome = cli.ok(*PARTS, link)
    assert "The link selects 2 of 4 files" in outcome.stderr
    assert outcome.json["complete"] is False
    assert contents(Path(outcome.json["path"])).keys() == wanted
    dry = cli.ok("fetch", "--dry-run", "--json", f"{magnet}&so={by_index(release, WEIGHTS)}").json
    assert [file["path"] for file in dry["files"]] == [WEIGHTS]


def test_the_users_own_choice_comes_before_the_links(cli: CommandLine, release: Release, magnet: str) -> None:
    link = f"{magnet}&so={by_index(release, WEIGHTS)}"
    fetched = cli.ok(*PARTS, link, "--include", "*.json").json
    assert contents(Path(fetched["path"])).keys() == {"config.json"}


def test_a_selection_of_nothing_there_brings_everything(cli: CommandLine, magnet: str, model: Path) -> None:
    outcome = cli.ok(*PARTS, f"{magnet}&so=900-905")
    assert "does not have" in outcome.stderr
    assert contents(Path(outcome.json["path"])) == contents(model)


def test_without_a_manifest_the_whole_torrent_comes(cli: CommandLine, release: Release, model: Path) -> None:
    with serving(with_manifest(release.metainfo, None), release.locations) as magnet:
        outcome = cli.ok(*PARTS, f"{magnet}&so=0", "--trust-magnet")
    assert "the whole torrent is fetched" in outcome.stderr
    assert contents(Path(outcome.json["path"])) == contents(model)


@pytest.mark.parametrize("version", list(TorrentVersion))
def test_a_selection_counts_files_in_the_torrents_own_list(model: Path, version: TorrentVersion) -> None:
    metainfo = release_of(model, version).metainfo
    everything = cast("FileSelection", FileSelection.parse("0-1000"))
    assert selected_globs(metainfo, everything) == tuple(file.path for file in metainfo.files)
    pads = [i for i, (index, _) in enumerate(metainfo.v1_spans) if index is None]
    assert bool(pads) is (version is TorrentVersion.HYBRID)
    for pad in pads:
        assert selected_globs(metainfo, FileSelection(((pad, pad),))) == ()


# --- what is said ----------------------------------------------------------------------------------------------------


def test_a_link_that_the_shell_cut_is_told_of_before_and_after(cli: CommandLine) -> None:
    outcome = cli("fetch", LINK, "--timeout", "0.5", "--registry", ".")
    # Mixtral's hash, which the registry that ships knows: its trackers are there.
    refused(outcome, 4, "No peer")
    assert "From the registry's entry of mistralai/Mixtral-8x7B-v0.1" in outcome.stderr
    unknown = f"magnet:?xt=urn:btih:{'ab' * 20}"
    outcome = cli("fetch", unknown, "--timeout", "0.5")
    refused(outcome, 4, "No peer")
    assert "If yours is longer, put it in quotes" in outcome.stderr
    assert "in quotes: the shell cuts it at '&'" in outcome.stderr.partition("Hint: ")[2]
    named = cli("fetch", NOWHERE, "--timeout", "0.5")
    refused(named, 4, "No peer")
    assert "quotes" not in named.stderr


def test_a_tweet_on_stdin_and_a_mail_in_a_file_are_fetched(
    cli: CommandLine, magnet: str, model: Path, tmp_path: Path
) -> None:
    tweet = f"Out now \U0001f680\n\n{magnet.replace('&', '&amp;')}\u2026\n\nEnjoy"
    cut = cli.ok(*PARTS, "-", stdin=tweet.replace("\u2026", ""))
    assert "Repaired: link (&amp; was read as &)." in cut.stderr
    assert contents(Path(cut.json["path"])) == contents(model)
    (tmp_path / "mail.txt").write_text(f"Dear all,\n\n> {wrapped(magnet, 70, '> ')}\n\nYours\n")
    there = cli.ok("fetch", "mail.txt")
    assert "line breaks" in there.stderr
    assert there.result == cut.json["path"]


def test_public_trackers_are_asked_only_when_a_links_own_are_lost_and_only_on_the_public_network(
    release: Release,
) -> None:
    notes: list[str] = []

    def report(event: object) -> None:
        assert isinstance(event, Note)
        notes.append(event.text)

    def asked(text: str, network: Network) -> tuple[str, ...]:
        pasted = read_pasted(text)
        return with_public_trackers(Wanted(pasted.magnet, pasted=pasted), network, report).magnet.trackers

    lost = f"{LINK}&dn=x&tr=udp%3A%2F%https://t.co/abc%3A1337%2Fannounce"
    for text in (lost, LINK, f"urn:btih:{V1}", f"{LINK}&dn=x&tr=udp%3A%2F%2Ft.exa\u2026"):
        assert asked(text, Network.PUBLIC) == PUBLIC_TRACKERS
        assert asked(text, Network.LAN) == asked(text, Network.LOOPBACK) == ()
    assert len(notes) == 4
    assert asked(f"{lost}&tr=udp://t.example:1", Network.PUBLIC) == ("udp://t.example:1",)
    assert asked(f"{LINK}&dn=without-any", Network.PUBLIC) == (), "who names no tracker may not want one"
    metainfo = release.metainfo
    asking = Wanted(replace(parse_magnet(LINK), trackers=PUBLIC_TRACKERS))
    assert without_public_trackers(asking, metainfo) is asking
    assert without_public_trackers(asking, replace(metainfo, private=True)).magnet == parse_magnet(LINK)
    link = parse_magnet(LINK)
    assert with_public_trackers(Wanted(link), Network.PUBLIC, report).magnet is link
    assert len(notes) == 4
