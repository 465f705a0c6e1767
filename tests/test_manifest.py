"""Manifests: canonical bytes both ways, and everything else refused by name."""

from __future__ import annotations

import copy
import hashlib
import json
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samples import GOLDEN, PROPERTY, TINY, hex_digits, make_sample, path_components, release_paths
from weightswarm.errors import InvalidInput, InvalidManifest
from weightswarm.magnet import InfoHash
from weightswarm.manifest import (
    FileEntry,
    Manifest,
    derived_revision,
    magnet_model_name,
    parse_manifest,
    parse_model_name,
    parse_revision,
    parsing,
    path_order,
    with_revision,
)
from weightswarm.manifest.document import _entry_text
from weightswarm.manifest.listing import read_listing

EMPTY = hashlib.sha256(b"").hexdigest()
REVISION = "0123456789abcdef0123456789abcdef01234567"
GOLDEN_REVISION = "600aa7f8cd13fab52402ecb1cc640ad7f40e382c"
GOLDEN_SHA256 = "de54ffd774511d62f8298b2d90456de16c20a546006e72070e491066445244de"


@st.composite
def file_entries(draw: st.DrawFn, path: str) -> FileEntry:
    size = draw(st.sampled_from([0, 1, 16384, 2**48]) | st.integers(0, 2**48))
    sha256 = draw(hex_digits(64)) if size else EMPTY
    # One content has one name.
    git = st.just(hashlib.sha1(sha256.encode()).hexdigest() if size else "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391")
    blob_id = draw(st.none() | st.just(sha256) | git)
    return FileEntry(path, size, sha256, draw(hex_digits(64)) if size else None, blob_id)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    words = st.text(min_size=1, max_size=40)
    return Manifest(
        name=draw(st.sampled_from(["org/model", "meta-llama/Llama-3.1-8B", "a/b", f"{'o' * 47}/{'m' * 48}"])),
        revision=draw(hex_digits(40)),
        files=tuple(draw(file_entries(path)) for path in draw(release_paths())),
        license=draw(st.none() | words),
        description=draw(st.none() | words),
        base_revision=draw(st.none() | hex_digits(40)),
        created=draw(st.none() | st.datetimes().map(lambda time: f"{time:%Y-%m-%dT%H:%M:%SZ}".rjust(20, "0"))),
    )


def entry(path: str = "config.json", **fields: Any) -> dict[str, Any]:
    return {"path": path, "size": 3, "sha256": "a" * 64, "pieces_root": "b" * 64} | fields


def document(*files: Any, **fields: Any) -> dict[str, Any]:
    return {
        "weightswarm_manifest": 1,
        "name": "org/model",
        "revision": REVISION,
        "files": list(files) or [entry()],
    } | fields


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, indent=1).encode() + b"\n"


def refusal(data: bytes) -> InvalidManifest:
    with pytest.raises(InvalidManifest) as caught:
        parse_manifest(data)
    assert str(caught.value).startswith("Invalid manifest: ")
    assert str(caught.value).isprintable()
    return caught.value


@PROPERTY
@given(manifests())
def test_a_manifest_survives_its_own_bytes(manifest: Manifest) -> None:
    data = manifest.to_bytes()
    assert parse_manifest(data) == manifest
    assert parse_manifest(data).to_bytes() == data


@PROPERTY
@given(manifests(), st.randoms(use_true_random=False))
def test_bytes_do_not_depend_on_the_order_in_which_files_were_found(manifest: Manifest, random: Any) -> None:
    files = list(manifest.files)
    random.shuffle(files)
    assert replace(manifest, files=tuple(files)).to_bytes() == manifest.to_bytes()


