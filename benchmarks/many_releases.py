"""Row 15: five hundred releases seeded by one process: how soon after a start, and how much memory each takes."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.dataset import KIB, MIB, safetensors_header
from benchmarks.measuring import median
from benchmarks.memory import resident_memory
from benchmarks.row import Row
from benchmarks.servers import seeding

_RELEASES = 500
_FILES = {"config.json": KIB, "tokenizer.json": 64 * KIB, "model.safetensors": 256 * KIB}
_TRIED = 3
_SETTLE_SECONDS = 3.0
_MOST_SECONDS = 10.0


def measure(bench: Bench) -> list[Row]:
    """Start once, which hashes; then start again, fetch three releases at random, and read the memory."""
    sources = [_release(bench.work, number) for number in range(_RELEASES)]
    os.sync()
    bench.say(f"{_RELEASES} releases: first start")
    with seeding(bench, bench.work / "seed", *sources, releases=_RELEASES) as seed:
        hashing = seed.seconds
    bench.say(f"{_RELEASES} releases: later starts")
    seconds: list[float] = []
    memory: list[int] = []
    for _ in range(bench.pairs):
        with seeding(bench, bench.work / "seed", *sources, releases=_RELEASES) as seed:
            seconds.append(seed.seconds)
            time.sleep(_SETTLE_SECONDS)
            memory.append(resident_memory(seed.pid))
            for magnet in random.sample(seed.magnets, _TRIED):
                _fetch(bench, magnet)
    with seeding(bench, bench.work / "seed", sources[0]) as seed:
        time.sleep(_SETTLE_SECONDS)
        alone = resident_memory(seed.pid)
    each = (median(memory) - alone) / (_RELEASES - 1)
    work = f"`seed` of {_RELEASES} releases in one process"
    return [
        Row(
            "15a",
            f"{work}, hashes remembered",
            "the first start, which hashes",
            f"{median(seconds):.1f} s until all can be fetched",
            f"{hashing:.1f} s",
            f"{median(seconds) / hashing:.2f}",
            f"≤ {_MOST_SECONDS:g} s",
            median(seconds) <= _MOST_SECONDS,
            f"{_TRIED} releases taken at random were fetched after each start",
        ),
        Row(
            "15b",
            work,
            "one release",
            f"{median(memory) / MIB:.0f} MiB",
            f"{alone / MIB:.0f} MiB",
            f"{each / KIB:.0f} KiB each",
            "≤ 1 MiB each",
            each <= MIB,
            f"{len(_FILES)} files, {sum(_FILES.values()) // KIB} KiB a release; resident memory "
            f"{_SETTLE_SECONDS:g} s after the start",
        ),
    ]


def _release(work: Path, number: int) -> str:
    folder = work / "releases" / f"{number:03}"
    folder.mkdir(parents=True)
    for name, size in _FILES.items():
        header = safetensors_header(size) if name.endswith(".safetensors") else b""
        (folder / name).write_bytes(header + os.urandom(size - len(header)))
    return f"bench/model-{number:03}={folder}"


def _fetch(bench: Bench, magnet: str) -> None:
    cache = bench.work / "cached"
    bench.run("fetch", magnet, "--cache-dir", cache, "--timeout", "60", "--quiet")
    shutil.rmtree(cache)
