"""Where the files of a release stand on this machine. Nobody is asked."""

from __future__ import annotations

from pathlib import Path

from weightswarm.cache import ModelCache
from weightswarm.dialling import DIRECT
from weightswarm.errors import InvalidInput, NotFound
from weightswarm.fetching import is_url, resolve_source
from weightswarm.manifest import parse_reference
from weightswarm.progress import Report, silent
from weightswarm.reach import Network
from weightswarm.storage import is_file, open_regular, storage_errors


def cached_snapshot(source: str, cache: ModelCache, report: Report = silent) -> tuple[Path, str]:
    """Return the snapshot and the name of a cached model: `org/model[@revision]`, or a magnet, torrent or info-hash.

    Raises `NotFound`, and what `resolve_source` does for a source that cannot be read.
    """
    try:
        name, revision = parse_reference(source)
    except InvalidInput:
        if is_url(source):
            raise InvalidInput("A URL is not asked for its torrent here", hint="download it first") from None
        wanted = resolve_source(
            source,
            registries=(),
            cache=cache,
            timeout=1.0,
            network=Network.LOOPBACK,
            route=DIRECT,
            report=report,
        )
        if (record := wanted.record) is None:
            raise NotFound(f"{source[:120]} is not in the model cache", hint="fetch it first") from None
        return record.repository.snapshot(record.manifest.revision), record.repository.name
    repository, found = cache.resolve(name, revision)
    return repository.snapshot(found), name


def is_gguf(path: Path) -> bool:
    """Tell whether a GGUF file stands at `path`, by its first bytes."""
    if not is_file(path):
        return False
    with storage_errors(path), open(open_regular(path.resolve()), "rb") as file:
        return file.read(4) == b"GGUF"
