"""Putting verified files into the cache: data on disk first, then names, then the snapshot, whole, in one rename."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from weightswarm.cache.destination import VerifiedFiles, by_folder, check_free, move_verified
from weightswarm.cache.layout import ModelCache, Repository
from weightswarm.cache.locks import hold
from weightswarm.cache.records import ReleaseRecord, load_record, missing_paths, save_record
from weightswarm.errors import ContentMismatch
from weightswarm.manifest import FileEntry, Manifest
from weightswarm.storage import OpenFolder, clone_or_copy, is_file, storage_errors
from weightswarm.verifying import Expectation, Fault, check_file, check_open_file

_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP)
"""What file systems answer that have no symbolic links, such as those of memory cards."""


@dataclass(frozen=True, slots=True)
class CachePlacement:
    """A release's place in the model cache. `set_main` moves `refs/main` even from another revision;
    `mending` lets damaged files of a snapshot be replaced that has no record of ours. `on_wait` is called when another
    process holds the repository's lock."""

    cache: ModelCache
    repository: Repository
    manifest: Manifest
    set_main: bool = False
    mending: bool = False
    on_wait: Callable[[], None] | None = None

    @property
    def staging_parent(self) -> Path:
        """Below the cache's own root, so that placing is a rename."""
        return self.cache.private

    @property
    def target(self) -> Path:
        """The snapshot."""
        return self.repository.snapshot(self.manifest.revision)

    def held(self, entry: FileEntry) -> Path | None:
        """Return the file if it stands where this release would put it."""
        return self.repository.file(entry, self.manifest.revision)

    def all_held(self, entries: Iterable[FileEntry]) -> dict[str, Path]:
        """See `Placement`."""
        if not self.repository.blobs.is_dir() and not self.target.is_dir():
            return {}
        return {entry.path: file for entry in entries if (file := self.held(entry)) is not None}

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

    def place(self, files: VerifiedFiles) -> bool:
        """See `Placement`. Files of equal content share one blob; where the file system has no links there are no
        blobs, and the snapshot holds the files themselves, as the Hub's own client does it."""
        repository, root = self.repository, self.cache.root
        with (
            hold(repository.lock, on_wait=self.on_wait),
            storage_errors(repository.path),
            OpenFolder.at(repository.path, root) as opened,
        ):
            # Both may have changed while the download ran: the cache is shared with other processes.
            self._check_record()
            entries = {entry.path: entry for entry in self.manifest.files}
            kept = [entries[path] for path in files.kept]
            self._check_kept(kept)
            with (
                OpenFolder.at(files.scratch, root) as scratch,
                opened.enter("blobs") as blobs,
                opened.enter("snapshots") as snapshots,
                opened.enter("refs") as refs,
            ):
                check_free(blobs, (entries[path].blob_name for path in files.staged))
                check_free(refs, ["main"])
                # First of all, so that what a kill leaves behind is known.
                complete = self._save_record(files)
                # What is in folders that were made just now outlives a power cut if their own names do.
                for parent in (root, repository.path, repository.record(self.manifest.revision).parent):
                    with OpenFolder.at(parent, root) as made:
                        made.sync()
                linked = _has_links(scratch)
                if linked:
                    for path, file, source in by_folder(files.staged, root):
                        move_verified(path, file, source, blobs, entries[path].blob_name, 0o444)
                    blobs.sync()
                self._show(files, kept, snapshots, scratch, linked=linked)
                self._name(refs, scratch)
            return complete

    def _name(self, refs: OpenFolder, scratch: OpenFolder) -> None:
        # Exactly 40 characters: the Hub's tools call a trailing newline corrupt.
        revision, main = self.manifest.revision, self.repository.main()
        if self.set_main or main is None:
            refs.write("main", revision.encode(), beside=scratch)
        elif main != revision:
            own = self.repository.own_ref(revision)
            with refs.enter(own.parent.name) as folder:
                folder.write(own.name, revision.encode(), beside=scratch)
                folder.sync()

    def _save_record(self, files: VerifiedFiles) -> bool:
        """Write down what will be here, and return whether that is the whole release."""
        earlier = load_record(self.repository, self.manifest.revision)
        before = {*earlier.paths} - {*missing_paths(earlier, list(earlier.paths))} if earlier else set()
        here = {*files.staged, *files.kept, *before}
        paths = tuple(entry.path for entry in self.manifest.files if entry.path in here)
        signature = files.signature
        if signature is None and earlier is not None and earlier.manifest == self.manifest:
            signature = earlier.signature
        record = ReleaseRecord(
            self.repository, self.manifest, files.torrent, files.info_hash, paths, files.verified, signature
        )
        save_record(record)
        return record.complete

    def _check_kept(self, entries: list[FileEntry]) -> None:
        for entry in entries:
            file = self.held(entry)
            if file is None or file.stat().st_size != entry.size:
                raise ContentMismatch(
                    f"{entry.path} was removed from the cache meanwhile; nothing was placed",
                    paths=(entry.path,),
                    hint="fetch again: what came is kept",
                )

    def _show(
        self, files: VerifiedFiles, kept: list[FileEntry], snapshots: OpenFolder, scratch: OpenFolder, *, linked: bool
    ) -> None:
        """Show the files in the snapshot: a new one appears whole; a partial one gains whole files."""
        revision = self.manifest.revision
        fresh = snapshots.status(revision) is None
        if fresh:
            scratch.remove("snapshot")
        with scratch.enter("snapshot") if fresh else snapshots.enter(revision) as base:
            folders = {Path()}
            if linked:
                entries = {entry.path: entry for entry in self.manifest.files}
                self._link_all([*(entries[path] for path in files.staged), *kept], base, scratch, folders)
            else:
                self._move_all(files, kept, base, scratch, folders)
            for folder in sorted(folders, key=lambda f: -len(f.parts)):
                with base.descend(folder, create=False) as changed:
                    changed.sync()
        if fresh:
            try:
                scratch.move("snapshot", snapshots, revision)
            except OSError as error:
                if not linked or error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                # The Hub's client began the same revision meanwhile: its snapshot gains our files.
                self._show(files, kept, snapshots, scratch, linked=linked)
        snapshots.sync()

    def _link_all(self, entries: list[FileEntry], base: OpenFolder, scratch: OpenFolder, folders: set[Path]) -> None:
        # What has no blob is a plain file that another program put into the snapshot, and that is right.
        folder = self.repository.blobs
        blobs = {each.path: each.blob_name for each in entries if is_file(f"{folder}/{each.blob_name}")}
        for parent, paths in groupby(blobs, key=lambda path: path.rpartition("/")[0]):
            folders |= {Path(parent), *Path(parent).parents}
            up = "../" * (2 + len(Path(parent).parts))
            with base.descend(Path(parent)) as opened:
                for path in paths:
                    _place_link(opened, path.rpartition("/")[2], f"{up}blobs/{blobs[path]}", scratch)

    def _move_all(
        self, files: VerifiedFiles, kept: list[FileEntry], base: OpenFolder, scratch: OpenFolder, folders: set[Path]
    ) -> None:
        for path, file, source in by_folder(files.staged, self.cache.root):
            folders.update(Path(path).parents)
            with base.descend(Path(path).parent) as folder:
                check_free(folder, [Path(path).name])
                move_verified(path, file, source, folder, Path(path).name, 0o444)
        for entry in kept:
            path_ = Path(entry.path)
            folders.update(path_.parents)
            with base.descend(path_.parent) as folder:
                if folder.status(path_.name) is None:
                    self._copy_blob(entry, folder, path_.name, scratch)

    def _copy_blob(self, entry: FileEntry, folder: OpenFolder, name: str, scratch: OpenFolder) -> None:
        """Put a checked copy of a blob into the snapshot, for another client's blobs on a file system without links."""
        scratch.remove("copy")
        target = scratch.open_file("copy", os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            source = os.open(self.repository.blob(entry), os.O_RDONLY | os.O_CLOEXEC)
            try:
                clone_or_copy(source, target)
            finally:
                os.close(source)
            if (finding := check_open_file(target, Expectation.of(entry))) is not None:
                raise ContentMismatch(f"{entry.path} was changed in the cache: {finding.detail}", paths=(entry.path,))
            os.fchmod(target, 0o444)
            os.fsync(target)
        finally:
            os.close(target)
        scratch.move("copy", folder, name)


def _has_links(scratch: OpenFolder) -> bool:
    scratch.remove("link")
    try:
        scratch.link("link", "nowhere")
    except OSError as error:
        if error.errno in _NO_LINKS:
            return False
        raise
    scratch.unlink("link")
    return True


def _place_link(folder: OpenFolder, name: str, destination: str, scratch: OpenFolder) -> None:
    try:
        folder.link(name, destination)
        return
    except FileExistsError:
        check_free(folder, [name])
    with suppress(OSError):
        if os.readlink(name, dir_fd=folder.descriptor) == destination:
            return
    scratch.remove("link")
    scratch.link("link", destination)
    scratch.move("link", folder, name)
