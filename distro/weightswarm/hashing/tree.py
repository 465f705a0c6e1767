"""One pass over a release's files: every digest that a manifest and a torrent need, on all cores."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from functools import partial
from pathlib import Path

from weightswarm.errors import Cancelled, SourceChanged
from weightswarm.hashing.planning import Plan, TreeHashes, V1Layout
from weightswarm.hashing.pool import WorkerPool
from weightswarm.hashing.workers import Worker


def hash_tree(
    files: Sequence[tuple[str | Path, int]],
    *,
    piece_length: int,
    v1_layout: V1Layout,
    modified: Sequence[int] | None = None,
    on_bytes: Callable[[int], None] | None = None,
    workers: int | None = None,
    stop: threading.Event | None = None,
) -> TreeHashes:
    """Hash `files`, pairs of path and expected size in bytes, in torrent order.

    `modified` are the files' mtimes in nanoseconds from when they were looked at last; without it they are looked at
    now. `on_bytes` gets counts of bytes read, in the calling thread. Raises `SourceChanged` when a file is gone, is no
    regular file, has another size than expected or is written to meanwhile, `StorageFailure` when one cannot be read,
    `Cancelled` once `stop` is set.
    """
    before = [_modified(path, size) for path, size in files] if modified is None else modified
    plan = Plan(files, piece_length, v1_layout)
    _Pass(plan, workers, stop).run(on_bytes or (lambda _n: None))
    for (path, size), expected in zip(files, before, strict=True):
        if _modified(path, size) != expected:
            raise SourceChanged(str(path), "was written to while it was hashed,")
    return plan.result()


def _modified(path: str | Path, size: int) -> int:
    """Return a file's mtime in nanoseconds; raises `SourceChanged` unless it is a regular file of `size` bytes."""
    try:
        status = os.stat(path)
    except OSError:
        raise SourceChanged(str(path), "vanished") from None
    if not stat.S_ISREG(status.st_mode) or status.st_size != size:
        raise SourceChanged(str(path), f"changed its size from {size:,} to {status.st_size:,} bytes")
    return status.st_mtime_ns


class _Pass:
    """Runs a plan: each of a pool's workers takes task after task; the caller's thread reports and waits."""

    def __init__(self, plan: Plan, workers: int | None, stop: threading.Event | None) -> None:
        self.plan = plan
        self.stop = stop
        self.pool = WorkerPool(plan.total, workers)
        self.lock = threading.Lock()
        self.stopped = False
        self.read = 0

    def run(self, on_bytes: Callable[[int], None]) -> None:
        lanes = [self.pool.submit(partial(self._work, lane), lane) for lane in range(self.pool.lanes)]
        reported = 0
        try:
            while lanes:
                done, _ = wait(lanes, timeout=0.1, return_when=FIRST_COMPLETED)
                with self.lock:
                    count = self.read - reported
                if count:
                    on_bytes(count)
                    reported += count
                for lane in done:
                    lane.result()
                    lanes.remove(lane)
                if lanes and self.stop is not None and self.stop.is_set():
                    raise Cancelled("Hashing was stopped")
        finally:
            with self.lock:
                self.stopped = True
            self.pool.close()

    def _work(self, lane: int, worker: Worker) -> None:
        while True:
            with self.lock:
                task = None if self.stopped else self.plan.next_task(lane)
            if task is None:
                return
            results = worker.call(task.method, task.calls)
            with self.lock:
                self.plan.take(task, results)
                self.read += task.size
