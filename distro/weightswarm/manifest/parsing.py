"""Strict and bounded: bytes from strangers become a `Manifest`, or an `InvalidManifest` that names the entry.

Only canonical bytes are accepted, so a manifest has one SHA-256 however it travelled.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from datetime import datetime
from typing import Any, NoReturn

from weightswarm.errors import InvalidInput, InvalidManifest
from weightswarm.manifest.document import FORMAT_VERSION, FileEntry, Manifest, with_listing
from weightswarm.manifest.listing import MAX_FILE_SIZE, MAX_FILES, Listing, read_listing
from weightswarm.manifest.names import is_revision, parse_model_name
from weightswarm.manifest.paths import check_path, check_paths_distinct

MAX_BYTES = 32 * 1024 * 1024
MAX_TEXT = 16 * 1024
MAX_VALUES = 5 * MAX_FILES + 100
"""Most values of a document, by the commas between them: five for a file, and a handful around the files."""

# Possessive, and closed by the end too: one look at each byte, whatever stands there.
_STRING_OR_VALUE = re.compile(rb'"(?:[^"\\]++|\\.?)*+"?|[,\[]', re.DOTALL)
_QUOTE = ord('"')
_ENTRY_KEYS = frozenset({"path", "size", "sha256", "pieces_root", "blob_id"})
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_EMPTY_GIT_SHA1 = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
_EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def parse_manifest(data: bytes) -> Manifest:
    """Read canonical manifest bytes. Raises `InvalidManifest`."""
    if len(data) > MAX_BYTES:
        raise InvalidManifest(f"the document is larger than {MAX_BYTES:,} bytes")
    # What is not clearly right is read again, to say what is wrong with it.
    with suppress(InvalidManifest):
        if (listed := read_listing(data)) is not None:
            return _parse(listed.around, data, listed)
    return _parse(data, data, None)


def _parse(text: bytes, data: bytes, listed: Listing | None) -> Manifest:
    """Read `text`, which is all of `data` or what stands around its list of files."""
    _check_count(text)
    document = _decode(text)
    version = document.pop("weightswarm_manifest", None)
    if type(version) is not int or version != FORMAT_VERSION:
        raise InvalidManifest(f"format version {version!r:.40} is not known here, only {FORMAT_VERSION}")
    unknown = document.keys() - {"name", "revision", "files", "license", "description", "base_revision", "created"}
    if unknown:
        raise InvalidManifest("unknown key", entry=min(unknown))
    manifest = Manifest(
        name=_model_name(document.get("name")),
        revision=_revision(document.get("revision"), "revision"),
        files=_files(document.get("files")) if listed is None else _distinct(listed.files),
        license=_optional_text(document, "license"),
        description=_optional_text(document, "description"),
        base_revision=_revision(document["base_revision"], "base_revision") if "base_revision" in document else None,
        created=_optional_text(document, "created"),
    )
    if manifest.created is not None and not _is_time(manifest.created):
        raise InvalidManifest("not a time of the form 2026-01-31T00:00:00Z", entry="created")
    if listed is not None:
        manifest = with_listing(manifest, listed.text)
    if manifest.to_bytes() != data:
        raise InvalidManifest("the bytes are not in canonical form")
    return manifest


def _check_count(data: bytes) -> None:
    """Refuse a document of more values than any manifest has, before they take a hundred bytes of memory each."""
    if data.count(b",") + data.count(b"[") <= MAX_VALUES:
        return
    values = 0
    for match in _STRING_OR_VALUE.finditer(data):
        values += data[match.start()] != _QUOTE
        if values > MAX_VALUES:
            raise InvalidManifest(f"more values than {MAX_FILES:,} files have", entry="files")


def _decode(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_ObjectReader(),
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except InvalidManifest:
        raise
    except UnicodeDecodeError as error:
        raise InvalidManifest(f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise InvalidManifest("nested too deeply") from None
    except ValueError as error:
        raise InvalidManifest(f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidManifest("the document is not a JSON object")
    return document


class _ObjectReader:
    """Builds JSON objects whose keys stand once, and no more objects than a manifest can have."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        self.count += 1
        if self.count > MAX_FILES + 1:
            raise InvalidManifest(f"more than {MAX_FILES:,} files", entry="files")
        document: dict[str, Any] = {}
        for key, value in pairs:
            if key in document:
                raise InvalidManifest("the key stands twice in one object", entry=key)
            document[key] = value
        return document


