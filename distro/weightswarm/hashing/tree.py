"""One pass over a release's files: every digest that a manifest and a torrent need, on all cores."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from weightswarm.errors import Cancelled, SourceChanged
from weightswarm.hashing.digests import usable_cores
from weightswarm.hashing.planning import Plan, TreeHashes, V1Layout
from weightswarm.hashing.workers import Worker, make_worker


def hash_tree(
    files: Sequence[tuple[Path, int]],
    *,
    piece_length: int,
    v1_layout: V1Layout,
    on_bytes: Callable[[int], None] | None = None,
    workers: int | None = None,
    stop: threading.Event | None = None,
) -> TreeHashes:
    """Hash `files`, pairs of path and expected size in bytes, in torrent order.

    `on_bytes` gets counts of bytes read, in the calling thread. Raises `SourceChanged` when a file is gone, is no
    regular file, has another size than expected or is written to meanwhile, `StorageFailure` when one cannot be read,
    `Cancelled` once `stop` is set.
    """
    before = [_modified(path, size) for path, size in files]
    plan = Plan(files, piece_length, v1_layout)
    _Pass(plan, workers or usable_cores(), stop).run(on_bytes or (lambda _n: None))
    for (path, size), modified in zip(files, before, strict=True):
        if _modified(path, size) != modified:
            raise SourceChanged(str(path), "was written to while it was hashed,")
    return plan.result()


def _modified(path: Path, size: int) -> int:
    """Return a file's mtime in nanoseconds; raises `SourceChanged` unless it is a regular file of `size` bytes."""
    try:
        status = os.stat(path)
    except OSError:
        raise SourceChanged(str(path), "vanished") from None
    if not stat.S_ISREG(status.st_mode) or status.st_size != size:
        raise SourceChanged(str(path), f"changed its size from {size:,} to {status.st_size:,} bytes")
    return status.st_mtime_ns


class _Pass:
    """Runs a plan: one thread a worker hands out tasks and takes results; the caller's thread reports and waits."""

    def __init__(self, plan: Plan, workers: int, stop: threading.Event | None) -> None:
        self.plan = plan
        self.stop = stop
        self.workers = [make_worker(plan.total) for _ in range(workers)]
        self.changed = threading.Condition()
        self.working = workers
        self.read = 0
        self.failure: BaseException | None = None

    def run(self, on_bytes: Callable[[int], None]) -> None:
        threads = [
            threading.Thread(target=self._work, args=(number, worker), name=f"hash-{number}", daemon=True)
            for number, worker in enumerate(self.workers)
        ]
        for thread in threads:
            thread.start()
        try:
            self._watch(on_bytes)
        finally:
            with self.changed:
                if self.working:
                    self.failure = self.failure or Cancelled("Hashing was stopped")
            for worker in self.workers:
                worker.close()
            for thread in threads:
                thread.join()
        if self.failure is not None:
            raise self.failure

    def _watch(self, on_bytes: Callable[[int], None]) -> None:
        reported = 0
        while True:
            with self.changed:
                self.changed.wait_for(lambda: not self.working or self.failure, timeout=0.1)
                count, over = self.read - reported, not self.working or self.failure is not None
            if count:
                on_bytes(count)
                reported += count
            if over:
                return
            if self.stop is not None and self.stop.is_set():
                raise Cancelled("Hashing was stopped")

    def _work(self, number: int, worker: Worker) -> None:
        try:
            while True:
                with self.changed:
                    task = None if self.failure else self.plan.next_task(number)
                if task is None:
                    break
                results = worker.call(task.method, task.calls)
                with self.changed:
                    self.plan.take(task, results)
                    self.read += task.size
        except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
            with self.changed:
                self.failure = self.failure or error
        with self.changed:
            self.working -= 1
            self.changed.notify_all()
