"""Run inside a namespace: notes every frame that leaves by an interface. Usage: `frames.py INTERFACE`.

Each kind of frame is one line, such as `tcp 10.77.0.2 1080`, `udp 239.192.152.143 6771`, `arp 10.77.0.254`; the first
line is `ready`.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from namespaces import Host

_ALL = 0x0003
_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp"}


def described(frame: bytes) -> str:
    """Return what a frame is, and to whom."""
    (kind,) = struct.unpack_from(">H", frame, 12)
    if kind == 0x0806:
        return f"arp {socket.inet_ntoa(frame[38:42])}"
    if kind != 0x0800:
        return f"ethertype {kind:#06x}"
    protocol, target = frame[23], socket.inet_ntoa(frame[30:34])
    name = _PROTOCOLS.get(protocol, str(protocol))
    if name not in ("tcp", "udp"):
        return f"{name} {target}"
    (port,) = struct.unpack_from(">H", frame, 14 + (frame[14] & 15) * 4 + 2)
    return f"{name} {target} {port}"


@contextmanager
def leaving(host: Host, interface: str, log: Path) -> Iterator[Callable[[], set[str]]]:
    """Yield a function that returns each kind of frame that left a host by an interface."""
    with log.open("w") as output:
        process = subprocess.Popen([*host.prefix, sys.executable, "-u", __file__, interface], stdout=output)
    try:
        deadline = time.monotonic() + 20
        while "ready" not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, "nobody watches"
            time.sleep(0.02)
        yield lambda: set(log.read_text().splitlines()) - {"ready"}
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Watch until killed."""
    watcher = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
    watcher.bind((sys.argv[1], 0))
    watcher.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 1024 * 1024)
    print("ready", flush=True)
    seen = set()
    while True:
        frame, (_, _, direction, *_) = watcher.recvfrom(128)
        if direction == socket.PACKET_OUTGOING and (line := described(frame)) not in seen:
            seen.add(line)
            print(line, flush=True)


if __name__ == "__main__":
    main()
