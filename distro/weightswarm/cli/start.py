"""Where the command starts: signals are handled before anything slow is loaded."""

from __future__ import annotations

import sys

from weightswarm.cli import signals


def main() -> None:
    """Run the command line and exit."""
    try:
        signals.install()
        from weightswarm.cli.main import run

        code = run()
    except KeyboardInterrupt:
        code = 130
    except signals.Terminated:
        code = 143
    sys.exit(code)
