"""Taking from older files what a new revision left as it was, piece by piece, so that only what changed comes.

Pieces are looked for at the same offset of files of the same path, and count when they hash to what the torrent says.
They are copied into staging, where the swarm engine checks them once more; nothing here is the last word on a byte.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path

from weightswarm.cache import (
    LocalFolder,
    ModelCache,
    Placement,
    Staging,
    find_copies,
    find_older,
    find_plain,
    older_revisions,
)
from weightswarm.errors import SourceChanged, StorageFailure
from weightswarm.fetching.options import Reused
from weightswarm.fetching.piece_checks import digests_on_disk
from weightswarm.fetching.plan import PlannedFile, check_space
from weightswarm.hashing import CALL_BYTES, WorkerPool
from weightswarm.manifest import FileEntry, Manifest
from weightswarm.metainfo import HashedPieces, Metainfo, hashed_pieces
from weightswarm.progress import Phase, Progress, Report
from weightswarm.storage import OpenFolder, clone_range, copy_range, first_gap, is_out_of_space, storage_errors

SAMPLES = 16
"""How many pieces of an older file, spread over it, are looked at first: where none is right, the rest is not read."""
_SMALLEST = 128 * 1024
"""Bytes of a file from which looking for an older one costs less than the file."""


class Holdings:
    """What this machine has that `entries` of a release, which is to be called `name`, can be made of.

    `copies` are files, by SHA-256, that may hold the content of one, to be hashed by who uses them: in the cache under
    any model and revision, in a local folder under any path.
    """

    def __init__(
        self,
        cache: ModelCache,
        name: str,
        manifest: Manifest,
        metainfo: Metainfo,
        placement: Placement,
        entries: list[FileEntry],
    ) -> None:
        self.cache = cache
        self.name = name
        self.manifest = manifest
        self.metainfo = metainfo
        self.placement = placement
        self.entries = entries
        self.copies = find_copies(cache, entries)
        if isinstance(placement, LocalFolder):
            for sha256, files in placement.copies(entries).items():
                self.copies[sha256] = [*files, *self.copies.get(sha256, ())]

    def planned(self) -> tuple[PlannedFile, ...]:
        """Return where each file would come from, by names and sizes alone: nothing is hashed."""
        there = {entry.path for entry in self.entries if self._is_here(entry)}
        missing = [e for e in self.entries if e.path not in there and not self.copies.get(e.sha256)]
        older = self._older(missing)
        planned = []
        for entry in self.entries:
            if entry.path in there:
                planned.append(PlannedFile(entry, "here"))
            elif self.copies.get(entry.sha256):
                planned.append(PlannedFile(entry, "reuse"))
            else:
                shared = _shared_at_most(entry, older.get(entry.path, []))
                planned.append(PlannedFile(entry, "partly" if shared else "download", shared))
        return tuple(planned)

    def reused(self, kept: list[FileEntry], copied: Iterable[str]) -> Reused:
        """Return what whole files come to that are `copied`, or that the cache had and the target did not show."""
        paths = {*copied, *(e.path for e in kept if not os.path.lexists(f"{self.placement.target}/{e.path}"))}
        sizes = [entry.size for entry in self.entries if entry.path in paths]
        return Reused(sum(sizes), len(sizes))

    def take_unchanged(
        self, entries: list[FileEntry], twins: list[FileEntry], staging: Staging, report: Report
    ) -> dict[int, int]:
        """Copy into staging those pieces of `entries` that older files have; return their sizes in bytes, by number.

        `twins` are files of the same content as one of them, so that older ones of theirs serve as well. What is staged
        already stays. An older file that cannot be read, or changes, is passed over. Raises `OutOfSpace` before bytes
        are copied that will not fit, where blocks cannot be shared, and `StorageFailure`.
        """
        older = self._older([*entries, *twins])
        first = {entry.sha256: entry.path for entry in entries}
        for twin in twins:
            if files := older.pop(twin.path, None):
                older[first[twin.sha256]] = [*older.get(first[twin.sha256], ()), *files]
        paths = {file.index: file.path for file in self.metainfo.files if file.path in older}
        pieces = hashed_pieces(self.metainfo, set(paths))
        if not pieces:
            return {}
        total = sum(each.size * len(older[paths[index]]) for index, each in pieces.items())
        pool = WorkerPool(total)
        taking = _Taking(pool, total, lambda: check_space(self.placement, staging, entries), report)
        try:
            for index, hashed in pieces.items():
                target = staging.swarm_file(paths[index])
                with (
                    storage_errors(target),
                    OpenFolder.at(target.parent, staging.base) as folder,
                    _Staged(folder, target.name) as staged,
                ):
                    taking.take(hashed, older[paths[index]], staged)
        finally:
            pool.close()
        return taking.taken

    def _is_here(self, entry: FileEntry) -> bool:
        held = self.placement.held(entry)
        if isinstance(self.placement, LocalFolder) and self.placement.has_release:
            return held in self.copies.get(entry.sha256, ())
        return held is not None

    def _older(self, entries: list[FileEntry]) -> dict[str, list[Path]]:
        """Return, by path, files that may share pieces with `entries`, the likeliest first: what stands at the target,
        damaged copies, the base's, other revisions' of the model, and plain files of equal size."""
        large = [entry for entry in entries if entry.size >= _SMALLEST]
        if not large:
            return {}
        base, similar = self.manifest.base_revision, self.metainfo.similar
        older = find_older(large, older_revisions(self.cache, self.name, self.manifest.revision, base, similar))
        plain = find_plain(self.cache, {entry.size for entry in large})
        found: dict[str, list[Path]] = {}
        for entry in large:
            held = self.placement.held(entry)
            likely = [] if held is None else [held]
            likely += [*self.copies.get(entry.sha256, ()), *older.get(entry.path, ()), *plain.get(entry.size, ())]
            if likely:
                found[entry.path] = list(dict.fromkeys(likely))
        return found


def _shared_at_most(entry: FileEntry, files: list[Path]) -> int:
    """Return how many bytes of a file the largest of older ones can have."""
    sizes = [0]
    for file in files:
        with suppress(OSError):
            sizes.append(file.stat().st_size)
    return min(entry.size, max(sizes))


class _Staged:
    """A staged file that is made when something is to be written to it."""

    def __init__(self, folder: OpenFolder, name: str) -> None:
        self._folder = folder
        self._name = name
        self._descriptor: int | None = None

    def __enter__(self) -> _Staged:
        if self._folder.status(self._name) is not None:
            self.open()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def open(self) -> int:
        """Return the file's descriptor."""
        if self._descriptor is None:
            self._descriptor = self._folder.open_file(self._name, os.O_RDWR | os.O_CREAT)
        return self._descriptor

    def lacks(self, pieces: HashedPieces) -> set[int]:
        """Return the pieces of which not every byte is there."""
        if self._descriptor is None:
            return set(pieces.numbers)
        lacking, gap = set(), -1
        for number in pieces.numbers:
            offset, length = pieces.span(range(number, number + 1))
            if gap < offset:
                gap = first_gap(self._descriptor, offset)
            if gap < offset + length:
                lacking.add(number)
        return lacking


