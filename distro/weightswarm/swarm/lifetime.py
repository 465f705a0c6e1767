"""Whether sessions are destroyed when they end, or left to the end of the process."""

from __future__ import annotations

_left_to_the_process = False


def leave_sessions_to_the_process() -> None:
    """Destroy no session from now on: the process ends soon, by `os._exit`, and with it all that they hold."""
    global _left_to_the_process  # noqa: PLW0603 - a process has one end
    _left_to_the_process = True


def sessions_are_left() -> bool:
    """Tell whether `leave_sessions_to_the_process` was called."""
    return _left_to_the_process
