"""Row 13: the peak memory of publish, fetch and verify, and whether it grows with the model."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from benchmarks.bench import NAME, Bench
from benchmarks.dataset import GIB, MIB, model
from benchmarks.measuring import ProgramFailed, tail
from benchmarks.row import Row
from benchmarks.servers import seeding

_TIMES_LARGER = 4
_SAMPLE_SECONDS = 0.02
_GIVE_UP_SECONDS = 1200
_MOST = 256 * MIB
_SAME_SHARE = 0.1
_SAME_BYTES = 16 * MIB


@dataclass(frozen=True, slots=True)
class Peak:
    """Peak memory in bytes: `own` without the children's mapped files, `resident` with them."""

    own: int
    resident: int


@dataclass(frozen=True, slots=True)
class _Peaks:
    publish: Peak
    fetch: Peak
    verify: Peak
    seeder: int


def measure(bench: Bench) -> list[Row]:
    """Run each command once at the size, and once at four times the size."""
    sizes = [bench.size, _TIMES_LARGER * bench.size]
    small, large = (_peaks(bench, size) for size in sizes)
    shown = [f"{size / GIB:g} GiB" for size in sizes]
    rows = []
    for number, command in (("13a", "publish"), ("13b", "fetch"), ("13c", "verify")):
        one: Peak = getattr(small, command)
        four: Peak = getattr(large, command)
        same = abs(four.own - one.own) <= max(_SAME_BYTES, _SAME_SHARE * one.own)
        met = same and max(one.own, four.own) <= _MOST
        remark = f"one run each; with files that children map: {_mib(one.resident)} and {_mib(four.resident)}"
        if command == "fetch":
            remark += f"; the seeder beside it: {_mib(small.seeder)} and {_mib(large.seeder)}"
        rows.append(
            Row(
                number,
                f"peak memory of `{command}`, {shown[0]}",
                f"the same, {shown[1]}",
                _mib(one.own),
                _mib(four.own),
                f"{four.own / one.own:.2f}",
                "≤ 256 MiB each, and the same: within 16 MiB or 10 %",
                met,
                remark,
            )
        )
    return rows


def peak_memory(bench: Bench, *arguments: str | Path) -> Peak:
    """Run `weightswarm ARGUMENTS`, sampling it and its descendants every 20 ms.

    All resident memory of the command's own process counts, of its children anonymous and shared memory: what they
    map are the program's libraries, counted once already, and the page cache of the files that they hash.
    """
    own = resident = 0
    deadline = time.monotonic() + _GIVE_UP_SECONDS
    with TemporaryFile() as stderr:
        process = subprocess.Popen(
            [bench.weightswarm, *arguments], env=bench.environment, stdout=subprocess.DEVNULL, stderr=stderr
        )
        try:
            while process.poll() is None and time.monotonic() < deadline:
                memory = [_resident(pid) for pid in _family(process.pid)]
                own = max(own, sum(private for private, _ in memory) + memory[0][1])
                resident = max(resident, sum(private + mapped for private, mapped in memory))
                time.sleep(_SAMPLE_SECONDS)
        finally:
            if process.returncode is None:
                process.terminate()
                process.wait()
        if process.returncode != 0:
            stderr.seek(0)
            said = tail(stderr.read().decode(errors="replace"))
            raise ProgramFailed(f"weightswarm {arguments[0]}: exit code {process.returncode}: {said}")
    return Peak(own, resident)


def resident_memory(pid: int) -> int:
    """Return a process's resident memory in bytes."""
    return sum(_resident(pid))


def _peaks(bench: Bench, size: int) -> _Peaks:
    bench.say(f"memory at {size / GIB:g} GiB")
    work = bench.work / str(size)
    data = model(work / "model", size)
    cache = work / "cached"
    publish = peak_memory(bench, "publish", data.folder, "--name", NAME, "--rehash", "-o", work / "published")
    with seeding(bench, work / "seed", data.folder, "--name", NAME) as seed:
        fetch = peak_memory(bench, "fetch", seed.magnets[0], "--name", NAME, "--cache-dir", cache)
        seeder = _highest(seed.pid)
    verify = peak_memory(bench, "verify", NAME, "--cache-dir", cache)
    shutil.rmtree(work)
    return _Peaks(publish, fetch, verify, seeder)


def _family(pid: int) -> list[int]:
    """Return a process and its descendants, itself first; whoever ended meanwhile is left out."""
    found = [pid]
    for each in found:
        try:
            for task in Path("/proc", str(each), "task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return found


def _resident(pid: int) -> tuple[int, int]:
    """Return a process's anonymous and shared memory, and its mapped files, as far as they are resident, in bytes."""
    fields = _status(pid)
    return fields.get("RssAnon", 0) + fields.get("RssShmem", 0), fields.get("RssFile", 0)


def _highest(pid: int) -> int:
    return _status(pid).get("VmHWM", 0)


def _status(pid: int) -> dict[str, int]:
    """Return the sizes in `/proc/PID/status` in bytes, none when the process is gone."""
    try:
        lines = Path("/proc", str(pid), "status").read_text().splitlines()
    except OSError:
        return {}
    fields = (line.partition(":") for line in lines if line.endswith(" kB"))
    return {name: 1024 * int(value.split()[0]) for name, _, value in fields}


def _mib(size: int) -> str:
    return f"{size / MIB:.0f} MiB"
