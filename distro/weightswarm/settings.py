"""The user's settings: `weightswarm.toml` in the user's config folder, strict and bounded.

Keys are the long names of the command line's options, as they are written there: at the top for every command that
has them, in a table such as `[fetch]` or `[key.new]` for one. What their values mean is their options' business; which
names there are stands here, so that who uses the library meets a slip as well. `registries` is a key of its own.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from weightswarm.errors import InvalidInput, StorageFailure, without_passwords

FILE_NAME = "weightswarm.toml"
MAX_BYTES = 64 * 1024
MAX_ENTRIES = 64
_MAX_TEXT = 4096
REGISTRIES = "registries"
# Held against the command line by a test; `python tests/configuration_page.py` writes both lists anew.
COMMANDS = (
    "publish",
    "seed",
    "fetch",
    "verify",
    "search",
    "show",
    "index",
    "sign",
    "key new",
    "key show",
    "key rotate",
    "trust add",
    "trust ls",
    "trust rm",
    "ls",
    "rm",
    "prune",
    "export sha256sums",
    "export metalink",
    "export torrent",
    "export magnet",
    "export qr",
    "export ollama",
    "completion",
    "man",
    "demo",
)
OPTIONS = (
    "add-to",
    "advertise",
    "allow-expired",
    "allow-malformed",
    "allow-older",
    "base",
    "cache-dir",
    "comment",
    "created",
    "description",
    "dht-node",
    "download-limit",
    "dry-run",
    "exclude",
    "expires",
    "file",
    "for",
    "from-hub",
    "http-only",
    "include",
    "interface",
    "json",
    "key",
    "key-passphrase-file",
    "leave-out",
    "license",
    "limit",
    "limit-schedule",
    "listen",
    "local-dir",
    "manifest",
    "max-connections",
    "name",
    "network",
    "new",
    "no-lane",
    "no-passphrase",
    "offline",
    "old",
    "oms-ca",
    "oms-identity",
    "oms-issuer",
    "oms-key",
    "oms-signature",
    "oms-trust-config",
    "only-safe",
    "output",
    "peer",
    "piece-length",
    "pieces",
    "private",
    "proxy",
    "qr",
    "quiet",
    "rehash",
    "release-version",
    "repair",
    "revision",
    "seed",
    "seed-ratio",
    "seed-time",
    "set-main",
    "sha256sums",
    "signature",
    "timeout",
    "torrent-url",
    "tracker",
    "trust",
    "trust-magnet",
    "upload-limit",
    "v1-only",
    "v2-only",
    "web-seed",
    "yes",
)

Value = str | int | float | bool | list[str]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the file says. `registries` are folders and URLs, in the order in which they are asked.

    A folder that is no absolute path is below the file's own folder; `~` is the user's home. `options` hold for every
    command, `tables` for one, by its words. `path` is the file, None where there is none.
    """

    registries: tuple[str, ...] = ()
    options: Mapping[str, Value] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    path: Path | None = field(default=None, compare=False)

    def value(self, command: str, option: str) -> tuple[Value, str] | None:
        """Return what the file says of a command's option, and under which key; None where it says nothing."""
        if option in (table := self.tables.get(command, {})):
            return table[option], f"[{command.replace(' ', '.')}] {option}"
        return (self.options[option], option) if option in self.options else None


def settings_path() -> Path:
    """Return where the file is looked for: `~/.config/weightswarm/`, or below `XDG_CONFIG_HOME`."""
    # What platformdirs says on Linux, without the time that it takes to load: every command asks.
    folder = os.environ.get("XDG_CONFIG_HOME", "").strip() or "~/.config"
    return Path(folder).expanduser() / "weightswarm" / FILE_NAME


