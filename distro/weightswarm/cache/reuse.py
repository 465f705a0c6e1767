"""Finding content that is in the cache already, so that it is not downloaded again: whole files, and older ones that
may share pieces with what is wanted.

Names are only where to look: whoever uses a find hashes it first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from weightswarm.cache.layout import ModelCache, Repository
from weightswarm.cache.records import load_record, recorded_revisions
from weightswarm.manifest import FileEntry

MAX_OLDER = 4
"""How many older files of one path are looked at."""
_MAX_REVISIONS = 16


def find_copies(cache: ModelCache, entries: list[FileEntry]) -> dict[str, list[Path]]:
    """Return, by SHA-256, the blobs in any repository that may hold the content of `entries`; sizes are equal."""
    wanted = {entry.sha256: entry.size for entry in entries if entry.size}
    found: dict[str, list[Path]] = {}
    for repository in cache.repositories():
        named = {name: repository.blobs / name for name in _blob_names(repository) if name in wanted}
        # The Hub names small files by another hash; manifests know their SHA-256.
        for revision in recorded_revisions(repository):
            record = load_record(repository, revision)
            for entry in record.manifest.files if record else ():
                if entry.sha256 in wanted and (file := repository.file(entry, revision)) is not None:
                    named[entry.sha256] = file
        for sha256, path in named.items():
            try:
                if path.stat().st_size == wanted[sha256]:
                    found.setdefault(sha256, []).append(path)
            except OSError:
                continue
    return found


def older_revisions(
    cache: ModelCache, name: str, revision: str, base: str | None, similar: Sequence[str]
) -> list[tuple[Repository, str]]:
    """Return where older files of a release may stand: the revision that it was made from, under any name; the
    torrents that it is `similar` to (hex of 20 bytes, BEP 38); then what else stands under its name, the newest first.
    """
    own = cache.repository(name)
    found = [(each, base) for each in (own, *cache.repositories()) if base is not None and base in each.revisions()]
    for repository in cache.repositories() if similar else ():
        for recorded in recorded_revisions(repository):
            known = load_record(repository, recorded)
            digests = known.info_hash.digests if known is not None and known.info_hash is not None else ()
            if any(digest[:40] in similar for digest in digests):
                found.append((repository, recorded))
    newest = sorted(own.revisions(), key=lambda each: _age(own.snapshot(each)))
    found += [(own, each) for each in newest]
    return [each for each in dict.fromkeys(found) if each != (own, revision)][:_MAX_REVISIONS]


def find_older(entries: list[FileEntry], revisions: Sequence[tuple[Repository, str]]) -> dict[str, list[Path]]:
    """Return, by path, different files that stand there in older revisions, in their order."""
    found: dict[str, list[Path]] = {}
    for entry in entries:
        files: dict[tuple[int, int], Path] = {}
        for repository, revision in revisions:
            if len(files) < MAX_OLDER and (file := repository.shown(entry.path, revision)) is not None:
                try:
                    status = file.stat()
                except OSError:
                    continue
                files.setdefault((status.st_dev, status.st_ino), file)
        if files:
            found[entry.path] = [*files.values()]
    return found


def find_plain(cache: ModelCache, sizes: set[int]) -> dict[int, list[Path]]:
    """Return, by size in bytes, plain files in snapshots of which nothing is recorded: what other clients placed where
    the file system has no links, so that no name tells what they hold."""
    found: dict[int, list[Path]] = {}
    for repository in cache.repositories():
        for revision in {*repository.revisions()} - {*recorded_revisions(repository)}:
            for file in _plain_files(os.fspath(repository.snapshot(revision))):
                try:
                    size = file.stat(follow_symlinks=False).st_size
                except OSError:
                    continue
                if size in sizes and len(found.setdefault(size, [])) < MAX_OLDER:
                    found[size].append(Path(file.path))
    return found


def _plain_files(folder: str) -> Iterator[os.DirEntry[str]]:
    folders = [folder]
    while folders:
        try:
            entries = list(os.scandir(folders.pop()))
        except OSError:
            continue
        folders += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        yield from (entry for entry in entries if entry.is_file(follow_symlinks=False))


def _age(folder: Path) -> float:
    try:
        return -folder.stat().st_mtime
    except OSError:
        return 0.0


def _blob_names(repository: Repository) -> list[str]:
    try:
        return os.listdir(repository.blobs)
    except OSError:
        return []
