"""Which relative paths a release may hold: those that mean the same file, inside the root, on every system.

Manifests and torrents both pass through here, so that a path which either of them carries is safe to join to a
folder. The rules refuse; they never rewrite.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

MAX_PATH_BYTES = 1024
MAX_COMPONENT_BYTES = 255
MAX_DEPTH = 32

_IGNORED_NAMES = frozenset({".git", ".weightswarm", ".DS_Store"})
_IGNORED_FOLDERS = (".cache/huggingface",)

_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])( *\..*)?", re.IGNORECASE)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_WINDOWS_CANNOT = re.compile(r'[<>"|?*]')
_FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def is_ignored(path: str) -> bool:
    """Tell whether a relative path is left out when a folder is published or compared.

    Version control, this program's own records, the Hub client's bookkeeping, a desktop's droppings.
    """
    return path.rpartition("/")[2] in _IGNORED_NAMES or path in _IGNORED_FOLDERS


@lru_cache(maxsize=2**14)  # manifest, torrent and folder each have the same paths to check
def check_path(path: str) -> str | None:
    """Return why `path` may not be in a release, or None when it may. Components are separated by `/`."""
    if not path:
        return "the path is empty"
    if len(path) > MAX_PATH_BYTES:
        return f"the path is longer than {MAX_PATH_BYTES} bytes"
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
    return next((reason for c in components if (reason := _check_component(c))), None)


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
    or when one is a folder of another."""
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    for path in paths:
        key = _collision_key(path)
        if key in files:
            other = files[key]
            reason = (
                "is listed twice" if other == path else f"differs from {other[:200]!r} only in case or Unicode form"
            )
            return path, reason
        files[key] = path
        end = key.rfind("/")
        while end > 0 and key[:end] not in folders:
            folders[key[:end]] = path
            end = key.rfind("/", 0, end)
    for key, path in files.items():
        if key in folders:
            return path, f"is a file, and a folder of {folders[key][:200]!r}"
    return None


def _collision_key(path: str) -> str:
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())
