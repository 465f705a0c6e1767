"""`publish --base`: the base's torrent is named where other clients look for it (BEP 38), by whoever publishes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import libtorrent as lt
import pytest

import weightswarm
from faults import MIB, Source
from hostile import NAME, contents, loopback_session, place, refused, release_of, wait_until
from running import CommandLineHere
from samples import info_of
from weightswarm.metainfo import TorrentOptions, TorrentVersion, parse_metainfo, with_outer_fields

SHARDS = [f"model-0000{number}-of-00004.dat" for number in range(1, 5)]
SHARD = 2 * MIB


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Four shards."""
    from random import Random

    folder = tmp_path / "old"
    folder.mkdir()
    for number, name in enumerate(SHARDS):
        (folder / name).write_bytes(Random(number).randbytes(SHARD))
    return folder


@pytest.fixture
def new(old: Path) -> Path:
    """The third one is another."""
    folder = Path(shutil.copytree(old, old.parent / "new"))
    (folder / SHARDS[2]).write_bytes((old / SHARDS[2]).read_bytes()[::-1])
    return folder


@pytest.fixture
def here(tmp_path: Path) -> CommandLineHere:
    """The command line in this process."""
    return CommandLineHere(tmp_path)


def published(here: CommandLineHere, folder: Path, *options: str | Path) -> Any:
    return here.ok("publish", folder, "--name", NAME, "--json", *options).json


@pytest.mark.parametrize("version", TorrentVersion)
def test_whoever_publishes_on_the_same_base_gets_the_same_info_hash(
    version: TorrentVersion, old: Path, new: Path, tmp_path: Path, hub: Path, here: CommandLineHere
) -> None:
    """The base is found by its torrent file, by the cache's record and in a registry."""
    kind = {TorrentVersion.HYBRID: [], TorrentVersion.V1: ["--v1-only"], TorrentVersion.V2: ["--v2-only"]}[version]
    base = published(here, old, *kind, "--add-to", "registry", "-o", "base")
    revision = base["revision"]
    by_file = published(here, new, *kind, "--base", base["torrent"], "-o", "1")
    by_registry = published(here, new, *kind, "--base", revision, "--add-to", "registry", "-o", "2")
    refused(here("publish", new, "--name", NAME, *kind, "--base", revision, "-o", "3"), 1, revision)
    place(release_of(old, version), hub)
    by_record = published(here, new, *kind, "--base", revision, "-o", "3")
    assert by_file["magnet"] == by_registry["magnet"] == by_record["magnet"]
    plain = published(here, new, *kind, "-o", "4")
    assert plain["magnet"] != by_file["magnet"]
    metainfo = parse_metainfo((tmp_path / by_file["torrent"]).read_bytes())
    digests = [each[:40] for each in (base["info_hash_v1"], base["info_hash_v2"]) if each]
    assert info_of(metainfo.data)[b"similar"] == [bytes.fromhex(each) for each in digests]
    assert metainfo.similar == tuple(digests)
    assert [str(each) for each in lt.torrent_info(metainfo.data).similar_torrents()] == digests
    dressed = with_outer_fields(metainfo, TorrentOptions(trackers=("http://tracker.example/announce",)))
    assert dressed.info_hash == metainfo.info_hash and dressed.similar == metainfo.similar


def test_a_base_that_is_no_release_is_refused_before_anything_is_hashed(
    old: Path, tmp_path: Path, here: CommandLineHere
) -> None:
    for base, code in (("nowhere.torrent", 1), ("./nowhere", 1), ("zzz", 2), ("a" * 40, 1)):
        outcome = here("publish", old, "--name", NAME, "--base", base, "-o", "out")
        refused(outcome, code, base.removeprefix("./"))
        assert "Hashing" not in outcome.stderr
    (tmp_path / "broken.torrent").write_bytes(b"d4:infode")
    refused(here("publish", old, "--name", NAME, "--base", "broken.torrent"), 1, "torrent")


def test_hints_of_strangers_are_bounded(old: Path) -> None:
    from weightswarm.metainfo import bdecode, bencode

    document = bdecode(release_of(old).metainfo.data)
    document[b"info"][b"similar"] = [bytes([n % 256, n // 256]) * 10 for n in range(1000)] + [b"short", 7]
    document[b"similar"] = [b"outside the info dict"[:20], [], b"x" * 32]
    assert len(parse_metainfo(bencode(document)).similar) == 64
    document[b"info"][b"similar"] = {b"no": b"list"}
    assert parse_metainfo(bencode(document)).similar == (b"outside the info dict"[:20].hex(),)


# --- other clients ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_base", [True, False])
@pytest.mark.parametrize("version", TorrentVersion)
def test_a_bare_client_that_has_the_base_downloads_what_changed(
    version: TorrentVersion,
    with_base: bool,
    old: Path,
    new: Path,
    tmp_path: Path,
    figure: Callable[[str, float], None],
) -> None:
    base = release_of(old, version)
    similar = TorrentOptions(similar=(base.metainfo.info_hash,) if with_base else ())
    options = weightswarm.PublishOptions(version=version, torrent=similar)
    release = weightswarm.prepare(new, name=NAME, options=options)
    source = Source(release, 0)
    has, gets = tmp_path / "has" / "model", tmp_path / "gets"
    shutil.copytree(old, has)
    session = loopback_session()
    try:
        seeded = lt.add_torrent_params()
        seeded.ti = lt.torrent_info(base.metainfo.data)
        seeded.save_path = str(has.parent)
        first = session.add_torrent(seeded)
        wait_until(lambda: first.status().is_seeding, "the base is not seeded")
        wanted = lt.add_torrent_params()
        wanted.ti = lt.torrent_info(release.metainfo.data)
        wanted.save_path = str(gets)
        wanted.peers = [("127.0.0.1", source.session.listen_port())]
        second = session.add_torrent(wanted)
        wait_until(lambda: second.status().is_seeding, "the new revision does not come")
        wait_until(lambda: contents(gets) == {f"model/{path}": data for path, data in contents(new).items()}, "not all")
        given = source.given
    finally:
        session.pause()
        source.session.pause()
    assert contents(has) == contents(old)
    assert (gets / "model" / SHARDS[0]).samefile(has / SHARDS[0]) is with_base, "libtorrent links files"
    figure(f"bytes a client with{'' if with_base else 'out'} the base got of {4 * SHARD:,}, {version.value}", given)
    if with_base:
        assert given <= SHARD + 256 * 1024
    else:
        assert given >= 4 * SHARD
