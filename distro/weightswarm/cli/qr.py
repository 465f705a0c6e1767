"""`--qr`, and how a QR code is shown on a terminal."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO

import click

from weightswarm.cli.options import option

# The result on stdout stays the magnet alone, for programs; a picture of it is for people.
qr_option = option("--qr", is_flag=True, help="Show the magnet as a QR code on stderr too.")


def show_qr(text: str, *, err: bool = True) -> str | None:
    """Print a QR code. On stderr, what cannot be shown is told; on stdout, as the result, the reason is returned.

    Raises `InvalidInput` for a text that no QR code holds, unless it goes to stderr.
    """
    from weightswarm.errors import InvalidInput
    from weightswarm.exporting.qr import QrCode

    columns = _columns(sys.stderr if err else sys.stdout)
    try:
        code = QrCode(text)
    except InvalidInput as error:
        if not err:
            raise
        click.echo(f"No QR code: {error}", err=True)
        return None
    reason = None if columns is None else code.too_wide(columns)
    if reason is None:
        terminal = columns is not None
        click.echo("\n".join(code.lines(colours=terminal)), err=err, color=terminal)
    elif err:
        click.echo(f"No QR code: {reason}; `weightswarm export qr -o magnet.png` writes a picture", err=True)
    return reason


def _columns(stream: TextIO) -> int | None:
    """Return how wide a terminal is, None for what is none."""
    if stream.isatty():
        with suppress(OSError, ValueError):
            return os.get_terminal_size(stream.fileno()).columns
    return None
