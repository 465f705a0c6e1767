"""A plain folder as a release's place (`--local-dir`): real files, no links, the manifest kept beside them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from weightswarm.cache.destination import VerifiedFiles
from weightswarm.errors import ContentMismatch
from weightswarm.manifest import FileEntry, Manifest
from weightswarm.storage import make_real_folder, storage_errors, sync_folder, write_atomically
from weightswarm.verifying import Expectation, check_file

MANIFEST_FILE = Path(".weightswarm") / "manifest.json"
TORRENT_FILE = Path(".weightswarm") / "release.torrent"


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

    def check_conflicts(self) -> None:
        """See `Placement`. A folder that holds a release of ours is brought up to date; a user's own files stay."""
        if (self.folder / MANIFEST_FILE).is_file():
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
        with storage_errors(self.folder):
            folders = set()
            for path, file in files.staged.items():
                target = self.folder / path
                make_real_folder(target.parent, below=self.folder)
                os.chmod(file, 0o644, follow_symlinks=False)
                os.replace(file, target)
                folders.add(target.parent)
            for folder in folders:
                sync_folder(folder)
            make_real_folder((self.folder / TORRENT_FILE).parent, below=self.folder)
            write_atomically(self.folder / TORRENT_FILE, files.torrent)
            write_atomically(self.folder / MANIFEST_FILE, self.manifest.to_bytes())
