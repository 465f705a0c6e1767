"""`index.json`, a registry's list of its releases: strict and bounded from bytes, canonical to bytes.

docs/manifest-format.md describes it. A document has a fixed name below its release's folder, so that an index cannot
name a path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, NoReturn

from weightswarm.errors import InvalidInput
from weightswarm.magnet import InfoHash
from weightswarm.manifest import is_revision, parse_model_name
from weightswarm.registry.listing import MAGNET, MAX_DOCUMENT_SIZES, MAX_VERSION, Document, ListedRelease, documents_of

INDEX = "index.json"
FORMAT_VERSION = 1
MAX_BYTES = 32 * 1024 * 1024
MAX_RELEASES = 20_000
MAX_LICENSE = 200
MAX_DESCRIPTION = 1000
MAX_SIZE = 2**63 - 1
MAX_FILES = 100_000

_SHA256 = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_KEYS = frozenset(
    ("created", "description", "documents", "files", "info_hash_v1", "info_hash_v2", "license", "main", "name",
     "revision", "size", "version")
)  # fmt: skip
_OF_A_REVISION = frozenset(("created", "description", "license", "main", "version"))
# The document, and for each release its own object, that of its documents, and one a document.
_MAX_OBJECTS = 1 + MAX_RELEASES * (2 + len(MAX_DOCUMENT_SIZES))


class InvalidIndex(Exception):
    """An index breaks its format; the message says where and how, without naming the registry."""


def index_bytes(releases: Iterable[ListedRelease]) -> bytes:
    """Return the canonical index: keys sorted, one space of indent, releases by name and place, UTF-8, newline."""
    ordered = sorted(releases, key=lambda release: (release.name, release.place))
    document = {"releases": [_document(release) for release in ordered], "weightswarm_index": FORMAT_VERSION}
    return json.dumps(document, sort_keys=True, ensure_ascii=False, indent=1).encode() + b"\n"


def parse_index(data: bytes) -> tuple[ListedRelease, ...]:
    """Read canonical index bytes. Raises `InvalidIndex`."""
    if len(data) > MAX_BYTES:
        raise InvalidIndex(f"it is larger than {MAX_BYTES:,} bytes")
    document = _decode(data)
    version = document.get("weightswarm_index")
    if type(version) is not int or version != FORMAT_VERSION:
        raise InvalidIndex(f"its format version {version!r:.40} is not known here, only {FORMAT_VERSION}")
    if unknown := document.keys() - {"weightswarm_index", "releases"}:
        raise InvalidIndex(f"unknown key {min(unknown)[:80]!r}")
    listed = document.get("releases")
    if not isinstance(listed, list) or len(listed) > MAX_RELEASES:
        raise InvalidIndex(f"its releases are missing, no list or more than {MAX_RELEASES:,}")
    releases = tuple(_release(item, position) for position, item in enumerate(listed))
    _check_distinct(releases)
    if index_bytes(releases) != data:
        raise InvalidIndex("its bytes are not in canonical form")
    return releases


def _document(release: ListedRelease) -> dict[str, Any]:
    values = {
        "created": release.created,
        "description": release.description,
        "documents": {name: {"sha256": d.sha256, "size": d.size} for name, d in release.documents.items()},
        "files": release.files,
        "info_hash_v1": release.info_hash.v1,
        "info_hash_v2": release.info_hash.v2,
        "license": release.license,
        "main": release.is_main or None,
        "name": release.name,
        "revision": release.revision,
        "size": release.size,
        "version": release.version,
    }
    return {key: value for key, value in values.items() if value is not None}


def _decode(data: bytes) -> dict[str, Any]:
    count = 0

    def read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal count
        count += 1
        if count > _MAX_OBJECTS:
            raise InvalidIndex(f"more than {MAX_RELEASES:,} releases")
        document = dict(pairs)
        if len(document) < len(pairs):
            raise InvalidIndex("a key stands twice in one object")
        return document

    try:
        document = json.loads(
            data.decode("utf-8"), object_pairs_hook=read_object, parse_float=_refuse, parse_constant=_refuse
        )
    except RecursionError:
        raise InvalidIndex("nested too deeply") from None
    except ValueError as error:  # UnicodeDecodeError is one
        raise InvalidIndex(f"no JSON: {str(error)[:120]}") from None
    if not isinstance(document, dict):
        raise InvalidIndex("no JSON object")
    return document


def _refuse(text: str) -> NoReturn:
    raise InvalidIndex(f"{text[:40]} is not an integer")


def _release(item: Any, position: int) -> ListedRelease:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise InvalidIndex(f"releases[{position}] is no object with a name")
    try:
        name = parse_model_name(item["name"])
    except InvalidInput as error:
        raise InvalidIndex(str(error)) from None
    revision = item.get("revision")
    if "revision" in item and (not isinstance(revision, str) or not is_revision(revision)):
        raise InvalidIndex(f"{name} has no revision of 40 lower-case hex digits")
    place = name if revision is None else f"{name}@{revision[:8]}"
    if revision is None and (needless := item.keys() & _OF_A_REVISION):
        raise InvalidIndex(f"{place}: {min(needless)} is a revision's, and there is none")
    if unknown := item.keys() - _KEYS:
        raise InvalidIndex(f"{place}: unknown key {min(unknown)[:80]!r}")
    if item.get("main", True) is not True:
        raise InvalidIndex(f"{place}: main is true or absent")
    created = _text(item, "created", 20, place)
    if created is not None and not _is_time(created):
        raise InvalidIndex(f"{place}: created is not a time of the form 2026-01-31T00:00:00Z")
    return ListedRelease(
        name=name,
        revision=revision,
        info_hash=_info_hash(item, place),
        documents=_documents(item.get("documents"), place, documents_of(manifest=revision is not None)),
        version=_integer(item, "version", MAX_VERSION, place),
        size=_integer(item, "size", MAX_SIZE, place),
        files=_integer(item, "files", MAX_FILES, place),
        license=_text(item, "license", MAX_LICENSE, place),
        description=_text(item, "description", MAX_DESCRIPTION, place),
        created=created,
        is_main="main" in item,
    )


def _info_hash(item: dict[str, Any], place: str) -> InfoHash:
    v1, v2 = item.get("info_hash_v1"), item.get("info_hash_v2")
    given = [item[key] for key in ("info_hash_v1", "info_hash_v2") if key in item]
    if not all(isinstance(each, str) for each in given):
        raise InvalidIndex(f"{place}: an info-hash is not a string")
    try:
        return InfoHash(v1, v2)
    except InvalidInput as error:
        raise InvalidIndex(f"{place}: {error}") from None


def _documents(value: Any, place: str, known: Collection[str]) -> dict[str, Document]:
    if not isinstance(value, dict) or MAGNET not in value:
        raise InvalidIndex(f"{place}: documents is no object that has {MAGNET}")
    documents = {}
    for name, item in value.items():
        if name not in known:
            raise InvalidIndex(f"{place}: {name[:80]!r} is no document of a release")
        limit = MAX_DOCUMENT_SIZES[name]
        if not isinstance(item, dict) or item.keys() != {"sha256", "size"}:
            raise InvalidIndex(f"{place}: {name} has not just sha256 and size")
        digest, size = item["sha256"], item["size"]
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise InvalidIndex(f"{place}: sha256 of {name} is not 64 lower-case hex digits")
        if type(size) is not int or not 0 < size <= limit:
            raise InvalidIndex(f"{place}: size of {name} is not an integer from 1 to {limit:,}")
        documents[name] = Document(digest, size)
    return documents


def _integer(item: dict[str, Any], key: str, limit: int, place: str) -> int | None:
    if key not in item:
        return None
    value = item[key]
    if type(value) is not int or not 0 <= value <= limit:
        raise InvalidIndex(f"{place}: {key} is not an integer from 0 to {limit:,}")
    return value


def _text(item: dict[str, Any], key: str, limit: int, place: str) -> str | None:
    if key not in item:
        return None
    value = item[key]
    if not isinstance(value, str) or not 0 < len(value) <= limit:
        raise InvalidIndex(f"{place}: {key} is not a string of 1 to {limit:,} characters")
    if any(0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise InvalidIndex(f"{place}: {key} has a lone surrogate")
    return value


def _is_time(text: str) -> bool:
    try:
        return _TIME.fullmatch(text) is not None and bool(datetime.fromisoformat(text))
    except ValueError:
        return False


def _check_distinct(releases: tuple[ListedRelease, ...]) -> None:
    seen: set[tuple[str, object]] = set()
    for release in releases:
        marks: list[tuple[str, object]] = [(release.name, release.place)]
        if release.is_main:
            marks.append((release.name, "main"))
        if release.version is not None:
            marks.append((release.name, release.version))
        for mark in marks:
            if mark in seen:
                raise InvalidIndex(f"{release.name} has {mark[1]} twice")
            seen.add(mark)
