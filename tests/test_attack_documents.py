"""Hostile metadata, JSON and sums: the project's own errors come out, in bounded time and memory; nothing acts on a
terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from targets import TARGETS

from bounded import MEMORY, judge
from hostile import NOWHERE, place, refused, release_of
from running import CommandLine, Outcome
from weightswarm.errors import WeightswarmError
from weightswarm.expected import expected_by_file
from weightswarm.magnet import parse_magnet
from weightswarm.manifest import FileEntry, Manifest, parse_manifest
from weightswarm.metainfo import bencode, parse_metainfo

CORPUS = Path(__file__).parent / "fuzz" / "corpus"
SECONDS = 6.0
"""CPU seconds for any document up to the bounds: 600,000 bencoded dictionaries take the longest."""

MIB = 1024 * 1024


def string(data: bytes) -> bytes:
    """Bencode a string."""
    return b"%d:%s" % (len(data), data)


def in_info(key: bytes, value: bytes) -> bytes:
    """A torrent whose info dict begins with one key of a value that is bencoded already."""
    return b"d4:infod" + string(key) + value + b"12:piece lengthi16384e6:pieces0:ee"


def beside_info(key: bytes, value: bytes) -> bytes:
    """An ordinary torrent with a key after its info dict."""
    return bencode({b"info": INFO})[:-1] + string(key) + value + b"e"


INFO: dict[bytes, Any] = {b"length": 1, b"name": b"m", b"piece length": 16384, b"pieces": b"x" * 20}
EMOJI = "😀".encode()
ACCEPTED = ""


def huge_documents() -> dict[str, tuple[str, bytes, str]]:
    """Documents that would cost time or memory: by name, the parser, the bytes, what the refusal says."""
    return {
        "JSON: lists": ("manifest", b'{"files": [' + b"[]," * (10 * MIB) + b"0]}", "100,000 files"),
        "JSON: strings": ("manifest", b'{"files": [' + b'"aa",' * (6 * MIB) + b"0]}", "100,000 files"),
        "JSON: wide strings": ("manifest", b'{"files": [' + (b'"%s",' % EMOJI) * (4 * MIB) + b"0]}", "100,000 files"),
        "JSON: keys": ("manifest", b"{" + b",".join(map(b'"%x":1'.__mod__, range(MIB))) + b"}", "100,000 files"),
        "JSON: quotes and backslashes": ("manifest", b'{"' + b'\\",' * (10 * MIB), "not JSON"),
        "JSON: a string of backslashes": ("manifest", b'{"' + b"[" * MIB + b"\\" * (30 * MIB), "not JSON"),
        "JSON: one wide string": ("manifest", b'{"name": "' + EMOJI * (7 * MIB) + b'"}', "not known here"),
        "JSON: an integer of 30,000,000 digits": ("manifest", b'{"files": ' + b"9" * (30 * MIB) + b"}", "not JSON"),
        "JSON: 7,000 integers of 4,299 digits": ("manifest", b'{"files": [' + (b"9" * 4299 + b",") * 7000 + b"0]}", ""),
        "JSON: nested a million deep": ("manifest", b'{"a": ' + b"[" * 400_000, "nested too deeply"),
        "JSON: objects a million deep": ("manifest", b'{"a": ' * 1_000_000, "nested too deeply"),
        "bencode: one long list": ("metainfo", in_info(b"a", b"l" + b"i7e" * 2_000_000 + b"e"), "250,000 items"),
        "bencode: dictionaries": (
            "metainfo",
            in_info(b"a", b"l" + (b"d2:aa" * 50 + b"de" + b"e" * 50) * 33_000 + b"e"),
            "600,000 dictionaries",
        ),
        "bencode: nested 100,000 deep": ("metainfo", in_info(b"a", b"l" * 100_000 + b"e" * 100_000), "nested"),
        "bencode: a name of 120 MiB": ("metainfo", in_info(b"name", string(EMOJI * (30 * MIB))), "name is longer"),
        "bencode: 127 MiB of v1 pieces": ("metainfo", in_info(b"x", string(b"x" * (127 * MIB))), "name is missing"),
        "bencode: over 128 MiB": ("metainfo", b"d" + b"x" * (128 * MIB), "larger than"),
        "bencode: a comment of 120 MiB": ("metainfo", beside_info(b"comment", string(EMOJI * (30 * MIB))), ACCEPTED),
        "bencode: 240,000 web seeds": (
            "metainfo",
            beside_info(b"url-list", b"l" + b"".join(map(b"10:a://%06d".__mod__, range(240_000))) + b"e"),
            ACCEPTED,
        ),
        "SHA256SUMS: 30 MiB of nothing": ("expected", b"\n" * (30 * MIB), "no SHA256SUMS"),
        "SHA256SUMS: one line of 30 MiB": ("expected", b"a" * (30 * MIB) + EMOJI, "neither a manifest"),
        "magnet: 5,900 trackers": ("magnet", b"magnet:?xt=urn:btih:" + b"a" * 40 + b"&tr=udp://a" * 5900, ACCEPTED),
        "magnet: 60,000 parameters": ("magnet", b"magnet:?" + b"&=" * 32_000, "names no torrent"),
        "magnet: percent signs": ("magnet", b"magnet:?dn=" + b"%25" * 21_000, "names no torrent"),
        "magnet: 30 MiB": ("magnet", b"magnet:?" + b"a" * (30 * MIB), "longer than"),
    }


@pytest.mark.timeout(600)  # seconds of CPU, on cores that others share
def test_documents_that_cost_something_are_read_or_refused_within_bounds(
    tmp_path: Path, figure: Callable[[str, float], None]
) -> None:
    cases = huge_documents()
    verdicts = judge(tmp_path, {name: (parser, data) for name, (parser, data, _) in cases.items()})
    for name, verdict in verdicts.items():
        assert not verdict.crash, (name, verdict)
        words = cases[name][2]
        assert any(word in verdict.error for word in words.split("|")), (name, verdict)
        assert (verdict.error == "") == (words == ACCEPTED and not name.startswith("JSON")), (name, verdict)
        assert verdict.seconds < SECONDS, (name, verdict)
        assert verdict.memory < MEMORY, (name, verdict)
    figure("huge documents read or refused within 6 s of CPU and 512 MiB", len(verdicts))


GOOD = Manifest("org/model", "0" * 40, (FileEntry("a", 3, "b" * 64, "a" * 64),)).to_bytes().decode()

SIZES = ["1e400", "-1e400", "1e3", "3.0", "-1", "-0", "1" * 4299, "1" * 1_000_000, "281474976710657", "NaN", "Infinity"]
WRONG = ["true", "null", '"3"', "[3]", "{}", "[]", '""', '"\\ud800"', '"\\udfff\\ud800"', *SIZES]


@pytest.mark.parametrize("key", ['"path": "a"', f'"sha256": "{"b" * 64}"', '"size": 3', '"name": "org/model"',
                                 f'"revision": "{"0" * 40}"', '"weightswarm_manifest": 1'])  # fmt: skip
def test_a_manifest_with_another_value_in_any_place_is_refused(key: str) -> None:
    parse_manifest(GOOD.encode())
    name = key.partition(":")[0]
    for value in WRONG:
        if key.startswith('"path"') and value == '"3"':
            continue
        with pytest.raises(WeightswarmError) as caught:
            parse_manifest(GOOD.replace(key, f"{name}: {value}").encode())
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 1000
    with pytest.raises(WeightswarmError, match="stands twice"):
        parse_manifest(GOOD.replace(key, f"{key},\n {key}").encode())


NUMBERS = [
    b"i-1e",
    b"i-0e",
    b"i007e",
    b"ie",
    b"i1.5e",
    b"i1e400e",
    b"i9223372036854775808e",
    b"i" + b"9" * 10**6 + b"e",
]
STRINGS = [b"-1:x", b"01:x", b"4294967296:x", b"99999999999:x", b"+1:x", b"1 :x", b"1e0:x"]


@pytest.mark.parametrize("key", [b"6:length", b"12:piece length", b"4:name", b"6:pieces"])
def test_a_torrent_with_another_value_in_any_place_is_refused(key: bytes) -> None:
    good = bencode({b"info": INFO})
    parse_metainfo(good)
    value = bencode(INFO[key.partition(b":")[2]])
    for wrong in (*NUMBERS, *STRINGS, b"le", b"de", b"i0e" if key != b"6:length" else b"i1152921504606846977e"):
        with pytest.raises(WeightswarmError) as caught:
            parse_metainfo(good.replace(key + value, key + wrong))
        assert str(caught.value).isprintable()
    with pytest.raises(WeightswarmError, match="stands twice"):
        parse_metainfo(good.replace(key + value, (key + value) * 2))
    with pytest.raises(WeightswarmError, match="follow its end"):
        parse_metainfo(good + b"0:")


def test_a_sums_file_that_is_cut_off_by_the_bound_is_refused_and_not_cut(tmp_path: Path) -> None:
    sums = tmp_path / "SHA256SUMS"
    sums.write_bytes(b"#" * (32 * MIB) + b"\n" + b"a" * 64 + b"  file\n")
    with pytest.raises(WeightswarmError, match="no SHA256SUMS file"):
        expected_by_file(sums)


@pytest.mark.parametrize("name", TARGETS)
def test_the_inputs_that_fuzzing_found_are_read_or_refused_as_promised(
    name: str, figure: Callable[[str, float], None]
) -> None:
    inputs = sorted((CORPUS / name).iterdir())
    accepted = sum(TARGETS[name](path.read_bytes()) for path in inputs)
    assert 0 < accepted < len(inputs), "the corpus holds both"
    figure("fuzzing inputs of the committed corpus run", len(inputs))


def test_the_committed_corpus_is_small() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} == set(TARGETS)
    assert len(files) < 1000
    assert sum(path.stat().st_size for path in files) < MIB


# --- the terminal ----------------------------------------------------------------------------------------------------

EVIL = "\x1b]0;owned\x07\x1b[2J\r\nError: fine\u202e\u2066\x9b31m\u2028"
LONG = "x" * 100_000


def silent(outcome: Outcome) -> Outcome:
    """Assert that nothing which a terminal would act on was printed, and return the outcome."""
    assert (outcome.stdout + outcome.stderr).replace("\n", "").isprintable(), outcome
    assert not any(line.startswith("Error: fine") for line in (outcome.stdout + outcome.stderr).splitlines())
    return outcome


@contextmanager
def tracker_that_says(reason: bytes) -> Iterator[str]:
    """An HTTP tracker on loopback that refuses everybody; yields its announce URL."""

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = bencode({b"failure reason": reason})
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/announce"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("reason", [EVIL.encode(), b"\xff\xfe\x1b[2J", (EVIL + LONG).encode(), b"\xed\xa0\x80"])
def test_a_trackers_reply_reaches_the_terminal_escaped_and_short(cli: CommandLine, reason: bytes) -> None:
    with tracker_that_says(reason) as url:
        outcome = silent(cli("fetch", f"{NOWHERE}%1B%5B2J&tr={url}", "--timeout", "2"))
    refused(outcome, 4, "127.0.0.1")
    assert len(outcome.stderr) < 20_000
    if b"owned" in reason:
        assert r"\x1b]0;owned" in outcome.stderr


def test_a_link_and_a_torrent_are_shown_escaped_and_as_valid_json(cli: CommandLine, tmp_path: Path) -> None:
    described = GOOD.replace('\n "files"', '\n "description": "\\u001b[2J\u202e\x9b\\r\\n",\n "files"').encode()
    (tmp_path / "m.json").write_bytes(described)
    assert r"\x1b[2J\u202e\x9b" in silent(cli.ok("show", "m.json")).stdout
    assert cli.ok("show", "m.json", "--json").json["description"] == "\x1b[2J\u202e\x9b\r\n"
    assert silent(cli.ok("show", "m.json", "--json")).stdout.isascii()
    for name in (EVIL, "\udcff", "\ud800"):
        evil = INFO | {b"name": name.encode("utf-8", "surrogatepass")}
        (tmp_path / "evil.torrent").write_bytes(bencode({b"info": evil}))
        for command in (("show",), ("fetch", "--dry-run", "--trust-magnet"), ("show", "--json")):
            refused(silent(cli(*command, "evil.torrent")), 1, "Invalid torrent")
    private_use = INFO | {b"name": "a\ue000b".encode()}
    (tmp_path / "odd.torrent").write_bytes(bencode({b"info": private_use}))
    assert r"a\ue000b" in silent(cli.ok("show", "odd.torrent")).stdout
    assert r"a\ue000b" in silent(cli.ok("fetch", "odd.torrent", "--dry-run", "--trust-magnet")).stdout


def test_a_record_that_somebody_planted_in_the_cache_does_not_speak_to_the_terminal(
    cli: CommandLine, tmp_path: Path, hub: Path, model: Path
) -> None:
    release = release_of(model)
    place(release, hub)
    (record,) = hub.rglob("record.json")
    facts = json.loads(record.read_bytes())
    record.write_text(json.dumps(facts | {"verified": EVIL}))
    assert r"\x1b]0;owned" in silent(cli.ok("ls")).stdout
    (tmp_path / "release.torrent").write_bytes(release.metainfo.data)
    assert r"\x1b]0;owned" in silent(cli.ok("fetch", "release.torrent", "-n", "org/model")).stderr
    assert cli.ok("ls", "--json").json[0]["verified"] == EVIL
    record.write_text("[" * 100_000)
    assert "unknown" in silent(cli.ok("ls")).stdout


def test_a_link_that_is_none_is_quoted_escaped(cli: CommandLine) -> None:
    for text in (
        f"magnet:?dn={EVIL}",
        f"magnet:{EVIL}",
        EVIL,
        f"org/{EVIL}",
        f"magnet:?xt=urn:btih:{'a' * 39}&tr={EVIL}",
    ):
        refused(silent(cli("show", text)), 2)
        refused(silent(cli("fetch", text, "--dry-run")), 2)
    with pytest.raises(WeightswarmError) as caught:
        parse_magnet(f"magnet:?dn={EVIL}")
    assert str(caught.value).isprintable()