class _Taking:
    """One pass over older files; `taken` are sizes in bytes by piece. `total` is what there may be to compare."""

    def __init__(self, pool: WorkerPool, total: int, check_space: Callable[[], None], report: Report) -> None:
        self._pool = pool
        self.taken: dict[int, int] = {}
        self._total = total
        self._done = 0
        self._check_space: Callable[[], None] | None = check_space
        self._report = report

    def take(self, pieces: HashedPieces, sources: list[Path], staged: _Staged) -> None:
        """Copy what a staged file lacks from the first of `sources` that has it."""
        lacking = staged.lacks(pieces)
        for source in sources:
            done = self._done + pieces.size
            if lacking:
                lacking -= self._take_from(source, pieces, lacking, staged)
            self._count(done - self._done)

    def _take_from(self, source: Path, pieces: HashedPieces, lacking: set[int], staged: _Staged) -> set[int]:
        try:
            descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return set()
        taken: set[int] = set()
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return set()
            within = sorted(each for each in lacking if sum(pieces.span(range(each, each + 1))) <= status.st_size)
            few = len(within) <= SAMPLES
            sample = within if few else [within[i * len(within) // SAMPLES] for i in range(SAMPLES)]
            for numbers in (sample, [] if few else sorted({*within} - {*sample})):
                for equal in self._equal(source, pieces, numbers):
                    self._copy(descriptor, staged, *pieces.span(equal))
                    taken |= {*equal}
                if not taken:
                    break
        except OSError as error:
            if is_out_of_space(error):
                raise
            # It cannot be read: what was not copied comes from another, or from the swarm.
        finally:
            os.close(descriptor)
        self.taken |= {number: pieces.span(range(number, number + 1))[1] for number in taken}
        return taken

    def _equal(self, source: Path, pieces: HashedPieces, numbers: list[int]) -> Iterator[range]:
        """Yield the pieces among `numbers` that a file has, as runs, up to where it cannot be read."""
        jobs: list[tuple[range, Future[list[bytes]]]] = [
            (run, self._pool.submit(partial(digests_on_disk, source, pieces, run)))
            for run in _runs(numbers, max(1, CALL_BYTES // pieces.length))
        ]
        try:
            for run, job in jobs:
                digests = job.result()
                self._count(pieces.span(run)[1])
                right = [each for each, digest in zip(run, digests, strict=True) if digest == pieces.digest(each)]
                yield from _runs(right, len(right))
        except (SourceChanged, StorageFailure):
            return
        finally:
            for _, job in jobs:
                job.cancel()

    def _copy(self, source: int, staged: _Staged, offset: int, length: int) -> None:
        target, end = staged.open(), offset + length
        shared = clone_range(source, target, offset, length)
        if shared is None:
            shared = range(end, end)
            if self._check_space is not None:
                self._check_space()
                self._check_space = None
        copy_range(source, target, offset, shared.start - offset)
        copy_range(source, target, shared.stop, end - shared.stop)

    def _count(self, size: int) -> None:
        self._done += size
        self._report(Progress(Phase.COMPARING, self._done, self._total))


def _runs(numbers: list[int], most: int) -> Iterator[range]:
    """Yield ascending numbers as ranges, of `most` numbers at most."""
    start = 0
    for position, number in enumerate(numbers, 1):
        if position == len(numbers) or numbers[position] != number + 1 or position - start == most:
            yield range(numbers[start], number + 1)
            start = position
