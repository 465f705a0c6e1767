"""How long a piece is: a power of two from 16 KiB to 16 MiB, chosen from the files' sizes alone."""

from __future__ import annotations

from collections.abc import Sequence

from weightswarm.errors import InvalidInput

MIN_PIECE_LENGTH = 16 * 1024
MAX_PIECE_LENGTH = 16 * 1024 * 1024
TARGET_PIECES = 1024
_FINER = 16
_FILLED = 16


def choose_piece_length(sizes: Sequence[int]) -> int:
    """Return the piece length in bytes for a release whose files have `sizes` in bytes.

    The smallest power of two that keeps it at 1,024 pieces or fewer, within 16 KiB … 16 MiB: small enough that a
    fetcher soon has a piece to give, few enough that metadata stays in the kilobytes.

    | release of up to | piece length |
    |---|---|
    | 16 MiB | 16 KiB |
    | 256 MiB | 256 KiB |
    | 1 GiB | 1 MiB |
    | 4 GiB | 4 MiB |
    | 16 GiB and more | 16 MiB |

    A hybrid fills each file up to whole pieces, which is hashed, and which old clients download: a release of many
    small files gets pieces down to a sixteenth of that, until what is filled up is a sixteenth of it or less.
    """
    total = sum(sizes)
    wanted = -(-total // TARGET_PIECES)
    length = MIN_PIECE_LENGTH
    while length < wanted and length < MAX_PIECE_LENGTH:
        length *= 2
    least = max(MIN_PIECE_LENGTH, length // _FINER)
    while length > least and sum(-size % length for size in sizes) > total // _FILLED:
        length //= 2
    return length


def parse_piece_length(value: int) -> int:
    """Return `value` when BEP 52 allows it as a piece length (and it is at most 16 MiB); raises `InvalidInput`."""
    if not MIN_PIECE_LENGTH <= value <= MAX_PIECE_LENGTH or value & (value - 1):
        raise InvalidInput(
            f"Not a piece length: {value:,} bytes", hint="it must be a power of two from 16 KiB to 16 MiB (16777216)"
        )
    return value
