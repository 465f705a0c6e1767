"""A registry in a folder: `org/model/<revision>/{magnet.txt,manifest.json,release.torrent}`, and `org/model/main`.

`main` holds the revision that the bare name means; without it a model with one revision means that one. A torrent that
was published without a manifest stands in `org/model/torrents/<info-hash>/{magnet.txt,about.json,release.torrent}`. The
tree is the truth, and `index.json` at its root the list of it for who asks over HTTP (`weightswarm.registry.indexing`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from weightswarm.errors import InvalidInput, NotFound, WeightswarmError
from weightswarm.magnet import InfoHash, MagnetLink, parse_magnet
from weightswarm.manifest import is_revision, parse_model_name
from weightswarm.progress import Note, Report, silent
from weightswarm.registry.entry import RegistryEntry
from weightswarm.registry.index import INDEX, index_bytes
from weightswarm.registry.index import MAX_BYTES as MAX_INDEX
from weightswarm.registry.indexing import index_lock, listed
from weightswarm.registry.listing import (
    ABOUT,
    MAGNET,
    MANIFEST,
    MAX_DOCUMENT_SIZES,
    MAX_VERSION,
    SIGNATURE,
    TORRENT,
    TORRENTS,
    VERSION,
    KnownRevision,
    ListedRelease,
    choose_revision,
    choose_torrent,
    documents_of,
)
from weightswarm.storage import OpenFolder, drop_signature_of_another, write_atomically

MAIN = "main"


@dataclass(frozen=True, slots=True)
class DirectoryRegistry:
    """The registry in `root`."""

    root: Path

    @property
    def location(self) -> str:
        """The folder, for messages."""
        return str(self.root)

    def find(self, name: str, revision: str | None = None) -> RegistryEntry | None:
        """Return a model's release, at `revision` (see `choose_revision`, `choose_torrent`), else at `main`.

        Of a model without releases, return the torrent with an info-hash, else its only one. None when the model is
        not here. Raises `NotFound` when it is, and the revision is not or is ambiguous.
        """
        folder = self.root / parse_model_name(name)
        known = [KnownRevision(each, _version(folder / each)) for each in _revisions(folder)]
        torrents = [entry for place in _torrents(folder) if (entry := self._load(name, place)) is not None]
        chosen = choose_torrent(name, revision, [entry.info_hash for entry in torrents], bool(known), self.location)
        if chosen is not None:
            return next(entry for entry in torrents if entry.info_hash == chosen)
        if not known:
            # A revision that this name has no release of may be one that was computed here, and is in the cache.
            return None
        return self._load(name, choose_revision(name, revision, known, self._main(name), self.location))

    def find_info_hash(self, info_hash: InfoHash) -> RegistryEntry | None:
        """Return the release that a torrent holds, None when no entry has its info-hash."""
        for name, place in self._places():
            # Magnets alone are read until one fits: manifests and torrents are megabytes.
            magnet = _magnet(_read(self.root / name / place / MAGNET, MAX_DOCUMENT_SIZES[MAGNET]))
            if magnet is None or not magnet.info_hash.matches(info_hash):
                continue
            if (entry := self._load(name, place)) is not None:
                return entry
        return None

    def entries(self) -> Iterator[RegistryEntry]:
        """Yield every release, by name, then revision; torrents without a manifest after them."""
        for name, place in self._places():
            if (entry := self._load(name, place)) is not None:
                yield entry

    def releases(self) -> tuple[ListedRelease, ...]:
        """Return the list of what is here; what is damaged is left out."""
        return tuple(self.list_releases(lambda _place, _reason: None))

    def list_releases(self, on_damaged: Callable[[str, str], None]) -> Iterator[ListedRelease]:
        """Yield every release as an index lists it; `on_damaged` is told of those that contradict themselves."""
        for name, place in self._places():
            entry = self._load(name, place)
            magnet = _read(self.root / name / place / MAGNET, MAX_DOCUMENT_SIZES[MAGNET])
            if entry is None or magnet is None:
                for_it = "" if _torrent_of(place) is None else " and has that info-hash"
                on_damaged(f"{name}/{place}", f"it has no {MAGNET} that can be read{for_it}")
                continue
            try:
                yield listed(entry, magnet, is_main=self._main(name) == place)
            except WeightswarmError as error:
                on_damaged(f"{name}/{place}", str(error))

    def add(self, entry: RegistryEntry, report: Report = silent) -> Path:
        """Write a release, point the model's `main` at it, make the index again, and return the release's folder.

        It has a revision: torrents without a manifest are written by hand.
        Raises `InvalidInput` for a version number that another revision has.
        """
        return self._put(entry, report, main=True)

    def resign(self, entry: RegistryEntry, report: Report = silent) -> Path:
        """Write an entry anew with another signature, and return its folder; `main` stays where it points.

        Raises as `add` does.
        """
        return self._put(entry, report, main=False)

    def _put(self, entry: RegistryEntry, report: Report, *, main: bool) -> Path:
        assert entry.revision is not None
        folder = self.root / entry.name / entry.revision
        with index_lock(self.root):
            for other in _revisions(folder.parent):
                if (
                    entry.version is not None
                    and other != entry.revision
                    and _version(folder.parent / other) == entry.version
                ):
                    raise InvalidInput(f"{entry.name} has a version {entry.version} already: {other}")
            documents = {
                MANIFEST: entry.manifest,
                TORRENT: entry.torrent,
                SIGNATURE: entry.signature,
                VERSION: None if entry.version is None else f"{entry.version}\n".encode(),
                MAGNET: str(entry.magnet).encode() + b"\n",
            }
            if entry.manifest is not None:
                with OpenFolder.at(folder) as opened:
                    drop_signature_of_another(opened, MANIFEST, entry.manifest)
            for name, data in documents.items():
                if data is not None:
                    write_atomically(folder / name, data)
            if main:
                write_atomically(folder.parent / MAIN, entry.revision.encode() + b"\n")
            self._write_index(report)
        return folder

    def write_index(self, report: Report = silent) -> tuple[Path, bool]:
        """Make `index.json` again from the tree; return it, and whether everything in the tree is listed.

        What is damaged is left out, and `report` told so. Raises `NotFound` for a folder of other things.
        """
        if not (self.root / INDEX).exists() and next(self._places(), None) is None and _is_used(self.root):
            raise NotFound(
                f"{self.root} is no registry: no release is in it", hint="publish --add-to DIR makes one, index and all"
            )
        with index_lock(self.root):
            return self._write_index(report)

    def _write_index(self, report: Report) -> tuple[Path, bool]:
        damaged = []

        def note(place: str, reason: str) -> None:
            damaged.append(place)
            report(Note(f"{self.root / place} is left out of the index: {reason}"))

        data = index_bytes(self.list_releases(note))
        if len(data) > MAX_INDEX:
            raise InvalidInput(f"The index of {self.root} would have more than {MAX_INDEX:,} bytes")
        write_atomically(self.root / INDEX, data)
        return self.root / INDEX, not damaged

    def _places(self) -> Iterator[tuple[str, str]]:
        """Yield the model and place below it of every folder that is named like a release's or among torrents."""
        for organisation in _folders(self.root):
            for model in _folders(self.root / organisation):
                try:
                    name = parse_model_name(f"{organisation}/{model}")
                except InvalidInput:
                    continue
                folder = self.root / name
                for place in (*_revisions(folder), *_torrents(folder)):
                    yield name, place

    def _main(self, name: str) -> str | None:
        data = _read(self.root / name / MAIN, 64)
        return None if data is None else data.decode("ascii", "replace").strip()

    def _load(self, name: str, place: str) -> RegistryEntry | None:
        """Read a release; of a torrent without a manifest just what its folder's name, its info-hash, fits."""
        folder = self.root / name / place
        known = _torrent_of(place)
        found = {each: _read(folder / each, MAX_DOCUMENT_SIZES[each]) for each in documents_of(manifest=known is None)}
        magnet = _magnet(found[MAGNET])
        if magnet is None:
            return None
        if known is not None:
            fits = magnet.info_hash.digests[0] == known
            return RegistryEntry(name, None, magnet, torrent=found[TORRENT], about=found[ABOUT]) if fits else None
        return RegistryEntry(name, place, magnet, found[MANIFEST], found[TORRENT], found[SIGNATURE], _version(folder))


