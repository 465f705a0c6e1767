"""QR codes (ISO/IEC 18004) of a text: for a terminal, and as PNG or SVG."""

from __future__ import annotations

import io

import segno

from weightswarm.errors import InvalidInput

MAX_BYTES = 2953
"""What the largest QR code, version 40 at error correction level L, holds."""

_QUIET = 4
_PIXELS = 8
_DARK_ON_LIGHT = "\x1b[30;107m"
_AS_BEFORE = "\x1b[0m"
# A terminal's cell holds two modules, one above the other.
_CELLS = {(0, 0): " ", (1, 0): "\u2580", (0, 1): "\u2584", (1, 1): "\u2588"}
_CELLS_INVERTED = {(1, 1): " ", (0, 1): "\u2580", (1, 0): "\u2584", (0, 0): "\u2588"}


class QrCode:
    """A QR code, at the best error correction that its size has room for. Raises `InvalidInput` for a text too long."""

    def __init__(self, text: str) -> None:
        self._length = len(text.encode())
        if self._length > MAX_BYTES:
            raise InvalidInput(
                f"The magnet link is {self._length:,} bytes long, and a QR code holds {MAX_BYTES:,} at most",
                hint="a link with fewer trackers (tr=) is shorter",
            )
        self._code = segno.make(text, error="l", micro=False, encoding="utf-8")

    @property
    def columns(self) -> int:
        """How many columns of a terminal it takes, its margin included."""
        return len(self._code.matrix) + 2 * _QUIET

    def lines(self, *, colours: bool) -> list[str]:
        """Return it in half blocks, two modules a cell: with `colours` dark on white whatever the terminal's own are,
        else for a dark background."""
        side = self.columns
        blank = [0] * side
        inner = [[0] * _QUIET + [int(bool(module)) for module in row] + [0] * _QUIET for row in self._code.matrix]
        rows = [blank] * _QUIET + inner + [blank] * (_QUIET + 1)
        cells = _CELLS if colours else _CELLS_INVERTED
        text = ["".join(map(cells.__getitem__, zip(rows[y], rows[y + 1], strict=True))) for y in range(0, side, 2)]
        return [f"{_DARK_ON_LIGHT}{line}{_AS_BEFORE}" for line in text] if colours else text

    def image(self, kind: str) -> bytes:
        """Return a picture of it; `kind` is `png` or `svg`."""
        out = io.BytesIO()
        self._code.save(out, kind=kind, scale=_PIXELS, border=_QUIET)
        return out.getvalue()

    def too_wide(self, columns: int) -> str | None:
        """Return why a terminal of so many columns cannot show it, or None."""
        if self.columns <= columns:
            return None
        return (
            f"The magnet link is {self._length:,} bytes long: its QR code takes {self.columns} columns,"
            f" and this terminal has {columns}"
        )