def _is_time(text: str) -> bool:
    try:
        return _TIME.fullmatch(text) is not None and bool(datetime.fromisoformat(text))
    except ValueError:
        return False


def _refuse_number(text: str) -> NoReturn:
    raise InvalidManifest(f"{text[:40]} is not an integer")


def _model_name(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidManifest("missing or not a string", entry="name")
    try:
        return parse_model_name(value)
    except InvalidInput as error:
        raise InvalidManifest(str(error), entry="name") from None


def _revision(value: Any, key: str) -> str:
    if not isinstance(value, str) or not is_revision(value):
        raise InvalidManifest("not 40 lower-case hex digits", entry=key)
    return value


def _optional_text(document: dict[str, Any], key: str) -> str | None:
    if key not in document:
        return None
    value = document[key]
    if not isinstance(value, str) or not value or len(value) > MAX_TEXT:
        raise InvalidManifest(f"not a string of 1 to {MAX_TEXT:,} characters", entry=key)
    if any(0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise InvalidManifest("has a lone surrogate", entry=key)
    return value


def _files(value: Any) -> tuple[FileEntry, ...]:
    if not isinstance(value, list) or not value:
        raise InvalidManifest("missing, empty or not a list", entry="files")
    if len(value) > MAX_FILES:
        raise InvalidManifest(f"more than {MAX_FILES:,} files", entry="files")
    return _distinct(tuple(_file(item, index) for index, item in enumerate(value)))


def _distinct(files: tuple[FileEntry, ...]) -> tuple[FileEntry, ...]:
    if collision := check_paths_distinct([entry.path for entry in files]):
        raise InvalidManifest(collision[1], entry=collision[0])
    contents: dict[str, str] = {}
    for entry in files:
        # The cache would keep one of the two under that name: SHA-1 can be made to collide.
        if entry.blob_id is not None and contents.setdefault(entry.blob_id, entry.sha256) != entry.sha256:
            raise InvalidManifest("blob_id is that of another file with another sha256", entry=entry.path)
    return files


def _file(item: Any, index: int) -> FileEntry:
    if not isinstance(item, dict):
        raise InvalidManifest("not an object", entry=f"files[{index}]")
    path = item.get("path")
    if not isinstance(path, str):
        raise InvalidManifest("has no path", entry=f"files[{index}]")
    if reason := check_path(path):
        raise InvalidManifest(reason, entry=path)
    if not item.keys() <= _ENTRY_KEYS:
        raise InvalidManifest(f"unknown key {min(item.keys() - _ENTRY_KEYS)[:80]!r}", entry=path)
    size = item.get("size")
    if type(size) is not int or not 0 <= size <= MAX_FILE_SIZE:
        raise InvalidManifest("size is not an integer from 0 to 2^48", entry=path)
    entry = FileEntry(
        path=path,
        size=size,
        sha256=_digest(item, "sha256", _SHA256) or "",
        pieces_root=_digest(item, "pieces_root", _SHA256),
        blob_id=_blob_id(item) if "blob_id" in item else None,
    )
    if not entry.sha256:
        raise InvalidManifest("has no sha256", entry=path)
    if (size == 0) != (entry.pieces_root is None):
        raise InvalidManifest("pieces_root stands for every file that is not empty, and for no other", entry=path)
    if size == 0 and entry.sha256 != _EMPTY_SHA256:
        raise InvalidManifest("sha256 is not that of an empty file", entry=path)
    if size == 0 and entry.blob_id not in (None, _EMPTY_SHA256, _EMPTY_GIT_SHA1):
        raise InvalidManifest("blob_id is not that of an empty file", entry=path)
    if entry.blob_id is not None and len(entry.blob_id) == 64 and entry.blob_id != entry.sha256:
        raise InvalidManifest("blob_id is a SHA-256 other than sha256", entry=path)
    return entry


def _digest(item: dict[str, Any], key: str, shape: re.Pattern[str]) -> str | None:
    if key not in item:
        return None
    value = item[key]
    if not isinstance(value, str) or not shape.fullmatch(value):
        raise InvalidManifest(f"{key} is not a lower-case hex digest of the right length", entry=str(item["path"]))
    return value


def _blob_id(item: dict[str, Any]) -> str | None:
    long = isinstance(item.get("blob_id"), str) and len(item["blob_id"]) == 64
    return _digest(item, "blob_id", _SHA256 if long else _SHA1)
