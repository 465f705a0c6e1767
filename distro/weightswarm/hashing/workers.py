"""Workers that run hash jobs: in this process for small releases, each in a process of its own for large ones.

Processes share no interpreter lock, and map files instead of copying them: a file that shrinks under a mapping kills
the process that reads it (SIGBUS), which must not be ours.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from weightswarm.errors import Cancelled, SourceChanged, StorageFailure
from weightswarm.hashing.child import receive, send
from weightswarm.hashing.computing import Changed, Computing, Unreadable, copied

PROCESSES_FROM = 64 * 1024 * 1024
"""Bytes to hash from which starting processes pays."""

_STOPPED = "Hashing was stopped"

# The child imports its modules by their names, and none of what the packages around them import: it starts in a
# tenth of the time. It finds this very package, and nothing of the user's environment changes what it runs.
_START = """
import sys
for name, folder in {packages!r}:
    package = sys.modules[name] = type(sys)(name)
    package.__path__ = [folder]
from weightswarm.hashing.child import serve
serve()
"""


class Worker(Protocol):
    """Runs one request at a time: a method of `Computing`, called once for each tuple of arguments.

    Raises `SourceChanged`, `StorageFailure`, and `Cancelled` once it was closed.
    """

    def call(self, method: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return the results, in order."""

    def close(self) -> None:
        """End the worker, whatever it does."""


class LocalWorker:
    """Runs requests in the calling thread, reading into memory."""

    def __init__(self) -> None:
        self._computing = Computing(copied)
        self._closed = False

    def call(self, method: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """See `Worker`."""
        if self._closed:
            raise Cancelled(_STOPPED)
        try:
            return [getattr(self._computing, method)(*arguments) for arguments in calls]
        except Changed as error:
            raise SourceChanged(*error.args) from None
        except Unreadable as error:
            raise StorageFailure(*error.args) from None

    def close(self) -> None:
        """See `Worker`. What runs already goes on: it is the caller's own thread."""
        self._closed = True


class ProcessWorker:
    """Runs requests in a child process, which starts with the first of them."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False
        # Whoever holds it may use the pipes, and close them.
        self._calling = threading.Lock()

    def call(self, method: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """See `Worker`."""
        with self._calling:
            if self._closed:
                raise Cancelled(_STOPPED)
            return self._call(method, calls)

    def _call(self, method: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        process = self._process = self._process or _start()
        if self._closed:
            # It came too late for `close` to end it.
            process.kill()
        assert process.stdin is not None and process.stdout is not None
        try:
            send(process.stdin, (method, list(calls)))
            answer = receive(process.stdout)
        except (OSError, ValueError):
            answer = None
        if answer is None:
            # Another child may do what comes next.
            process.kill()
            self._process = None
            _let_go(process)
            if self._closed:
                raise Cancelled(_STOPPED)
            raise _died(method, calls)
        outcome, value = answer
        if outcome == "changed":
            raise SourceChanged(*value)
        if outcome == "unreadable":
            raise StorageFailure(*value)
        results: list[Any] = value
        return results

    def close(self) -> None:
        """See `Worker`."""
        self._closed = True
        if (process := self._process) is not None:
            process.kill()
        # A call that waits for an answer meets the end of its pipe now.
        with self._calling:
            process, self._process = self._process, None
            if process is not None:
                _let_go(process)


def make_worker(size: int) -> Worker:
    """Return the kind of worker that serves best for `size` bytes in all."""
    return ProcessWorker() if size >= PROCESSES_FROM else LocalWorker()


def _start() -> subprocess.Popen[bytes]:
    here = Path(__file__).parent
    packages = (("weightswarm", str(here.parent)), ("weightswarm.hashing", str(here)))
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _START.format(packages=packages)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Ctrl-C is for the parent to handle.
        start_new_session=True,
    )


def _let_go(process: subprocess.Popen[bytes]) -> None:
    """Wait for a child that was killed, and close its pipes."""
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            # What it was not told any more is of no use to it.
            with suppress(OSError):
                pipe.close()


def _died(method: str, calls: Sequence[tuple[Any, ...]]) -> Exception:
    """Say why a child is gone: most likely a file shrank under its mapping."""
    if method == "run":
        spans = [part[1] for call in calls for part in call[0]]
    elif method == "whole":
        spans = [(path, size, 0, size) for call in calls for path, size in call[0]]
    else:
        spans = [span for call in calls for span in call[0]] if method == "packed" else [call[1] for call in calls]
    for path, size, offset, length in spans:
        expected = offset + length if size is None else size
        try:
            now = os.stat(path).st_size
        except OSError:
            return SourceChanged(path, "vanished")
        if now < expected:
            return SourceChanged(path, "shrank")
        if size is not None and now != size:
            return SourceChanged(path, "grew")
    return StorageFailure(spans[0][0], "the process that hashed it ended unexpectedly")
