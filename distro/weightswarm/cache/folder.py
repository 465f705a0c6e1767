"""A plain folder as a release's place (`--local-dir`): real files, no links, the manifest kept beside them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from weightswarm.cache.destination import VerifiedFiles
from weightswarm.manifest import FileEntry, Manifest
from weightswarm.storage import make_real_folder, storage_errors, sync_folder, write_atomically

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
        """A plain folder has no revisions to guard."""

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
            write_atomically(self.folder / TORRENT_FILE, files.torrent)
            write_atomically(self.folder / MANIFEST_FILE, self.manifest.to_bytes())
