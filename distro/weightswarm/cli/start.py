"""Where the command starts: signals are handled before anything slow is loaded. And where it ends."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress

from weightswarm.cli import signals

TYPE_CHECKING = False  # `typing` takes time to load, in which a signal would not be handled
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and exit."""
    _open_standard_streams()
    # Documents of 10,000 files are very many objects without a cycle: looking them over again and again took a tenth of
    # the CPU of a publish.
    gc.set_threshold(400_000, 20, 20)
    try:
        signals.install()
        from weightswarm.cli.main import run

        code = run()
        signals.ignore()
    except signals.Stopped as stopped:
        code = stopped.code
    except KeyboardInterrupt:  # before there was a handler
        code = 130
    _end(code)


def _open_standard_streams() -> None:
    """Put /dev/null where a standard stream was closed: whatever is opened next would get its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - for as long as the process lives


def _end(code: int) -> NoReturn:
    """End the process here and now.

    The interpreter's own end would wait for threads that wait for a name server, and show a signal that comes late.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it, or it is closed
            stream.flush()
    os._exit(code)
