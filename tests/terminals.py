"""A program in a terminal of a given width, typed into and read as a person would."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping
from pathlib import Path


class Terminal:
    """A program whose stdin, stdout and stderr are a pseudo-terminal; `text` is all that it wrote."""

    def __init__(self, command: list[str], folder: Path, environment: Mapping[str, str], columns: int = 80) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    def wait_for(self, *words: str, seconds: float = 30) -> str:
        """Return what it wrote since the last wait, once all of `words` are in it."""
        start, deadline = len(self.text), time.monotonic() + seconds
        while not all(word in self.text[start:] for word in words):
            left = deadline - time.monotonic()
            assert left > 0, f"{words} did not come:\n{self.text}"
            if not self._read(left):
                break
        assert all(word in self.text[start:] for word in words), f"{words} did not come:\n{self.text}"
        return self.text[start:]

    def wait(self, seconds: float = 30) -> int:
        """Read until it ends and return its exit code."""
        deadline = time.monotonic() + seconds
        while self._read(deadline - time.monotonic()):
            assert time.monotonic() < deadline, self.text
        return self.process.wait(5)

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait(10)
        os.close(self._ours)

    def _read(self, seconds: float) -> bool:
        waiting = select.poll()
        waiting.register(self._ours, select.POLLIN)
        if not waiting.poll(max(0, seconds) * 1000):
            return True
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # it has ended
            return False
        self.text += self._decoder.decode(data)
        return bool(data)