def load_settings(path: Path | None = None) -> Settings:
    """Read the user's settings, the defaults when there is no file.

    Raises `InvalidInput` that names the file for one that is no TOML, is too large, has an unknown key or a value of
    no possible type, that anybody can write to, or that holds a password that others can read; `StorageFailure` for one
    that cannot be read.
    """
    place = settings_path() if path is None else path
    try:
        with open(place, "rb") as file:
            data = file.read(MAX_BYTES + 1)
            mode = os.fstat(file.fileno()).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return Settings()
    except OSError as error:
        raise StorageFailure(str(place), error.strerror or str(error)) from error
    if len(data) > MAX_BYTES:
        raise InvalidInput(f"{place} is larger than {MAX_BYTES:,} bytes")
    # Only who has such a file waits for its parser to load.
    import tomllib

    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{place} is not TOML: {str(error)[:200]}") from None
    registries = _registries(document.pop(REGISTRIES, []), f"{place}: {REGISTRIES}", place.parent)
    options, tables = _sorted_out(document, place)
    if stat.S_IMODE(mode) & stat.S_IWOTH:
        # Who writes it says which registries and keys count here, and by whose proxy all goes.
        raise InvalidInput(f"{place} can be written by anybody on this machine", hint=f"chmod o-w {place}")
    if stat.S_IMODE(mode) & 0o077 and (holder := _holds_password(options, *tables.values())):
        raise InvalidInput(f"{place} holds a {holder}'s password, and others can read it", hint=f"chmod 600 {place}")
    return Settings(registries, options, tables, place)


def _holds_password(*tables: Mapping[str, Value]) -> str | None:
    """Return the first option whose URL has a user or password in it."""
    for name, value in (each for table in tables for each in table.items()):
        texts = [str(each) for each in (value if isinstance(value, list) else [value])]
        if any("@" in text if name == "proxy" else without_passwords(text) != text for text in texts):
            return name
    return None


def _sorted_out(document: Mapping[str, Any], place: Path) -> tuple[dict[str, Value], dict[str, dict[str, Value]]]:
    """Return the options at the top, and each command's."""
    options: dict[str, Value] = {}
    tables: dict[str, dict[str, Value]] = {}
    for key, value in document.items():
        if not isinstance(value, dict):
            options[key] = _value(key, value, place, key)
        elif key in COMMANDS:
            tables[key] = {name: _value(name, each, place, f"[{key}] {name}") for name, each in value.items()}
        elif any(command.startswith(f"{key} ") for command in COMMANDS):
            for word, table in value.items():
                if f"{key} {word}" not in COMMANDS or not isinstance(table, dict):
                    raise _unknown(place, f"{key}.{word}", (each.replace(" ", ".") for each in COMMANDS))
                tables[f"{key} {word}"] = {
                    name: _value(name, each, place, f"[{key}.{word}] {name}") for name, each in table.items()
                }
        else:
            raise _unknown(place, key, (each.replace(" ", ".") for each in COMMANDS))
    return options, tables


def _value(key: str, value: Any, place: Path, shown: str) -> Value:
    if key not in OPTIONS:
        raise _unknown(place, shown, (REGISTRIES, *OPTIONS), key)
    if isinstance(value, list):
        return _texts(value, f"{place}: {shown}")
    if not isinstance(value, str | int | float) or (isinstance(value, str) and "\0" in value):
        raise InvalidInput(f"{place}: {shown} is no string, number, true, false or list of strings")
    return value


def _unknown(place: Path, shown: str, known: Any, key: str | None = None) -> InvalidInput:
    near = get_close_matches((key or shown)[:80].replace("_", "-"), list(known), 1)
    hint = f"did you mean {near[0]}?" if near else "options are named as on the command line, without the dashes before"
    return InvalidInput(f"{place}: unknown setting {shown[:80]!r}", hint=hint)


def _registries(value: Any, what: str, folder: Path) -> tuple[str, ...]:
    return tuple(text if "://" in text or text.startswith("~") else str(folder / text) for text in _texts(value, what))


def _texts(value: Any, what: str) -> list[str]:
    if not isinstance(value, list) or len(value) > MAX_ENTRIES:
        raise InvalidInput(f"{what} is not a list of at most {MAX_ENTRIES} strings")
    for text in value:
        if not isinstance(text, str) or not 0 < len(text) <= _MAX_TEXT or "\0" in text:
            raise InvalidInput(f"{what} has {text!r:.80}, which is not a string of 1 to {_MAX_TEXT:,} characters")
    return value
