"""A manifest's list of files, each read at one look where it is just what `document` writes.

A release may have 100,000. What this does not take is not refused: `parsing` reads it value by value, and says why.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from weightswarm.manifest.document import FileEntry, path_order
from weightswarm.manifest.paths import check_path

MAX_FILES = 100_000
MAX_FILE_SIZE = 2**48

_BEGIN = b'\n "files": [\n'
_END = b"\n ]"
_FIRST, _BETWEEN, _LAST = "  {\n", "\n  },\n  {\n", "\n  }"
# No path that JSON would have to escape, and no empty file: they are few.
_ENTRY = re.compile(
    r'(?:   "blob_id": "([0-9a-f]{40}|[0-9a-f]{64})",\n)?'
    r'   "path": "([^"\\\x00-\x1f]++)",\n   "pieces_root": "([0-9a-f]{64})",\n'
    r'   "sha256": "([0-9a-f]{64})",\n   "size": ([1-9][0-9]{0,14})'
)


@dataclass(frozen=True, slots=True)
class Listing:
    """The `files` of a document, the `text` that they were read from, and the document `around` an empty list."""

    files: tuple[FileEntry, ...]
    text: str
    around: bytes


def read_listing(data: bytes) -> Listing | None:
    """Return the files of a document, in canonical order and form, each by itself fit to stand in a manifest.

    None where that is not clear. Whether their paths are distinct is not asked here.
    """
    begin = data.find(_BEGIN)
    start = begin + len(_BEGIN)
    end = data.find(_END, start)
    if begin < 0 or end < 0 or data.count(_BETWEEN.encode(), start, end) >= MAX_FILES:
        return None
    try:
        text = data[start:end].decode()
    except UnicodeDecodeError:
        return None
    if not text.startswith(_FIRST) or not text.endswith(_LAST):
        return None
    files: list[FileEntry] = []
    for part in text[len(_FIRST) : -len(_LAST)].split(_BETWEEN):
        match = _ENTRY.fullmatch(part)
        if match is None:
            return None
        blob_id, path, root, sha256, digits = match.groups()
        size = int(digits)
        if size > MAX_FILE_SIZE or check_path(path):
            return None
        if blob_id is not None and len(blob_id) == 64 and blob_id != sha256:
            return None
        files.append(FileEntry(path, size, sha256, root, blob_id))
    if any(first >= second for first, second in pairwise(map(path_order, files))):
        return None
    return Listing(tuple(files), text, data[:begin] + b'\n "files": []' + data[end + len(_END) :])
