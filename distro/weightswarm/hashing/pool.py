"""A pool of hash workers, each driven by a thread of its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from weightswarm.hashing.digests import usable_cores
from weightswarm.hashing.workers import Worker, make_worker

_T = TypeVar("_T")
_Task = tuple[Callable[[Worker], Any], Future[Any]]


class WorkerPool:
    """Runs tasks on workers. A file that is read in order needs the same worker, its `lane`, for every part of it.

    `size` is how many bytes there are to hash in all. Threads start with the first task.
    """

    def __init__(self, size: int, lanes: int | None = None) -> None:
        self.lanes = lanes or usable_cores()
        self._workers = [make_worker(size) for _ in range(self.lanes)]
        self._own: list[deque[_Task]] = [deque() for _ in range(self.lanes)]
        self._shared: deque[_Task] = deque()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def submit(self, task: Callable[[Worker], _T], lane: int | None = None) -> Future[_T]:
        """Run a task on a lane's worker, or on whichever is free first."""
        future: Future[_T] = Future()
        with self._changed:
            (self._shared if lane is None else self._own[lane]).append((task, future))
            self._changed.notify_all()
        if not self._threads:
            self._threads = [
                threading.Thread(target=self._work, args=(number,), name=f"hash-{number}", daemon=True)
                for number in range(self.lanes)
            ]
            for thread in self._threads:
                thread.start()
        return future

    def close(self) -> None:
        """Stop: waiting tasks are cancelled, running ones fail."""
        with self._changed:
            self._closed = True
            waiting = [*self._shared, *(task for own in self._own for task in own)]
            self._changed.notify_all()
        for _, future in waiting:
            future.cancel()
        for worker in self._workers:
            worker.close()
        for thread in self._threads:
            # A signal may have come before it was started.
            if thread.is_alive():
                thread.join()

    def _work(self, lane: int) -> None:
        worker, own = self._workers[lane], self._own[lane]
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or own or self._shared)
                if self._closed:
                    return
                task, future = (own or self._shared).popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(task(worker))
            except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
                future.set_exception(error)
