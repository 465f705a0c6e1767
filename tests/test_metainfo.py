"""Torrents: what is built here libtorrent reads alike, and what strangers send is read strictly or refused."""

from __future__ import annotations

import copy
import hashlib
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import libtorrent as lt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samples import (
    GOLDEN,
    PROPERTY,
    TINY,
    info_of,
    make_sample,
    read_by_libtorrent,
    torrent_by_libtorrent,
    write_files,
)
from weightswarm.errors import InvalidMetainfo
from weightswarm.magnet import InfoHash, PeerAddress, parse_magnet
from weightswarm.manifest import check_path, parse_manifest
from weightswarm.metainfo import (
    TorrentOptions,
    TorrentVersion,
    bdecode,
    bencode,
    build_metainfo,
    magnet_of,
    parse_info_dict,
    parse_metainfo,
    with_outer_fields,
)

GOLDEN_HASHES = {
    TorrentVersion.HYBRID: InfoHash(
        "713070585b07569dd4e889eee8e534898d68f2f8", "329e53cec7649282fce944ec2185629928967d9b0d38efafdf691fbb87ea25c7"
    ),
    TorrentVersion.V1: InfoHash("ceacc1971ad52f3bb815dfb8277c9e3a6387b624"),
    TorrentVersion.V2: InfoHash(v2="0e766e6c7329e6796f3156a437454f4d3815fc28621b39ae4df18f0411ccb253"),
}
OUTER = TorrentOptions(
    trackers=("udp://t.example:1/announce", "http://t.example/announce"),
    web_seeds=("https://w.example/models/",),
    comment="a comment",
    created=1_700_000_000,
)


def refusal(data: bytes) -> str:
    with pytest.raises(InvalidMetainfo) as caught:
        parse_metainfo(data)
    assert str(caught.value).isprintable()
    return str(caught.value)


# --- built here ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", TorrentVersion)
def test_the_golden_torrents_are_reproduced_byte_for_byte(tmp_path: Path, version: TorrentVersion) -> None:
    golden = (GOLDEN / f"tiny-{version.value}.torrent").read_bytes()
    sample = make_sample(tmp_path, TINY, version)
    assert sample.metainfo.data == golden
    read = parse_metainfo(golden)
    assert read == sample.metainfo
    assert read.info_hash == GOLDEN_HASHES[version]
    assert read.manifest == (GOLDEN / "tiny.manifest.json").read_bytes()


@pytest.mark.parametrize("version", TorrentVersion)
@pytest.mark.parametrize("contents", [TINY, {"only.bin": b"x" * 70_000}, {"a/b": b"x", "a/c": b"", "z": b"y" * 40_000}])
def test_libtorrent_reads_the_same_files_under_the_same_hashes(
    tmp_path: Path, contents: dict[str, bytes], version: TorrentVersion
) -> None:
    built = make_sample(tmp_path, contents, version).metainfo
    v1, v2, files = read_by_libtorrent(built.data)
    assert InfoHash(v1, v2) == built.info_hash
    assert (v1 is not None, v2 is not None) == (version is not TorrentVersion.V2, version is not TorrentVersion.V1)
    assert [size for _, size in files] == [file.size for file in built.files]
    if len(contents) > 1:
        assert [path for path, _ in files] == [f"tiny/{file.path}" for file in built.files]
    assert built.total_size == sum(map(len, contents.values()))
    assert not built.single_file


@pytest.mark.parametrize("version", TorrentVersion)
def test_a_release_is_read_back_as_it_was_built(tmp_path: Path, version: TorrentVersion) -> None:
    sample = make_sample(tmp_path, TINY, version, options=OUTER)
    read = parse_metainfo(sample.metainfo.data)
    assert read == sample.metainfo
    assert (read.name, read.piece_length, read.private) == ("tiny", 32 * 1024, False)
    assert (read.trackers, read.web_seeds, read.comment) == (OUTER.trackers, OUTER.web_seeds, OUTER.comment)
    assert bdecode(read.data)[b"creation date"] == OUTER.created
    assert read.manifest is not None
    assert parse_manifest(read.manifest) == sample.manifest
    assert [(file.path, file.size) for file in read.files] == [(e.path, e.size) for e in sample.manifest.files]
    roots = [entry.pieces_root if version is not TorrentVersion.V1 else None for entry in sample.manifest.files]
    assert [file.pieces_root for file in read.files] == roots


