"""Looking at one file: at its name, its first bytes, and the header of the formats that have one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from weightswarm.formats.gguf import check_gguf
from weightswarm.formats.names import Code, code_by_name, suffix_of
from weightswarm.formats.pickles import holds_pickle, may_hold_pickle
from weightswarm.formats.safetensors import check_safetensors
from weightswarm.formats.source import Malformed, OpenFile, Source

_READ = 4096
_SHOWN = 3

_CHECKS: dict[str, Callable[[Source], None]] = {"safetensors": check_safetensors, "gguf": check_gguf}


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was seen: `code` where the file may run some, `disguised` when only its content says so, and how it breaks
    the format that its name promises (`defect`, printable as it is)."""

    code: Code | None = None
    disguised: bool = False
    defect: str | None = None


_NOTHING = Inspection()


def glance(path: str, head: bytes) -> Inspection | None:
    """Return what can be said of a file by its name and its first `HEAD` bytes; None when it has to be opened."""
    if (named := code_by_name(path)) is not None:
        return Inspection(named)
    return None if suffix_of(path) in _CHECKS or may_hold_pickle(head) else _NOTHING


def inspect_file(path: str, descriptor: int) -> Inspection:
    """Look at an open file that a release calls `path`. Raises `OSError` as reading does."""
    named = code_by_name(path)
    if named is not None:
        return Inspection(named)
    check = _CHECKS.get(suffix_of(path))
    source = OpenFile(descriptor, _READ)
    defect = None
    if check is not None:
        try:
            check(source)
        except Malformed as error:
            defect = str(error)
    if holds_pickle(source):
        return Inspection(Code.PICKLE, True, None if defect is None else "it is a pickle")
    return _NOTHING if defect is None else Inspection(defect=defect)


@dataclass(frozen=True, slots=True)
class CodeFile:
    """A file that may run code when a loader opens it. `size` in bytes; `disguised` when its name does not say so."""

    path: str
    size: int
    kind: Code
    disguised: bool = False


def named_code(files: Iterable[tuple[str, int]]) -> list[CodeFile]:
    """Return those of `files` (path, size) that may run code by their names."""
    return [CodeFile(path, size, kind) for path, size in files if (kind := code_by_name(path)) is not None]


def code_notice(files: Sequence[CodeFile]) -> str:
    """Return the sentence that tells a user about these files."""
    shown = ", ".join(f"{file.path} ({file.kind.value})" for file in files[:_SHOWN])
    more = f" and {len(files) - _SHOWN:,} more" if len(files) > _SHOWN else ""
    size = sum(file.size for file in files)
    count = "1 file" if len(files) == 1 else f"{len(files):,} files"
    return f"{count} of {size:,} bytes may run code when loaded: {shown}{more}"
