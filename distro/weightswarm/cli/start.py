"""Where the command starts: signals are handled before anything slow is loaded. And where it ends."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from weightswarm.cli import signals


def main() -> NoReturn:
    """Run the command line and exit."""
    try:
        signals.install()
        from weightswarm.cli.main import run

        code = run()
        signals.ignore()
    except signals.Stopped as stopped:
        code = stopped.code
    _end(code)


def _end(code: int) -> NoReturn:
    """End the process here and now.

    The interpreter's own end would wait for threads that wait for a name server, and show a signal that comes late.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # nobody reads it, or it is closed
            pass
    os._exit(code)