def bundled_registry() -> DirectoryRegistry:
    """Return the registry that ships with this program: the project's `manifests/`."""
    package = Path(__file__).parents[1]
    installed = package / "manifests"
    return DirectoryRegistry(installed if installed.is_dir() else package.parents[1] / "manifests")


def _folders(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except OSError:
        return []


def _is_used(folder: Path) -> bool:
    try:
        return any(not entry.name.startswith(".") for entry in os.scandir(folder))
    except OSError:
        return False


def _revisions(folder: Path) -> list[str]:
    return [name for name in _folders(folder) if is_revision(name)]


def _torrents(folder: Path) -> list[str]:
    return [f"{TORRENTS}/{name}" for name in _folders(folder / TORRENTS)]


def _torrent_of(place: str) -> str | None:
    """Return the info-hash that a torrent's place names, None for a revision's."""
    return place.removeprefix(f"{TORRENTS}/") if place.startswith(f"{TORRENTS}/") else None


def _read(path: Path, limit: int) -> bytes | None:
    try:
        # Opening a pipe would wait for ever.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            # Not up to the limit: that would take as much memory for a file of any size.
            return file.read(status.st_size) if stat.S_ISREG(status.st_mode) and status.st_size <= limit else None
    except OSError:
        return None


def _version(folder: Path) -> int | None:
    data = (_read(folder / VERSION, 16) or b"").strip()
    return int(data) if data.isdigit() and int(data) <= MAX_VERSION else None


def _magnet(data: bytes | None) -> MagnetLink | None:
    try:
        return None if data is None else parse_magnet(data.decode("utf-8", "replace"))
    except InvalidInput:
        return None
