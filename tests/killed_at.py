"""Runs the command line until it comes to some step, and kills it there: `killed_at.py STEP ARGUMENTS…`.

A step has a name, or is the number of a change to a folder: something made, renamed, removed or synced in it.
The step is done when the kill comes, unless its name begins with `before-`.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from typing import Any

from weightswarm.cache import placement, staging
from weightswarm.cli.start import main
from weightswarm.fetching import fetch
from weightswarm.fetching.transfer import Transfer
from weightswarm.fetching.verification import StagedVerification
from weightswarm.storage import OpenFolder, folders

CHANGES = ("mkdir", "rename", "unlink", "rmdir", "symlink", "fsync")


class _CountingOs:
    """The `os` of some modules alone, that ends this process at a change to a folder."""

    def __init__(self, last: int) -> None:
        self.left = last

    def __getattr__(self, name: str) -> Any:
        function = getattr(os, name)
        return self._counting(function) if name in CHANGES else function

    def _counting(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def stand_in(*arguments: Any, **keywords: Any) -> Any:
            result = change(*arguments, **keywords)
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return stand_in


STEPS: dict[str, tuple[Any, str, str]] = {
    "metadata": (fetch, "ask_swarm", ""),
    "metainfo-kept": (OpenFolder, "write", "release.torrent"),
    "download": (StagedVerification, "readable", ""),
    "verify": (Transfer, "run", ""),
    "record-written": (placement, "save_record", ""),
    "blob-placed": (placement, "move_verified", ""),
    "link-placed": (placement, "_place_link", ""),
    "snapshot-placed": (OpenFolder, "move", "snapshot"),
    "ref-written": (OpenFolder, "write", "main"),
    "staging-removed": (staging.Staging, "discard", ""),
}
"""What is called at a step, and what its first argument is then."""


def killing(step: Callable[..., Any], argument: str, *, before: bool) -> Callable[..., Any]:
    """Return a stand-in for `step` that ends this process."""

    def stand_in(*arguments: Any, **keywords: Any) -> Any:
        if argument and argument not in arguments:
            return step(*arguments, **keywords)
        if not before:
            step(*arguments, **keywords)
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    return stand_in


if __name__ == "__main__":
    name = sys.argv.pop(1)
    if name.isdigit():
        folders.__dict__["os"] = shutil.__dict__["os"] = _CountingOs(int(name))
    else:
        owner, attribute, argument = STEPS[name.removeprefix("before-")]
        stand_in = killing(getattr(owner, attribute), argument, before=name.startswith("before-"))
        setattr(owner, attribute, stand_in)
    main()
