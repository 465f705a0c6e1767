"""Rows 1 to 3: publishing a model, against what hashing and reading cost at least, and against other torrent makers."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import programs
from benchmarks.bench import NAME, Bench
from benchmarks.dataset import DataSet, model
from benchmarks.machine import cores
from benchmarks.measuring import Run, cpu, interleaved, median, ratio, run, shown
from benchmarks.peers import find, openssl_digests
from benchmarks.row import Row, unmeasured
from weightswarm.hashing import choose_piece_length

LIMIT = ("sha256", "sha256", "sha1")
_READ_ONCE = 0.02


def measure(bench: Bench) -> list[Row]:
    """Measure with the files in the page cache, then with the files on disk alone."""
    data = model(bench.work / "model", bench.size)
    publishing = _Publishing(bench, data)
    return [*_warm(bench, publishing), *_cold(bench, publishing)]


class _Publishing:
    """The works: each writes its torrent to a file of its own."""

    def __init__(self, bench: Bench, data: DataSet) -> None:
        self.bench = bench
        self.data = data
        self.digests = list(data.digests().values())
        self.piece_length = choose_piece_length([path.stat().st_size for path in data.files])

    def weightswarm(self, *options: str) -> Run:
        output = self.bench.work / "published"
        release = [str(self.data.folder), "--name", NAME, *options]
        return self.bench.run("publish", *release, "--rehash", "-o", output, "--quiet")

    def limit(self) -> Run:
        return self._run(sys.executable, programs.HASH_LIMIT, str(self.data.size), *LIMIT)

    def libtorrent(self) -> Run:
        output = self.bench.work / "libtorrent.torrent"
        made = self._run(sys.executable, programs.LIBTORRENT_HASH, self.data.folder, str(self.piece_length), output)
        return made.then(self._openssl())

    def mktorrent(self) -> Run:
        output = self.bench.work / "mktorrent.torrent"
        output.unlink(missing_ok=True)
        exponent = str(self.piece_length.bit_length() - 1)
        made = self._run(find("mktorrent"), "-t", str(cores()), "-l", exponent, "-o", output, self.data.folder)
        return made.then(self._openssl())

    def read(self) -> Run:
        return self._run(sys.executable, programs.READ_FILES, *self.data.files)

    def _openssl(self) -> Run:
        return openssl_digests(self.data.folder, self.digests, self.bench.environment)

    def _run(self, *command: str | Path) -> Run:
        return run(command, environment=self.bench.environment)


def _warm(bench: Bench, publishing: _Publishing) -> list[Row]:
    publishing.read()
    bench.say("publish, files in the page cache")
    failures: dict[str, str] = {}
    works = {
        "publish": publishing.weightswarm,
        "limit": publishing.limit,
        "libtorrent": publishing.libtorrent,
        "publish --v1-only": lambda: publishing.weightswarm("--v1-only"),
        "mktorrent": publishing.mktorrent,
    }
    runs = interleaved(bench.pairs, works, failures=failures)
    size = publishing.data.size
    work = "`publish`, files in the page cache"
    rows = []
    for number, peer, against, goal, least in (
        ("1", "limit", "SHA-256 twice and SHA-1 of every byte in memory, all cores", "≥ 0.90 of its speed", 0.90),
        ("2a", "libtorrent", "libtorrent `set_piece_hashes`, hybrid, then `openssl dgst`", "≥ 1.8 x as fast", 1.8),
        ("2b", "mktorrent", "`mktorrent`, v1 only, then `openssl dgst`", "≥ 1.8 x as fast", 1.8),
    ):
        missing = failures.get("publish") or failures.get(peer)
        if missing is not None:
            rows.append(unmeasured(number, work, against, goal, missing))
            continue
        ours, theirs = runs["publish"], runs[peer]
        speed = ratio(theirs, ours)
        remark = cpu(ours, theirs)
        if peer == "mktorrent" and (alike := runs.get("publish --v1-only")):
            remark += (
                f"; the same work, `publish --v1-only`, takes {shown(alike, size)}: {ratio(theirs, alike)} x as fast"
            )
        met = speed.median >= least
        rows.append(Row(number, work, against, shown(ours, size), shown(theirs, size), str(speed), goal, met, remark))
    return rows


def _cold(bench: Bench, publishing: _Publishing) -> list[Row]:
    bench.say("publish, files on disk")
    work = "`publish`, files not in the page cache"
    time_row = ("3a", work, "the slower of one sequential read and hashing in memory", "≤ 1.1 x its time")
    read_row = ("3b", work, "bytes of the files", f"read once: within {_READ_ONCE:.0%}")
    failures: dict[str, str] = {}
    works = {"publish": publishing.weightswarm, "read": publishing.read, "limit": publishing.limit}
    runs = interleaved(bench.pairs, works, between=publishing.data.forget, failures=failures)
    if failures:
        reason = "; ".join(failures.values())
        return [unmeasured(*time_row, reason), unmeasured(*read_row, reason)]
    size = publishing.data.size
    read = median([each.read_bytes for each in runs["read"]]) / size
    if abs(read - 1) > _READ_ONCE:
        reason = f"the files could not be dropped from the page cache: a read of them read {read:.2f} x their size"
        return [unmeasured(*time_row, reason), unmeasured(*read_row, reason)]
    ours = runs["publish"]
    slower = [max(pair, key=lambda each: each.seconds) for pair in zip(runs["read"], runs["limit"], strict=True)]
    times = ratio(ours, slower)
    parts = f"read {shown(runs['read'], size)}; hashing {shown(runs['limit'], size)}; {cpu(ours, runs['limit'])}"
    bytes_read = [each.read_bytes / size for each in ours]
    multiple = median(bytes_read)
    return [
        Row(*time_row[:3], shown(ours, size), shown(slower, size), str(times), time_row[3], times.median <= 1.1, parts),
        Row(
            *read_row[:3],
            f"{multiple * size:,.0f} bytes",
            f"{size:,} bytes",
            f"{multiple:.3f} ({min(bytes_read):.3f} to {max(bytes_read):.3f})",
            read_row[3],
            abs(multiple - 1) <= _READ_ONCE,
            "what the command and its children read from the device, by the kernel's count",
        ),
    ]
