"""Putting verified files into the cache: data on disk first, then names, then the snapshot, whole, in one rename."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from weightswarm.cache.destination import VerifiedFiles
from weightswarm.cache.layout import ModelCache, Repository
from weightswarm.cache.locks import hold
from weightswarm.cache.records import ReleaseRecord, load_record, missing_paths, save_record
from weightswarm.errors import ContentMismatch, StorageFailure
from weightswarm.manifest import FileEntry, Manifest
from weightswarm.storage import make_real_folder, remove_tree, storage_errors, sync_folder, write_atomically
from weightswarm.verifying import Expectation, Fault, check_file


@dataclass(frozen=True, slots=True)
class CachePlacement:
    """A release's place in the model cache. `set_main` moves `refs/main` even from another revision;
    `mending` lets damaged files of a snapshot be replaced that has no record of ours."""

    cache: ModelCache
    repository: Repository
    manifest: Manifest
    set_main: bool = False
    mending: bool = False

    @property
    def staging_parent(self) -> Path:
        """Below the cache's own root, so that placing is a rename."""
        return self.cache.private

    @property
    def target(self) -> Path:
        """The snapshot."""
        return self.repository.snapshot(self.manifest.revision)

    def held(self, entry: FileEntry) -> Path | None:
        """Return the blob if it stands where this release would put it."""
        blob = self.repository.blob(entry)
        return blob if blob.is_file() else None

    def check_conflicts(self) -> None:
        """Raise `ContentMismatch` when the cache shows other bytes under this name and revision already.

        A revision means one set of files: who wants to replace it removes it first.
        """
        self._check_record()
        known = load_record(self.repository, self.manifest.revision) is not None
        if known or self.mending or not self.target.is_dir():
            return
        found = (check_file(self.target / entry.path, Expectation.of(entry)) for entry in self.manifest.files)
        if paths := tuple(f.path for f in found if f is not None and f.fault is not Fault.MISSING):
            raise self._conflict(paths)

    def _check_record(self) -> None:
        record = load_record(self.repository, self.manifest.revision)
        if record is not None and record.manifest != self.manifest and self.target.is_dir():
            raise self._conflict(tuple(sorted({e.path for e in {*record.manifest.files} ^ {*self.manifest.files}})))

    def _conflict(self, paths: tuple[str, ...]) -> ContentMismatch:
        shown = f"{self.repository.name}@{self.manifest.revision[:8]}"
        return ContentMismatch(
            f"The cache holds another {shown} already; it differs in {', '.join(paths[:5]) or 'its description'}",
            paths=paths,
            hint=f"to replace it: weightswarm rm {shown}",
        )

    def place(self, files: VerifiedFiles) -> None:
        """See `Placement`. Files of equal content share one blob."""
        repository = self.repository
        with hold(repository.lock), storage_errors(repository.path):
            # Both may have changed while the download ran: the cache is shared with other processes.
            self._check_record()
            entries = {entry.path: entry for entry in self.manifest.files}
            self._check_kept([entries[path] for path in files.kept])
            for folder in (repository.blobs, repository.snapshots, repository.refs):
                make_real_folder(folder, below=self.cache.root)
            for path, file in files.staged.items():
                os.chmod(file, 0o444, follow_symlinks=False)
                os.replace(file, repository.blob(entries[path]))
            sync_folder(repository.blobs)
            earlier = load_record(repository, self.manifest.revision)
            before = {*earlier.paths} - {*missing_paths(earlier, list(earlier.paths))} if earlier else set()
            here = {*files.staged, *files.kept, *before}
            paths = tuple(path for path in entries if path in here)
            save_record(ReleaseRecord(repository, self.manifest, files.torrent, files.info_hash, paths, files.verified))
            self._link([entries[path] for path in (*files.staged, *files.kept)], files.scratch / "snapshot")
            if self.set_main or repository.main() is None:
                # Exactly 40 characters: the Hub's tools call a trailing newline corrupt.
                write_atomically(repository.refs / "main", self.manifest.revision.encode())

    def _check_kept(self, entries: list[FileEntry]) -> None:
        for entry in entries:
            blob = self.repository.blob(entry)
            if not blob.is_file() or blob.stat().st_size != entry.size:
                raise ContentMismatch(
                    f"{entry.path} was removed from the cache meanwhile; nothing was placed",
                    paths=(entry.path,),
                    hint="fetch again: what came is kept",
                )

    def _link(self, entries: list[FileEntry], scratch: Path) -> None:
        """Show the files in the snapshot: a new one appears whole; a partial one gains whole files."""
        fresh = not self.target.exists() and not self.target.is_symlink()
        base = scratch if fresh else self.target
        if fresh:
            remove_tree(scratch)
        make_real_folder(base, below=scratch.parent if fresh else self.cache.root)
        folders = {base}
        for entry in entries:
            link = base / entry.path
            if link.parent not in folders:
                make_real_folder(link.parent, below=base)
                folders.update(p for p in link.parents if p == base or base in p.parents)
            up = "../" * (2 + entry.path.count("/"))
            self._place_link(link, f"{up}blobs/{self.repository.blob(entry).name}", scratch.parent)
        for folder in sorted(folders, key=lambda f: -len(f.parts)):
            sync_folder(folder)
        if fresh:
            os.rename(scratch, self.target)
        sync_folder(self.repository.snapshots)

    def _place_link(self, link: Path, destination: str, scratch: Path) -> None:
        try:
            status = os.lstat(link)
        except FileNotFoundError:
            os.symlink(destination, link)
            return
        if stat.S_ISDIR(status.st_mode):
            raise StorageFailure(str(link), "is a folder where a file should be", hint="remove it and fetch again")
        if not stat.S_ISLNK(status.st_mode) or os.readlink(link) != destination:
            temporary = scratch / "link"
            temporary.unlink(missing_ok=True)
            os.symlink(destination, temporary)
            os.replace(temporary, link)