@PROPERTY
@given(manifests(), st.data())
def test_a_changed_document_is_read_or_refused_and_nothing_else(manifest: Manifest, data: st.DataObject) -> None:
    value = json.loads(manifest.to_bytes())
    junk = st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(st.characters(), max_size=20)
        | hex_digits(40),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    )
    target = value if data.draw(st.booleans()) else data.draw(st.sampled_from(value["files"]))
    key = data.draw(st.sampled_from([*target, "new"]))
    if data.draw(st.booleans()):
        target[key] = data.draw(junk)
    else:
        target.pop(key, None)
    changed = json.dumps(value, sort_keys=True, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass") + b"\n"
    try:
        assert parse_manifest(changed).to_bytes() == changed
    except InvalidManifest as error:
        assert str(error).isprintable()


@PROPERTY
@given(manifests(), st.data())
def test_changed_bytes_are_read_or_refused_and_nothing_else(manifest: Manifest, data: st.DataObject) -> None:
    changed = bytearray(manifest.to_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(changed)))
        changed[start : start + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        assert parse_manifest(bytes(changed)).to_bytes() == changed
    except InvalidManifest as error:
        assert str(error).isprintable()


@PROPERTY
@given(st.binary(max_size=200) | st.text(st.sampled_from('{}[]":,0-.eE\\untrlfas \n'), max_size=60).map(str.encode))
def test_arbitrary_bytes_are_refused_and_nothing_else(data: bytes) -> None:
    refusal(data)


@PROPERTY
@given(release_paths(), st.text(max_size=8), st.sampled_from([None, "é", '"files": []']))
def test_the_canonical_bytes_are_those_of_the_standard_library(
    paths: list[str], blob_id: str, description: str | None
) -> None:
    entries = tuple(FileEntry(path, 0, "0" * 64, None, blob_id or None) for path in paths)
    data = Manifest("org/model", "0" * 40, entries, description=description).to_bytes()
    again = json.dumps(json.loads(data), sort_keys=True, ensure_ascii=False, indent=1).encode() + b"\n"
    assert data == again


def test_an_ordinary_document_is_read() -> None:
    files = [entry("a", blob_id="c" * 40), {"path": "b", "size": 0, "sha256": EMPTY}]
    manifest = parse_manifest(canonical(document(*files, license="mit", created="2026-01-31T00:00:00Z")))
    assert manifest.files == (
        FileEntry("a", 3, "a" * 64, "b" * 64, "c" * 40),
        FileEntry("b", 0, EMPTY, None),
    )
    assert (manifest.name, manifest.revision, manifest.license) == ("org/model", REVISION, "mit")
    assert manifest.total_size == 3


GOOD = canonical(document(entry("a"), entry("b/c"), description="é"))


def test_one_name_for_two_contents_is_refused() -> None:
    """SHA-1 can be made to collide, and the cache keeps one file under a name."""
    twins = [entry("a", blob_id="c" * 40), entry("b", blob_id="c" * 40)]
    assert len(parse_manifest(canonical(document(*twins))).files) == 2
    other = [twins[0], entry("b", blob_id="c" * 40, sha256="d" * 64)]
    assert "another sha256" in str(refusal(canonical(document(*other))))


@pytest.mark.parametrize(
    "data",
    [
        GOOD.rstrip(b"\n"),
        GOOD + b"\n",
        GOOD.replace(b"\n", b"\r\n"),
        GOOD + b" ",
        b" " + GOOD,
        GOOD.replace(b'": ', b'":  ', 1),
        GOOD.replace(b"\n  ", b"\n", 1),
        json.dumps(json.loads(GOOD), sort_keys=True, separators=(",", ":")).encode(),
        json.dumps(json.loads(GOOD), sort_keys=True, indent=1).encode() + b"\n",
        GOOD.replace(b"b/c", b"b\\/c"),
        GOOD.replace(b'"size": 3', b'"size": -0'),
        GOOD.replace(b"{\n", b'{\n "weightswarm_manifest": 1,\n', 1).replace(b',\n "weightswarm_manifest": 1\n', b"\n"),
        canonical(document(entry("b"), entry("a"))),
        canonical(document(entry("a-b"), entry("a/b"))),
    ],
    ids=[
        "no newline",
        "two newlines",
        "CRLF",
        "space after",
        "space before",
        "wide colon",
        "indent",
        "compact",
        "escaped é",
        "escaped slash",
        "minus zero",
        "keys reordered",
        "files reordered",
        "files in string order",
    ],
)
def test_only_the_canonical_bytes_are_a_manifest(data: bytes) -> None:
    assert data != GOOD
    if b"-0" in data:
        refusal(data)
    else:
        assert "canonical" in str(refusal(data))


@pytest.mark.parametrize("tail", [b"{}", b"\x00", b"]", GOOD])
def test_bytes_after_the_end_are_refused(tail: bytes) -> None:
    assert "not JSON: Extra data" in str(refusal(GOOD + tail))


def test_a_byte_order_mark_is_refused() -> None:
    refusal(b"\xef\xbb\xbf" + GOOD)


@pytest.mark.parametrize("version", [0, 2, -1, True, "1", None, [1], {"1": 1}, 10**40])
def test_an_unknown_format_version_is_refused_by_name(version: Any) -> None:
    assert f"format version {version!r:.20}" in str(refusal(canonical(document(weightswarm_manifest=version))))


def test_a_document_without_a_version_is_refused() -> None:
    assert "format version None" in str(refusal(b"{}\n"))


@pytest.mark.parametrize(
    "value", [b"[]", b"null", b"1", b'"text"', b"", b"\n", b"{", b'{"a"}', b"{'a': 1}", b"\x00", b"d4:infoe"]
)
def test_what_is_no_json_object_is_refused(value: bytes) -> None:
    assert "JSON" in str(refusal(value))


@pytest.mark.parametrize("key", ["name", "revision", "files", "weightswarm_manifest"])
def test_a_key_that_stands_twice_is_refused_by_name(key: str) -> None:
    value = json.dumps(document()[key]).encode()
    twice = GOOD.replace(b"{\n", b'{\n "%s": %s,\n' % (key.encode(), value), 1)
    assert refusal(twice).entry == key


def test_a_key_that_stands_twice_in_a_file_entry_is_refused_by_name() -> None:
    assert refusal(GOOD.replace(b'"size": 3', b'"size": 3,\n   "size": 3', 1)).entry == "size"


@pytest.mark.timeout(30)
def test_a_repeated_key_among_many_is_found_in_one_pass() -> None:
    keys = b",".join(b'"%d":0' % number for number in range(300_000))
    assert refusal(b"{" + keys + b',"299999":0}').entry == "299999"


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"name": 1}, "name"),
        ({"name": "model"}, "name"),
        ({"name": "../model"}, "name"),
        ({"name": "org/model\n"}, "name"),
        ({"revision": "main"}, "revision"),
        ({"revision": REVISION.upper()}, "revision"),
        ({"revision": REVISION[:-1]}, "revision"),
        ({"revision": REVISION + "\n"}, "revision"),
        ({"revision": int("1" * 40)}, "revision"),
        ({"revision": None}, "revision"),
        ({"base_revision": "x"}, "base_revision"),
        ({"base_revision": None}, "base_revision"),
        ({"license": ""}, "license"),
        ({"license": None}, "license"),
        ({"license": ["mit"]}, "license"),
        ({"description": "x" * 16_385}, "description"),
        ({"created": "yesterday"}, "created"),
        ({"created": "2026-01-31T00:00:00+00:00"}, "created"),
        ({"created": "٢٠٢٦-01-31T00:00:00Z"}, "created"),
        ({"created": 0}, "created"),
        ({"files": None}, "files"),
        ({"files": {}}, "files"),
        ({"files": []}, "files"),
        ({"extra": 1}, "extra"),
        ({"Name": "org/model"}, "Name"),
        ({"files": [entry("a"), None]}, "files[1]"),
        ({"files": [entry("a"), "b"]}, "files[1]"),
        ({"files": [entry("a"), {"size": 0, "sha256": EMPTY}]}, "files[1]"),
        ({"files": [entry("a"), entry() | {"path": 7}]}, "files[1]"),
    ],
)
def test_a_bad_field_is_refused_by_name(fields: dict[str, Any], name: str) -> None:
    error = refusal(canonical(document(**fields)))
    assert error.entry == name
    assert name in str(error)


