"""Seeds that vanish, links that fall, peers and trackers that say nothing or nonsense, resolvers that hang, a laptop
that sleeps: the fetch goes on by itself, or ends in time and names what is missing."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import running
from faults import MIB, Source
from hostile import (
    NAME,
    NOWHERE,
    WEIGHTS,
    contents,
    fetch_json,
    peer_of,
    refused,
    release_of,
    serving,
    staged_weights,
    visible,
    wait_until,
)
from hostile_peer import Dripper, HostilePeer, HugeMetadata, Staller, WithoutMetadata, WrongMetadata
from namespaces import network, silent_name_server
from running import CommandLine, Seeder
from weightswarm import Release
from weightswarm.fetching.patience import Patience

SIZE = 3_000_001
SLOW = 1_000_000
TIDY_SECONDS = 3.0
Figure = Callable[[str, float], None]


@pytest.fixture
def release(model: Path) -> Release:
    return release_of(model)


def finish(process: subprocess.Popen[str], seconds: float = 40) -> tuple[int, str, str]:
    stdout, stderr = process.communicate(timeout=seconds)
    assert "Traceback" not in stderr, stderr
    return process.returncode, stdout, stderr


def begun(process: subprocess.Popen[str], hub: Path) -> None:
    wait_until(lambda: staged_weights(hub) is not None or process.poll() is not None, "nothing arrived in staging")
    assert process.poll() is None, "it ended before it was harmed"


# --- seeds and links -------------------------------------------------------------------------------------------------


def test_a_seed_that_vanishes_and_comes_back_is_found_again(
    cli: CommandLine, seeder: Seeder, model: Path, hub: Path, figure: Figure
) -> None:
    first = seeder(model, "--name", NAME, "--upload-limit", "500k")
    process = cli.start("fetch", first.magnet, "--name", NAME, "--timeout", "60")
    begun(process, hub)
    first.process.kill()
    first.process.communicate()
    time.sleep(6)
    seeder(model, "--name", NAME, "--listen", f"127.0.0.1:{first.port}")
    code, stdout, stderr = finish(process, 60)
    assert code == 0, stderr
    assert contents(Path(stdout.strip())) == contents(model)
    figure("seeds that vanished and were found again", 1)


def test_a_seed_that_comes_back_at_another_port_is_found_by_the_tracker(
    cli: CommandLine, release: Release, model: Path, hub: Path, figure: Figure
) -> None:
    """The tracker tells everybody to come again after half an hour."""
    ports: list[int] = []
    with Tracker(lambda: _peers(ports)) as tracker:
        magnet = str(release.magnet(())) + f"&tr={tracker.url}"
        source = Source(release, SLOW)
        ports.append(source.session.listen_port())
        process = cli.start("fetch", magnet, "--name", NAME, "--timeout", "60")
        begun(process, hub)
        source.session.pause()
        again = Source(release, 0)
        ports[:] = [again.session.listen_port()]
        code, stdout, stderr = finish(process, 60)
        again.session.pause()
    assert code == 0, stderr
    assert contents(Path(stdout.strip())) == contents(model)
    assert again.given <= SIZE - 500_000 + MIB
    figure("seeds that vanished and were found again", 1)


@pytest.mark.namespaces
def test_a_link_that_is_down_for_a_while_is_waited_for(
    cli: CommandLine, seeder: Seeder, model: Path, hub: Path, figure: Figure
) -> None:
    with network(hosts=2) as (one, two):
        lan = ("--network", "lan")
        with one.commands():
            listen = ("--listen", f"{one.address}:7001")
            seeding = seeder(model, "--name", NAME, *lan, *listen, "--upload-limit", "500k")
        with two.commands():
            peer = ("--peer", f"{one.address}:7001", "--timeout", "40")
            process = cli.start("fetch", seeding.magnet, "--name", NAME, *lan, *peer)
        begun(process, hub)
        for state, seconds in (("down", 6), ("up", 0)):
            subprocess.run(["ip", "-netns", two.name, "link", "set", "eth0", state], check=True, timeout=10)
            time.sleep(seconds)
        code, stdout, stderr = finish(process, 60)
    assert code == 0, stderr
    assert contents(Path(stdout.strip())) == contents(model)
    figure("links that fell and were waited for", 1)


def test_a_peer_that_stalls_beside_an_honest_one_holds_nothing_up(
    cli: CommandLine, release: Release, model: Path
) -> None:
    with (
        Staller(release.metainfo, release.locations) as staller,
        serving(release.metainfo, release.locations, SLOW) as magnet,
    ):
        started = time.monotonic()
        found = fetch_json(cli, magnet, "--peer", str(staller.address), "--name", NAME, "--timeout", "30")
    assert contents(Path(found["path"])) == contents(model)
    assert staller.connections > 0
    assert time.monotonic() - started < 25


@pytest.mark.parametrize("kind", [Staller, Dripper])
def test_a_peer_that_stalls_or_drips_is_no_progress_and_the_end_names_what_is_missing(
    cli: CommandLine, release: Release, model: Path, hub: Path, kind: type[HostilePeer], figure: Figure
) -> None:
    """Ten bytes a second are none: only a whole block that was never here before is progress."""
    with kind(release.metainfo, release.locations) as peer:
        refused(cli("fetch", str(release.magnet((peer.address,))), "--name", NAME, "--timeout", "3"), 4, WEIGHTS)
    assert visible(hub) == []
    source = Source(release, 0)
    fetch_json(cli, source.magnet, "--name", NAME)
    source.session.pause()
    figure("peers that stalled or dripped borne", 1)


# --- metadata --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [WithoutMetadata, WrongMetadata, HugeMetadata])
def test_a_peer_without_the_right_metadata_is_passed_over(
    cli: CommandLine, release: Release, model: Path, kind: type[HostilePeer], figure: Figure
) -> None:
    with kind(release.metainfo, release.locations) as liar:
        alone = str(release.magnet((liar.address,)))
        refused(cli("fetch", alone, "--timeout", "2"), 4, "metadata")
        with serving(release.metainfo, release.locations) as magnet:
            found = fetch_json(cli, f"{alone}&x.pe={peer_of(magnet)}", "--name", NAME, "--timeout", "30")
    assert liar.connections > 0
    assert contents(Path(found["path"])) == contents(model)
    figure("peers without the right metadata passed over", 1)


# --- trackers and resolvers ------------------------------------------------------------------------------------------


class Tracker:
    """An HTTP tracker that answers what it is told to, at once or after a while."""

    def __init__(self, answer: Callable[[], bytes], delay: float = 0) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                time.sleep(delay)
                body = answer()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

            def handle(self) -> None:
                # Who asked may have left.
                with suppress(OSError):
                    super().handle()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/announce"

    def __enter__(self) -> Tracker:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_details: object) -> None:
        self._server.shutdown()
        self._server.socket.close()


def _peers(ports: Sequence[int]) -> bytes:
    compact = b"".join(socket.inet_aton("127.0.0.1") + port.to_bytes(2, "big") for port in ports)
    return b"d8:intervali1800e12:min intervali900e5:peers%d:%se" % (len(compact), compact)


@contextmanager
def udp_nonsense() -> Iterator[str]:
    """A UDP tracker that answers each datagram with noise."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.1)
        ended = threading.Event()

        def answer() -> None:
            while not ended.is_set():
                try:
                    _, asker = server.recvfrom(2048)
                    server.sendto(b"\xff" * 40, asker)
                except OSError:
                    continue

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        try:
            yield f"udp://127.0.0.1:{server.getsockname()[1]}/announce"
        finally:
            ended.set()
            thread.join()


