"""Running programs as whole processes, in turns, and comparing what they took."""

from __future__ import annotations

import os
import shlex
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

_TAIL_LINES = 2
_SHOWN = 300
_SECTOR = 512


class ProgramFailed(Exception):
    """A program ended otherwise than it should; the text names it and the last lines of its stderr."""


@dataclass(frozen=True, slots=True)
class Run:
    """A program's run from its start to its end: wall seconds, and CPU seconds (user and system) with its children.

    `read_bytes` is what it and its children read from block devices.
    """

    seconds: float
    cpu_seconds: float
    stdout: str
    stderr: str
    read_bytes: int = 0

    def then(self, other: Run) -> Run:
        """Return both runs as one: the work of two programs, one after the other."""
        return Run(
            self.seconds + other.seconds,
            self.cpu_seconds + other.cpu_seconds,
            self.stdout + other.stdout,
            self.stderr + other.stderr,
            self.read_bytes + other.read_bytes,
        )


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of ratios pair by pair, with the lowest and the highest."""

    median: float
    lowest: float
    highest: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.lowest:.2f} to {self.highest:.2f})"


def run(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 600,
) -> Run:
    """Run a program to its end; raises `ProgramFailed` for an exit code other than 0 or after `timeout` seconds.

    `environment` is all that it gets, by default this process's own.
    """
    words = [str(word) for word in command]
    # Files and not pipes: whoever reads pipes competes with the program for the cores.
    with TemporaryFile() as stdout, TemporaryFile() as stderr:
        started = time.perf_counter()
        try:
            process = subprocess.Popen(
                words, env=environment, cwd=cwd, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, process_group=0
            )
        except OSError as error:
            raise ProgramFailed(f"{words[0]}: {error.strerror}") from error
        watchdog = threading.Timer(timeout, _kill, [process.pid])
        watchdog.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            watchdog.cancel()
            if process.returncode is None:
                _kill(process.pid)
                process.wait()
        texts = []
        for stream in (stdout, stderr):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
    if process.returncode != 0:
        ended = f"no end within {timeout:g} s" if seconds >= timeout else f"exit code {process.returncode}"
        raise ProgramFailed(f"{shlex.join(words)[:_SHOWN]}: {ended}: {tail(texts[1])}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, texts[0], texts[1], usage.ru_inblock * _SECTOR)


def interleaved(
    pairs: int,
    works: Mapping[str, Callable[[], Run]],
    *,
    between: Callable[[], None] | None = None,
    failures: dict[str, str] | None = None,
) -> dict[str, list[Run]]:
    """Do every work `pairs` times in turns, A B C B C A …, and return the runs of each by its name.

    `between` comes before every run and is not measured. With `failures` a work that fails is named there with the
    reason, left out from then on and absent from the answer; else its `ProgramFailed` is raised.
    """
    runs: dict[str, list[Run]] = {name: [] for name in works}
    names = list(works)
    for number in range(pairs):
        first = number % len(names) if names else 0
        for name in names[first:] + names[:first]:
            if name not in runs:
                continue
            if between is not None:
                between()
            try:
                runs[name].append(works[name]())
            except ProgramFailed as error:
                if failures is None:
                    raise
                failures[name] = str(error)
                del runs[name]
    return runs


def median(values: Sequence[float]) -> float:
    """Return the median of `values`."""
    return statistics.median(values)


def median_seconds(runs: Sequence[Run]) -> float:
    """Return the median wall time."""
    return median([each.seconds for each in runs])


def ratio(ours: Sequence[Run], theirs: Sequence[Run]) -> Ratio:
    """Return how many times the wall time of `theirs` ours took, pair by pair."""
    each = [mine.seconds / other.seconds for mine, other in zip(ours, theirs, strict=True)]
    return Ratio(median(each), min(each), max(each))


def shown(runs: Sequence[Run], size: int) -> str:
    """Return the median wall time as text, and the rate when the work is over `size` bytes."""
    seconds = median_seconds(runs)
    return f"{seconds:.2f} s, {size / 2**20 / seconds:,.0f} MiB/s"


def cpu(ours: Sequence[Run], theirs: Sequence[Run]) -> str:
    """Return both medians of CPU time as text: what wall time on a shared machine cannot tell."""
    mine, other = (median([each.cpu_seconds for each in runs]) for runs in (ours, theirs))
    return f"CPU {mine:.2f} s against {other:.2f} s"


def tail(text: str) -> str:
    """Return the last lines of a program's stderr in one line."""
    return " / ".join(line.strip() for line in text.strip().splitlines()[-_TAIL_LINES:])[-2 * _SHOWN :]


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
