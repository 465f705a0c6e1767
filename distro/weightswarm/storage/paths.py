"""Paths as users type them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from weightswarm.errors import InvalidInput


def user_path(text: str | os.PathLike[str]) -> Path:
    """Return a path that a user gave, absolute and without `..`. Raises `InvalidInput` for one that names nothing."""
    given = os.fspath(text)
    if "\0" in given:
        raise InvalidInput(f"A path cannot hold a NUL character: {given[:80]!r}")
    if not given:
        raise InvalidInput("A path is empty", hint="is a variable in the command line unset? '.' is the current folder")
    try:
        return Path(os.path.abspath(Path(given).expanduser()))
    except RuntimeError:
        raise InvalidInput(f"There is no such user: {given[:80]}") from None


def is_file(path: str | Path) -> bool:
    """Tell whether a file stands at `path`; what is too long to be a path is none."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Tell whether a folder stands at `path`."""
    try:
        return path.is_dir()
    except OSError:
        return False


def looks_like_path(text: str) -> bool:
    """Tell whether a user who typed `text` meant a path: it starts like one, or ends like a torrent."""
    return text.startswith(("/", "./", "../", "~")) or text in (".", "..") or text.endswith((".torrent", ".json"))
