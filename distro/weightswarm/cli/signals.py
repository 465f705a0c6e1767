"""SIGINT and SIGTERM: the first ends the work tidily, the second ends the process."""

from __future__ import annotations

import os
import signal
from types import FrameType


class Terminated(BaseException):
    """SIGTERM arrived."""


def install() -> None:
    """Raise `KeyboardInterrupt` or `Terminated` on the first signal."""

    def handle(number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, end_now)
        signal.signal(signal.SIGTERM, end_now)
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    def end_now(number: int, _frame: FrameType | None) -> None:
        os._exit(128 + number)

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)
