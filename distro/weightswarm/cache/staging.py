"""Where a download lives until every file of it is verified. No loader looks here.

One folder a torrent: `files/` is what the swarm writes, `reused/` what was copied from elsewhere in the cache,
`release.torrent` the metainfo, so that a second start needs no peer to know what is missing.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from weightswarm.magnet import InfoHash
from weightswarm.storage import make_real_folder, remove_tree, write_atomically


@dataclass(frozen=True, slots=True)
class Staging:
    """The staging folder of one torrent below `parent`; `parent` is the cache's private folder, or a local one."""

    parent: Path
    info_hash: InfoHash

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
        return Path(self.parent, self.info_hash.digests[0], "files", path)

    def reused_file(self, path: str) -> Path:
        """Where a file copied from the cache waits."""
        return Path(self.parent, self.info_hash.digests[0], "reused", path)

    def prepare(self, metainfo: bytes, paths: list[str]) -> None:
        """Create the folders that `paths` need, none of them through a link, and keep the metainfo."""
        make_real_folder(self.folder, below=self.parent)
        for folder in {path.rpartition("/")[0] for path in paths}:
            for place in (self.swarm_file, self.reused_file):
                make_real_folder(place(folder), below=self.parent)
        if self.load_metainfo() != metainfo:
            write_atomically(self.metainfo, metainfo)

    def load_metainfo(self) -> bytes | None:
        """Return the torrent kept by an earlier start, None when there is none."""
        with suppress(OSError):
            return self.metainfo.read_bytes()
        return None

    def discard(self) -> None:
        """Remove the folder and all in it."""
        remove_tree(self.folder)
