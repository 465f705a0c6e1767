"""A plain folder as a release's place (`--local-dir`): real files, no links, the manifest kept beside them."""

from __future__ import annotations

import os
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

    @property
    def has_release(self) -> bool:
        """Whether a release was placed here before."""
        return (self.folder / MANIFEST_FILE).is_file()

    def copies(self, entries: list[FileEntry]) -> dict[str, list[Path]]:
        """Return, by SHA-256, files here that the release fetched before had under any path."""
        try:
            before = parse_manifest(read_regular(self.folder / MANIFEST_FILE, _MAX_MANIFEST))
        except (OSError, InvalidManifest):
            return {}
        wanted = {entry.sha256 for entry in entries if entry.size}
        found: dict[str, list[Path]] = {}
        for entry in before.files:
            if entry.sha256 in wanted and (file := self.held(entry)) is not None:
                found.setdefault(entry.sha256, []).append(file)
        return found

    def check_conflicts(self) -> None:
        """See `Placement`. A folder that holds a release of ours is brought up to date; a user's own files stay."""
        if self.has_release:
            return
        found = []
        for entry in self.manifest.files:
            path = self.folder / entry.path
            if os.path.lexists(path) and (path.is_symlink() or check_file(path, Expectation.of(entry)) is not None):
                found.append(entry.path)
        if found:
            raise ContentMismatch(
                f"{self.folder} holds other files by the same names: {', '.join(found[:5])}",
                paths=tuple(found),
                hint="nothing was replaced; move them away, or choose another --local-dir",
            )

    def place(self, files: VerifiedFiles) -> None:
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
            with top.descend(MANIFEST_FILE.parent) as kept:
                kept.write(TORRENT_FILE.name, files.torrent)
                drop_signature_of_another(kept, MANIFEST_FILE.name, self.manifest.to_bytes())
                kept.write(MANIFEST_FILE.name, self.manifest.to_bytes())
                if files.signature is not None:
                    kept.write(SIGNATURE_FILE.name, files.signature)
