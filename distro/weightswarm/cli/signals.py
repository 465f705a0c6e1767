"""SIGINT, SIGTERM and SIGHUP: the first ends the work tidily and soon, the second ends the process.

Python raises what a handler raises only between two steps of its own, and a name server may keep it from the next one
for half a minute. So a thread reads the signals' numbers as they come, and ends the process where the work does not.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from _thread import start_new_thread
from types import FrameType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_TIDY_SECONDS = 2.5
"""How long tidying up may take. What a kill leaves behind is safe too: the next run goes on from it."""

_WORDS = {signal.SIGINT: "Interrupted.", signal.SIGTERM: "Terminated."}


class Stopped(BaseException):
    """A signal asked the work to stop. `code` is the exit code that says which, `words` a line for the user.

    Whoever sent SIGHUP has closed the terminal: there is nobody left to tell.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number
        self.words = _WORDS.get(signal.Signals(number))


def install() -> None:
    """Raise `Stopped` on the first signal; end the process at the second, or `_TIDY_SECONDS` after the first."""
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    # `nohup` has it ignored.
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _stop)
    sys.unraisablehook = _end_where_nothing_can_be_raised
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    start_new_thread(_watch, (reading,))


def ignore() -> None:
    """The work is done and its outcome stands: no signal changes that any more."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _stop(number: int, _frame: FrameType | None) -> None:
    # The watching thread looks after the next one.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, _leave_to_the_thread)
    raise Stopped(number)


def _leave_to_the_thread(_number: int, _frame: FrameType | None) -> None:
    pass


def _watch(reading: int) -> None:
    last = os.read(reading, 1)
    if select.select([reading], [], [], _TIDY_SECONDS)[0]:
        last = os.read(reading, 1)
    os._exit(128 + last[0])


def _end_where_nothing_can_be_raised(unraisable: UnraisableHookArgs) -> None:
    # In a destructor or a callback of the garbage collector Python drops the exception, and would work on.
    if isinstance(unraisable.exc_value, Stopped):
        os._exit(unraisable.exc_value.code)
    sys.__unraisablehook__(unraisable)