@pytest.mark.parametrize("key", ["name", "revision", "files"])
def test_a_missing_field_is_refused_by_name(key: str) -> None:
    value = document()
    del value[key]
    assert refusal(canonical(value)).entry == key


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"size": -1}, "size"),
        ({"size": True}, "size"),
        ({"size": False}, "size"),
        ({"size": "3"}, "size"),
        ({"size": None}, "size"),
        ({"size": [3]}, "size"),
        ({"size": 2**48 + 1}, "size"),
        ({"size": 2**64}, "size"),
        ({"size": 10**4000}, "size"),
        ({"sha256": "a" * 63}, "sha256"),
        ({"sha256": "a" * 65}, "sha256"),
        ({"sha256": "A" * 64}, "sha256"),
        ({"sha256": "g" * 64}, "sha256"),
        ({"sha256": "a" * 64 + "\n"}, "sha256"),
        ({"sha256": "а" * 64}, "sha256"),  # noqa: RUF001 - Cyrillic on purpose
        ({"sha256": ""}, "sha256"),
        ({"sha256": None}, "sha256"),
        ({"sha256": 10**63}, "sha256"),
        ({"pieces_root": "b" * 40}, "pieces_root"),
        ({"pieces_root": "B" * 64}, "pieces_root"),
        ({"pieces_root": None}, "pieces_root"),
        ({"pieces_root": []}, "pieces_root"),
        ({"size": 0, "sha256": EMPTY}, "pieces_root"),
        ({"blob_id": "c" * 39}, "blob_id"),
        ({"blob_id": "C" * 40}, "blob_id"),
        ({"blob_id": "c" * 64}, "blob_id"),
        ({"blob_id": "../../x"}, "blob_id"),
        ({"blob_id": None}, "blob_id"),
        ({"mode": 7}, "mode"),
        ({"": 7}, "unknown key"),
    ],
)
def test_a_bad_file_entry_is_refused_by_its_path(fields: dict[str, Any], reason: str) -> None:
    error = refusal(canonical(document(entry("a"), entry("weights/model.bin", **fields))))
    assert error.entry == "weights/model.bin"
    assert "weights/model.bin" in str(error)
    assert reason in str(error)


