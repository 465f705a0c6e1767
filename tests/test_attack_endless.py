"""Servers that send without end, or nothing: memory and time stay bounded, and an honest peer beside them suffices."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import running
from conftest import make_model
from endless import ANSWERS, MIB, Server, hostile_server, udp_tracker
from hostile import NOWHERE, peer_of, release_of, serving_release
from running import CommandLine
from weightswarm.metainfo import bdecode, bencode
from weightswarm.reach import Network
from weightswarm.swarm import upstream
from weightswarm.swarm.relay import Relay
from weightswarm.swarm.upstream import Limits

MAX_MEMORY = 256 * MIB
TIMEOUT = 2.0
GRACE = 8.0
"""Starting Python on a busy machine, and ending, take a while; nothing that hangs ends within this."""

FOR_ANYTHING = sorted(set(ANSWERS) - {"half_a_body", "another_length", "another_range"})
Figure = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: exit code, stderr, seconds, and its largest resident size in bytes."""

    code: int
    stderr: str
    seconds: float
    memory: int

    @property
    def error(self) -> str:
        """Its one `Error:` line."""
        (line,) = [line for line in self.stderr.splitlines() if line.startswith("Error: ")]
        return line


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of every kind of harm."""
    with hostile_server() as running:
        yield running


def watched(cli: CommandLine, *arguments: str | Path, most: float = 60) -> Ended:
    """Run a fetch at loopback and watch its memory until it ends."""
    started = time.monotonic()
    with (cli.folder / "stderr").open("w+") as stderr:
        command = [*running.COMMAND, "fetch", *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr, text=True, cwd=cli.folder)
        peak = 0
        try:
            while process.poll() is None:
                peak = max(peak, _high_water(process.pid))
                assert time.monotonic() - started < most, "it does not end"
                time.sleep(0.02)
        finally:
            process.kill()
            process.wait()
        stderr.seek(0)
        text = stderr.read()
    assert "Traceback" not in text, text
    return Ended(process.returncode, text, time.monotonic() - started, peak)


def _high_water(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)


def bounded(ended: Ended, code: int, timeout: float = TIMEOUT) -> None:
    """Assert that a fetch ended in time, within memory, by one clear line."""
    assert ended.code == code, ended.stderr
    assert ended.memory < MAX_MEMORY
    assert ended.seconds < timeout + GRACE
    assert ended.error


def torrent_with(model: Path, target: Path, web_seeds: list[str]) -> Path:
    """Write a torrent that names web seeds."""
    document = bdecode(release_of(model).metainfo.data)
    document[b"url-list"] = [url.encode() for url in web_seeds]
    target.write_bytes(bencode(document))
    return target


# --- web seeds -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer", ["endless_headers", "endless_header_line", "another_length", "endless_file", "silent", "gzip_bomb"]
)
def test_a_web_seed_without_end_costs_neither_memory_nor_time(
    cli: CommandLine, server: Server, model: Path, tmp_path: Path, figure: Figure, answer: str
) -> None:
    torrent = torrent_with(model, tmp_path / "t.torrent", [server.url(answer)])

    ended = watched(cli, torrent, "--timeout", str(TIMEOUT))

    bounded(ended, 3 if answer == "endless_file" else 4)
    assert server.asked[answer] >= 1
    if answer not in ("endless_file", "silent"):
        assert f"The web seed {server.url(answer)} is left out: it " in ended.stderr
    figure("endless or slow answers, all bounded", 1)


def test_all_of_them_at_once_do_not_hold_up_an_honest_peer(
    cli: CommandLine, server: Server, tmp_path: Path, figure: Figure
) -> None:
    model = make_model(tmp_path / "large", size=40_000_000)
    release = release_of(model)
    torrent = torrent_with(model, tmp_path / "t.torrent", [server.url(answer) for answer in ANSWERS])

    # Slow enough that each web seed is asked too.
    with serving_release(release, rate=12_000_000) as magnet:
        ended = watched(cli, torrent, "--peer", peer_of(magnet), "--timeout", "30", most=100)

    assert ended.code == 0, ended.stderr
    assert ended.memory < MAX_MEMORY
    assert len(server.asked) >= 8
    figure("endless or slow answers, all bounded", len(server.asked))
