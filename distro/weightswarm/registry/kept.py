"""Copies of what registries said, in the user's cache folder. They are looked at as strangely as what comes anew."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from weightswarm.errors import WeightswarmError
from weightswarm.registry.http import Validators
from weightswarm.registry.index import MAX_BYTES
from weightswarm.registry.listing import Document
from weightswarm.storage import write_atomically

MAX_KEPT = 512 * 1024 * 1024
"""Most bytes of documents that are kept; the oldest go first."""

_MAX_HEAD = 4096
_VERSION = 1


@dataclass(frozen=True, slots=True)
class KeptIndex:
    """An index as it was when the registry last vouched for it, at `checked` (seconds since 1970)."""

    body: bytes
    validators: Validators
    checked: float


def load_index(url: str) -> KeptIndex | None:
    """Return what is kept of the registry at `url`, None when there is nothing, or it is damaged."""
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        with open(_index_place(url), "rb") as file:
            head = json.loads(file.readline(_MAX_HEAD))
            status = os.fstat(file.fileno())
            body = file.read(min(status.st_size, MAX_BYTES))
        if head["version"] == _VERSION and head["url"] == url and head["sha256"] == hashlib.sha256(body).hexdigest():
            texts = [head["etag"], head["last_modified"]]
            if all(text is None or isinstance(text, str) for text in texts):
                return KeptIndex(body, Validators(*texts), status.st_mtime)
    return None


def keep_index(url: str, body: bytes, validators: Validators) -> None:
    """Keep an index; where that cannot be, it is asked for again next time."""
    head = {
        "version": _VERSION,
        "url": url,
        "etag": validators.etag,
        "last_modified": validators.last_modified,
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    with suppress(WeightswarmError, OSError):
        write_atomically(_index_place(url), json.dumps(head).encode() + b"\n" + body)


def touch_index(url: str) -> None:
    """Note that the registry vouched for what is kept just now."""
    with suppress(OSError):
        os.utime(_index_place(url))


def load_document(document: Document) -> bytes | None:
    """Return the document with that SHA-256 and size, None when it is not kept."""
    with suppress(OSError):
        with open(_folder() / "documents" / document.sha256, "rb") as file:
            data = file.read(document.size + 1)
        if fits(data, document):
            return data
    return None


def keep_document(document: Document, data: bytes) -> None:
    """Keep a document, and no more than `MAX_KEPT` bytes of all."""
    folder = _folder() / "documents"
    with suppress(WeightswarmError, OSError):
        write_atomically(folder / document.sha256, data)
        with os.scandir(folder) as entries:
            kept = sorted((entry.stat().st_mtime_ns, entry.stat().st_size, entry.path) for entry in entries)
        total = sum(size for _, size, _ in kept)
        for _, size, path in kept:
            if total <= MAX_KEPT:
                break
            os.unlink(path)
            total -= size


def fits(data: bytes, document: Document) -> bool:
    """Tell whether bytes are what an index says of a document."""
    return len(data) == document.size and hashlib.sha256(data).hexdigest() == document.sha256


def _folder() -> Path:
    return Path(platformdirs.user_cache_dir("weightswarm")) / "registries"


def _index_place(url: str) -> Path:
    return _folder() / hashlib.sha256(url.encode()).hexdigest()[:32]
