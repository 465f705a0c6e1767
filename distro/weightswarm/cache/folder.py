"""A plain folder as a release's place (`--local-dir`): real files, no links, the manifest kept beside them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from weightswarm.cache.destination import VerifiedFiles, by_folder, check_free, move_verified
from weightswarm.errors import ContentMismatch, InvalidManifest
from weightswarm.manifest import FileEntry, Manifest, parse_manifest
from weightswarm.storage import OpenFolder, drop_signature_of_another, read_regular, storage_errors
from weightswarm.verifying import Expectation, check_file

MANIFEST_FILE = Path(".weightswarm") / "manifest.json"
SIGNATURE_FILE = Path(".weightswarm") / "manifest.json.minisig"
TORRENT_FILE = Path(".weightswarm") / "release.torrent"
_MAX_MANIFEST = 32 * 1024 * 1024
PATHS_FILE = Path(".weightswarm") / "paths.json"
_MAX_DOCUMENT = 128 * 1024 * 1024


def chosen_paths(folder: Path, manifest: Manifest) -> tuple[str, ...] | None:
    """Return the files of a release that were fetched into `folder` where others were left out; None for all."""
    try:
        listed = json.loads(read_regular(folder / PATHS_FILE, _MAX_DOCUMENT))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(listed, list):
        return None
    chosen = {path for path in listed if isinstance(path, str)}
    return tuple(entry.path for entry in manifest.files if entry.path in chosen)


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """A release's place in a folder of the user's choice. Files that stand there are replaced by the release's own."""

    folder: Path
    manifest: Manifest

    @property
    def staging_parent(self) -> Path:
        """In the folder itself, so that placing is a rename."""
        return self.folder / ".weightswarm" / "staging"

    @property
    def target(self) -> Path:
        """The folder."""
        return self.folder

    def held(self, entry: FileEntry) -> Path | None:
        """Return the file if something stands at its path."""
        path = self.folder / entry.path
        return path if path.is_file() and not path.is_symlink() else None

    def all_held(self, entries: Iterable[FileEntry]) -> dict[str, Path]:
        """See `Placement`."""
        return {entry.path: file for entry in entries if (file := self.held(entry)) is not None}

    @property
    def has_release(self) -> bool:
        """Whether a release was placed here before."""
        return (self.folder / MANIFEST_FILE).is_file()

    def copies(self, entries: list[FileEntry]) -> dict[str, list[Path]]:
        """Return, by SHA-256, files here that the release fetched before had under any path."""
        before = self._before()
        if before is None:
            return {}
        wanted = {entry.sha256 for entry in entries if entry.size}
        found: dict[str, list[Path]] = {}
        for entry in before.files:
            if entry.sha256 in wanted and (file := self.held(entry)) is not None:
                found.setdefault(entry.sha256, []).append(file)
        return found

    def check_conflicts(self) -> None:
        """See `Placement`. A folder that holds a release of ours is brought up to date; a user's own files stay, also
        where the release has one by that name now."""
        before = self._before()
        ours = {entry.path for entry in before.files} if before is not None else set()
        found = []
        for entry in self.manifest.files:
            path = self.folder / entry.path
            if entry.path in ours:
                continue
            if os.path.lexists(path) and (path.is_symlink() or check_file(path, Expectation.of(entry)) is not None):
                found.append(entry.path)
        if found:
            raise ContentMismatch(
                f"{self.folder} holds other files by the same names: {', '.join(found[:5])}",
                paths=tuple(found),
                hint="nothing was replaced; move them away, or choose another --local-dir",
            )

    def place(self, files: VerifiedFiles) -> bool:
        """See `Placement`. Each file appears whole; the folder as a whole does not appear at once."""
        with storage_errors(self.folder), OpenFolder.at(self.folder) as top:
            changed = set()
            for path, file, source in by_folder(files.staged, self.folder):
                parent, name = Path(path).parent, Path(path).name
                with top.descend(parent) as folder:
                    check_free(folder, [name])
                    move_verified(path, file, source, folder, name, 0o644)
                changed.add(parent)
            for each in changed | {above for parent in changed for above in parent.parents}:
                with top.descend(each) as folder:
                    folder.sync()
            here = {*files.staged, *files.kept, *self._placed_before()}
            paths = [entry.path for entry in self.manifest.files if entry.path in here]
            with top.descend(MANIFEST_FILE.parent) as kept:
                # Until the end `verify` asks for every file rather than for too few.
                kept.unlink(PATHS_FILE.name)
                kept.write(TORRENT_FILE.name, files.torrent)
                drop_signature_of_another(kept, MANIFEST_FILE.name, self.manifest.to_bytes())
                kept.write(MANIFEST_FILE.name, self.manifest.to_bytes())
                if files.signature is not None:
                    kept.write(SIGNATURE_FILE.name, files.signature)
                if len(paths) < len(self.manifest.files):
                    kept.write(PATHS_FILE.name, json.dumps(paths).encode())
        return len(self.all_held(self.manifest.files)) == len(self.manifest.files)

    def _before(self) -> Manifest | None:
        """Return the manifest of the release that was placed here last."""
        try:
            return parse_manifest(read_regular(self.folder / MANIFEST_FILE, _MAX_MANIFEST))
        except (OSError, InvalidManifest):
            return None

    def _placed_before(self) -> tuple[str, ...]:
        """Return what is there of this very release from an earlier fetch."""
        try:
            if read_regular(self.folder / MANIFEST_FILE, _MAX_DOCUMENT) != self.manifest.to_bytes():
                return ()
        except OSError:
            return ()
        chosen = chosen_paths(self.folder, self.manifest)
        return tuple(entry.path for entry in self.manifest.files) if chosen is None else chosen
