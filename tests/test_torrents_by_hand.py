"""Torrents of keys, names and lists that the tools of today do not write, and that are out there all the same."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import libtorrent as lt
import pytest

from hostile import LOOPBACK, refused
from running import CommandLineHere
from samples import read_by_libtorrent, write_files
from torrent_makers import (
    KIB,
    LIBTORRENT_FLAGS,
    MAKERS,
    MIB,
    V1File,
    by_libtorrent,
    by_torrentfile,
    link_folder,
    v1_torrent,
)
from torrent_seeding import fetched, manifest_of, seeded
from weightswarm import FetchOptions
from weightswarm.metainfo import bdecode, bencode, parse_metainfo
from weightswarm.publishing import Release
from weightswarm.publishing.scanning import signature_of
from weightswarm.seeding import SeedOptions, seed_releases

Figure = Callable[[str, float], None]

RANDOM = Random(42)
A, B = RANDOM.randbytes(20_001), RANDOM.randbytes(33_000)


@pytest.fixture
def cli(tmp_path: Path) -> CommandLineHere:
    """The command line, in this process."""
    return CommandLineHere(tmp_path)


def check(cli: CommandLineHere, document: bytes, files: dict[str, bytes], *, by_magnet: bool = True) -> None:
    """Show a torrent, verify a folder against it, and fetch it by file with a manifest and by magnet on trust."""
    metainfo = parse_metainfo(document)
    v1, v2, listed = read_by_libtorrent(document)
    assert (metainfo.info_hash.v1, metainfo.info_hash.v2) == (v1, v2)
    assert [file.size for file in metainfo.files] == [size for _, size in listed]
    assert {file.path: file.size for file in metainfo.files} == {path: len(data) for path, data in files.items()}
    folder, torrent = write_files(cli.folder / "there", files), cli.folder / "odd.torrent"
    torrent.write_bytes(document)
    assert {file["path"] for file in cli.ok("show", torrent, "--json").json["files"]} == files.keys()
    cli.ok("verify", folder, "--manifest", torrent)
    manifest = manifest_of(folder, files).to_bytes()
    with seeded(metainfo, folder) as (magnet, options):
        assert fetched(torrent, cli.folder / "1", replace(options, manifest=manifest)) == files
        source = magnet if by_magnet else torrent
        assert fetched(source, cli.folder / "2", replace(options, trust_magnet=True)) == files


SHA1 = hashlib.sha1(A, usedforsecurity=False).digest()
MD5 = hashlib.md5(A, usedforsecurity=False).hexdigest().encode()
LONG_PAD = b"_____padding_file_0_if you see this file, please update to BitComet 0.85 or above____"
JAPANESE = "重み表.bin"  # the last byte of 表 is a backslash in Shift-JIS
KEYS_OF_FILES: dict[str, dict[bytes, Any]] = {
    "executable and hidden": {b"attr": b"xh"},
    "an unknown attribute": {b"attr": b"z"},
    "sha1": {b"sha1": SHA1},
    "md5sum": {b"md5sum": MD5},
    "a wrong md5sum": {b"md5sum": b"0" * 32},
    "ed2k and filehash": {b"ed2k": SHA1[:16], b"filehash": SHA1},
    "mtime": {b"mtime": 1_700_000_000},
}
KEYS_OF_INFO: dict[str, dict[bytes, Any]] = {
    "source": {b"source": b"lab"},
    "similar and collections": {b"similar": [bytes(20)], b"collections": [b"org.example.models"]},
    "publisher": {b"publisher": b"A Lab", b"publisher-url": b"http://127.0.0.1:9/"},
    "name.utf-8": {b"name.utf-8": "Größe".encode(), b"name": b"Gr\xf6\xdfe"},
    "unknown keys of all kinds": {b"zz": {b"a": [1, b"x", {}]}, b"aa": -1, b"x_cross_seed": b"7"},
    "private 0": {b"private": 0},
    "profiles": {b"profiles": [{b"width": 1}]},
    "a length beside files": {b"length": 1},
}
KEYS_AROUND: dict[str, dict[bytes, Any]] = {
    "nodes": {b"nodes": [[b"127.0.0.1", 9], [b"router.invalid", 6881]]},
    "httpseeds": {b"httpseeds": [b"http://127.0.0.1:9/seed"]},
    "url-list as a text": {b"url-list": b"http://127.0.0.1:9/"},
    "an empty url-list": {b"url-list": b""},
    "tiers": {
        b"announce": b"http://127.0.0.1:9/a",
        b"announce-list": [[b"http://127.0.0.1:9/b"], [b"udp://127.0.0.1:9"]],
    },
    "encoding": {b"encoding": b"UTF-8"},
    "an unknown encoding": {b"encoding": b"klingon"},
    "publisher": {b"publisher": b"A Lab", b"publisher-url": b"http://127.0.0.1:9/"},
    "comment.utf-8 and azureus": {b"comment.utf-8": "é".encode(), b"azureus_properties": {b"dht_backup_enable": 1}},
    "libtorrent_resume": {b"libtorrent_resume": {b"bitfield": b"\xff"}, b"rtorrent": {b"state": 1}},
}
TWO = [V1File([b"b", b"model.bin"], B), V1File([b"a.bin"], A)]
FILES = {"b/model.bin": B, "a.bin": A}


@pytest.mark.parametrize("keys", KEYS_OF_FILES)
def test_a_file_may_have_other_keys(cli: CommandLineHere, figure: Figure, keys: str) -> None:
    document = v1_torrent([TWO[0], replace(TWO[1], keys=KEYS_OF_FILES[keys])])
    check(cli, document, FILES)
    figure("torrents made by hand, each shown, verified and fetched twice", 1)


@pytest.mark.parametrize("keys", KEYS_OF_INFO)
def test_an_info_dict_may_have_other_keys(cli: CommandLineHere, figure: Figure, keys: str) -> None:
    check(cli, v1_torrent(TWO, info=KEYS_OF_INFO[keys]), FILES)
    figure("torrents made by hand, each shown, verified and fetched twice", 1)


@pytest.mark.parametrize("keys", KEYS_AROUND)
def test_other_keys_may_stand_around_an_info_dict(cli: CommandLineHere, figure: Figure, keys: str) -> None:
    check(cli, v1_torrent(TWO, around=KEYS_AROUND[keys]), FILES)
    figure("torrents made by hand, each shown, verified and fetched twice", 1)


def pad(size: int, path: list[bytes] | None, **keys: Any) -> V1File:
    """A pad file of BEP 47, or with `attr=None` of the years before it."""
    named = {key.encode(): value for key, value in {"attr": b"p", **keys}.items() if value is not None}
    return V1File(path, bytes(size), named)


FIRST, SECOND = V1File([b"a.bin"], A), V1File([b"b", b"model.bin"], B)
GAP = -len(A) % (16 * KIB)
LISTS: dict[str, list[V1File]] = {
    "pads as BEP 47 has them": [FIRST, pad(GAP, [b".pad", b"%d" % GAP]), SECOND],
    "a pad at the end": [FIRST, pad(GAP, [b".pad", b"1"]), SECOND, pad(-len(B) % (16 * KIB), [b".pad", b"2"])],
    "a pad at the start": [pad(5, [b".pad", b"5"]), FIRST, SECOND],
    "two pads of one name": [FIRST, pad(7, [b".pad", b"7"]), SECOND, pad(7, [b".pad", b"7"])],
    "a pad without a path": [FIRST, pad(GAP, None), SECOND],
    "a pad of several pieces": [FIRST, pad(100_000, [b".pad", b"x"]), SECOND],
    "a pad of no bytes": [FIRST, pad(0, [b".pad", b"0"]), SECOND],
    "a pad named like a file": [FIRST, pad(9, [b"b", b"other.bin"], attr=b"ph"), SECOND],
    "BitComet's pads": [
        FIRST,
        pad(GAP, [LONG_PAD], attr=None),
        SECOND,
        pad(3, [b"b", LONG_PAD], attr=None),
    ],
    "files out of order": [V1File([b"b", b"model.bin"], B), V1File([b"a.bin"], A)],
    "files of a folder apart": [V1File([b"b", b"0"], b"0"), FIRST, SECOND, V1File([b"b", b"1"], b"")],
    "only small files in one piece": [V1File([b"f%d" % n], b"%d" % n) for n in range(9, 0, -1)],
    "empty files at both ends": [V1File([b"z"], b""), FIRST, V1File([b"y"], b""), SECOND, V1File([b"0"], b"")],
    "one file in a folder": [FIRST],
    "what no publisher gives": [FIRST, V1File([b".DS_Store"], b"mac"), V1File([b"sub", b".DS_Store"], b"mac")],
}


@pytest.mark.parametrize("order", LISTS)
def test_a_v1_list_may_be_in_any_order_with_pad_files_anywhere(
    cli: CommandLineHere, figure: Figure, order: str
) -> None:
    entries = LISTS[order]
    listed = [entry for entry in entries if entry.path and b"p" not in entry.keys.get(b"attr", b"")]
    files = {b"/".join(e.path or []).decode(): e.data for e in listed if LONG_PAD not in (e.path or [])}
    check(cli, v1_torrent(entries), files)
    figure("torrents made by hand, each shown, verified and fetched twice", 1)


@pytest.mark.parametrize("piece_length", [1024, 48 * KIB, 100_000, 3 * MIB])
def test_v1_pieces_need_be_no_power_of_two(cli: CommandLineHere, figure: Figure, piece_length: int) -> None:
    check(cli, v1_torrent(TWO, piece_length=piece_length), FILES)
    figure("torrents made by hand, each shown, verified and fetched twice", 1)


NAMES: dict[str, tuple[list[bytes], dict[bytes, Any], dict[bytes, Any]]] = {
    "path.utf-8": (["重み表.bin".encode("cp932")], {b"path.utf-8": [JAPANESE.encode()]}, {}),
    "path.utf-8 alone": ([b"_.bin"], {b"path.utf-8": [JAPANESE.encode()]}, {}),
    "Shift-JIS": ([JAPANESE.encode("cp932")], {}, {b"encoding": b"Shift_JIS"}),
    "GBK": ([JAPANESE.encode("gbk")], {}, {b"encoding": b"GBK"}),
    "Latin-1": (["Größe.bin".encode("latin-1")], {}, {b"encoding": b"ISO-8859-1"}),
    "UTF-8 whatever is said": ([JAPANESE.encode()], {}, {b"encoding": b"windows-1252"}),
}


@pytest.mark.parametrize("case", NAMES)
def test_names_are_read_as_the_torrent_says(cli: CommandLineHere, figure: Figure, case: str) -> None:
    path, keys, around = NAMES[case]
    files = {"Größe.bin" if case == "Latin-1" else JAPANESE: A, "a.bin": B}
    document = v1_torrent([V1File(path, A, keys), V1File([b"a.bin"], B)], around=around)
    # What is said outside the info dict does not come with a magnet.
    check(cli, document, files, by_magnet=b"encoding" not in around)
    figure("torrents made by hand, each shown, verified and fetched twice", 1)


def test_a_name_of_bytes_that_nothing_explains_is_refused_and_named(cli: CommandLineHere) -> None:
    document = v1_torrent([V1File(["Größe.bin".encode("latin-1")], A)])
    torrent = cli.folder / "odd.torrent"
    torrent.write_bytes(document)
    for command in ("show", "fetch"):
        refused(cli(command, torrent), 1, "not UTF-8", r"Gr\xf6\xdfe.bin")


@pytest.mark.parametrize("flags", [0, lt.create_torrent.v1_only, lt.create_torrent.v2_only], ids=["hybrid", "v1", "v2"])
def test_a_torrent_with_symbolic_links_is_refused_and_the_link_named(cli: CommandLineHere, flags: int) -> None:
    """As libtorrent makes it of a folder with links, when asked to: what they lead to has no hash of its own."""
    torrent = cli.folder / "links.torrent"
    by_libtorrent(link_folder(cli.folder / "model"), torrent, 16 * KIB, flags | lt.create_torrent.symlinks)
    for command in ("show", "fetch"):
        refused(cli(command, torrent), 1, "symbolic link", "model.bin")


def test_a_torrent_of_empty_files_verifies_and_has_nothing_to_fetch(cli: CommandLineHere) -> None:
    folder, torrent = write_files(cli.folder / "model", {"a": b"", "b": b""}), cli.folder / "empty.torrent"
    torrent.write_bytes(v1_torrent([V1File([b"a"], b""), V1File([b"b"], b"")]))
    cli.ok("show", torrent)
    cli.ok("verify", folder, "--manifest", torrent)
    refused(cli("fetch", torrent, "--trust-magnet"), 1, "all empty")


def tampered(cli: CommandLineHere, kind: str, change: Callable[[dict[bytes, Any]], None]) -> tuple[Path, Path]:
    """Make a torrent with libtorrent and change its document; return it and the folder that it was made of."""
    folder, torrent = write_files(cli.folder / "model", FILES), cli.folder / "it.torrent"
    by_libtorrent(folder, torrent, 16 * KIB, LIBTORRENT_FLAGS[kind])
    document = bdecode(torrent.read_bytes())
    change(document)
    torrent.write_bytes(bencode(document))
    return folder, torrent


@pytest.mark.parametrize("kind", ["v2", "hybrid"])
def test_another_pieces_root_is_another_file(cli: CommandLineHere, kind: str) -> None:
    def change(document: dict[bytes, Any]) -> None:
        document[b"info"][b"file tree"][b"a.bin"][b""][b"pieces root"] = bytes(32)

    folder, torrent = tampered(cli, kind, change)
    (cli.folder / "manifest.json").write_bytes(manifest_of(folder, FILES).to_bytes())
    refused(cli("fetch", torrent, "--manifest", "manifest.json"), 3, "a.bin has another hash in the torrent")
    outcome = cli("verify", folder, "--manifest", torrent, "--json")
    assert outcome.code == 3
    assert [finding["path"] for finding in outcome.json["findings"]] == ["a.bin"]


def test_piece_layers_that_are_not_the_roots_are_refused(cli: CommandLineHere) -> None:
    def change(document: dict[bytes, Any]) -> None:
        layers = document[b"piece layers"]
        document[b"piece layers"] = {root: bytes(len(layer)) for root, layer in layers.items()}

    _, torrent = tampered(cli, "v2", change)
    outcome = cli("fetch", torrent, "--trust-magnet", "--timeout", "2")
    refused(outcome, 1, "piece")


def test_piece_hashes_of_another_list_are_refused(cli: CommandLineHere) -> None:
    """As torrentfile's `--align` writes them where a file is longer than a piece."""
    folder, torrent = write_files(cli.folder / "model", FILES), cli.folder / "it.torrent"
    by_torrentfile("v1", align=True)(folder, torrent, 16 * KIB, False)
    refused(cli("verify", folder, "--manifest", torrent), 1, "its v1 pieces do not cover its files")