def test_trackers_that_are_dead_slow_or_talk_nonsense_hold_up_neither_a_fetch_nor_its_end(
    cli: CommandLine, release: Release, model: Path, figure: Figure
) -> None:
    with (
        Tracker(lambda: b"<html>\xff\xfe</html>") as nonsense,
        Tracker(lambda: b"d8:intervali-1e5:peers7:\0\0\0\0\0\0\0e") as wrong,
        Tracker(lambda: b"de", delay=60) as slow,
        udp_nonsense() as noise,
        serving(release.metainfo, release.locations, 0) as magnet,
    ):
        urls = (nonsense.url, wrong.url, slow.url, noise, "http://127.0.0.1:9/announce", "udp://127.0.0.1:9/announce")
        trackers = [word for url in urls for word in ("-t", url)]
        process = cli.start("fetch", NOWHERE, *trackers, "--timeout", "60")
        found = fetch_json(cli, magnet, *trackers, "--name", NAME, "--timeout", "30")
        assert contents(Path(found["path"])) == contents(model)
        started = time.monotonic()
        refused(cli("fetch", NOWHERE, *trackers, "--timeout", "2"), 4, "trackers")
        assert time.monotonic() - started < 2 + TIDY_SECONDS + 2
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        assert finish(process)[0] == 130
        assert time.monotonic() - started < TIDY_SECONDS
    figure("trackers dead, slow or nonsensical borne", len(urls))


