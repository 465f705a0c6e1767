"""What may run code: named before anything is downloaded, looked for in what came before it is placed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from weightswarm.errors import ContentMismatch, UnsafeFiles
from weightswarm.formats import CodeFile, Inspection, code_notice, inspect_file, named_code
from weightswarm.progress import Note, Report
from weightswarm.storage import storage_errors

_SHOWN = 5


def announce_code(files: Iterable[tuple[str, int]], *, only_safe: bool, report: Report) -> None:
    """Say once which of `files` (path, size) may run code by their names; with `only_safe` raise `UnsafeFiles`."""
    found = named_code(files)
    if not found:
        return
    if only_safe:
        endings = dict.fromkeys(f"--exclude '*.{file.path.rpartition('.')[2]}'" for file in found)
        raise UnsafeFiles(
            f"{code_notice(found)}; nothing was downloaded",
            paths=tuple(file.path for file in found),
            hint=f"to fetch the rest: {' '.join(list(endings)[:_SHOWN])}",
        )
    report(Note(f"{code_notice(found)}; --only-safe would refuse this"))


def check_contents(files: Mapping[str, Path], *, only_safe: bool, allow_malformed: bool, report: Report) -> None:
    """Look into `files`, by their path in the release, whose hashes are right.

    Raises `ContentMismatch` for one that breaks its own format, unless `allow_malformed`, and with `only_safe` for one
    that is a pickle under a name that does not say so; what is let through is reported.
    """
    malformed: list[tuple[str, str]] = []
    disguised: list[CodeFile] = []
    for path, file in files.items():
        seen = _look(path, file)
        if seen.defect is not None:
            malformed.append((path, seen.defect))
        if seen.code is not None and seen.disguised:
            disguised.append(CodeFile(path, file.stat().st_size, seen.code, True))
    if malformed:
        path, defect = malformed[0]
        more = f" (and {len(malformed) - 1:,} more)" if len(malformed) > 1 else ""
        said = f"{path} breaks its own format: {defect}{more}"
        if not allow_malformed:
            raise ContentMismatch(
                f"{said}; nothing was placed",
                paths=tuple(path for path, _ in malformed),
                hint="the publisher's file is like that; --allow-malformed takes it nevertheless",
            )
        report(Note(said))
    if disguised:
        said = f"Not what its name says: {code_notice(disguised)}"
        if only_safe:
            raise ContentMismatch(f"{said}; nothing was placed", paths=tuple(file.path for file in disguised))
        report(Note(said))


def _look(path: str, file: Path) -> Inspection:
    with storage_errors(file):
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return inspect_file(path, descriptor)
        finally:
            os.close(descriptor)