def test_a_torrent_of_many_small_pieces_is_fetched(cli: CommandLineHere) -> None:
    data = RANDOM.randbytes(4 * MIB)
    document = v1_torrent([V1File([b"model.bin"], data)], piece_length=KIB)
    assert len(parse_metainfo(document).v1_pieces) == 20 * 4096
    check(cli, document, {"model.bin": data})


def test_trackers_are_found_wherever_they_stand() -> None:
    one, two = b"http://127.0.0.1:9/a", b"udp://127.0.0.1:9/b"
    for around, found in (
        ({b"announce": one}, [one]),
        ({b"announce": one, b"announce-list": [[b""]]}, [one]),
        ({b"announce": one, b"announce-list": []}, [one]),
        ({b"announce": b"", b"announce-list": [[two], [one, two]]}, [two, one]),
        ({b"announce-list": [[b"", two]]}, [two]),
        ({}, []),
    ):
        trackers = parse_metainfo(v1_torrent(TWO, around=around)).trackers
        assert trackers == tuple(url.decode() for url in found), around


@pytest.mark.parametrize(("value", "private"), [(1, True), (2, True), (-1, True), (0, False), (b"1", False)])
def test_any_number_but_0_is_private_as_libtorrent_has_it(value: object, private: bool) -> None:
    document = v1_torrent(TWO, info={b"private": value})
    assert parse_metainfo(document).private is private
    assert lt.torrent_info(document).priv() is private


