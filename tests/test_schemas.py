"""docs/*.schema.json beside the parsers: a schema accepts what they accept, and lets by only what no schema can say."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from answering import canonical
from samples import GOLDEN
from test_registry_index import WRONG
from weightswarm.errors import InvalidManifest
from weightswarm.manifest import parse_manifest
from weightswarm.registry.index import InvalidIndex, parse_index

ROOT = Path(__file__).parents[1]
MANIFESTS = sorted([*GOLDEN.glob("*.manifest.json"), *(ROOT / "manifests").rglob("manifest.json")])
INDEXES = [GOLDEN / "index.json", ROOT / "manifests" / "index.json"]

# What the parsers refuse and a schema cannot, by the words with which they do.
BEYOND_MANIFEST = (
    "not in canonical form", r"\d is not an integer$", "device's name", "invisible character", "is listed twice",
    "only in case or Unicode form", "is a file, and a folder of", "folders deep", "a component is longer",
    "path is longer", "lone surrogate", "not a time of the form", "blob_id is a SHA-256 other than sha256",
    "blob_id is that of another file",
)  # fmt: skip
BEYOND_INDEX = (
    "not in canonical form",
    r"\d is not an integer$",
    "twice",
    "lone surrogate",
    "is not a time of the form",
)

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2**48, 2**48 + 1, 2**63, 999_999, 1_000_000, 1.0, 0.5, "", "a", "A", "x" * 201,
    "x" * 1001, "x" * 16_385, "a" * 40, "A" * 40, "a" * 39, "a" * 40 + "\n", "a" * 64, "F" * 64, [], {}, [{}],
    {"a": 1}, "org/model", "org/model\n", "org/mo--del", "org/mo..del", "org/model.git", "org/-x", "org", "a/b/c",
    "o/" + "m" * 95, "../x", "a/../b", "a//b", "/a", "a/", "a\\b", "C:x", "a\x00", "a\x7f", "con", "a/NUL.txt", "a.",
    "a /b", ".git/x", "a/.GIT", ".pad/0", ".weightswarm", "gr\u00fcn", "\u202ea", "\ud800", "*", "a?", "a\u2028b",
    "x" * 256, "/".join("a" * 33), "\u00e9" * 200, "x/" * 511 + "xx", "2026-01-31T00:00:00Z", "2026-02-30T00:00:00Z",
    "2026-01-31T24:00:00Z", "2026-01-31", "0000-01-01T00:00:00Z", "2026-01-31T00:00:00Z\n",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
]  # fmt: skip


def validator(name: str) -> Draft202012Validator:
    schema = json.loads((ROOT / "docs" / f"{name}.schema.json").read_bytes())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value in a document."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def mutated(document: Any) -> Iterator[Any]:
    """Yield the document with each value replaced by each of `VALUES`, taken out, or with a key that nobody knows."""
    for *way, last in [path for path in places(document) if path]:
        for value in VALUES:
            yield edited(document, way, lambda parent, last=last, value=value: parent.__setitem__(last, value))  # type: ignore[misc]
        yield edited(document, way, lambda parent, last=last: parent.__delitem__(last))  # type: ignore[misc]
        if isinstance(last, str):
            yield edited(document, way, lambda parent: parent.__setitem__("unknown", 1))


def edited(document: Any, way: list[Any], change: Callable[[Any], None]) -> Any:
    changed = copy.deepcopy(document)
    parent = changed
    for key in way:
        parent = parent[key]
    change(parent)
    return changed


def as_bytes(document: Any) -> bytes:
    return json.dumps(document).encode() if has_surrogate(document) else canonical(document)


def has_surrogate(document: Any) -> bool:
    return "\ud800" in json.dumps(document, ensure_ascii=False)


def verdict(parse: Callable[[bytes], object], data: bytes) -> str | None:
    try:
        parse(data)
    except (InvalidManifest, InvalidIndex) as error:
        return str(error)
    return None


@pytest.mark.parametrize("path", [*MANIFESTS, *INDEXES], ids=lambda path: f"{path.parent.name[:12]}-{path.name}")
def test_every_document_that_is_kept_here_is_valid(path: Path) -> None:
    name = "index" if path.name == "index.json" else "manifest"
    data = path.read_bytes()
    assert [error.message for error in validator(name).iter_errors(json.loads(data))] == []
    assert verdict(parse_index if name == "index" else parse_manifest, data) is None


@pytest.mark.parametrize(
    ("name", "golden", "parse", "beyond"),
    [
        ("manifest", "full.manifest.json", parse_manifest, BEYOND_MANIFEST),
        ("manifest", "tiny.manifest.json", parse_manifest, BEYOND_MANIFEST),
        ("index", "index.json", parse_index, BEYOND_INDEX),
        ("index", "torrents", parse_index, BEYOND_INDEX),
    ],
)
def test_schema_and_parser_say_the_same_of_changed_documents(
    name: str,
    golden: str,
    parse: Callable[[bytes], object],
    beyond: tuple[str, ...],
    figure: Callable[[str, float], None],
) -> None:
    check = validator(name)
    counts = {"alike": 0, "by the parser alone": 0}
    right = 0
    whole = json.loads((INDEXES[1] if golden == "torrents" else GOLDEN / golden).read_bytes())
    if golden == "torrents":
        whole["releases"] = [each for each in whole["releases"] if "revision" not in each][:2]
    elif name == "index":
        del whole["releases"][2:]  # one with every document, one with a magnet alone
    for document in mutated(whole):
        reason = verdict(parse, as_bytes(document))
        valid = check.is_valid(document)
        right += reason is None
        if reason is None or not valid:
            assert valid == (reason is None), (reason, document)
            counts["alike"] += 1
        else:
            assert any(re.search(word, reason) for word in beyond), (reason, document)
            counts["by the parser alone"] += 1
    assert right > 20
    assert counts["alike"] > 5 * counts["by the parser alone"]
    for how, count in counts.items():
        figure(f"changed documents judged {'alike by schema and parser' if how == 'alike' else how}", count)


def test_the_schema_of_an_index_refuses_what_the_parser_does() -> None:
    check = validator("index")
    for data, reason in WRONG:
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            continue
        lets_by = check.is_valid(document)
        assert not lets_by or any(re.search(word, str(verdict(parse_index, data))) for word in BEYOND_INDEX), reason
