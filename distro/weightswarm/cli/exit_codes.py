"""Which error ends the program with which code."""

from __future__ import annotations

from weightswarm import errors

DONE = 0
FAILURE = 1
USAGE = 2
MISMATCH = 3
NO_PROGRESS = 4
INTERRUPTED = 130
TERMINATED = 143

_CODES: tuple[tuple[type[errors.WeightswarmError], int], ...] = (
    (errors.InvalidInput, USAGE),
    (errors.ContentMismatch, MISMATCH),
    (errors.SwarmTimeout, NO_PROGRESS),
)


def exit_code(error: errors.WeightswarmError) -> int:
    """Return the exit code of an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILURE)