@pytest.mark.parametrize("kind", ["v2", "hybrid"])
def test_what_contradicts_itself_in_v1_comes_by_its_v2_hashes(cli: CommandLineHere, kind: str) -> None:
    """torrentfile's torrents of one file: as v2 with a v1 length, as hybrid with the v1 hash of a padded last piece.

    libtorrent stops a seed of them: only weightswarm, which goes by the v2 hashes where it has them all, can be one.
    """
    folder = write_files(cli.folder / "single", {"model.bin": A})
    torrent = cli.folder / "it.torrent"
    (maker,) = (maker for maker in MAKERS if maker.name == f"torrentfile {kind}")
    metainfo = parse_metainfo(maker.make(folder / "model.bin", torrent, 16 * KIB))
    cli.ok("verify", folder, "--manifest", torrent)
    manifest = manifest_of(folder, {"model.bin": A})
    signature = signature_of(folder / "model.bin")
    release = Release(manifest, metainfo, (str(folder / "model.bin"),), (signature,))
    stop, links = threading.Event(), queue.SimpleQueue[str]()
    seeding = threading.Thread(
        target=seed_releases,
        args=([release], SeedOptions(LOOPBACK, seconds=30)),
        kwargs={"on_ready": lambda ready: links.put(str(ready[0].magnet)), "stop": stop},
    )
    seeding.start()
    try:
        options = FetchOptions(timeout=20, network=LOOPBACK, trust_magnet=True)
        assert fetched(links.get(timeout=30), cli.folder / "1", options) == {"model.bin": A}
    finally:
        stop.set()
        seeding.join()
