"""What the figures were measured on: the machine, the programs' versions, and the CPU time that others took."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.dataset import GIB

_PACKAGES = ("weightswarm", "libtorrent", "huggingface_hub")


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Clock ticks of all cores since boot: those that the hypervisor gave to others, and all."""

    stolen: int
    total: int

    def stolen_since(self, before: CpuTimes) -> float:
        """Return the share of CPU time, 0 to 1, that was stolen since `before`."""
        return (self.stolen - before.stolen) / max(1, self.total - before.total)


def cpu_times() -> CpuTimes:
    """Read `/proc/stat`."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return CpuTimes(ticks[7], sum(ticks))


def cores() -> int:
    """Return how many cores programs may use."""
    return len(os.sched_getaffinity(0))


def now() -> str:
    """Return the date and time in UTC, to the minute."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def describe(bench: Bench) -> dict[str, str]:
    """Return the machine and the versions of the Python packages, by what they are called in the results."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    machine = {
        "processor": _processor(),
        "cores": str(cores()),
        "memory": f"{memory / GIB:.1f} GiB",
        "file system": _file_system(bench.work),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
    return machine | {name: _package(name) for name in _PACKAGES}


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _file_system(folder: Path) -> str:
    kinds = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind = line.split()[:3]
        kinds[point] = kind
    where = next(parent for parent in (folder.resolve(), *folder.resolve().parents) if str(parent) in kinds)
    return kinds[str(where)]


def _package(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"
