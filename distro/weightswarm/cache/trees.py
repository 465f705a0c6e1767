"""Which files a model has at the Hub, as the Hub's client wrote it down beside its snapshot: `trees/<commit>.json`.

Newer versions of huggingface_hub keep it. It is no proof of anything: it serves notes and names alone.
"""

from __future__ import annotations

import json

from weightswarm.cache.layout import Repository
from weightswarm.hub import HubFile
from weightswarm.storage import read_regular

_FORMAT_VERSION = 1
_MAX_BYTES = 32 * 1024 * 1024
_MAX_FILES = 100_000


def listed_files(repository: Repository, revision: str) -> tuple[HubFile, ...] | None:
    """Return the files that the Hub listed when its client downloaded a revision; None where that is not known."""
    try:
        document = json.loads(read_regular(repository.path / "trees" / f"{revision}.json", _MAX_BYTES))
        files = document["files"]
        if document["format_version"] != _FORMAT_VERSION or len(files) > _MAX_FILES:
            return None
        return tuple(
            HubFile.parse(path, file["size"], file["blob_id"], file.get("lfs_sha256")) for path, file in files.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
