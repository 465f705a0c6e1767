"""Row 11: what a second revision costs that changes one of four shards."""

from __future__ import annotations

import json

from benchmarks.bench import NAME, Bench
from benchmarks.dataset import model, rewrite
from benchmarks.row import Row
from benchmarks.servers import seeding


def measure(bench: Bench) -> list[Row]:
    """Fetch a revision, change a shard, fetch the next into the same cache."""
    bench.say("second revision")
    data = model(bench.work / "model", bench.size)
    first = _fetched(bench, data.folder.name)
    shard = data.files[0]
    rewrite(shard)
    second = _fetched(bench, data.folder.name)
    changed = shard.stat().st_size
    share = second["downloaded"] / changed
    row = Row(
        "11",
        "`fetch` of a second revision, 1 of 4 shards changed",
        "bytes of the files that changed",
        f"{second['downloaded']:,} bytes received",
        f"{changed:,} bytes",
        f"{share:.4f}",
        "≤ 1.01 x",
        share <= 1.01,
        f"first revision: {first['downloaded']:,} bytes received of {first['size']:,}; payload by the session's count",
    )
    return [row]


def _fetched(bench: Bench, folder: str) -> dict[str, int]:
    with seeding(bench, bench.work / "seed", bench.work / folder, "--name", NAME) as seed:
        done = bench.run("fetch", seed.magnets[0], "--name", NAME, "--cache-dir", bench.work / "cached", "--json")
        result: dict[str, int] = json.loads(done.stdout)
    return result
