"""Which relative paths a release may hold: those that mean the same file, inside the root, on every system.

Manifests and torrents both pass through here, so that a path which either of them carries is safe to join to a
folder. The rules refuse; they never rewrite.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import pairwise

MAX_PATH_BYTES = 1024
MAX_COMPONENT_BYTES = 255
MAX_DEPTH = 32
MAX_PATHS_LENGTH = 16 * 1024 * 1024
"""Most characters of all paths of a release together."""

_IGNORED_NAMES = frozenset({".git", ".weightswarm", ".DS_Store"})
_IGNORED_FOLDERS = (".cache/huggingface",)

_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])( *\..*)?", re.IGNORECASE)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_WINDOWS_CANNOT = re.compile(r'[<>"|?*]')
# Most paths by far, at one look; what this does not take is not refused, but looked at closely. Possessive: one pass.
_PLAIN_COMPONENT = r"(?!(?i:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:[./]|\Z))[A-Za-z0-9_-][A-Za-z0-9_.+-]{0,254}+(?<!\.)"
_PLAIN = re.compile(rf"{_PLAIN_COMPONENT}(?:/{_PLAIN_COMPONENT}){{0,{MAX_DEPTH - 1}}}+", re.ASCII)
_FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def is_ignored(path: str) -> bool:
    """Tell whether a relative path is left out when a folder is published or compared.

    Version control, this program's own records, the Hub client's bookkeeping, a desktop's droppings.
    """
    return path.rpartition("/")[2] in _IGNORED_NAMES or path in _IGNORED_FOLDERS


def matches_any(path: str, globs: Sequence[str]) -> bool:
    """Tell whether a glob matches the whole path, case and all; one that ends in `/` means the folder."""
    return any(fnmatchcase(path, f"{glob}*" if glob.endswith("/") else glob) for glob in globs)


def check_path(path: str) -> str | None:
    """Return why `path` may not be in a release, or None when it may. Components are separated by `/`."""
    # Out here, since what is remembered stays in memory.
    return f"the path is longer than {MAX_PATH_BYTES} bytes" if len(path) > MAX_PATH_BYTES else _check_path(path)


@lru_cache(maxsize=2**14)  # manifest, torrent and folder each have the same paths to check
def _check_path(path: str) -> str | None:
    return None if _PLAIN.fullmatch(path) else _closely(path)


def _closely(path: str) -> str | None:
    if not path:
        return "the path is empty"
    if path.startswith("/"):
        return "the path is absolute"
    if "\\" in path:
        return "the path has a backslash"
    # Categories first: a lone surrogate cannot be encoded to measure it.
    if not path.isascii() and any(unicodedata.category(c) in _FORBIDDEN_CATEGORIES for c in path):
        return "the path has a control, bidi or other invisible character"
    if _CONTROLS.search(path):
        return "the path has a control character"
    if len(path.encode()) > MAX_PATH_BYTES:
        return f"the path is longer than {MAX_PATH_BYTES} bytes"
    components = path.split("/")
    if len(components) > MAX_DEPTH:
        return f"the path is more than {MAX_DEPTH} folders deep"
    for component in components:
        if reason := _check_component(component):
            return reason
    return None


def _check_component(name: str) -> str | None:
    if name in ("", ".", ".."):
        return f"the path has a component {name!r}"
    if ":" in name:
        return "the path has a colon, which means a drive or a stream on Windows"
    if len(name.encode()) > MAX_COMPONENT_BYTES:
        return f"a component is longer than {MAX_COMPONENT_BYTES} bytes"
    if _WINDOWS_CANNOT.search(name):
        return 'the path has one of < > " | ? *, which Windows cannot hold'
    if name[-1] in ". ":
        return "a component ends in a dot or a space, which Windows drops"
    if _DEVICES.fullmatch(name):
        return f"{name!r} is a device's name on Windows"
    if name.casefold() in (".git", ".weightswarm", ".pad"):
        return f"{name!r} is a reserved name"
    return None


def check_paths_distinct(paths: Iterable[str]) -> tuple[str, str] | None:
    """Return a path that collides and why, or None. Paths collide when equal after NFC and case folding,
    or when one is a folder of another. They are looked at as far as `MAX_PATHS_LENGTH`."""
    listed = paths if isinstance(paths, Sequence) else list(paths)
    return None if _clearly_distinct(listed) else _collision(listed)


def _collision(paths: Sequence[str]) -> tuple[str, str] | None:
    files: dict[str, str] = {}
    length = 0
    for path in paths:
        length += len(path)
        if length > MAX_PATHS_LENGTH:
            return path, f"makes the paths longer than {MAX_PATHS_LENGTH:,} characters together"
        key = _collision_key(path)
        if key in files:
            other = files[key]
            reason = (
                "is listed twice" if other == path else f"differs from {other[:200]!r} only in case or Unicode form"
            )
            return path, reason
        files[key] = path
    # In this order a folder is followed by what is in it: 3,000,000 folders of 100,000 paths need not be held.
    for key, following in pairwise(sorted(files)):
        if following.startswith(f"{key}\0"):
            return files[key], f"is a file, and a folder of {files[following][:200]!r}"
    return None


def _clearly_distinct(paths: Sequence[str]) -> bool:
    """Tell of ASCII paths that none collide; all at once, since a release may have 100,000."""
    if sum(map(len, paths)) > MAX_PATHS_LENGTH:
        return False
    text = "\n".join(paths)
    keys = text.lower().replace("/", "\0").split("\n")
    if not text.isascii() or len(keys) != len(paths) or len(set(keys)) != len(keys):
        return False
    if "/" not in text:
        return True
    keys.sort()
    return not any(following.startswith(f"{key}\0") for key, following in pairwise(keys))


def _collision_key(path: str) -> str:
    """Return what two paths that mean one file share; NUL between components sorts before all that they hold."""
    folded = path.lower() if path.isascii() else _folded(path)
    return folded.replace("/", "\0")


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())
