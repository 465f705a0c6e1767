"""Connections to web seeds, a thread each: they take extents, and write what comes straight into staging."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue

from weightswarm.cache import Staging
from weightswarm.fetching.extents import Extent, Extents
from weightswarm.metainfo import Metainfo
from weightswarm.storage import OpenFolder, storage_errors
from weightswarm.webseed import Body, Failed, Limits, Misbehaved, NoRanges, Upstream, WebSeed, file_url

MAX_LINES = 32
LINES = 4
BUFFER = 1024 * 1024
_LEAST_CLAIM = 64 * 1024
_CLAIM_SECONDS = 0.25
_IDLE_SECONDS = 0.2
_LET_GO_SECONDS = 2.0

Arrival = tuple[int, int, int, int]
"""The number of a web seed, the index of a file, and which of its bytes came: the first, and the one after the last."""


class Throttle:
    """Holds connections back to so many bytes a second in all as `limit` says at the time, 0 for no limit."""

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._next = 0.0

    @property
    def most(self) -> int:
        """Most bytes for one read."""
        limit = self._limit()
        return max(4096, min(BUFFER, limit // 8)) if limit else BUFFER

    def pause(self, count: int) -> float:
        """Take note of bytes that came; return the seconds to wait before the next."""
        if not (limit := self._limit()):
            return 0.0
        with self._lock:
            now = time.monotonic()
            self._next = max(self._next, now) + count / limit
            return self._next - now


class Lines:
    """All connections of a download. What comes of them is in `arrived`; what ended one for good in `errors`."""

    def __init__(
        self,
        metainfo: Metainfo,
        staging: Staging,
        web_seeds: Sequence[WebSeed],
        extents: Extents,
        limits: Limits,
        download_limit: Callable[[], int],
    ) -> None:
        self.arrived: SimpleQueue[Arrival | BaseException] = SimpleQueue()
        self._metainfo = metainfo
        self._staging = staging
        self._extents = extents
        self._throttle = Throttle(download_limit)
        self._passed_over: dict[int, int] = dict.fromkeys((web_seed.number for web_seed in web_seeds), 0)
        each = max(1, min(LINES, MAX_LINES // 4 // len(web_seeds)))
        self._lines = [(web_seed, self._upstream(limits)) for web_seed in web_seeds[:MAX_LINES] for _ in range(each)]
        self._threads = [
            threading.Thread(target=self._work, args=line, name="web-seed", daemon=True) for line in self._lines
        ]

    @property
    def passed_over(self) -> int:
        """How far into files servers without ranges are that send what is here already: no bytes are won by it, and yet
        it takes its time. Less again when one begins anew."""
        return sum(self._passed_over.values())

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Hang up. A thread that waits for a server to answer its call ends by itself, and writes nothing more."""
        self._extents.end()
        for _, upstream in self._lines:
            upstream.close()
        until = time.monotonic() + _LET_GO_SECONDS
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))

    def _upstream(self, limits: Limits) -> Upstream:
        return Upstream(limits)

    # --- in the threads ------------------------------------------------------------------------------------------

    def _work(self, web_seed: WebSeed, upstream: Upstream) -> None:
        buffer = memoryview(bytearray(BUFFER))
        rate = 0.0
        try:
            while not self._extents.ended and not web_seed.left_out:
                if (pause := web_seed.pause) > 0:
                    self._extents.wait(min(pause, _IDLE_SECONDS))
                    continue
                whole = web_seed.whole_files
                taken = self._take(web_seed, rate, whole)
                if not taken:
                    self._extents.wait(_IDLE_SECONDS)
                    continue
                try:
                    self._bring(web_seed, upstream, taken, buffer, whole)
                    rate = taken[-1].rate
                finally:
                    if whole:
                        web_seed.streaming = False
                    self._extents.give_back(taken)
        except BaseException as error:  # noqa: BLE001 - the fetch ends with it, in its own thread
            self.arrived.put(error)
        finally:
            upstream.close()

    def _take(self, web_seed: WebSeed, rate: float, whole: bool) -> list[Extent]:
        if not whole:
            extent = self._extents.take(web_seed.lacking, rate)
            return [] if extent is None else [extent]
        if not web_seed.begin_stream():
            return []
        taken = self._extents.take_file(web_seed.lacking)
        web_seed.streaming = bool(taken)
        return taken

    def _bring(
        self, web_seed: WebSeed, upstream: Upstream, taken: list[Extent], buffer: memoryview, whole: bool
    ) -> None:
        file = taken[0].file
        before = sum(extent.position for extent in taken)
        try:
            self._ask(web_seed, upstream, taken, buffer, whole)
            web_seed.succeeded()
        except NoRanges:
            web_seed.whole_files = True
        except Misbehaved as error:
            web_seed.left_out = web_seed.left_out or str(error)
        except Failed as error:
            if not self._extents.ended:
                web_seed.failed(error, sum(extent.position for extent in taken) - before, file)

    def _ask(self, web_seed: WebSeed, upstream: Upstream, taken: list[Extent], buffer: memoryview, whole: bool) -> None:
        metainfo, file = self._metainfo, self._metainfo.files[taken[0].file]
        url = file_url(web_seed.url, metainfo.name, file.path, single_file=metainfo.single_file)
        if whole:
            self._passed_over[web_seed.number] = 0
            body = upstream.open(url, 0, file.size - 1, ranged=False)
        else:
            body = upstream.open(url, taken[0].position, taken[-1].end - 1)
        path = self._staging.swarm_file(file.path)
        with body, storage_errors(path):
            descriptor = open_staged(path, self._staging.base)
            try:
                for extent in taken:
                    self._pass_over(web_seed, body, extent.position, buffer)
                    self._write(web_seed, body, extent, descriptor, buffer)
            finally:
                os.close(descriptor)

    def _pass_over(self, web_seed: WebSeed, body: Body, position: int, buffer: memoryview) -> None:
        """Read up to `position`: a server without ranges sends what nobody needs of it too."""
        while (before := position - body.position) > 0 and not self._extents.ended:
            count = body.read_into(buffer[: min(before, self._throttle.most)])
            self._passed_over[web_seed.number] = body.position
            if (pause := self._throttle.pause(count)) > 0:
                self._extents.wait_for_end(pause)

    def _write(self, web_seed: WebSeed, body: Body, extent: Extent, descriptor: int, buffer: memoryview) -> None:
        while not web_seed.left_out:
            most = self._throttle.most
            # What a slow one has claimed, a fast one cannot take from it.
            wanted = max(_LEAST_CLAIM, int(extent.rate * _CLAIM_SECONDS)) if extent.rate else most
            if not (count := self._extents.claim(extent, min(most, wanted))):
                return
            count = body.read_into(buffer[:count], whole=True)
            written = 0
            while written < count:
                written += os.pwrite(descriptor, buffer[written:count], extent.position + written)
            extent.position += count
            self.arrived.put((web_seed.number, extent.file, extent.position - count, extent.position))
            if (pause := self._throttle.pause(count)) > 0:
                self._extents.wait_for_end(pause)


def open_staged(path: Path, base: Path) -> int:
    """Open a file in staging for writing, created where there is none, without following links below `base`."""
    with OpenFolder.at(path.parent, base) as folder:
        return folder.open_file(path.name, os.O_RDWR | os.O_CREAT)
