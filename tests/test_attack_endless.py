"""Servers that send without end, or nothing: memory and time stay bounded, and an honest peer beside them suffices."""

from __future__ import annotations

import errno
import gzip
import resource
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPResponse, IncompleteRead
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import pytest

import running
from conftest import make_model
from endless import ANSWERS, MIB, Answer, Server, endless_extensions, endless_trailer, hostile_server, udp_tracker
from hostile import NOWHERE, peer_of, release_of, serving_release
from running import CommandLine
from weightswarm.errors import NetworkFailure
from weightswarm.metainfo import bdecode, bencode
from weightswarm.reach import Network
from weightswarm.registry import download_metainfo
from weightswarm.swarm import relay
from weightswarm.webseed import Failed, Limits, Misbehaved, Pace, standing, upstream

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
    "answer", ["endless_headers", "endless_header_line", "another_length", "endless_file", "silent"]
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
    assert len(server.asked) >= 3
    figure("endless or slow answers, all bounded", len(server.asked))


def test_what_trickles_is_no_progress(server: Server) -> None:
    """Else a byte now and then would keep a fetch alive for ever."""
    source = upstream.Upstream(Limits(Network.LOOPBACK, frozenset()), Pace(slow_seconds=2.0))
    started = time.monotonic()

    with pytest.raises(Failed, match=r"it sent \d+ bytes in"):
        list(source.read(server.url("dripping_body"), 0, MIB))

    source.close()
    assert time.monotonic() - started < 20


def test_a_header_has_one_deadline_however_it_drips(server: Server) -> None:
    source = upstream.Upstream(Limits(Network.LOOPBACK, frozenset()), Pace(header_seconds=0.6))
    started = time.monotonic()

    with pytest.raises(Failed, match="no whole header"):
        list(source.read(server.url("dripping_headers"), 0, MIB))

    source.close()
    assert time.monotonic() - started < 20


def test_a_web_seed_that_breaks_off_again_and_again_is_left_out(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "_FIRST_PAUSE", 0.0)
    passing = relay.Relay(Network.LOOPBACK, Limits(Network.LOOPBACK, frozenset()))
    address = passing.through(server.url("half_a_body"))
    try:
        with pytest.raises(IncompleteRead), ask(f"{address}file") as answer:
            answer.read()
        with pytest.raises(HTTPError, match="404"):
            ask(f"{address}file")
    finally:
        passing.close()

    assert passing.complaints.take() == [
        f"The web seed {server.url('half_a_body')} is left out: 5 times in a row it ended early"
    ]
    assert server.asked["half_a_body"] == 5


def test_the_relay_serves_nobody_who_does_not_know_its_address(server: Server) -> None:
    passing = relay.Relay(Network.LOOPBACK, Limits(Network.LOOPBACK, frozenset()))
    address = urlsplit(passing.through(server.url("silent")))
    try:
        for path in ("/", f"/{'0' * 32}/0/file", f"{address.path[:33]}/1/file", "/../etc/passwd"):
            with pytest.raises(HTTPError, match="404"):
                ask(f"{address.scheme}://{address.netloc}{path}")
    finally:
        passing.close()
    assert server.asked == {}


def ask(url: str) -> HTTPResponse:
    """Ask for the first MiB of a URL."""
    request = Request(url, headers={"Range": f"bytes=0-{MIB - 1}"})
    answer: HTTPResponse = build_opener(ProxyHandler({})).open(request, timeout=20)
    return answer


# --- trackers --------------------------------------------------------------------------------------------------------


def test_trackers_without_end_cost_neither_memory_nor_time(
    cli: CommandLine, server: Server, model: Path, figure: Figure
) -> None:
    release = release_of(model)
    with udp_tracker("garbage") as first, udp_tracker("peers") as second, serving_release(release) as honest:
        trackers = [*(server.tracker(answer) for answer in FOR_ANYTHING), first, second]
        named = "".join(f"&tr={url}" for url in trackers)

        alone = watched(cli, NOWHERE + named, "--timeout", str(TIMEOUT))
        beside = watched(cli, honest + named, "--timeout", "30")

    bounded(alone, 4)
    assert set(server.asked) == set(FOR_ANYTHING)
    assert beside.code == 0, beside.stderr
    assert beside.memory < MAX_MEMORY
    figure("endless or slow answers, all bounded", len(trackers))


