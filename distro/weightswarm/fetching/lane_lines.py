"""Connections to neighbours' lanes: one request brings a run of files, and each goes straight into its place."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from weightswarm.cache import Staging
from weightswarm.fetching.extents import Extent, Extents
from weightswarm.fetching.http_lines import Lines
from weightswarm.lane import Layout, lane_path
from weightswarm.magnet import PeerAddress
from weightswarm.metainfo import Metainfo
from weightswarm.reach import Network
from weightswarm.storage import OpenFolder, storage_errors
from weightswarm.webseed import Failed, Limits, Misbehaved, Pace, Upstream, WebSeed

PACE = Pace(header_seconds=2.0, slow_seconds=3.0, slow_bytes=256 * 1024)
"""A neighbour who takes longer is left: the swarm is there as well."""

_MAX_FILES = 4096
"""Most files for one request: what was taken is nobody else's."""

_MAX_BREAKS = 4
_MUCH = 1024 * 1024


@dataclass(slots=True)
class Neighbour(WebSeed):
    """A neighbour's lane. Who breaks off is asked again at once, and left when that brings nothing."""

    address: str = ""
    _times: int = 0

    @property
    def shown(self) -> str:
        """Where it is."""
        return self.address

    @classmethod
    def at(cls, number: int, address: PeerAddress, metainfo: Metainfo, peer_id: bytes) -> Neighbour:
        """Return the lane at an address, for whom peers know by this id."""
        url = f"http://{address}{lane_path(metainfo.info_hash.digests[0], peer_id)}"
        return cls(number, url, address=str(address))

    def failed(self, error: Failed, brought: int, file: int | None = None) -> None:
        """It broke off after so many bytes, or refused."""
        self.last_failure = str(error)
        # A connection may break now and then, while the disk keeps it waiting.
        self._times = 0 if brought >= _MUCH else self._times + 1
        if not brought or self._times > _MAX_BREAKS:
            self.left_out = self.left_out or str(error)


def limits_to(addresses: Sequence[PeerAddress], network: Network) -> Limits:
    """Return the limits of whoever asks these neighbours, who are connected as peers already, and nobody else."""
    return Limits(network, frozenset((address.host, address.port) for address in addresses))


def lane_upstream(limits: Limits) -> Upstream:
    """Return a connection to a lane; it follows no redirect."""
    return Upstream(limits, PACE, redirects=0)


class LaneLines(Lines):
    """As `Lines`, for lanes."""

    def __init__(
        self,
        metainfo: Metainfo,
        staging: Staging,
        neighbours: Sequence[Neighbour],
        extents: Extents,
        limits: Limits,
    ) -> None:
        self._layout = Layout([file.size for file in metainfo.files])
        super().__init__(metainfo, staging, neighbours, extents, limits, lambda: 0)

    def _upstream(self, limits: Limits) -> Upstream:
        return lane_upstream(limits)

    # --- in the threads ------------------------------------------------------------------------------------------

    def _take(self, _web_seed: WebSeed, _rate: float, _whole: bool) -> list[Extent]:
        return self._extents.take_run(self._layout, _MAX_FILES)

    def _ask(
        self, web_seed: WebSeed, upstream: Upstream, taken: list[Extent], buffer: memoryview, _whole: bool
    ) -> None:
        first = self._layout.start(taken[0].file) + taken[0].position
        end = self._layout.start(taken[-1].file) + taken[-1].end
        with upstream.open(web_seed.url, first, end - 1) as body, _Places(self._staging) as places:
            if body.position != first:
                raise Misbehaved("it serves no ranges")
            waiting = iter(taken)
            extent = next(waiting)
            while body.position < end and not web_seed.left_out:
                part = buffer[: body.read_into(buffer, whole=True)]
                if self._extents.ended:
                    return
                while part:
                    if extent.position == extent.end:
                        extent = next(waiting)
                    part = self._write_part(web_seed, extent, part, places)

    def _write_part(self, web_seed: WebSeed, extent: Extent, part: memoryview, places: _Places) -> memoryview:
        """Write as much as belongs to the extent; return the rest."""
        path = self._staging.swarm_path(self._metainfo.files[extent.file].path)
        begin = extent.position
        mine = part[: extent.end - begin]
        with storage_errors(path):
            descriptor = places.open(path)
            written = 0
            while written < len(mine):
                written += os.pwrite(descriptor, mine[written:], begin + written)
        extent.position += len(mine)
        self.arrived.put((web_seed.number, extent.file, begin, extent.position))
        return part[len(mine) :]


class _Places:
    """The file that was written to last, and its folder, kept open: files in a row mostly share one."""

    def __init__(self, staging: Staging) -> None:
        self._base = staging.base
        self._path: str | None = None
        self._descriptor = -1
        self._parent: str | None = None
        self._folder: OpenFolder | None = None

    def open(self, path: str) -> int:
        """Return a descriptor to write by, good until the next call. Raises `OSError`."""
        if path != self._path:
            self._close_file()
            parent, _, name = path.rpartition("/")
            if self._folder is None or parent != self._parent:
                self._close_folder()
                self._folder, self._parent = OpenFolder.at(Path(parent), self._base), parent
            self._descriptor = self._folder.open_file(name, os.O_RDWR | os.O_CREAT)
            self._path = path
        return self._descriptor

    def __enter__(self) -> _Places:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._close_file()
        finally:
            self._close_folder()

    def _close_file(self) -> None:
        if self._path is not None:
            self._path = None
            os.close(self._descriptor)

    def _close_folder(self) -> None:
        if self._folder is not None:
            folder, self._folder = self._folder, None
            folder.close()
