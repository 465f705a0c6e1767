"""Parsers run on hostile documents in child processes of bounded memory and CPU time, which report how it went."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from weightswarm.errors import WeightswarmError
from weightswarm.expected import expected_by_file
from weightswarm.magnet import parse_magnet
from weightswarm.manifest import parse_manifest
from weightswarm.metainfo import parse_info_dict, parse_metainfo

MEMORY = 512 * 1024 * 1024
"""Bytes of address space that a child may have, its interpreter and the document included."""

SECONDS = 2.0

PARSERS: dict[str, Callable[[Path], object]] = {
    "manifest": lambda path: parse_manifest(path.read_bytes()),
    "metainfo": lambda path: parse_metainfo(path.read_bytes()),
    "info dict": lambda path: parse_info_dict(path.read_bytes()),
    "magnet": lambda path: parse_magnet(path.read_text("utf-8", "surrogateescape")),
    "expected": expected_by_file,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a parser took a document: the project's `error` or "" for none, CPU `seconds`, `memory` in bytes at its peak.

    Anything else that came out is in `crash`: an exception of another kind, or a signal.
    """

    error: str
    seconds: float
    memory: int
    crash: str


def judge(folder: Path, documents: Mapping[str, tuple[str, bytes]]) -> dict[str, Verdict]:
    """Parse each document, given as parser and bytes, in a bounded child process of its own; verdicts by name.

    What took too long is tried twice more: beside other tests the same work takes two or three times the CPU time.
    """
    jobs = []
    for number, (name, (parser, data)) in enumerate(documents.items()):
        (folder / str(number)).write_bytes(data)
        jobs.append((name, parser, str(folder / str(number))))
    verdicts: dict[str, Verdict] = {}
    for _ in range(3):
        todo = [job for job in jobs if job[0] not in verdicts or verdicts[job[0]].seconds >= SECONDS]
        verdicts |= _judged(todo) if todo else {}
    return verdicts


def _judged(jobs: list[tuple[str, str, str]]) -> dict[str, Verdict]:
    done = subprocess.run(
        [sys.executable, __file__], input=json.dumps(jobs), capture_output=True, text=True, timeout=590, check=False
    )
    assert done.returncode == 0, done.stderr
    return {name: Verdict(**fields) for name, fields in json.loads(done.stdout).items()}


def _child(parser: str, path: str) -> Verdict:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
    error = crash = ""
    started = time.process_time()
    try:
        PARSERS[parser](Path(path))
    except WeightswarmError as caught:
        error = f"{type(caught).__name__}: {caught}"
    except BaseException as caught:  # noqa: BLE001 - whatever it is, it is what we look for
        crash = f"{type(caught).__name__}: {str(caught)[:200]}"
    seconds = time.process_time() - started
    return Verdict(error, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, crash)


def _judge_in_fork(parser: str, path: str) -> Verdict:
    reading, writing = os.pipe()
    if not (pid := os.fork()):
        try:
            verdict = _child(parser, path)
            os.write(
                writing, json.dumps([verdict.error[:2000], verdict.seconds, verdict.memory, verdict.crash]).encode()
            )
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as stream:
        answer = stream.read()
    _, status = os.waitpid(pid, 0)
    if not answer:
        return Verdict("", 0.0, 0, f"ended without an answer, status {status}")
    return Verdict(*json.loads(answer))


def _main() -> None:
    verdicts = {name: _judge_in_fork(parser, path) for name, parser, path in json.load(sys.stdin)}
    print(json.dumps({name: {f: getattr(v, f) for f in Verdict.__slots__} for name, v in verdicts.items()}))


if __name__ == "__main__":
    _main()