@pytest.mark.parametrize("key", ["size", "sha256", "pieces_root"])
def test_a_file_entry_without_a_field_is_refused_by_its_path(key: str) -> None:
    bad = entry("weights/model.bin")
    del bad[key]
    error = refusal(canonical(document(bad)))
    assert (error.entry, key in str(error)) == ("weights/model.bin", True)


def test_an_empty_file_has_the_hash_of_nothing_and_no_root() -> None:
    good = {"path": "empty", "size": 0, "sha256": EMPTY}
    assert parse_manifest(canonical(document(good))).files[0].pieces_root is None
    assert refusal(canonical(document(good | {"sha256": "a" * 64}))).entry == "empty"


@pytest.mark.parametrize(
    "number", ["3.0", "3.5", "1e3", "1E400", "NaN", "Infinity", "-Infinity", "03", "+3", "0x3", "9" * 5000]
)
def test_numbers_are_plain_integers(number: str) -> None:
    refusal(GOOD.replace(b'"size": 3', b'"size": ' + number.encode(), 1))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "../x",
        "a/../../x",
        "./a",
        "a//b",
        "/etc/passwd",
        "a\\b",
        "C:/x",
        "\\\\server\\share",
        "//server/share",
        "nul",
        "a/COM1.txt",
        ".git/config",
        ".weightswarm/x",
        "a.",
        "a ",
        "a\x1b[2J",
        "a\x00",
        "a\u202eb",
        "a\u200bb",
        "a" * 300,
    ],
)
def test_a_hostile_path_is_refused_by_its_path(path: str) -> None:
    error = refusal(canonical(document(entry("a"), entry(path))))
    assert error.entry == path
    assert "path" in str(error) or "component" in str(error) or "name" in str(error)


@pytest.mark.parametrize(
    "path_pair",
    [("a", "a"), ("README", "readme"), ("e\u0301", "é"), ("a", "a/b"), ("A", "a/b")],
)
def test_colliding_paths_are_refused_by_name(path_pair: tuple[str, str]) -> None:
    error = refusal(canonical(document(*(entry(path) for path in path_pair))))
    assert error.entry in path_pair


def test_lone_surrogates_are_refused_by_name() -> None:
    marker = "@@"
    for value, name in (
        (document(description=marker), "description"),
        (document(license=marker), "license"),
        (document(name=f"org/{marker}"), "name"),
        (document(entry(marker)), "\ud800"),
        (document(**{marker: 1}), "\ud800"),
    ):
        assert refusal(canonical(value).replace(marker.encode(), b"\\ud800")).entry == name


