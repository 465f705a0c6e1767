"""Hostile names in manifests, torrents and metadata from peers are refused before any payload, at little cost."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import libtorrent as lt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bounded import MEMORY, SECONDS, judge
from hostile import contents, loopback_session, refused, visible
from running import CommandLine
from samples import PROPERTY
from weightswarm.errors import InvalidManifest, InvalidMetainfo
from weightswarm.manifest import parse_manifest
from weightswarm.metainfo import bencode, parse_metainfo

DIGEST = "a" * 64
PIECE_LENGTH = 16 * 1024


# --- documents -------------------------------------------------------------------------------------------------------


def manifest_of(paths: Sequence[str]) -> bytes:
    """A manifest in canonical form but for the order and the paths of its files, which may be anything."""
    files = ",\n".join(
        f'  {{\n   "path": "{path}",\n   "pieces_root": "{DIGEST}",\n   "sha256": "{DIGEST}",\n   "size": 1\n  }}'
        for path in paths
    )
    return (
        f'{{\n "files": [\n{files}\n ],\n "name": "org/model",\n "revision": "{"0" * 40}",\n'
        ' "weightswarm_manifest": 1\n}\n'
    ).encode()


def v1_torrent(files: list[dict[bytes, Any]]) -> bytes:
    """A v1 torrent whose piece list fits its files."""
    pieces = -(-sum(file[b"length"] for file in files) // PIECE_LENGTH)
    return bencode({b"info": _info(files=files, pieces=b"x" * 20 * pieces)})


def v1_of(entries: bytes) -> bytes:
    """A v1 torrent of empty files whose list is bencoded already."""
    return v1_torrent([]).replace(b"5:filesle", b"5:filesl" + entries + b"e")


def v1_paths(*paths: Sequence[bytes]) -> bytes:
    """A v1 torrent of files of one byte."""
    return v1_torrent([{b"length": 1, b"path": list(path)} for path in paths])


def v2_torrent(tree: bytes) -> bytes:
    """A v2 torrent around a file tree that is bencoded already, in any way."""
    head = bencode(_info())[:-1].removesuffix(b"12:piece lengthi16384e")
    return b"d4:infod9:file tree" + tree + b"12:meta versioni2e" + head[1:] + b"12:piece lengthi16384eee"


def v2_nested(components: Sequence[bytes]) -> bytes:
    """A v2 torrent of one file, however deep."""
    opening = b"".join(b"d%d:%s" % (len(name), name) for name in components)
    return v2_torrent(opening + LEAF + b"e" * len(components))


LEAF = bencode({b"": {b"length": 1, b"pieces root": b"r" * 32}})


def _info(**fields: Any) -> dict[bytes, Any]:
    given = {key.encode(): value for key, value in fields.items()}
    return {b"name": b"m", b"piece length": PIECE_LENGTH, **given}


# --- bounds ----------------------------------------------------------------------------------------------------------

DEEP = [b"d"] * 5000
MILLION = 1_000_000


def hostile_lists() -> dict[str, tuple[str, bytes, str]]:
    """File lists that cost something: by name, the parser, the document, and what its refusal says."""
    slashes = "/".join(["d"] * 5000)
    spread = [f"x{number:05}" + f"/{'d' * 28}" * 31 for number in range(10_000)]
    deep = b"28:" + b"d" * 28
    numbered = [b"d6:lengthi0e4:pathl6:%s%see" % (path[:6].encode(), deep * 31) for path in [*spread, "X00000"]]
    return {
        "manifest, 5,000 levels": ("manifest", manifest_of([slashes]), "longer than 1024"),
        "manifest, 500 levels": ("manifest", manifest_of(["/".join(["d"] * 500)]), "32 folders deep"),
        "manifest, 8,000 duplicates": ("manifest", manifest_of(["a"] * 8000), "listed twice"),
        "manifest, 8,000 that differ in case": (
            "manifest",
            manifest_of([f"{number:b}".rjust(13, "0").replace("0", "a").replace("1", "A") for number in range(8000)]),
            "only in case",
        ),
        "manifest, a million whole entries": ("manifest", manifest_of(["a"]) + b" " * 250_000_000, "larger than"),
        "manifest, a million bare entries": (
            "manifest",
            b'{"files": [' + b'{"path": "a"},' * MILLION + b"{}]}",
            "100,000 files",
        ),
        "manifest, a million empty entries": ("manifest", b'{"files": [' + b"{}," * MILLION + b"{}]}", "100,000"),
        "manifest, 310,000 folders": ("manifest", manifest_of([*spread, spread[0].upper()]), "only in case"),
        "v1, 5,000 levels": ("metainfo", v1_paths(DEEP), "32 folders deep"),
        "v2, 5,000 levels": ("metainfo", v2_nested(DEEP), "nested"),
        "v1, 8,000 duplicates": ("metainfo", v1_paths(*[[b"a"]] * 8000), "listed twice"),
        "v2, 8,000 duplicates": ("metainfo", v2_torrent(b"d" + (b"1:a" + LEAF) * 8000 + b"e"), "stands twice"),
        "v1, a million files": (
            "metainfo",
            b"d4:infod5:filesl" + b"d6:lengthi0e4:pathl1:aee" * MILLION + b"eee",
            "100,000 files",
        ),
        "v2, a million files": (
            "info dict",
            v2_torrent(b"d" + b"".join(map(b"7:%07dd0:d6:lengthi0eee".__mod__, range(MILLION))) + b"e")[7:-1],
            "100,000 files",
        ),
        "v1, a million files without a length": (
            "metainfo",
            b"d4:infod5:filesl" + b"d4:pathl1:aee" * MILLION + b"eee",
            "250,000 items",
        ),
        "v1, 100,000 endless paths": (
            "metainfo",
            v1_of((b"d6:lengthi0e4:pathl900:%s4:%see" % (b"d" * 900, "😀".encode())) * 100_000),
            "characters together",
        ),
        "v1, 310,000 folders": ("metainfo", v1_of(b"".join(numbered)), "only in case"),
        "SHA256SUMS, a million lines": (
            "expected",
            b"%064x  name\n" % 0 * MILLION,
            "200,000 lines",
        ),
    }


@pytest.mark.timeout(600)  # seconds of CPU, on cores that others share
def test_file_lists_that_cost_something_are_refused_within_bounds(
    tmp_path: Path, figure: Callable[[str, float], None]
) -> None:
    cases = hostile_lists()
    verdicts = judge(tmp_path, {name: (parser, data) for name, (parser, data, _) in cases.items()})
    for name, verdict in verdicts.items():
        assert not verdict.crash, (name, verdict)
        assert cases[name][2] in verdict.error, (name, verdict)
        assert verdict.error, name
        assert verdict.seconds < SECONDS, (name, verdict)
        assert verdict.memory < MEMORY, (name, verdict)
    figure("hostile file lists refused within 2 s of CPU and 512 MiB", len(verdicts))


# --- names, through the parsers themselves ---------------------------------------------------------------------------

_ODD = (
    "..",
    ".",
    "",
    "...",
    "C:",
    "a/b",
    "/",
    "\\",
    "..\\..",
    "nul",
    "a.",
    "a ",
    "~",
    "\u2025",
    "\uff0e\uff0e",
    "\u2215",
)
components = st.lists(st.sampled_from(_ODD) | st.text(st.characters(codec="utf-8"), max_size=4), max_size=4)


@PROPERTY
@given(st.lists(components, min_size=1, max_size=3))
def test_no_path_that_a_parser_accepted_resolves_outside_its_root(lists: list[list[str]]) -> None:
    root = Path("/srv/no-such-root")
    nested = v2_nested([component.encode() for component in lists[0]]) if lists[0] else b""
    listed = v1_paths(*([component.encode() for component in parts] for parts in lists))
    for torrent in (listed, nested):
        try:
            paths = [file.path for file in parse_metainfo(torrent).files]
        except InvalidMetainfo:
            continue
        assert all(os.path.normpath(root / path) == f"{root}/{path}" for path in paths)
    try:
        manifest = parse_manifest(manifest_of(sorted("/".join(parts) for parts in lists)))
    except InvalidManifest:
        return
    assert all(os.path.normpath(root / entry.path) == f"{root}/{entry.path}" for entry in manifest.files)


HOSTILE: dict[str, tuple[list[bytes], ...]] = {
    "traversal": ([b"..", b"..", b"escaped"],),
    "traversal in one component": ([b"../../escaped"],),
    "traversal in the middle": ([b"a", b"..", b"..", b"escaped"],),
    "traversal with backslashes": ([b"..\\..\\escaped"],),
    "absolute": ([b"/tmp/escaped"],),
    "absolute by an empty first component": ([b"", b"tmp", b"escaped"],),
    "a drive": ([b"C:", b"escaped"],),
    "a drive and a relative name": ([b"C:escaped"],),
    "UNC": ([b"\\\\server\\share\\escaped"],),
    "UNC with slashes": ([b"//server/share/escaped"],),
    "a device namespace": ([b"\\\\.\\PhysicalDrive0"],),
    "a reserved name": ([b"sub", b"nul"],),
    "a reserved name with an extension": ([b"com1.safetensors"],),
    "a reserved name as a folder": ([b"aux", b"x"],),
    "a trailing dot": ([b"model."],),
    "a trailing space": ([b"model "],),
    "a stream": ([b"model.bin:evil"],),
    "NUL": ([b"model\x00.bin"],),
    "two cases of one name": ([b"Model.bin"], [b"model.bin"]),
    "two cases of one folder's file": ([b"A", b"x"], [b"a", b"X"]),
    "NFC and NFD": (["é".encode()], ["e\u0301".encode()]),
    "a name twice": ([b"a"], [b"a"]),
    "a file that is a folder": ([b"a"], [b"a", b"b"]),
    "a file that is a folder in another case": ([b"A"], [b"a", b"b"]),
    "a pad file's folder": ([b".pad", b"5"],),
    "version control": ([b".git", b"hooks", b"post-checkout"],),
    "33 levels": ([b"d"] * 33,),
    "5,000 levels": ([b"d"] * 5000,),
    "invalid UTF-8": ([b"\xff\xfe"],),
    "a lone surrogate": ([b"\xed\xa0\x80"],),
    "an overlong slash": ([b"..\xc0\xaf..\xc0\xafx"],),
    "a right-to-left mark": (["gpj.\u202eexe".encode()],),
    "an escape sequence": ([b"\x1b[2J"],),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_name_is_refused_in_every_kind_of_document(case: str) -> None:
    paths = HOSTILE[case]
    with pytest.raises(InvalidMetainfo) as caught:
        parse_metainfo(v1_paths(*paths))
    assert str(caught.value).isprintable()
    if len(paths) == 1 and paths[0][0]:
        with pytest.raises(InvalidMetainfo):
            parse_metainfo(v2_nested(paths[0]))
    raw = [
        b"/".join(path).replace(b"\\", b"\\\\").replace(b"\x1b", b"\\u001b").replace(b"\0", b"\\u0000")
        for path in paths
    ]
    marked = manifest_of([f"@{number}@" for number in range(len(raw))])
    for number, path in enumerate(raw):
        marked = marked.replace(b"@%d@" % number, path)
    with pytest.raises(InvalidManifest) as refusal:
        parse_manifest(marked)
    assert "canonical" not in str(refusal.value), "the name is what it is refused for"


LINKS: dict[str, dict[bytes, Any]] = {
    "attr l": {b"attr": b"l", b"symlink path": [b"..", b"..", b"etc", b"passwd"]},
    "attr l without a target": {b"attr": b"l"},
    "a target without attr": {b"symlink path": [b"etc"]},
    "attr xlh": {b"attr": b"xlh"},
}


@pytest.mark.parametrize("case", LINKS)
def test_a_symbolic_link_is_refused_in_both_kinds_of_list(case: str) -> None:
    leaf = {b"length": 1, b"pieces root": b"r" * 32} | LINKS[case]
    for torrent in (
        v1_torrent([{b"length": 1, b"path": [b"a"]}, {b"length": 0, b"path": [b"b"]} | LINKS[case]]),
        v2_torrent(bencode({b"a": {b"": leaf}})),
        v2_torrent(bencode({b"a": {b"": leaf | {b"length": 0}}})),
    ):
        with pytest.raises(InvalidMetainfo, match="symbolic link"):
            parse_metainfo(torrent)


def test_a_pad_file_is_never_content() -> None:
    posing = [{b"length": 16383, b"path": [b"model.bin"], b"attr": b"p"}, {b"length": 1, b"path": [b"a"]}]
    assert [file.path for file in parse_metainfo(v1_torrent(posing)).files] == ["a"]
    escaping = [{b"length": 16383, b"path": [b"..", b"..", b"x"], b"attr": b"p"}, {b"length": 1, b"path": [b"a"]}]
    assert [file.path for file in parse_metainfo(v1_torrent(escaping)).files] == ["a"]
    with pytest.raises(InvalidMetainfo, match="no files"):
        parse_metainfo(v1_torrent(posing[:1]))
    with pytest.raises(InvalidMetainfo, match="reserved name"):
        parse_metainfo(v1_torrent([{b"length": 1, b"path": [b".pad", b"1"]}]))


# --- as metadata from a peer -----------------------------------------------------------------------------------------


@contextmanager
def serving_metadata(torrents: Sequence[bytes]) -> Iterator[list[str]]:
    """Give out the info dicts of hostile torrents by a plain libtorrent session; yield their magnets."""
    session = loopback_session()
    magnets = []
    for number, torrent in enumerate(torrents):
        info = lt.torrent_info(torrent)
        parameters = lt.add_torrent_params()
        parameters.ti = info
        parameters.save_path = f"/nowhere/{number}"
        parameters.flags = lt.torrent_flags.seed_mode | lt.torrent_flags.upload_mode
        session.add_torrent(parameters)
        hashes = info.info_hashes()
        topic = f"btih:{hashes.v1}" if hashes.has_v1() else f"btmh:1220{hashes.v2}"
        magnets.append(f"magnet:?xt=urn:{topic}&x.pe=127.0.0.1:{session.listen_port()}")
    try:
        yield magnets
    finally:
        session.pause()


FROM_PEERS: dict[str, tuple[bytes, str]] = {
    "traversal": (v1_paths(*HOSTILE["traversal"]), "'..'"),
    "absolute": (v1_paths(*HOSTILE["absolute"]), "slash"),
    "a drive": (v1_paths(*HOSTILE["a drive"]), "colon"),
    "two cases of one name": (v1_paths(*HOSTILE["two cases of one name"]), "only in case"),
    "a link": (
        v1_torrent([{b"length": 1, b"path": [b"a"]}, {b"length": 0, b"path": [b"b"]} | LINKS["attr l"]]),
        "link",
    ),
    "33 levels": (v1_paths(DEEP[:33]), "deep"),
    "an escape sequence": (v1_paths([b"\x1b]0;owned\x07", b"x"]), r"control"),
    "v2 traversal": (v2_nested([b"..", b"escaped"]), "'..'"),
    "the same name six times": (v1_paths(*[[b"a"]] * 6), "listed twice"),
}


def test_hostile_metadata_from_a_peer_is_refused_and_nothing_is_written(
    cli: CommandLine, tmp_path: Path, hub: Path, figure: Callable[[str, float], None]
) -> None:
    (tmp_path / "beside").write_bytes(b"mine")
    before = contents(tmp_path)
    with serving_metadata([torrent for torrent, _ in FROM_PEERS.values()]) as magnets:
        for magnet, (name, (_, words)) in zip(magnets, FROM_PEERS.items(), strict=True):
            started = time.monotonic()
            outcome = cli("fetch", magnet, "--trust-magnet", "--timeout", "20")
            refused(outcome, 1, "Invalid torrent")
            assert re.search(words, outcome.stderr), (name, outcome.stderr)
            assert outcome.stderr.replace("\n", "").isprintable()
            assert time.monotonic() - started < 20, "it was refused, and not waited for"
    assert contents(tmp_path) == before
    assert not hub.exists() or visible(hub) == []
    figure("hostile metadata served by a peer and refused", len(FROM_PEERS))