@pytest.mark.parametrize("version", [TorrentVersion.HYBRID, TorrentVersion.V1])
def test_v1_spans_say_which_bytes_the_pieces_cover(tmp_path: Path, version: TorrentVersion) -> None:
    sample = make_sample(tmp_path, TINY, version)
    read = sample.metainfo
    stream = b"".join(bytes(size) if index is None else TINY[read.files[index].path] for index, size in read.v1_spans)
    pieces = [stream[i : i + read.piece_length] for i in range(0, len(stream), read.piece_length)]
    assert read.v1_pieces == b"".join(hashlib.sha1(piece).digest() for piece in pieces)
    assert any(index is None for index, _ in read.v1_spans) == (version is TorrentVersion.HYBRID)


@pytest.mark.parametrize("version", TorrentVersion)
def test_nothing_outside_the_info_dict_changes_the_info_hash(tmp_path: Path, version: TorrentVersion) -> None:
    plain = make_sample(tmp_path, TINY, version).metainfo
    dressed = with_outer_fields(plain, OUTER)
    assert dressed.info_hash == plain.info_hash
    assert dressed.info_bytes == plain.info_bytes
    assert (dressed.trackers, dressed.web_seeds, dressed.comment) == (OUTER.trackers, OUTER.web_seeds, OUTER.comment)
    assert dressed.piece_layers == plain.piece_layers
    assert with_outer_fields(dressed, TorrentOptions()) == plain
    v1, v2, _ = read_by_libtorrent(dressed.data)
    assert InfoHash(v1, v2) == plain.info_hash
    parameters = lt.load_torrent_buffer(dressed.data)
    assert (parameters.trackers, parameters.url_seeds) == (list(OUTER.trackers), list(OUTER.web_seeds))


def test_private_is_under_the_info_hash(tmp_path: Path) -> None:
    sample = make_sample(tmp_path, TINY)
    private = build_metainfo(sample.manifest, sample.hashes, TorrentVersion.HYBRID, TorrentOptions(private=True))
    assert private.private
    assert private.info_hash != sample.metainfo.info_hash
    assert with_outer_fields(private, OUTER).private


def test_the_folder_a_release_lies_in_does_not_change_its_bytes(tmp_path: Path) -> None:
    one, other = make_sample(tmp_path / "one", TINY), make_sample(tmp_path / "other" / "place", TINY)
    assert one.metainfo.data == other.metainfo.data


def test_the_magnet_of_a_torrent_names_it_with_its_trackers(tmp_path: Path) -> None:
    metainfo = make_sample(tmp_path, TINY, options=OUTER).metainfo
    link = magnet_of(metainfo, peers=(PeerAddress("127.0.0.1", 1),))
    assert parse_magnet(str(link)) == link
    assert (link.info_hash, link.display_name, link.exact_length) == (metainfo.info_hash, "tiny", metainfo.total_size)
    assert (link.trackers, link.web_seeds) == (OUTER.trackers, OUTER.web_seeds)
    other = magnet_of(metainfo, trackers=(), web_seeds=())
    assert (other.trackers, other.web_seeds) == ((), ())
    theirs = lt.parse_magnet_uri(str(link))
    assert InfoHash(str(theirs.info_hashes.v1), str(theirs.info_hashes.v2)) == metainfo.info_hash


# --- made by others -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", TorrentVersion)
@pytest.mark.parametrize(
    "contents",
    [{"x/model.bin": b"x" * 70_000}, {"x/a": b"", "x/b/c": b"y" * 40_000, "x/b/d": b"z", "x/e": b"w" * 32_768}],
    ids=["single file", "folder"],
)
def test_torrents_that_libtorrent_makes_are_read(
    tmp_path: Path, contents: dict[str, bytes], version: TorrentVersion
) -> None:
    root = write_files(tmp_path, contents) / "x"
    single = len(contents) == 1
    torrent = torrent_by_libtorrent(root / "model.bin" if single else root, version)
    read = parse_metainfo(torrent)
    v1, v2, files = read_by_libtorrent(torrent)
    assert read.info_hash == InfoHash(v1, v2)
    assert read.single_file is single
    assert read.name == ("model.bin" if single else "x")
    assert [(file.path if single else f"x/{file.path}", file.size) for file in read.files] == files
    assert {file.path: file.size for file in read.files} == {p[2:]: len(data) for p, data in contents.items()}
    assert [file.index for file in read.files] == list(range(len(files)))
    assert (read.manifest, read.trackers, read.web_seeds) == (None, (), ())
    assert all((file.pieces_root is not None) == (v2 is not None and file.size > 0) for file in read.files)
    assert parse_info_dict(read.info_bytes) == replace(read, data=b"d4:info" + read.info_bytes + b"e", piece_layers={})