@pytest.mark.parametrize("raw", [b"\xff", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"])
def test_invalid_utf_8_is_refused_with_its_place(raw: bytes) -> None:
    data = canonical(document(description="@@")).replace(b"@@", raw)
    assert f"not UTF-8 at byte {data.index(raw)}" in str(refusal(data))


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"files":['])
def test_deep_nesting_is_refused(opening: bytes) -> None:
    assert "nested too deeply" in str(refusal(opening * 100_000))


@pytest.mark.parametrize("key", ["weightswarm_manifest", "name", "files", "extra"])
def test_nesting_of_any_depth_is_refused_and_nothing_else(key: str) -> None:
    for depth in [*range(50, 900, 50), *range(900, 1010), *range(1050, 3000, 200)]:
        for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
            nested = opening * depth + b"1" + closing * depth
            refusal(canonical(document(**{key: "@@"})).replace(b'"@@"', nested))


def test_a_document_over_32_mib_is_refused() -> None:
    assert "33,554,432" in str(refusal(b" " * (32 * 1024 * 1024 + 1)))


def test_over_100_000_files_are_refused() -> None:
    head, tail = canonical(document(files="@@")).split(b'"@@"')
    error = refusal(head + b"[" + b"{}," * 100_000 + b"{}]" + tail)
    assert (error.entry, "100,000" in str(error)) == ("files", True)


def test_a_document_of_empty_objects_does_not_fill_the_memory() -> None:
    data = b'{"files":[' + b"{}," * 1_500_000 + b"{}]}"
    tracemalloc.start()
    try:
        refusal(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * len(data), "32 MiB may not become more than 512"


def test_the_derived_revision_covers_all_but_itself() -> None:
    manifest = parse_manifest(GOOD)
    revision = derived_revision(manifest)
    assert revision == hashlib.sha256(replace(manifest, revision="").to_bytes()).hexdigest()[:40]
    assert derived_revision(replace(manifest, revision="f" * 40)) == revision
    assert with_revision(manifest, None).revision == revision
    assert with_revision(manifest, REVISION).revision == REVISION
    changes: list[Callable[[Manifest], Manifest]] = [
        lambda m: replace(m, name="org/other"),
        lambda m: replace(m, license="mit"),
        lambda m: replace(m, files=m.files[:1]),
        lambda m: replace(m, files=(replace(m.files[0], sha256="0" * 64), *m.files[1:])),
    ]
    assert len({revision, *(derived_revision(change(copy.copy(manifest))) for change in changes)}) == 5


def test_the_golden_manifest_is_reproduced_byte_for_byte(tmp_path: Path) -> None:
    golden = (GOLDEN / "tiny.manifest.json").read_bytes()
    assert make_sample(tmp_path, TINY).manifest.to_bytes() == golden
    assert hashlib.sha256(golden).hexdigest() == GOLDEN_SHA256
    manifest = parse_manifest(golden)
    assert manifest.revision == derived_revision(manifest) == GOLDEN_REVISION
    for file in manifest.files:
        assert (file.size, file.sha256) == (len(TINY[file.path]), hashlib.sha256(TINY[file.path]).hexdigest())


@pytest.mark.parametrize("name", ["org/model", "a/b", "meta-llama/Llama-3.1-8B", "_a/b_", f"{'o' * 47}/{'m' * 48}"])
def test_model_names_of_the_hub_are_allowed(name: str) -> None:
    assert parse_model_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "model",
        "a/b/c",
        "/model",
        "org/",
        "org\\model",
        "../model",
        "org/..",
        "org/.hidden",
        "org/model.",
        "-org/model",
        "org/model-",
        "org/a--b",
        "a--b/model",
        "org/a..b",
        "org/model.git",
        "org/mod el",
        "org/modèle",
        "org/model\n",
        f"{'o' * 48}/{'m' * 48}",
    ],
)
def test_other_model_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="Not a model name"):
        parse_model_name(name)


def test_a_revision_is_40_lower_case_hex_digits() -> None:
    assert parse_revision(REVISION) == REVISION
    for text in ("main", REVISION.upper(), REVISION[:-1], REVISION + "\n", ""):
        with pytest.raises(InvalidInput, match="Not a revision"):
            parse_revision(text)


@PROPERTY
@given(st.text(st.characters(), max_size=150) | path_components())
def test_a_strangers_torrent_is_named_below_magnet_whatever_it_calls_itself(torrent_name: str) -> None:
    name = magnet_model_name(torrent_name, InfoHash("0123456789" * 4))
    assert name.startswith("magnet/")
    assert name.endswith("-01234567")
    assert parse_model_name(name) == name


# --- the list of files, read at one look ----------------------------------------------------------------------------


def outcome(data: bytes) -> Manifest | str:
    try:
        return parse_manifest(data)
    except InvalidManifest as error:
        return str(error)


def hidden(data: bytes) -> None:
    """What `read_listing` says of documents that have to be read value by value."""


def ordinary(count: int) -> Manifest:
    digests = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(count)]
    files = [FileEntry(f"a/{n:03}.bin", n + 1, digest, digest) for n, digest in enumerate(digests)]
    files[0] = replace(files[0], blob_id=digests[0])
    files[1] = replace(files[1], blob_id=digests[1][:40])
    return Manifest("org/model", REVISION, tuple(files), license="mit", description='"files": [\n]')


