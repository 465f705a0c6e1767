"""What every group of rows is given, and the curves that plots are drawn from."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring import Run, run

NAME = "bench/model"
"""What the data set is published as."""

_DROPPED = ("WEIGHTSWARM_", "HF_", "HUGGINGFACE_", "PYTHON", "XDG_")


@dataclass(frozen=True, slots=True)
class Bench:
    """One run of the benchmarks.

    `size` is the data set's in bytes, `pairs` how often each program of a comparison runs, `work` a folder of the
    group's own, `weightswarm` the command under test, `environment` the whole environment that programs get.
    """

    size: int
    pairs: int
    work: Path
    weightswarm: Path
    environment: Mapping[str, str]

    def run(self, *arguments: str | Path) -> Run:
        """Run `weightswarm ARGUMENTS` to its end; raises `ProgramFailed`."""
        return run([self.weightswarm, *arguments], environment=self.environment)

    def say(self, text: str) -> None:
        """Show one line of progress."""
        sys.stderr.write(f"{text}\n")


@dataclass(frozen=True, slots=True)
class Series:
    """A curve: `points` are pairs of x and median seconds.

    `plot` names the picture: `sizes` (x in GiB) or `fetchers` (x is their number).
    """

    plot: str
    label: str
    points: tuple[tuple[float, float], ...]


def quiet_environment(work: Path) -> dict[str, str]:
    """Return an environment in which nobody's settings or caches count and nothing leaves this machine."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_DROPPED)}
    kept = {name: value for name, value in kept.items() if not name.lower().endswith("_proxy")}
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HOME": str(work / "home"),
        "LC_ALL": "C.UTF-8",
        "WEIGHTSWARM_NETWORK": "loopback",
        "XDG_CACHE_HOME": str(work / "cache"),
        "XDG_CONFIG_HOME": str(work / "config"),
        "XDG_DATA_HOME": str(work / "data"),
    }
