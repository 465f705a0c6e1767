"""Folders: held open while something is done in them, so that no link swapped in meanwhile leads a write elsewhere."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from weightswarm.errors import StorageFailure
from weightswarm.storage.files import open_regular_at, storage_errors

_STALE_SECONDS = 3600.0
"""How old what a killed process was writing must be before it is taken away."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class OpenFolder:
    """A folder held open: what is done through it happens in that very folder, whatever its path leads to meanwhile.

    Names are single components and links are never followed. `OSError`s name the path.
    """

    def __init__(self, descriptor: int, path: Path) -> None:
        self.descriptor = descriptor
        self.path = path

    @classmethod
    def at(cls, folder: Path, below: Path | None = None, *, create: bool = True) -> OpenFolder:
        """Open `folder`, created with its parents. Links are followed as far as `below`, and all the way without it;
        beneath it a component that is a link, or no folder, is refused. Raises `StorageFailure`."""
        base = folder if below is None else below
        with storage_errors(folder):
            return cls(_open_base(base, create=create), base)._walk(
                () if below is None else folder.relative_to(below).parts, create=create
            )

    def enter(self, name: str, *, create: bool = True, mode: int = 0o777) -> OpenFolder:
        """Open a folder in this one, created where there is none. Raises `StorageFailure` for a link or a file."""
        path = self.path / name
        flags = _FOLDER | os.O_NOFOLLOW
        try:
            try:
                descriptor = os.open(name, flags, dir_fd=self.descriptor)
            except FileNotFoundError:
                if not create:
                    raise
                with suppress(FileExistsError):
                    os.mkdir(name, mode, dir_fd=self.descriptor)
                descriptor = os.open(name, flags, dir_fd=self.descriptor)
            return OpenFolder(descriptor, path)
        except NotADirectoryError:
            hint = "move it away and try again"
            raise StorageFailure(
                str(path), "is in the way: a link or a file where a folder should be", hint=hint
            ) from None
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error

    def descend(self, relative: Path, *, create: bool = True) -> OpenFolder:
        """Open a folder some way below this one, as `enter` does; also this one again, for an empty path."""
        return OpenFolder(os.dup(self.descriptor), self.path)._walk(relative.parts, create=create)

    def _walk(self, parts: Iterable[str], *, create: bool) -> OpenFolder:
        """Go down from this folder, which is closed."""
        opened = self
        for part in parts:
            with opened:
                opened = opened.enter(part, create=create)
        return opened

    def status(self, name: str) -> os.stat_result | None:
        """Return the status of what stands at `name`, a link's own; None when nothing does."""
        try:
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._naming(error, name) from error

    def open_file(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Open a regular file and return its descriptor. Raises `OSError` for anything else."""
        try:
            return open_regular_at(name, flags, self.descriptor)
        except OSError as error:
            raise self._naming(error, name) from error

    def link(self, name: str, destination: str) -> None:
        """Make a symbolic link."""
        try:
            os.symlink(destination, name, dir_fd=self.descriptor)
        except OSError as error:
            raise self._naming(error, name) from error

    def move(self, name: str, target: OpenFolder, new_name: str) -> None:
        """Rename what stands at `name` into another folder of the same file system, over a file that is there."""
        try:
            os.rename(name, new_name, src_dir_fd=self.descriptor, dst_dir_fd=target.descriptor)
        except OSError as error:
            raise self._naming(error, name, target.path / new_name) from error

    def write(self, name: str, data: bytes, *, beside: OpenFolder | None = None, mode: int = 0o644) -> None:
        """Write a file so that it holds all of `data` or what it held before, even across a power cut.

        Until it is whole it stands in the folder `beside`, or under a name of its own here; what a killed process
        left under such a name is removed an hour later, by whoever writes the same file.
        """
        scratch = beside or self
        prefix = f".{name[:80]}."
        scratch.sweep(prefix)
        temporary = f"{prefix}{uuid4().hex}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(temporary, flags, mode, dir_fd=scratch.descriptor)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fchmod(file.fileno(), mode)
                    os.fsync(file.fileno())
                os.rename(temporary, name, src_dir_fd=scratch.descriptor, dst_dir_fd=self.descriptor)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=scratch.descriptor)
                raise
        except OSError as error:
            raise self._naming(error, name) from error
        self.sync()

    def sweep(self, prefix: str) -> None:
        """Remove what killed processes left of files that `write` was writing."""
        oldest = time.time() - _STALE_SECONDS
        with suppress(OSError):
            for name in os.listdir(self.descriptor):
                if name.startswith(prefix) and name.endswith(".tmp"):
                    status = self.status(name)
                    if status is not None and stat.S_ISREG(status.st_mode) and status.st_mtime < oldest:
                        os.unlink(name, dir_fd=self.descriptor)

    def unlink(self, name: str) -> None:
        """Remove a file or link; a missing one is no error."""
        try:
            os.unlink(name, dir_fd=self.descriptor)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self._naming(error, name) from error

    def remove(self, name: str) -> None:
        """Remove whatever stands at `name`, a folder with all in it; links are removed, never followed."""
        status = self.status(name)
        if status is not None and stat.S_ISDIR(status.st_mode):
            try:
                shutil.rmtree(name, onerror=_unless_gone, dir_fd=self.descriptor)
            except OSError as error:
                raise self._naming(error, name) from error
        else:
            self.unlink(name)

    def sync(self) -> None:
        """Make the names in this folder survive a power cut, where its file system can."""
        try:
            os.fsync(self.descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
                raise OSError(error.errno, error.strerror, str(self.path)) from error

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _naming(self, error: OSError, name: str, second: Path | None = None) -> OSError:
        path = str(self.path / name)
        if second is None:
            return OSError(error.errno, error.strerror, path)
        return OSError(error.errno, error.strerror, path, None, str(second))


def _open_base(folder: Path, *, create: bool) -> int:
    try:
        return os.open(folder, _FOLDER)
    except FileNotFoundError:
        if not create:
            raise
    folder.mkdir(parents=True, exist_ok=True)
    return os.open(folder, _FOLDER)


def _unless_gone(_function: Any, _path: str, raised: Any) -> None:
    """Go on when another process removed it first."""
    if not isinstance(raised[1], FileNotFoundError):
        raise raised[1]


def write_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file so that `path` holds all of `data` or what it held before, even across a power cut."""
    with storage_errors(path), OpenFolder.at(path.parent) as folder:
        folder.write(path.name, data, mode=mode)


def drop_signature_of_another(folder: OpenFolder, name: str, data: bytes) -> None:
    """Remove the signature beside a file unless that holds `data` already: what follows is another file."""
    status = folder.status(name)
    if status is not None and stat.S_ISREG(status.st_mode) and status.st_size == len(data):
        with os.fdopen(folder.open_file(name), "rb") as file:
            if file.read(len(data) + 1) == data:
                return
    folder.unlink(f"{name}.minisig")


def make_real_folder(folder: Path, below: Path | None = None) -> None:
    """Create `folder` and its parents. Below `below`, a component that is a link (or no folder) is refused.

    Raises `StorageFailure`.
    """
    OpenFolder.at(folder, below).close()


def remove_tree(folder: Path, below: Path) -> None:
    """Remove a folder and all in it; links are removed, never followed. A missing folder is no error.

    Nothing is removed where a component between `below` and it is a link. Raises `StorageFailure`.
    """
    with storage_errors(folder), suppress(FileNotFoundError):
        if folder.parent.is_dir():
            with OpenFolder.at(folder.parent, below, create=False) as parent:
                parent.remove(folder.name)