def test_ordinary_files_are_read_at_one_look() -> None:
    manifest = ordinary(20)
    listed = read_listing(manifest.to_bytes())
    assert listed is not None
    assert listed.files == manifest.files
    assert parse_manifest(manifest.to_bytes()) == manifest


@given(manifests())
@PROPERTY
def test_a_list_read_at_one_look_is_the_one_that_was_written(manifest: Manifest) -> None:
    listed = read_listing(manifest.to_bytes())
    assert listed is None or listed.files == tuple(sorted(manifest.files, key=path_order))


_SPLICED = [
    *(bytes([byte]) for byte in b'"\\\n 0A/\0\x7f\xff]},{'),
    *(b"..", b"-1", b"e9", b"\xe2\x80\xae", b"", b"a/000.bin", b"A/001.BIN", b'"path": "a/000.bin"'),
    *(b'\n "files": [\n', b"\n ]", b"\n  },\n  {\n", b'   "size": 1\n'),
]


@given(st.data())
@PROPERTY
def test_a_spoiled_document_is_refused_for_the_same_reason_however_it_is_read(data: st.DataObject) -> None:
    text = ordinary(4).to_bytes()
    for _ in range(data.draw(st.integers(1, 2))):
        start = data.draw(st.integers(0, len(text)))
        end = start + data.draw(st.sampled_from([0, 0, 1, 1, 2, 40, 237]))
        text = text[:start] + data.draw(st.sampled_from(_SPLICED) | st.binary(max_size=2)) + text[end:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parsing, "read_listing", hidden)
        closely = outcome(text)
    assert outcome(text) == closely


@pytest.mark.parametrize(
    "spoil",
    [
        lambda files: [files[1], files[0], *files[2:]],
        lambda files: [files[0], *files],
        lambda files: [*files, replace(files[-1], path="A/003.BIN")],
        lambda files: [*files, replace(files[-1], path="a/003.bin/x")],
        lambda files: [replace(files[0], path="../x"), *files[1:]],
        lambda files: [*files[:-1], replace(files[-1], path="nul")],
        lambda files: [*files[:-1], replace(files[-1], size=2**48 + 1)],
        lambda files: [*files[:-1], replace(files[-1], size=0)],
        lambda files: [*files[:-1], replace(files[-1], pieces_root=None)],
        lambda files: [*files[:-1], replace(files[-1], sha256="A" * 64)],
        lambda files: [*files[:-1], replace(files[-1], blob_id="a" * 64)],
        lambda files: [*files[:-1], replace(files[-1], blob_id=files[1].blob_id)],
    ],
)  # fmt: skip
def test_no_list_at_fault_passes_at_one_look(spoil: Callable[[list[FileEntry]], list[FileEntry]]) -> None:
    manifest = ordinary(4)
    # As they are, in no order but that of `spoil`.
    listing = ",\n".join(map(_entry_text, spoil(list(manifest.files))))
    good = ",\n".join(map(_entry_text, manifest.files))
    data = manifest.to_bytes().replace(good.encode(), listing.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parsing, "read_listing", hidden)
        closely = outcome(data)
    assert isinstance(closely, str)
    assert outcome(data) == closely
