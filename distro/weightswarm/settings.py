"""The user's settings: `weightswarm.toml` in the user's config folder, strict and bounded. It holds no secrets.

A new setting is a field of `Settings` with a reader beside it in `_READERS`; callers take the value from there when
the command line and the environment say nothing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from weightswarm.errors import InvalidInput, StorageFailure

FILE_NAME = "weightswarm.toml"
MAX_BYTES = 64 * 1024
MAX_ENTRIES = 64
_MAX_TEXT = 4096


@dataclass(frozen=True, slots=True)
class Settings:
    """What the file says. `registries` are folders and URLs, in the order in which they are asked.

    A folder that is no absolute path is below the file's own folder; `~` is the user's home.
    """

    registries: tuple[str, ...] = ()


def settings_path() -> Path:
    """Return where the file is looked for: `~/.config/weightswarm/` on Linux, or below `XDG_CONFIG_HOME`."""
    return Path(platformdirs.user_config_dir("weightswarm")) / FILE_NAME


def load_settings(path: Path | None = None) -> Settings:
    """Read the user's settings, the defaults when there is no file.

    Raises `InvalidInput` that names the file for one that is no TOML, is too large, or has an unknown key or a value of
    the wrong type; `StorageFailure` for one that cannot be read.
    """
    place = settings_path() if path is None else path
    try:
        with open(place, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return Settings()
    except OSError as error:
        raise StorageFailure(str(place), error.strerror or str(error)) from error
    if len(data) > MAX_BYTES:
        raise InvalidInput(f"{place} is larger than {MAX_BYTES:,} bytes")
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{place} is not TOML: {str(error)[:200]}") from None
    if unknown := document.keys() - _READERS.keys():
        raise InvalidInput(f"{place}: unknown setting {min(unknown)[:80]!r}", hint=f"known are: {', '.join(_READERS)}")
    return Settings(**{key: _READERS[key](value, f"{place}: {key}", place.parent) for key, value in document.items()})


def _registries(value: Any, what: str, folder: Path) -> tuple[str, ...]:
    return tuple(text if "://" in text or text.startswith("~") else str(folder / text) for text in _texts(value, what))


def _texts(value: Any, what: str) -> list[str]:
    if not isinstance(value, list) or len(value) > MAX_ENTRIES:
        raise InvalidInput(f"{what} is not a list of at most {MAX_ENTRIES} strings")
    for text in value:
        if not isinstance(text, str) or not 0 < len(text) <= _MAX_TEXT or "\0" in text:
            raise InvalidInput(f"{what} has {text!r:.80}, which is not a string of 1 to {_MAX_TEXT:,} characters")
    return value


_READERS: Mapping[str, Callable[[Any, str, Path], Any]] = {"registries": _registries}
