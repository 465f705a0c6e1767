"""SIGINT, SIGTERM, SIGHUP at any moment, and pipes that nobody reads: a tidy end, one line at most, nothing left."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import running
from conftest import make_model
from faults import MIB, Source, all_right
from hostile import NAME, NOWHERE, release_of, wait_until
from namespaces import network, silent_name_server
from running import CommandLine, Seeder

Figure = Callable[[str, float], None]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
MOMENTS = 20
TIDY_SECONDS = 3.0
HUGE = 4096 * MIB
SIZE = 24 * MIB


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("interrupted") / "model", SIZE)


@pytest.fixture
def source(folder: Path) -> Iterator[Source]:
    """Gives the model within two seconds."""
    made = Source(release_of(folder), rate=12 * MIB)
    yield made
    made.session.pause()


@pytest.fixture
def sparse(tmp_path: Path) -> Path:
    """A folder whose hash takes seconds, and which takes no room."""
    made = tmp_path / "sparse"
    made.mkdir()
    with open(made / "model.safetensors", "wb") as file:
        file.truncate(HUGE)
    return made


def children_of(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for children in found for child in children.read_text().split()]


def handles_signals(process: subprocess.Popen[str]) -> None:
    """Wait until the command has the thread that reads signals: before, they are Python's own."""
    task = Path(f"/proc/{process.pid}/task")
    wait_until(lambda: len(list(task.iterdir())) > 1, "it handles no signals")


def asks_a_name_server(pid: int) -> bool:
    """Tell whether a UDP socket in a process's network is connected to port 53."""
    lines = Path(f"/proc/{pid}/net/udp").read_text().splitlines()[1:]
    return any(line.split()[2].endswith(":0035") for line in lines)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def stopped(process: subprocess.Popen[str], number: int, children: list[int] | None = None) -> str:
    """Send a signal, hold the process to a tidy end, and return what it said."""
    mine = children_of(process.pid) if children is None else children
    process.send_signal(number)
    started = time.monotonic()
    stdout, stderr = process.communicate(timeout=20)
    took = time.monotonic() - started
    assert took < TIDY_SECONDS, f"{took:.1f} s\n{stderr}"
    assert process.returncode == CODES.get(signal.Signals(number), 128 + number), stderr
    assert "Traceback" not in stderr and "Exception ignored" not in stderr
    assert stdout == ""
    wait_until(lambda: not any(map(alive, mine)), "a hash process is left", 5)
    return stderr


@pytest.mark.parametrize("number", CODES)
def test_a_fetch_that_is_stopped_at_twenty_moments_ends_tidily_every_time(
    number: signal.Signals, source: Source, folder: Path, hub: Path, cli: CommandLine, figure: Figure
) -> None:
    """Before the first line of ours runs, the signal is Python's own: it dies of it, and may show where."""
    moments = random.Random(number)
    ended = 0
    while ended < MOMENTS:
        process = cli.start("fetch", source.magnet, "--name", NAME, "--quiet")
        time.sleep(moments.uniform(0, 1.5))
        process.send_signal(number)
        started = time.monotonic()
        stdout, stderr = process.communicate(timeout=20)
        assert time.monotonic() - started < TIDY_SECONDS
        if process.returncode == 0:
            assert stdout and not stderr
        elif process.returncode == CODES[number]:
            assert len(stderr.splitlines()) <= 1, stderr
        else:
            assert process.returncode in (-number, 1), stderr
            assert "weightswarm/cli/" not in stderr, stderr
        ended += process.returncode != 0
        if all_right(hub, folder):
            cli.ok("rm", NAME, "--yes")
    figure("signals at random moments of a fetch", ended)


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("command", ["publish", "seed", "verify"])
def test_a_command_that_is_stopped_while_it_hashes_leaves_no_process_behind(
    command: str, number: signal.Signals, sparse: Path, tmp_path: Path, cli: CommandLine
) -> None:
    sums = tmp_path / "SHA256SUMS"
    sums.write_text(f"{hashlib.sha256().hexdigest()}  model.safetensors\n")
    options = ("--manifest", str(sums)) if command == "verify" else ("--name", NAME)
    process = cli.start(command, str(sparse), *options, "--quiet")
    wait_until(lambda: len(children_of(process.pid)) > 0, "no hash process was started")
    time.sleep(0.2)
    assert len(stopped(process, number).splitlines()) <= 1