def unsorted_torrent() -> bytes:
    info = b"d4:name1:m6:lengthi1e12:piece lengthi16384e6:pieces20:" + b"x" * 20 + b"e"
    return b"d4:info" + info + b"e"


def test_the_info_hash_covers_the_bytes_as_they_came() -> None:
    read = parse_metainfo(unsorted_torrent())
    assert read.info_bytes == unsorted_torrent()[len(b"d4:info") : -1]
    assert read.info_hash == InfoHash(hashlib.sha1(read.info_bytes).hexdigest())
    assert read_by_libtorrent(unsorted_torrent())[0] == read.info_hash.v1
    assert parse_info_dict(read.info_bytes).info_hash == read.info_hash


def test_trackers_added_to_a_torrent_with_unsorted_keys_leave_its_info_hash() -> None:
    read = parse_metainfo(unsorted_torrent())
    dressed = with_outer_fields(read, OUTER)
    assert dressed.info_bytes == read.info_bytes
    assert dressed.info_hash == read.info_hash
    assert dressed.trackers == OUTER.trackers


def test_an_info_key_elsewhere_is_not_the_info_dict(tmp_path: Path) -> None:
    torrent = make_sample(tmp_path, TINY).metainfo.data
    decoy = bencode({**bdecode(torrent), b"a": {b"info": {b"name": b"decoy"}}, b"z": [{b"info": 1}]})
    assert parse_metainfo(decoy).info_hash == parse_metainfo(torrent).info_hash


V1_INFO: dict[bytes, Any] = {
    b"name": b"m",
    b"piece length": 16384,
    b"pieces": b"x" * 20,
    b"files": [{b"length": 1, b"path": [b"a"]}, {b"length": 2, b"path": [b"b", b"c"]}],
}
LEAF: dict[bytes, Any] = {b"": {b"length": 1, b"pieces root": b"r" * 32}}
V2_INFO: dict[bytes, Any] = {
    b"name": b"m",
    b"piece length": 16384,
    b"meta version": 2,
    b"file tree": {b"a": LEAF, b"b": {b"c": LEAF}},
}
HYBRID_INFO: dict[bytes, Any] = V2_INFO | {
    b"pieces": b"x" * 40,
    b"files": [
        {b"length": 1, b"path": [b"a"]},
        {b"length": 16383, b"path": [b".pad", b"16383"], b"attr": b"p"},
        {b"length": 1, b"path": [b"b", b"c"]},
    ],
}


def torrent(info: Any, **outer: Any) -> bytes:
    return bencode({b"info": info} | {key.encode(): value for key, value in outer.items()})


def v1_with(*paths: list[Any], **fields: Any) -> bytes:
    extra = {key.encode(): value for key, value in fields.items()}
    return torrent(V1_INFO | {b"files": [{b"length": 1, b"path": path} | extra for path in paths]})


def v2_with(tree: Any) -> bytes:
    return torrent(V2_INFO | {b"file tree": tree})


def test_the_documents_that_the_hostile_ones_are_made_from_are_read() -> None:
    for info, v1, v2 in ((V1_INFO, True, False), (V2_INFO, False, True), (HYBRID_INFO, True, True)):
        read = parse_metainfo(torrent(info))
        assert [file.path for file in read.files] == ["a", "b/c"]
        assert (read.info_hash.v1 is not None, read.info_hash.v2 is not None) == (v1, v2)
    assert parse_metainfo(v1_with([b"a"])).files[0].path == parse_metainfo(v2_with({b"a": LEAF})).files[0].path == "a"


