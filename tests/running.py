"""Running `weightswarm` as its users do: in a process of its own, judged by exit code, stdout and stderr."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

COMMAND = [sys.executable, "-m", "weightswarm"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def result(self) -> str:
        """The result on stdout, without its newline."""
        return self.stdout.strip()

    @property
    def json(self) -> Any:
        """The result of `--json`."""
        return json.loads(self.stdout)


class CommandLine:
    """The `weightswarm` command with `folder` as its current folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str | Path, stdin: str = "", timeout: float = 120, **environment: str) -> Outcome:
        """Run a command to its end, whatever its exit code."""
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=self.folder,
            env={**os.environ, **environment},
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Outcome(done.returncode, done.stdout, done.stderr)

    def ok(self, *arguments: str | Path, **keywords: Any) -> Outcome:
        """Run a command that must succeed."""
        outcome = self(*arguments, **keywords)
        assert outcome.code == 0, f"exit code {outcome.code}\n{outcome.stderr}"
        return outcome

    def start(self, *arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
        """Start a command and return its process; whoever starts it ends it."""
        return subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**os.environ, **environment},
        )


class CommandLineHere(CommandLine):
    """As `CommandLine`, in this very process: the same code from arguments to exit code, without the start of Python.

    For tests of many commands; signals and what lives across processes are for the real one.
    """

    def __call__(self, *arguments: str | Path, stdin: str = "", timeout: float = 120, **environment: str) -> Outcome:
        """Run a command to its end, whatever its exit code."""
        from weightswarm.cli.main import run

        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
        with (
            patch.object(sys, "argv", ["weightswarm", *map(str, arguments)]),
            patch.object(sys, "stdin", io.StringIO(stdin)),
            patch.dict(os.environ, environment),
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = run()
        told = []
        for stream in (out, err):
            stream.flush()
            assert isinstance(stream.buffer, io.BytesIO)
            told.append(stream.buffer.getvalue().decode())
        return Outcome(code, told[0], told[1])


class Seeding:
    """A running `weightswarm seed`. `magnets` are the lines it printed, one a release."""

    def __init__(self, process: subprocess.Popen[str], magnets: list[str]) -> None:
        self.process = process
        self.magnets = magnets

    @property
    def magnet(self) -> str:
        """The magnet of its first release."""
        return self.magnets[0]

    @property
    def port(self) -> int:
        """The loopback port it listens at."""
        return int(self.magnet.rpartition("x.pe=127.0.0.1:")[2])

    def stop(self, number: int = signal.SIGINT, timeout: float = 10) -> Outcome:
        """End it and return how it ended."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait(timeout)

    def wait(self, timeout: float) -> Outcome:
        """Wait until it ends by itself."""
        stdout, stderr = self.process.communicate(timeout=timeout)
        assert "Traceback" not in stderr, stderr
        return Outcome(self.process.returncode, stdout, stderr)


class Seeder:
    """Starts seeders and remembers them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[subprocess.Popen[str]] = []

    def __call__(self, *arguments: str | Path, releases: int = 1, wait: float = 60, **environment: str) -> Seeding:
        """Run `weightswarm seed ARGUMENTS` and wait for its magnets."""
        process = CommandLine(self.folder).start("seed", *arguments, **environment)
        self.running.append(process)
        assert process.stdout is not None
        watchdog = threading.Timer(wait, process.kill)
        watchdog.start()
        magnets = [process.stdout.readline().strip() for _ in range(releases)]
        watchdog.cancel()
        if not all(magnets):
            process.kill()
            raise AssertionError(f"seed printed no magnet: {process.communicate()[1]}")
        return Seeding(process, magnets)

    def stop_all(self) -> None:
        """Kill what still runs."""
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.communicate()