@pytest.mark.namespaces
def test_a_name_server_that_never_answers_holds_up_neither_the_end_nor_an_interrupt(
    cli: CommandLine, figure: Figure
) -> None:
    with network(hosts=1) as (plain,), silent_name_server(plain) as host, host.commands():
        names = ("-t", "http://tracker.example/announce", "-t", "udp://tracker.example:80/announce")
        command = ("fetch", NOWHERE, *names, "--peer", "peer.example:6881", "--network", "lan")
        interrupted = [cli.start(*command, "--timeout", "60") for _ in range(2)]
        started = time.monotonic()
        refused(cli(*command, "--timeout", "2"), 4, "2 seconds")
        assert time.monotonic() - started < 2 + TIDY_SECONDS + 2
        for process, number, code in zip(interrupted, (signal.SIGINT, signal.SIGTERM), (130, 143), strict=True):
            process.send_signal(number)
            started = time.monotonic()
            assert finish(process)[0] == code
            assert time.monotonic() - started < TIDY_SECONDS
    figure("commands ended in time beside a silent name server", 3)


@pytest.mark.namespaces
def test_the_library_does_not_wait_for_a_silent_name_server_either(tmp_path: Path) -> None:
    script = f"""
import time, weightswarm
from weightswarm.errors import SwarmTimeout
options = weightswarm.FetchOptions(
    timeout=2, trackers=("http://tracker.example/announce",),
    network=weightswarm.NetworkOptions(network=weightswarm.Network.LAN))
for _ in range(2):
    try:
        weightswarm.fetch({NOWHERE!r}, cache_dir={str(tmp_path)!r}, options=options)
    except SwarmTimeout:
        print("timeout", flush=True)
"""
    with network(hosts=1) as (plain,), silent_name_server(plain) as host:
        started = time.monotonic()
        command = [*host.prefix, running.COMMAND[0], "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        took = time.monotonic() - started
    assert done.stdout.split() == ["timeout", "timeout"], done.stderr
    assert done.returncode == 0, done.stderr
    # Twice two seconds asked for, and up to two for each end.
    assert took < 10


# --- asleep ----------------------------------------------------------------------------------------------------------


def test_a_process_that_was_stopped_goes_on_and_its_sleep_is_no_waiting(
    cli: CommandLine, release: Release, model: Path, hub: Path
) -> None:
    source = Source(release, SLOW)
    process = cli.start("fetch", source.magnet, "--name", NAME, "--timeout", "4")
    begun(process, hub)
    process.send_signal(signal.SIGSTOP)
    time.sleep(6)
    process.send_signal(signal.SIGCONT)
    code, stdout, stderr = finish(process)
    source.session.pause()
    assert code == 0, stderr
    assert contents(Path(stdout.strip())) == contents(model)


def test_what_counts_as_progress() -> None:
    """Only what was never reached before; a stop begins anew, ten times; a peer throws back a hundred times at most."""
    patience = Patience(10, 0.0)
    patience.look((0,), 1.0)
    patience.look((5,), 4.0)
    patience.look((5,), 8.0)
    assert (patience.idle, patience.over) == (4.0, False)
    patience.look((5,), 60.0)
    assert patience.idle == 0, "a gap is no waiting"
    for second in range(61, 71):
        patience.look((5,), float(second))
    assert patience.over

    stopped = Patience(10, 0.0)
    for number in range(1, 13):
        stopped.look((5,), number * 60.0)
    assert stopped.over, "who is stopped for ever does not wait for ever"

    thrown_back = Patience(10, 0.0)
    now = 0.0
    while not thrown_back.over and now < 10_000:
        thrown_back.look((int(now) % 5,), now)
        now += 1
    assert thrown_back.over


def test_peers_are_looked_for_again_ever_more_rarely() -> None:
    patience = Patience(300, 0.0)
    searches = []
    for second in range(200):
        patience.look((), float(second))
        if patience.search_due():
            searches.append(second)
    assert searches == [10, 30, 70, 150]
