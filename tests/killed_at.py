"""Runs the command line until it comes to a named step, and kills it there: `killed_at.py STEP ARGUMENTS…`.

The step is done when the kill comes, unless its name begins with `before-`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from weightswarm.cache import placement, staging
from weightswarm.cli.start import main
from weightswarm.fetching import fetch
from weightswarm.fetching.transfer import Transfer
from weightswarm.fetching.verification import StagedVerification


class _Os:
    """The `os` of one module alone."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


_placing = _Os()
STEPS: dict[str, tuple[Any, str]] = {
    "metadata": (fetch, "ask_swarm"),
    "metainfo-kept": (staging, "write_atomically"),
    "download": (StagedVerification, "readable"),
    "verify": (Transfer, "run"),
    "blob-placed": (_placing, "replace"),
    "record-written": (placement, "save_record"),
    "link-placed": (_placing, "symlink"),
    "snapshot-placed": (_placing, "rename"),
    "ref-written": (placement, "write_atomically"),
    "staging-removed": (staging, "remove_tree"),
}


def killing(step: Callable[..., Any], *, before: bool) -> Callable[..., Any]:
    """Return a stand-in for `step` that ends this process."""

    def stand_in(*arguments: Any, **keywords: Any) -> Any:
        if not before:
            step(*arguments, **keywords)
        os.kill(os.getpid(), signal.SIGKILL)

    return stand_in


if __name__ == "__main__":
    name = sys.argv.pop(1)
    placement.__dict__["os"] = _placing
    owner, attribute = STEPS[name.removeprefix("before-")]
    setattr(owner, attribute, killing(getattr(owner, attribute), before=name.startswith("before-")))
    main()