STUCK = """
import hashlib, threading
from weightswarm.cli import signals
signals.install()
# When it is said the main thread has long begun.
threading.Timer(0.5, print, ["stuck"], {"flush": True}).start()
hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""


@pytest.mark.parametrize(
    "numbers", [(signal.SIGINT,), (signal.SIGINT, signal.SIGTERM), (signal.SIGTERM, signal.SIGTERM)]
)
def test_a_second_signal_ends_it_at_once_where_the_first_cannot(numbers: tuple[signal.Signals, ...]) -> None:
    """The main thread computes in C: only a thread of its own can act on a signal."""
    command = [sys.executable, "-c", STUCK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "stuck\n"
        for number in numbers[:-1]:
            process.send_signal(number)
            time.sleep(0.3)
            assert process.poll() is None, "the first signal was enough"
        started = time.monotonic()
        process.send_signal(numbers[-1])
        _, stderr = process.communicate(timeout=20)
        assert time.monotonic() - started < (TIDY_SECONDS if len(numbers) == 1 else 0.5)
        assert (process.returncode, stderr) == (CODES[numbers[-1]], "")


def test_a_signal_ends_a_fetch_that_waits_for_the_address_of_a_proxy(cli: CommandLine) -> None:
    with network(hosts=1) as (plain,), silent_name_server(plain) as host, host.commands():
        source = "http://weights.example/model.torrent"
        process = cli.start("fetch", source, "--network", "lan", http_proxy="http://proxy.example:3128")
        wait_until(partial(asks_a_name_server, process.pid), "it asks no name server")
        assert len(stopped(process, signal.SIGINT).splitlines()) == 1


def test_a_terminal_that_closes_ends_a_fetch_and_one_under_nohup_goes_on(cli: CommandLine) -> None:
    # These tests may themselves run under nohup, which children inherit.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        process = cli.start("fetch", NOWHERE, "--quiet")
    finally:
        signal.signal(signal.SIGHUP, before)
    handles_signals(process)
    assert stopped(process, signal.SIGHUP) == ""

    command = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *running.COMMAND, "fetch", NOWHERE, "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    handles_signals(process)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    stopped(process, signal.SIGINT)


def test_a_seed_goes_on_when_nobody_reads_its_magnet_any_more(seeder: Seeder, folder: Path) -> None:
    seeding = seeder(folder, "--name", NAME)
    assert seeding.process.stdout is not None
    seeding.process.stdout.close()
    time.sleep(0.5)
    assert seeding.process.poll() is None
    seeding.process.send_signal(signal.SIGINT)
    assert seeding.process.wait(TIDY_SECONDS) == 130
    assert seeding.process.stderr is not None
    assert "Traceback" not in seeding.process.stderr.read()


def test_a_stderr_that_nobody_reads_ends_a_command_as_a_failure_and_no_crash(cli: CommandLine) -> None:
    process = cli.start("fetch", NOWHERE, "--timeout", "2")
    assert process.stderr is not None and process.stdout is not None
    process.stderr.close()
    assert process.stdout.read() == ""
    process.stdout.close()
    assert process.wait(20) in (1, 4)


@pytest.mark.parametrize("number", CODES)
def test_a_demo_that_is_stopped_ends_with_all_that_it_started(number: signal.Signals, cli: CommandLine) -> None:
    process = cli.start("demo")
    wait_until(lambda: len(children_of(process.pid)) > 0, "it started nothing")
    time.sleep(0.5)
    below = children_of(process.pid)
    process.send_signal(number)
    started = time.monotonic()
    _, stderr = process.communicate(timeout=20)
    assert time.monotonic() - started < TIDY_SECONDS
    assert process.returncode == CODES[number]
    assert "Traceback" not in stderr
    wait_until(lambda: not any(map(alive, below)), "a process is left", 5)


def test_a_hash_process_whose_parent_is_killed_ends_without_a_word(sparse: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as stderr:
        command = [sys.executable, "-m", "weightswarm", "publish", str(sparse), "--name", NAME, "--quiet"]
        process = subprocess.Popen(command, stderr=stderr, stdout=stderr, cwd=tmp_path, env=os.environ)
        wait_until(lambda: len(children_of(process.pid)) > 1, "no hash process was started")
        below = children_of(process.pid)
        process.kill()
        process.wait()
    wait_until(lambda: not any(map(alive, below)), "a hash process is left")
    assert log.read_text() == ""
