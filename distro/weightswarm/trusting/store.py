"""Where pins and seen versions are kept: two small files in the user's configuration folder, for the user alone.

A store that cannot be read is an error and never an empty one: whoever damages it must not unpin a key.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_config_path

from weightswarm.errors import InvalidInput, InvalidSignature, StorageFailure
from weightswarm.signing import PublicKey, Rotation
from weightswarm.storage import hold_lock, make_real_folder, storage_errors, user_path, write_atomically
from weightswarm.trusting.pins import Pins
from weightswarm.trusting.seen import SeenVersions

_FORMAT = 1
_MAX_BYTES = 8 * 1024 * 1024
_LOCK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class TrustStore:
    """The store whose pins are in the file `path`; what was seen stands beside it, in `<name>.seen.json`."""

    path: Path

    @property
    def seen_path(self) -> Path:
        """The file of seen versions."""
        return self.path.with_name(f"{self.path.stem}.seen.json")

    def pins(self) -> Pins:
        """Return the pins. Raises `StorageFailure` for a store that cannot be read."""
        with self._readable(self.path):
            return Pins.of_document(_read(self.path, "pins"))

    def seen(self) -> SeenVersions:
        """Return the versions seen. Raises `StorageFailure`."""
        with self._readable(self.seen_path):
            return SeenVersions.of_document(_read(self.seen_path, "seen"))

    def change_pins(self, change: Callable[[Pins], Pins]) -> Pins:
        """Apply `change` to the pins and keep the result, with the store locked."""
        with self._locked():
            before = self.pins()
            after = change(before)
            if after != before:
                _write(self.path, {"pins": after.to_document()})
            return after

    def change_seen(self, change: Callable[[SeenVersions], SeenVersions]) -> None:
        """Apply `change` to the versions seen and keep the result, with the store locked."""
        with self._locked():
            before = self.seen()
            after = change(before)
            if after != before:
                _write(self.seen_path, {"seen": after.to_document()})

    def rotate(self, target: str, rotation: Rotation) -> tuple[PublicKey, PublicKey]:
        """Take up a change of keys; return the old one and the new. What was seen counts on. Raises `Untrusted`."""
        with self._locked():
            pins, old = self.pins().rotated(target, rotation)
            # First what was seen: a kill in between leaves too much of it, never too little.
            _write(self.seen_path, {"seen": self.seen().rotated(target, old, rotation.new).to_document()})
            _write(self.path, {"pins": pins.to_document()})
            return old, rotation.new

    def _locked(self) -> AbstractContextManager[None]:
        folder = self.path.parent
        make_real_folder(folder)
        return hold_lock(folder / f".{self.path.name}.lock", folder, timeout=_LOCK_SECONDS)

    @contextmanager
    def _readable(self, path: Path) -> Iterator[None]:
        try:
            yield
        except (InvalidSignature, InvalidInput) as error:
            raise StorageFailure(
                str(path),
                f"the trust store is damaged: {error}",
                hint="put it right or restore it; without it every key would count as unknown",
            ) from error


def default_store(environment: Mapping[str, str] = os.environ) -> TrustStore:
    """Return the user's store, or the one that `WEIGHTSWARM_TRUST_STORE` names."""
    given = environment.get("WEIGHTSWARM_TRUST_STORE")
    return TrustStore(user_path(given) if given else user_config_path("weightswarm") / "trust.json")


def _read(path: Path, key: str) -> Any:
    """Return what a store's file has under `key`; nothing where there is no file."""
    try:
        with storage_errors(path), open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except StorageFailure as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return {}
        raise
    try:
        document = json.loads(data) if len(data) <= _MAX_BYTES else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("weightswarm_trust") != _FORMAT or key not in document:
        raise InvalidSignature("it is not what weightswarm writes")
    return document[key]


def _write(path: Path, document: dict[str, Any]) -> None:
    data = json.dumps({"weightswarm_trust": _FORMAT, **document}, indent=1).encode() + b"\n"
    write_atomically(path, data, mode=0o600)