# --- the URL of a torrent --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", FOR_ANYTHING)
def test_a_torrent_url_without_end_costs_neither_memory_nor_time(server: Server, figure: Figure, answer: str) -> None:
    started = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with pytest.raises(NetworkFailure) as failure:
        download_metainfo(server.url(answer) + "x.torrent", timeout=1.0, network=Network.LOOPBACK)

    assert "\n" not in str(failure.value)
    assert time.monotonic() - started < 1 + GRACE
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MAX_MEMORY - 60 * MIB
    figure("endless or slow answers, all bounded", 1)


@pytest.mark.parametrize("answer", ["dripping_headers", "gzip_bomb"])
def test_a_fetch_of_such_a_url_ends_in_one_line(cli: CommandLine, server: Server, answer: str) -> None:
    bounded(watched(cli, server.url(answer) + "x.torrent", "--timeout", str(TIMEOUT)), 1)


# --- crafted answers -------------------------------------------------------------------------------------------------


def negative_chunk(connection: socket.socket, first: int, last: int) -> None:
    """A chunk of minus one byte, which http.client reads on for ever."""
    head = f"HTTP/1.1 206 -\r\nContent-Range: bytes {first}-{last}/9999999\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection.sendall(head.encode() + b"-1\r\n" + b"d" * 65536)


def redirect_to(location: bytes) -> Answer:
    """A redirect to what is no URL, or leads to no host."""

    def answer(connection: socket.socket, _first: int, _last: int) -> None:
        own = location.replace(b"PORT", b"%d" % connection.getsockname()[1])
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: " + own + b"\r\nContent-Length: 0\r\n\r\n")

    return answer


def slow_file(connection: socket.socket, _first: int, _last: int) -> None:
    """A whole file from its first byte on, fast enough not to stall, whatever range was asked for."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n")
    for _ in range(100):
        connection.sendall(b"d" * 5000)
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (negative_chunk, "more than was asked for"),
        (endless_trailer, "more about its chunks than in them"),
        (endless_extensions, "more about its chunks than in them"),
        (redirect_to(b"http://[x"), "no URL"),
        (redirect_to(b"http://a\0b/"), "no http or https URL"),
        (redirect_to(b"https://.localhost:PORT/"), "no http or https URL"),
    ],
    ids=["negative chunk", "endless trailer", "endless extensions", "no URL", "NUL", "leading dot"],
)
def test_a_crafted_answer_is_misbehaviour_and_no_traceback(
    server: Server, monkeypatch: pytest.MonkeyPatch, answer: Answer, says: str
) -> None:
    monkeypatch.setitem(ANSWERS, "crafted", answer)
    source = upstream.Upstream(Limits(Network.LOOPBACK, frozenset()))
    came = bytearray()

    with pytest.raises((Misbehaved, Failed), match=says):
        for part in source.read(server.url("crafted"), 100, 199):
            came += part

    source.close()
    assert len(came) <= 100


def test_what_comes_before_a_range_is_not_skipped_for_ever(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "_SKIP_SECONDS", 0.5)
    monkeypatch.setitem(ANSWERS, "crafted", slow_file)
    source = upstream.Upstream(Limits(Network.LOOPBACK, frozenset()))

    with pytest.raises(Failed, match="serves no ranges"):
        list(source.read(server.url("crafted"), 8_000_000, 8_000_099))

    source.close()


def test_a_listener_that_fails_for_a_moment_goes_on(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as when too many files are open."""
    monkeypatch.setattr(standing, "_FIRST_PAUSE", 0.0)
    passing = relay.Relay(Network.LOOPBACK, Limits(Network.LOOPBACK, frozenset()))
    failures = [OSError(errno.EMFILE, "Too many open files")] * 3
    accept = socket.socket.accept

    def failing(self: socket.socket) -> tuple[socket.socket, object]:
        if failures:
            raise failures.pop()
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", failing)
    address = passing.through(server.url("half_a_body"))
    try:
        with pytest.raises(IncompleteRead), ask(f"{address}file") as answer:
            answer.read()
    finally:
        passing.close()
    assert not failures


def test_nothing_may_follow_a_torrents_gzip(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def more(connection: socket.socket, _first: int, _last: int) -> None:
        body = gzip.compress(b"d4:infode") + b"more"
        connection.sendall(
            f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )

    monkeypatch.setitem(ANSWERS, "crafted", more)
    with pytest.raises(NetworkFailure, match="after the end of its gzip"):
        download_metainfo(server.url("crafted"), timeout=10, network=Network.LOOPBACK)