HOSTILE_NAMES = [
    b"..",
    b".",
    b"",
    b"/etc",
    b"a/b",
    b"..\\..\\x",
    b"C:",
    b"a\x00b",
    b"a\x1b[2J",
    b"a\x7f",
    b"a\xc2\x9bb",
    "gpj.\u202eexe".encode(),
    b"nul",
    b"COM1.txt",
    b"a.",
    b"a ",
    b".git",
    b".weightswarm",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"x" * 300,
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names_are_refused_wherever_they_stand(name: bytes) -> None:
    refusal(torrent(V1_INFO | {b"name": name}))
    refusal(torrent(V2_INFO | {b"name": name}))
    refusal(torrent({key: value for key, value in V1_INFO.items() if key != b"files"} | {b"name": name, b"length": 1}))
    refusal(v1_with([name]))
    refusal(v1_with([b"sub", name]))
    refusal(v1_with([name, b"file"]))
    if name:
        refusal(v2_with({name: LEAF}))
        refusal(v2_with({name: {b"file": LEAF}}))
        refusal(v2_with({b"sub": {name: LEAF}}))


def test_a_file_list_may_not_climb_or_hide_slashes() -> None:
    for path in ([b"..", b"x"], [b"a", b"..", b"..", b"x"], [b"", b"etc", b"passwd"], [b"a/../../x"], [], [b""]):
        refusal(v1_with(path))


@pytest.mark.parametrize("path", [b"text", 7, [7], [[b"a"]], {b"a": b"b"}])
def test_a_path_is_a_list_of_strings(path: Any) -> None:
    refusal(v1_with(path))


@pytest.mark.parametrize(
    "fields", [{"attr": b"l"}, {"attr": b"lx", "symlink path": [b"etc"]}, {"symlink path": [b"a"]}]
)
def test_symbolic_links_are_refused(fields: dict[str, Any]) -> None:
    assert "symbolic link" in refusal(v1_with([b"a"], **fields))
    leaf = {b"": LEAF[b""] | {key.encode(): value for key, value in fields.items()}}
    assert "symbolic link" in refusal(v2_with({b"a": leaf}))


@pytest.mark.parametrize(
    "paths", [[b"a", b"a"], [b"a", b"A"], [b"\xc3\xa9", b"e\xcc\x81"]], ids=["equal", "case", "Unicode form"]
)
def test_colliding_names_are_refused(paths: list[bytes]) -> None:
    refusal(v1_with(*([path] for path in paths)))
    if paths[0] != paths[1]:
        refusal(v2_with(dict.fromkeys(paths, LEAF)))


def test_a_file_that_is_also_a_folder_is_refused() -> None:
    assert "folder" in refusal(v1_with([b"a"], [b"a", b"b"]))
    assert "folder" in refusal(v2_with({b"a": LEAF | {b"b": LEAF}}))
    assert "folder" in refusal(v2_with({b"A": LEAF, b"a": {b"b": LEAF}}))


def test_8000_duplicate_names_are_refused() -> None:
    assert "listed twice" in refusal(v1_with(*([b"a"] for _ in range(8000))))


def test_deep_trees_are_refused() -> None:
    for depth in (33, 50):
        tree: Any = LEAF
        for _ in range(depth):
            tree = {b"d": tree}
        assert "deep" in refusal(v2_with(tree))
        assert "deep" in refusal(v1_with([b"d"] * depth))
    opening = b"d4:infod9:file tree" + b"d1:d" * 100_000
    assert "nested" in refusal(opening)


def test_many_files_below_a_folder_with_an_endless_name_do_not_fill_the_memory() -> None:
    data = v2_with({b"d" * 300_000: {b"%d" % number: LEAF for number in range(1000)}})
    tracemalloc.start()
    try:
        refusal(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50 * 1024 * 1024


def without(info: dict[bytes, Any], key: bytes) -> dict[bytes, Any]:
    return {k: v for k, v in info.items() if k != key}


def edited(info: dict[bytes, Any], edit: Callable[[dict[bytes, Any]], Any]) -> dict[bytes, Any]:
    changed = copy.deepcopy(info)
    edit(changed)
    return changed


BAD_INFOS: dict[str, Any] = {
    "a list": [],
    "a string": b"text",
    "empty": {},
    "no name": without(V1_INFO, b"name"),
    "name is a number": V1_INFO | {b"name": 1},
    "no piece length": without(V1_INFO, b"piece length"),
    "piece length is text": V1_INFO | {b"piece length": b"16384"},
    "piece length zero": V1_INFO | {b"piece length": 0},
    "piece length negative": V1_INFO | {b"piece length": -16384},
    "piece length huge": V1_INFO | {b"piece length": 2**40},
    "v2 piece length no power of two": V2_INFO | {b"piece length": 48 * 1024},
    "v2 piece length under a block": V2_INFO | {b"piece length": 8192},
    "neither v1 nor v2": without(V1_INFO, b"pieces"),
    "meta version 1": V2_INFO | {b"meta version": 1},
    "meta version 3": V2_INFO | {b"meta version": 3},
    "meta version is text": V2_INFO | {b"meta version": b"2"},
    "pieces of 19 bytes": V1_INFO | {b"pieces": b"x" * 19},
    "too few pieces": V1_INFO | {b"pieces": b""},
    "too many pieces": V1_INFO | {b"pieces": b"x" * 40},
    "pieces is a list": V1_INFO | {b"pieces": [b"x" * 20]},
    "no files": V1_INFO | {b"files": [], b"pieces": b""},
    "only a pad file": V1_INFO | {b"files": [{b"length": 1, b"path": [b"x"], b"attr": b"p"}]},
    "files is a dictionary": V1_INFO | {b"files": {}},
    "a file is a string": V1_INFO | {b"files": [b"a"]},
    "single file without length": without(V1_INFO, b"files"),
    "no length": edited(V1_INFO, lambda i: i[b"files"][0].pop(b"length")),
    "negative length": edited(V1_INFO, lambda i: i[b"files"][0].update({b"length": -1})),
    "length is text": edited(V1_INFO, lambda i: i[b"files"][0].update({b"length": b"1"})),
    "length beyond bounds": edited(V1_INFO, lambda i: i[b"files"][0].update({b"length": 2**60})),
    "attr is a number": edited(V1_INFO, lambda i: i[b"files"][0].update({b"attr": 1})),
    "no file tree": without(V2_INFO, b"file tree"),
    "empty file tree": V2_INFO | {b"file tree": {}},
    "file tree is a list": V2_INFO | {b"file tree": []},
    "an empty folder": V2_INFO | {b"file tree": {b"a": LEAF, b"b": {}}},
    "leaf is a string": V2_INFO | {b"file tree": {b"a": {b"": b"x"}}},
    "leaf at the root": V2_INFO | {b"file tree": LEAF},
    "leaf without length": V2_INFO | {b"file tree": {b"a": {b"": {b"pieces root": b"r" * 32}}}},
    "leaf without root": V2_INFO | {b"file tree": {b"a": {b"": {b"length": 1}}}},
    "root of 20 bytes": V2_INFO | {b"file tree": {b"a": {b"": {b"length": 1, b"pieces root": b"r" * 20}}}},
    "v2 length beyond bounds": V2_INFO | {b"file tree": {b"a": {b"": {b"length": 2**60, b"pieces root": b"r" * 32}}}},
    "manifest is a number": V1_INFO | {b"weightswarm manifest": 1},
}


@pytest.mark.parametrize("case", BAD_INFOS)
def test_an_info_dict_that_breaks_the_rules_is_refused(case: str) -> None:
    refusal(torrent(BAD_INFOS[case]))
    with pytest.raises(InvalidMetainfo):
        parse_info_dict(bencode(BAD_INFOS[case]))


HYBRID_EDITS: dict[str, Callable[[dict[bytes, Any]], Any]] = {
    "another size": lambda i: i[b"files"][2].update({b"length": 2}),
    "another name": lambda i: i[b"files"][2].update({b"path": [b"b", b"C"]}),
    "another order": lambda i: i[b"files"].reverse(),
    "a file more in v1": lambda i: i[b"files"].append({b"length": 0, b"path": [b"extra"]}),
    "a file more in v2": lambda i: i[b"file tree"].update({b"extra": {b"": {b"length": 0}}}),
    "a file of v2 as a pad file": lambda i: i[b"files"][2].update({b"attr": b"p"}),
    "a pad file that is none": lambda i: i[b"files"][1].pop(b"attr"),
    "no v1 list": lambda i: (i.pop(b"files"), i.update({b"length": 16385})),
}


@pytest.mark.parametrize("edit", HYBRID_EDITS.values(), ids=HYBRID_EDITS)
def test_v1_and_v2_lists_that_differ_are_refused(edit: Callable[[dict[bytes, Any]], Any]) -> None:
    assert "v1 and v2 file lists differ" in refusal(torrent(edited(HYBRID_INFO, edit)))


def test_over_100_000_files_are_refused() -> None:
    files = [{b"length": 0, b"path": [b"%d" % number]} for number in range(100_001)]
    assert "100,000" in refusal(torrent(V1_INFO | {b"files": files, b"pieces": b""}))


@pytest.mark.parametrize(
    "data",
    [b"", b"le", b"de", b"i1e", b"4:info", b"d4:infoe", b"d4:infodee", b"{}", b"<html>", unsorted_torrent() + b"x"],
)
def test_what_is_no_torrent_is_refused(data: bytes) -> None:
    refusal(data)


@pytest.mark.parametrize("layers", [b"x", [b"x"], {b"r" * 32: 1}, 5])
def test_piece_layers_are_a_dictionary_of_strings(layers: Any) -> None:
    assert "piece layers" in refusal(torrent(V2_INFO, **{"piece layers": layers}))


@pytest.mark.parametrize(
    ("outer", "trackers"),
    [
        ({"announce": b"udp://a.example:1"}, ("udp://a.example:1",)),
        ({"announce": b"udp://a.example:1", "announce-list": [[b"udp://b.example:1"], [b"x"]]}, ("udp://b.example:1",)),
        ({"announce-list": [[b"udp://b.example:1", b"udp://b.example:1"], b"x", 5]}, ("udp://b.example:1",)),
        ({"announce": 5, "announce-list": b"x"}, ()),
        ({"announce": b"http://a.example/\x1b[2J"}, ()),
        ({"announce-list": [[b"udp://%d.example:1" % n] for n in range(300)]}, 256),
    ],
)
def test_odd_outer_fields_do_not_stop_a_torrent(outer: dict[str, Any], trackers: Any) -> None:
    read = parse_metainfo(torrent(V1_INFO, **outer, **{"url-list": b"https://w.example/", "comment": b"\xff"}))
    assert read.trackers == trackers or len(read.trackers) == trackers
    assert read.web_seeds == ("https://w.example/",)


junk = st.recursive(
    st.binary(max_size=12) | st.integers(-10, 2**62),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.binary(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@PROPERTY
@given(st.sampled_from([V1_INFO, V2_INFO, HYBRID_INFO]), st.data())
def test_a_changed_torrent_is_read_or_refused_and_nothing_else(info: dict[bytes, Any], data: st.DataObject) -> None:
    document: Any = copy.deepcopy({b"info": info, b"announce": b"udp://a.example:1"})
    node = document
    while True:
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        if not isinstance(node[key], dict | list) or not node[key] or data.draw(st.integers(0, 3)) == 0:
            break
        node = node[key]
    node[key] = data.draw(junk)
    changed = bencode(document)
    try:
        read = parse_metainfo(changed)
    except InvalidMetainfo as error:
        assert str(error).isprintable()
    else:
        assert all(check_path(file.path) is None for file in read.files)
        assert with_outer_fields(read, OUTER).info_hash == read.info_hash


@PROPERTY
@given(st.sampled_from([V1_INFO, V2_INFO, HYBRID_INFO]), st.data())
def test_changed_bytes_are_read_or_refused_and_nothing_else(info: dict[bytes, Any], data: st.DataObject) -> None:
    changed = bytearray(torrent(info))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(changed)))
        changed[start : start + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    try:
        parse_metainfo(bytes(changed))
    except InvalidMetainfo as error:
        assert str(error).isprintable()


@PROPERTY
@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda tail: b"d4:info" + tail))
def test_arbitrary_bytes_are_refused_and_nothing_else(data: bytes) -> None:
    refusal(data)
    with pytest.raises(InvalidMetainfo):
        parse_info_dict(data)


def test_the_sample_infos_are_what_they_seem() -> None:
    assert info_of(torrent(HYBRID_INFO)) == HYBRID_INFO
