"""Comparing files on disk with what a manifest says of them. Every fault is collected; none stops the rest."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import zip_longest
from pathlib import Path

from weightswarm.errors import Cancelled, SourceChanged, StorageFailure
from weightswarm.formats import CodeFile, Inspection, glance, inspect_file
from weightswarm.hashing import (
    BATCH_FILES,
    CALL_BYTES,
    FileDigests,
    FilePart,
    Worker,
    WorkerPool,
    digest_file,
    extend_digests,
)
from weightswarm.manifest import FileEntry, is_ignored


class Fault(Enum):
    """What can be wrong with a file."""

    MISSING = "missing"
    EXTRA = "extra"
    WRONG_SIZE = "wrong size"
    WRONG_HASH = "wrong hash"
    UNREADABLE = "unreadable"
    UNKNOWN = "no hash known"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One file that is not as it should be; `detail` says what was expected and what was found."""

    path: str
    fault: Fault
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a file should be. `size` in bytes and the digests are None where the source does not say."""

    path: str
    size: int | None
    sha256: str | None
    git_sha1: str | None = None

    @classmethod
    def of(cls, entry: FileEntry) -> Expectation:
        """What a manifest's entry demands; a 40-digit blob id is a git blob's SHA-1 and is checked as well."""
        git = entry.blob_id if entry.blob_id is not None and len(entry.blob_id) == 40 else None
        return cls(entry.path, entry.size, entry.sha256, git)


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome: `checked` files and `hashed` bytes were looked at, `findings` are sorted by path, as is `code`:
    the files that may run some when they are loaded, which is no fault."""

    checked: int
    hashed: int
    findings: tuple[Finding, ...]
    code: tuple[CodeFile, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every file is as it should be."""
        return not self.findings


def verify_tree(
    root: Path,
    expectations: Iterable[Expectation],
    *,
    extras: bool = True,
    on_bytes: Callable[[int], None] | None = None,
    workers: int | None = None,
) -> Report:
    """Hash every expected file below `root` on all cores, and (with `extras`) name files that nothing expects.

    `on_bytes` gets counts of bytes hashed, from worker threads.
    """
    wanted = [_Wanted.of(number, f"{root}/{e.path}", e) for number, e in enumerate(expectations)]
    findings: list[Finding] = []
    code: list[CodeFile] = []
    pool = WorkerPool(sum(file.size for file in wanted), workers)
    report = on_bytes or (lambda _n: None)
    try:
        checks = [pool.submit(partial(_check, files, report, code)) for files in _batches(wanted, pool.lanes)]
        if extras:
            expected = {file.expected.path for file in wanted}
            findings += [Finding(path, Fault.EXTRA) for path in list_files(root) if path not in expected]
        findings += [finding for check in checks for finding in check.result()]
    finally:
        pool.close()
    hashed = sum(file.hashed for file in wanted)
    by_path = tuple(sorted(findings, key=lambda f: f.path))
    return Report(len(wanted), hashed, by_path, tuple(sorted(code, key=lambda f: f.path)))


@dataclass(slots=True)
class _Wanted:
    """An expected file; `size` in bytes is what it must have or, where nothing says, what it has; `hashed` how many of
    them were read."""

    number: int
    path: str
    expected: Expectation
    size: int
    hashed: int = 0
    # The first bytes, until they are looked at.
    head: bytes | None = None

    @classmethod
    def of(cls, number: int, path: str, expected: Expectation) -> _Wanted:
        """The file at `path`, which need not be there."""
        size = expected.size
        if size is None:
            try:
                size = os.stat(path).st_size
            except OSError:
                size = 0
        return cls(number, path, expected, size)

    def find(self, findings: list[Finding]) -> bool:
        """Return whether there is something to hash; say what is wrong otherwise."""
        try:
            status = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            findings.append(Finding(self.expected.path, Fault.MISSING))
            return False
        except OSError as error:
            findings.append(Finding(self.expected.path, Fault.UNREADABLE, error.strerror or str(error)))
            return False
        if self.expected.size not in (None, status.st_size):
            detail = f"{status.st_size:,} bytes, not {self.expected.size:,}"
            findings.append(Finding(self.expected.path, Fault.WRONG_SIZE, detail))
            return False
        return True

    def parts(self) -> Iterator[FilePart]:
        """Yield what a worker is to read, in order."""
        git_blob = self.expected.git_sha1 is not None
        for offset in range(0, self.size or 1, CALL_BYTES):
            length = min(CALL_BYTES, self.size - offset)
            yield FilePart(self.number, self.path, self.size, offset, length, whole=True, git_blob=git_blob)


def _is_large(file: _Wanted) -> bool:
    return 2 * file.size > CALL_BYTES


def _batches(files: list[_Wanted], lanes: int) -> Iterator[list[_Wanted]]:
    """Yield large files, the largest first, and then small ones many at a time. Two large ones are hashed together
    where there are more of them than `lanes`: in the time of one."""
    ordered = sorted(files, key=lambda file: -file.size)
    large = [file for file in ordered if _is_large(file)]
    together = 2 if len(large) > lanes else 1
    for first in range(0, len(large), together):
        yield large[first : first + together]
    batch: list[_Wanted] = []
    size = 0
    for file in ordered[len(large) :]:
        if batch and (size + file.size > CALL_BYTES or len(batch) == BATCH_FILES):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file.size
    if batch:
        yield batch


def _check(
    wanted: list[_Wanted], on_bytes: Callable[[int], None], code: list[CodeFile], worker: Worker
) -> list[Finding]:
    """Hash files on a worker; one by one in this process where that fails, to say which is at fault.

    A file whose bytes are right is looked at: what may run code is added to `code`.
    """
    faults: list[Finding] = []
    files = wanted
    digests: dict[int, FileDigests] | None = None
    if not _is_large(wanted[0]):
        # As a rule small ones are as they should be, and who reads them sees that: else each is looked at first.
        with suppress(SourceChanged, StorageFailure):
            digests = _digests(files, on_bytes, worker)
    if digests is None:
        files = [file for file in wanted if file.find(faults)]
        with suppress(SourceChanged, StorageFailure):
            digests = _digests(files, on_bytes, worker)
    if digests is None:
        findings = [check_file(file.path, file.expected) for file in files]
    else:
        findings = [compare(digests[file.number], file.expected) for file in files]
        for file in files:
            file.hashed = file.size
            file.head = digests[file.number].head
    looked = [_look(file, code) if finding is None else finding for file, finding in zip(files, findings, strict=True)]
    return [*faults, *(finding for finding in looked if finding is not None)]


def _digests(files: list[_Wanted], on_bytes: Callable[[int], None], worker: Worker) -> dict[int, FileDigests]:
    """Hash files, by their numbers: large ones part by part, side by side; small ones have one part each.

    Raises `SourceChanged`, `StorageFailure`.
    """
    found: dict[int, FileDigests] = {}
    for row in zip_longest(*(file.parts() for file in files)):
        parts = [part for part in row if part is not None]
        extended = extend_digests(worker, parts)
        on_bytes(sum(part.length for part in parts))
        found |= {part.number: digests for part, (_, digests) in zip(parts, extended, strict=True) if digests}
    return found


def _look(file: _Wanted, code: list[CodeFile]) -> Finding | None:
    path = file.expected.path
    seen = glance(path, file.head) if file.head else None
    file.head = None
    if seen is None:
        try:
            seen = _inspect(path, file.path)
        except OSError as error:
            return Finding(path, Fault.UNREADABLE, error.strerror or str(error))
    if seen.code is not None:
        code.append(CodeFile(path, file.size, seen.code, seen.disguised))
    return None if seen.defect is None else Finding(path, Fault.MALFORMED, seen.defect)


# One at a time: a header may unpack to more memory than all lanes should take at once.
_INSPECTING = threading.Lock()


def _inspect(path: str, file: str) -> Inspection:
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        with _INSPECTING:
            return inspect_file(path, descriptor)
    finally:
        os.close(descriptor)


def check_file(
    path: str | Path,
    expected: Expectation,
    *,
    on_bytes: Callable[[int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Finding | None:
    """Return what is wrong with one file, None when nothing is. Raises `Cancelled` when `stop` said so."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return Finding(expected.path, Fault.MISSING)
    except OSError as error:
        return Finding(expected.path, Fault.UNREADABLE, error.strerror or str(error))
    try:
        return check_open_file(descriptor, expected, on_bytes=on_bytes, stop=stop)
    finally:
        os.close(descriptor)


def check_open_file(
    descriptor: int,
    expected: Expectation,
    *,
    on_bytes: Callable[[int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Finding | None:
    """As `check_file`, for an open file."""
    try:
        size = os.fstat(descriptor).st_size
        if expected.size is not None and size != expected.size:
            return Finding(expected.path, Fault.WRONG_SIZE, f"{size:,} bytes, not {expected.size:,}")
        digests = digest_file(descriptor, git_blob=expected.git_sha1 is not None, on_bytes=on_bytes, stop=stop)
    except OSError as error:
        return Finding(expected.path, Fault.UNREADABLE, error.strerror or str(error))
    if digests is None:
        raise Cancelled("Verification was stopped")
    return compare(digests, expected)


def compare(digests: FileDigests, expected: Expectation) -> Finding | None:
    """Return what is wrong with a file that hashes to `digests`, None when nothing is."""
    if expected.size is not None and digests.size != expected.size:
        return Finding(expected.path, Fault.WRONG_SIZE, f"{digests.size:,} bytes, not {expected.size:,}")
    if expected.sha256 is not None and digests.sha256 != expected.sha256:
        return Finding(expected.path, Fault.WRONG_HASH, f"SHA-256 {digests.sha256}, not {expected.sha256}")
    if expected.git_sha1 is not None and digests.git_sha1 != expected.git_sha1:
        return Finding(expected.path, Fault.WRONG_HASH, f"git blob {digests.git_sha1}, not {expected.git_sha1}")
    return None


def list_files(root: Path) -> list[str]:
    """Return the relative paths of all files below `root`, sorted; those that releases never hold are left out.

    Links count as files; folders that are links are not entered.
    """
    found: list[str] = []
    folders = [""]
    while folders:
        prefix = folders.pop()
        try:
            entries = list(os.scandir(f"{root}/{prefix}"))
        except OSError:
            continue
        for entry in entries:
            if is_ignored(path := prefix + entry.name):
                continue
            # Where a link leads does not matter: a snapshot of 10,000 links needs no look at what they name.
            if entry.is_dir(follow_symlinks=False):
                folders.append(f"{path}/")
            else:
                found.append(path)
    return sorted(found)


def verify_pieces(
    files: list[tuple[Path, int]], pieces: bytes, piece_length: int, on_bytes: Callable[[int], None] | None = None
) -> set[int]:
    """Return which of `files` (path, size; laid end to end, as v1 torrents do) touch a piece whose SHA-1 is wrong.

    For torrents that carry no other hash. A missing or short file counts as zeros.
    """
    bad: set[int] = set()
    running, filled, number, touched = hashlib.sha1(usedforsecurity=False), 0, 0, set[int]()

    def cut() -> None:
        nonlocal running, filled, number, touched
        if running.digest() != pieces[number * 20 : number * 20 + 20]:
            bad.update(touched)
        running, filled, number, touched = hashlib.sha1(usedforsecurity=False), 0, number + 1, set()

    for index, (path, size) in enumerate(files):
        for block in _blocks(path, size):
            rest = block
            while rest:
                part = rest[: piece_length - filled]
                running.update(part)
                touched.add(index)
                filled += len(part)
                rest = rest[len(part) :]
                if on_bytes is not None:
                    on_bytes(len(part))
                if filled == piece_length:
                    cut()
    if filled:
        cut()
    return bad


def _blocks(path: Path, size: int) -> Iterable[memoryview]:
    """Yield exactly `size` bytes of a file in blocks, zeros standing for what cannot be read."""
    block = 1024 * 1024
    done = 0
    try:
        with open(path, "rb") as file:
            while done < size and (data := file.read(min(block, size - done))):
                done += len(data)
                yield memoryview(data)
    except OSError:
        pass
    while done < size:
        yield memoryview(bytes(min(block, size - done)))
        done += min(block, size - done)
