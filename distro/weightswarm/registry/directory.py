"""A registry in a folder: `org/model/<revision>/{magnet.txt,manifest.json,release.torrent}`, and `org/model/main`.

`main` holds the revision that the bare name means; without it a model with one revision means that one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from weightswarm.errors import InvalidInput, NotFound
from weightswarm.magnet import InfoHash, MagnetLink, parse_magnet
from weightswarm.manifest import is_revision, parse_model_name
from weightswarm.registry.entry import RegistryEntry
from weightswarm.storage import write_atomically

_MAX_DOCUMENT = 128 * 1024 * 1024
_MAX_MAGNET = 64 * 1024


@dataclass(frozen=True, slots=True)
class DirectoryRegistry:
    """The registry in `root`."""

    root: Path

    def find(self, name: str, revision: str | None = None) -> RegistryEntry | None:
        """Return a model's release, at `revision` (or its first seven digits or more), else at `main`.

        None when the model is not here. Raises `NotFound` when it is, and the revision is not or is ambiguous.
        """
        folder = self.root / parse_model_name(name)
        revisions = _revisions(folder)
        if not revisions:
            return None
        listed = f"known revisions: {', '.join(revisions[:10])}"
        if revision is not None:
            matching = [r for r in revisions if r.startswith(revision)] if len(revision) >= 7 else []
            if len(matching) != 1:
                raise NotFound(f"{name} has no revision {revision} in the registry {self.root}", hint=listed)
            return self._load(name, matching[0])
        main = _read(folder / "main", 64)
        if main is not None and (chosen := main.decode("ascii", "replace").strip()) in revisions:
            return self._load(name, chosen)
        if len(revisions) > 1:
            raise NotFound(f"{name} has several revisions in {self.root}; say which: {name}@REV", hint=listed)
        return self._load(name, revisions[0])

    def find_info_hash(self, info_hash: InfoHash) -> RegistryEntry | None:
        """Return the release that a torrent holds, None when no entry has its info-hash."""
        return next((entry for entry in self.entries() if entry.info_hash.matches(info_hash)), None)

    def entries(self) -> Iterator[RegistryEntry]:
        """Yield every release, by name, then revision."""
        for organisation in _folders(self.root):
            for model in _folders(self.root / organisation):
                try:
                    name = parse_model_name(f"{organisation}/{model}")
                except InvalidInput:
                    continue
                for revision in _revisions(self.root / name):
                    if (entry := self._load(name, revision)) is not None:
                        yield entry

    def add(self, entry: RegistryEntry) -> Path:
        """Write a release, point the model's `main` at it, and return its folder."""
        folder = self.root / entry.name / entry.revision
        if entry.manifest is not None:
            write_atomically(folder / "manifest.json", entry.manifest)
        if entry.torrent is not None:
            write_atomically(folder / "release.torrent", entry.torrent)
        write_atomically(folder / "magnet.txt", str(entry.magnet).encode() + b"\n")
        write_atomically(folder.parent / "main", entry.revision.encode() + b"\n")
        return folder

    def _load(self, name: str, revision: str) -> RegistryEntry | None:
        folder = self.root / name / revision
        magnet = _magnet(_read(folder / "magnet.txt", _MAX_MAGNET))
        if magnet is None:
            return None
        manifest = _read(folder / "manifest.json", _MAX_DOCUMENT)
        return RegistryEntry(name, revision, magnet, manifest, _read(folder / "release.torrent", _MAX_DOCUMENT))


def bundled_registry() -> DirectoryRegistry:
    """Return the registry that ships with this program: the project's `manifests/`."""
    package = Path(__file__).parents[1]
    installed = package / "manifests"
    return DirectoryRegistry(installed if installed.is_dir() else package.parents[1] / "manifests")


def find_name(registries: Sequence[DirectoryRegistry], name: str, revision: str | None) -> RegistryEntry | None:
    """Return the first registry's release of a name, None when none has it."""
    return next((entry for r in registries if (entry := r.find(name, revision)) is not None), None)


def find_info_hash(registries: Sequence[DirectoryRegistry], info_hash: InfoHash) -> RegistryEntry | None:
    """Return the first registry's release with an info-hash, None when none has it."""
    return next((entry for r in registries if (entry := r.find_info_hash(info_hash)) is not None), None)


def _folders(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except OSError:
        return []


def _revisions(folder: Path) -> list[str]:
    return [name for name in _folders(folder) if is_revision(name)]


def _read(path: Path, limit: int) -> bytes | None:
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except OSError:
        return None
    return data if len(data) <= limit else None


def _magnet(data: bytes | None) -> MagnetLink | None:
    try:
        return None if data is None else parse_magnet(data.decode("utf-8", "replace"))
    except InvalidInput:
        return None
