"""Where a download lives until every file of it is verified. No loader looks here, and no other user.

One folder a torrent: `files/` is what the swarm writes, `reused/` what was copied from elsewhere in the cache,
`release.torrent` the metainfo, so that a second start needs no peer to know what is missing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from weightswarm.errors import StorageFailure
from weightswarm.magnet import InfoHash
from weightswarm.storage import OpenFolder, read_regular, remove_tree, storage_errors

SCRATCH_NAMES = ("snapshot", "link", "copy")
"""What placing keeps in the folder for as long as it takes."""

_MAX_METAINFO = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Staging:
    """The staging folder of one torrent below `parent`; `parent` is the cache's private folder, or a local one."""

    parent: Path
    info_hash: InfoHash

    @property
    def base(self) -> Path:
        """The folder that the user chose, two above `parent`: links lead as far as that, and no further."""
        return self.parent.parents[1]

    @property
    def folder(self) -> Path:
        """The folder itself; named by the v1 digest where there is one."""
        return self.parent / self.info_hash.digests[0]

    @property
    def lock(self) -> Path:
        """The lock that whoever writes here holds."""
        return self.parent / f"{self.info_hash.digests[0]}.lock"

    @property
    def metainfo(self) -> Path:
        """The torrent, once it is known."""
        return self.folder / "release.torrent"

    def swarm_file(self, path: str) -> Path:
        """Where the swarm writes a file of the torrent."""
        return Path(self.swarm_path(path))

    def swarm_path(self, path: str) -> str:
        """The same as a text, for who looks at each of many files."""
        return f"{self.parent}/{self.info_hash.digests[0]}/files/{path}"

    def reused_file(self, path: str) -> Path:
        """Where a file copied from the cache waits."""
        return Path(self.parent, self.info_hash.digests[0], "reused", path)

    def prepare(self, metainfo: bytes, paths: list[str]) -> None:
        """Create the folders that `paths` need, for this user alone, and keep the metainfo.

        What an earlier run left is kept as long as it is plain files: the swarm engine writes through links. Raises
        `StorageFailure` for a folder of another user, who could swap files in it at any moment.
        """
        with storage_errors(self.folder), OpenFolder.at(self.parent, below=self.base) as parent:
            left = parent.status(self.folder.name) is not None
            with parent.enter(self.folder.name, mode=0o700) as folder:
                _close_to_others(folder)
                if left:
                    _remove_links(folder)
                for each in {path.rpartition("/")[0] for path in paths}:
                    for place in ("files", "reused"):
                        folder.descend(Path(place, each)).close()
                if self.load_metainfo() != metainfo:
                    folder.write(self.metainfo.name, metainfo)

    def load_metainfo(self) -> bytes | None:
        """Return the torrent kept by an earlier start, None when there is none."""
        with suppress(OSError):
            return read_regular(self.metainfo, _MAX_METAINFO)
        return None

    def cut(self, path: str, size: int) -> None:
        """Cut what stands of a file of the release to `size` bytes: none of it lies beyond. Raises `StorageFailure`."""
        place = self.swarm_path(path)
        with storage_errors(place), suppress(FileNotFoundError):
            if os.lstat(place).st_size <= size:
                return
            file = Path(place)
            with OpenFolder.at(file.parent, self.base, create=False) as folder:
                descriptor = folder.open_file(file.name, os.O_WRONLY)
                try:
                    os.ftruncate(descriptor, size)
                finally:
                    os.close(descriptor)

    def begun(self) -> set[str]:
        """Return the paths of the release of which something is here: one look for all of them."""
        base = f"{self.folder}/files"
        above = len(base) + 1
        return {f"{folder}/{name}"[above:] for folder, _, names in os.walk(base) for name in names}

    def discard(self, paths: Iterable[str]) -> None:
        """Remove what a run for the files at `paths` left, and the folder, unless other files wait half fetched in it.

        Those are another run's, which wanted more of the release and goes on from there.
        """
        own = set(paths)
        begun = self.begun()
        if not begun - own:
            remove_tree(self.folder, below=self.base)
            return
        with storage_errors(self.folder), OpenFolder.at(self.folder, self.base, create=False) as folder:
            for name in set(os.listdir(folder.descriptor)) & {"reused", *SCRATCH_NAMES}:
                folder.remove(name)
            for path in own & begun:
                parent, _, name = path.rpartition("/")
                with folder.descend(Path("files", parent), create=False) as inner:
                    inner.remove(name)


def _close_to_others(folder: OpenFolder) -> None:
    """Make a folder this user's alone. Raises `StorageFailure` when it is another's already."""
    owner = os.fstat(folder.descriptor).st_uid
    if owner != os.geteuid() and owner != _own_uid(folder):
        raise StorageFailure(
            str(folder.path), f"belongs to another user, {owner}", hint="`weightswarm prune` by that user removes it"
        )
    os.fchmod(folder.descriptor, 0o700)


def _own_uid(folder: OpenFolder) -> int:
    """Return whom a file system that keeps no owners, or other ones, gives what this user makes."""
    name = f".{uuid4().hex}.tmp"
    os.close(folder.open_file(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    status = folder.status(name)
    folder.unlink(name)
    return -1 if status is None else status.st_uid


def _remove_links(folder: OpenFolder) -> None:
    """Remove links, files that have another name somewhere, and whatever is neither file nor folder."""
    for name in os.listdir(folder.descriptor):
        status = folder.status(name)
        if status is None:
            continue
        if stat.S_ISDIR(status.st_mode):
            with folder.enter(name, create=False) as inner:
                _remove_links(inner)
        elif not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            folder.unlink(name)
