"""Programs that serve while others are measured: started, waited for, and ended with the block that needs them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.measuring import ProgramFailed, tail

_POLL_SECONDS = 0.005
_END_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Seeding:
    """A running `weightswarm seed`: its process, its magnets in its releases' order, and the seconds they took."""

    pid: int
    magnets: tuple[str, ...]
    seconds: float


@contextmanager
def serving(
    command: Sequence[str | Path],
    folder: Path,
    environment: Mapping[str, str],
    ready: Callable[[], bool],
    *,
    timeout: float = 60,
) -> Iterator[int]:
    """Run a program until the block ends; yield its process id once `ready` says so.

    Its output goes to `stdout` and `stderr` in `folder`. Raises `ProgramFailed` when it ends or `timeout` passes first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    words = [str(word) for word in command]
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            words, env=environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, process_group=0
        )
    try:
        deadline = time.monotonic() + timeout
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                how = f"not ready within {timeout:g} s" if process.returncode is None else "ended before it was ready"
                said = tail((folder / "stderr").read_text(errors="replace"))
                raise ProgramFailed(f"{Path(words[0]).name} {' '.join(words[1:3])}: {how}: {said}")
            time.sleep(_POLL_SECONDS)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def seeding(
    bench: Bench, folder: Path, *arguments: str | Path, releases: int = 1, timeout: float = 600
) -> Iterator[Seeding]:
    """Run `weightswarm seed ARGUMENTS` until the block ends; yield once peers can connect."""
    output = folder / "stdout"
    started = time.perf_counter()

    def ready() -> bool:
        return output.exists() and output.read_bytes().count(b"\n") >= releases

    command = [bench.weightswarm, "seed", *arguments, "--quiet"]
    with serving(command, folder, bench.environment, ready, timeout=timeout) as pid:
        seconds = time.perf_counter() - started
        yield Seeding(pid, tuple(output.read_text().split()), seconds)


def answers(port: int) -> bool:
    """Tell whether somebody accepts connections at a loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
