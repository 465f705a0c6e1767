"""A hash process: answers requests on stdin until it closes.

Both ways a message is its length in 4 bytes and a marshalled tuple: parent and child are the same interpreter.
"""

from __future__ import annotations

import marshal
import os
import sys

from weightswarm.hashing.computing import Changed, Computing, Unreadable, mapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any


def serve() -> None:
    """Call the methods of a `Computing`: `(method, [arguments, …])` gives `("done", [result, …])`, or what failed."""
    computing = Computing(mapped)
    while (request := receive(sys.stdin.buffer)) is not None:
        method, calls = request
        try:
            answer: tuple[str, Any] = ("done", [getattr(computing, method)(*arguments) for arguments in calls])
        except Changed as error:
            answer = ("changed", error.args)
        except Unreadable as error:
            answer = ("unreadable", error.args)
        try:
            send(sys.stdout.buffer, answer)
        except BrokenPipeError:
            # The parent was ended. Python's own end would try to write again, and complain.
            os._exit(1)


def send(pipe: IO[bytes], message: tuple[str, Any]) -> None:
    """Write a message. Raises `OSError`."""
    data = marshal.dumps(message)
    pipe.write(len(data).to_bytes(4, "big") + data)
    pipe.flush()


def receive(pipe: IO[bytes]) -> tuple[str, Any] | None:
    """Read a message; None when the other side is gone."""
    header = pipe.read(4)
    size = int.from_bytes(header, "big")
    data = pipe.read(size) if len(header) == 4 else b""
    if not header or len(data) < size:
        return None
    message: tuple[str, Any] = marshal.loads(data)  # noqa: S302 - from our own child
    return message
