"""Run a command and tell when its first line came, and when its last payload: `link_watch.py COMMAND…`.

Prints JSON: seconds from the start of the command to its first line of output (`printed`), to the last 16 KiB that
arrived at `eth0` (`arrived`) and to the command's end (`ended`), its CPU seconds (`cpu`), the bytes that arrived
(`bytes`), and its first line (`line`). Ends with the command's exit code.
"""

from __future__ import annotations

import json
import os
import resource
import select
import subprocess
import sys
import time

_COUNTER = "/sys/class/net/eth0/statistics/rx_bytes"
_POLL_SECONDS = 0.005
# Less than a block in this time are acknowledgements, haves and the like, however long they go on.
_BLOCK_BYTES = 16 * 1024
_WINDOW_SECONDS = 0.05


class Watch:
    """When payload last came: sums up what arrives until it is a block, or too slow to be one."""

    def __init__(self) -> None:
        self._counter = os.open(_COUNTER, os.O_RDONLY)
        self._first = self._mark = self.read()
        self._since = self.last = time.monotonic()

    def read(self) -> int:
        """Return the bytes that have arrived since the interface was made."""
        return int(os.pread(self._counter, 32, 0))

    def poll(self) -> None:
        """Look at the counter now."""
        now, arrived = time.monotonic(), self.read()
        if arrived - self._mark >= _BLOCK_BYTES:
            self._mark, self._since, self.last = arrived, now, now
        elif now - self._since > _WINDOW_SECONDS:
            self._mark, self._since = arrived, now

    @property
    def total(self) -> int:
        """The bytes that arrived since the watch was made."""
        return self.read() - self._first


def main() -> int:
    """Run and watch."""
    watch = Watch()
    started = time.monotonic()
    with subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while not select.select([process.stdout], [], [], _POLL_SECONDS)[0]:
            watch.poll()
        line = process.stdout.readline()
        printed = time.monotonic()
        process.stdout.read()
        process.wait()
    ended = time.monotonic()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures = {
        "printed": printed - started,
        "arrived": watch.last - started,
        "ended": ended - started,
        "cpu": used.ru_utime + used.ru_stime,
        "bytes": watch.total,
        "line": line.decode().rstrip("\n"),
    }
    sys.stdout.write(json.dumps(figures) + "\n")
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
