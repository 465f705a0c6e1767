"""Row 9: verifying a model that is in the cache, against hashing the same number of bytes in memory."""

from __future__ import annotations

import sys

from benchmarks import programs
from benchmarks.bench import NAME, Bench
from benchmarks.dataset import model
from benchmarks.measuring import Run, cpu, interleaved, ratio, run, shown
from benchmarks.row import Row
from benchmarks.servers import seeding


def measure(bench: Bench) -> list[Row]:
    """Fetch once, then verify and hash in turns."""
    data = model(bench.work / "model", bench.size)
    cache = bench.work / "cached"
    with seeding(bench, bench.work / "seed", data.folder, "--name", NAME) as seed:
        bench.run("fetch", seed.magnets[0], "--name", NAME, "--cache-dir", cache, "--quiet")

    def verify() -> Run:
        return bench.run("verify", NAME, "--cache-dir", cache, "--quiet")

    def limit() -> Run:
        return run([sys.executable, programs.HASH_LIMIT, str(data.size), "sha256"], environment=bench.environment)

    bench.say("verify")
    verify()
    runs = interleaved(bench.pairs, {"verify": verify, "limit": limit})
    ours, theirs = runs["verify"], runs["limit"]
    speed = ratio(theirs, ours)
    row = Row(
        "9",
        "`verify` of a cached model",
        "SHA-256 of as many bytes in memory, all cores",
        shown(ours, data.size),
        shown(theirs, data.size),
        str(speed),
        "≥ 0.95 of its speed",
        speed.median >= 0.95,
        f"{cpu(ours, theirs)}; both are whole processes, start included (row 12)",
    )
    return [row]
