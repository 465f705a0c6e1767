"""Limits of rate and number: they hold for bytes that are counted over time, and change with the hour while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any
from zoneinfo import ZoneInfo

import libtorrent as lt
import pytest

import weightswarm
from conftest import make_model
from hostile import (
    LOOPBACK,
    NAME,
    flip_byte,
    http_folder,
    loopback_session,
    peer_of,
    refused,
    release_of,
    serving_release,
    wait_until,
)
from running import CommandLine
from weightswarm import FetchOptions, NetworkOptions, Note, PeerAddress, Progress, Release
from weightswarm.errors import InvalidInput
from weightswarm.progress import Phase
from weightswarm.scheduling import MAX_WINDOWS, Rates, Schedule, Window, parse_rate, parse_window
from weightswarm.seeding import SeedOptions

RATE = 400_000
ALL_DAY = "00:00-24:00"
Figure = Callable[[str, float], None]


# --- what is written -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("500k", 512_000),
        ("2M", 2 * 1024**2),
        ("2MB/s", 2 * 1024**2),
        ("1.5 GiB/s", 1536 * 1024**2),
        ("100", 100),
        ("100Mbit", 12_500_000),
        ("16mbit/s", 2_000_000),
        ("50Mbps", 6_250_000),
        ("800 bits", 100),
        ("0", 0),
        ("Unlimited", 0),
    ],
)
def test_rates_are_read_as_people_write_them(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2Mb", "may be bits or bytes"),
        ("2mb/s", "may be bits or bytes"),
        ("fast", "is no rate"),
        ("-1", "is no rate"),
        ("2G", "over 2 GiB a second"),
        ("20Gbit", "over 2 GiB a second"),
        ("1bit", "less than a byte"),
        ("٣M", "is no rate"),
    ],
)
def test_a_rate_that_may_mean_two_things_or_none_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        parse_rate(text)


def test_a_wrong_rate_or_window_is_one_line_that_names_its_option(cli: CommandLine) -> None:
    refused(cli("fetch", "x/y", "--upload-limit", "2Mb"), 2, "--upload-limit", "16Mbit for bits, 2MB or 2M for bytes")
    refused(cli("fetch", "x/y", "--limit-schedule", "8-18 2M"), 2, "--limit-schedule", "08:00-18:00 2M")
    environment = f"{ALL_DAY} 2M; mon 25:00-26:00 1M"
    refused(cli("fetch", "x/y", WEIGHTSWARM_LIMIT_SCHEDULE=environment), 2, "25:00, which is no time of day")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no window"),
        ("08:00-18:00", "no window"),
        ("08:00-08:00 1M", "never open"),
        ("24:00-06:00 1M", "never open"),
        ("08:60-09:00 1M", "no time of day"),
        ("24:01-09:00 1M", "no time of day"),
        ("monday 08:00-09:00 1M", "for a day"),
        ("mon- 08:00-09:00 1M", "for a day"),
        ("08:00-09:00 down 1M down 2M", "once each"),
        ("08:00-09:00 2M up 1M", "once each"),
        ("08:00-09:00 down fast", "is no rate"),
    ],
)
def test_a_window_that_cannot_be_meant_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        parse_window(text)


def test_a_schedule_is_bounded() -> None:
    window = parse_window(f"{ALL_DAY} 1M")
    NetworkOptions(schedule=Schedule((window,) * MAX_WINDOWS))
    with pytest.raises(InvalidInput, match="at most 64 windows"):
        NetworkOptions(schedule=Schedule((window,) * (MAX_WINDOWS + 1)))


# --- what holds when -------------------------------------------------------------------------------------------------


def at(text: str, *windows: str) -> Rates:
    """Return what holds at a time of the week of Monday, 2 March 2026."""
    day, clock = text.split()
    now = datetime.strptime(
        f"2026-03-{2 + ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'].index(day)} {clock}", "%Y-%m-%d %H:%M:%S"
    )
    return Schedule(tuple(map(parse_window, windows)), clock=lambda: now).rates(Rates(9, 9))


@pytest.mark.parametrize(
    ("now", "inside"),
    [("mon 07:59:59", False), ("mon 08:00:00", True), ("mon 17:59:59", True), ("mon 18:00:00", False)],
)
def test_a_window_is_open_from_its_first_second_to_its_last(now: str, inside: bool) -> None:
    assert at(now, "08:00-18:00 100") == (Rates(100, 100) if inside else Rates(9, 9))


@pytest.mark.parametrize(
    ("now", "inside"),
    [
        ("fri 21:59:59", False),
        ("fri 22:00:00", True),
        ("sat 00:00:00", True),
        ("sat 05:59:59", True),
        ("sat 06:00:00", False),
        # A window belongs to the day on which it begins.
        ("sat 22:00:00", False),
        ("mon 00:00:00", False),
        ("mon 23:00:00", True),
    ],
)
def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins(now: str, inside: bool) -> None:
    assert at(now, "mon-fri 22:00-06:00 100") == (Rates(100, 100) if inside else Rates(9, 9))


def test_days_may_be_listed_and_may_go_over_the_weeks_end() -> None:
    assert parse_window("sat-mon,wed 00:00-24:00 1M").days == {5, 6, 0, 2}
    assert at("sun 23:59:59", "sun 00:00-24:00 100") == Rates(100, 100)
    assert at("mon 00:00:00", "sun 00:00-24:00 100") == Rates(9, 9)


def test_each_direction_takes_the_first_open_window_that_speaks_of_it_and_else_the_plain_limit() -> None:
    windows = ("08:00-18:00 down 100", "07:00-20:00 down 200 up unlimited", "06:00-22:00 300")
    assert at("tue 12:00:00", *windows) == Rates(100, 0)
    assert at("tue 19:00:00", *windows) == Rates(200, 0)
    assert at("tue 21:00:00", *windows) == Rates(300, 300)
    assert at("tue 23:00:00", *windows) == Rates(9, 9)
    assert at("tue 12:00:00", "08:00-18:00 up 100") == Rates(9, 100)


@pytest.mark.parametrize(
    ("day", "window", "minutes"),
    [
        # At 02:00 the clock goes to 03:00: what lies between is not.
        ("2026-03-29", "02:15-02:45 1M", 0),
        ("2026-03-29", "01:30-03:30 1M", 60),
        ("2026-03-28", "22:00-06:00 1M", 7 * 60),
        # At 03:00 it goes back to 02:00: what lies between is twice.
        ("2026-10-25", "02:15-02:45 1M", 60),
        ("2026-10-24", "22:00-06:00 1M", 9 * 60),
        ("2026-10-26", "22:00-06:00 1M", 8 * 60),
    ],
)
def test_what_the_clock_on_the_wall_says_counts_when_summer_time_begins_and_ends(
    day: str, window: str, minutes: int
) -> None:
    begin = datetime.fromisoformat(day).replace(hour=12, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)
    if window.startswith("0"):
        begin -= timedelta(hours=12)
    instants = [begin + timedelta(minutes=minute) for minute in range(22 * 60)]
    (parsed,) = (parse_window(window),)
    walls = [instant.astimezone(ZoneInfo("Europe/Berlin")).replace(tzinfo=None) for instant in instants]
    assert sum(parsed.covers(wall) for wall in walls) == minutes


# --- what comes and goes ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Meter:
    """Notes how many bytes had come when, and what was said."""

    came: list[tuple[float, int]] = field(default_factory=list)
    given: list[tuple[float, int, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    peers: list[tuple[int, int]] = field(default_factory=list)
    then: Callable[[int], None] = lambda _done: None

    def __call__(self, event: Progress | Note) -> None:
        if isinstance(event, Note):
            self.notes.append(event.text)
        elif event.phase is Phase.DOWNLOADING:
            self.came.append((time.monotonic(), event.done))
            self.peers.append((event.done, event.peers))
            self.then(event.done)
        elif event.phase is Phase.SEEDING:
            self.given.append((time.monotonic(), event.uploaded, event.peers))

    def rate(self) -> float:
        """Return the bytes a second from the first to the last."""
        begin = next(each for each in self.came if each[1] > 0)
        end = next(each for each in self.came if each[1] == self.came[-1][1])
        return (end[1] - begin[1]) / max(0.1, end[0] - begin[0])


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """Something that takes three seconds at `RATE`."""
    return release_of(make_model(tmp_path / "source", size=1_200_000))


def options(network: NetworkOptions, **more: Any) -> FetchOptions:
    return FetchOptions(name=NAME, timeout=30, network=network, **more)


def limited(**settings: Any) -> NetworkOptions:
    return NetworkOptions(network=LOOPBACK.network, **settings)


@pytest.mark.parametrize("sources", ["three peers", "a web seed", "two peers and a web seed"])
def test_a_download_limit_holds_for_all_that_comes_together(
    release: Release, tmp_path: Path, hub: Path, figure: Figure, sources: str
) -> None:
    peers = {"three": 3, "two": 2}.get(sources.split(maxsplit=1)[0], 0)
    meter = Meter()
    with ExitStack() as stack:
        magnets = [stack.enter_context(serving_release(release)) for _ in range(peers)]
        torrent = tmp_path / "release.torrent"
        torrent.write_bytes(release.metainfo.data)
        web = stack.enter_context(http_folder(_as_web_seed(release, tmp_path)))
        network = limited(download_limit=RATE, peers=tuple(PeerAddress.parse(peer_of(each)) for each in magnets))
        chosen = options(network, web_seeds=(f"{web}/",) if "web" in sources else ())
        result = weightswarm.fetch(str(torrent), cache_dir=hub, options=chosen, report=meter)

    assert result.downloaded > 1_200_000
    # libtorrent hands out a second's worth at the start.
    assert meter.rate() < RATE * 1.25
    figure(f"kB/s from {sources} at a limit of 400 kB/s", round(meter.rate() / 1000))


def _as_web_seed(release: Release, tmp_path: Path) -> Path:
    """Return a folder that serves a release as BEP 19 has it: the torrent's name, and its files below."""
    root = tmp_path / "web"
    root.mkdir()
    (root / release.metainfo.name).symlink_to(tmp_path / "source")
    return root


@contextmanager
def seeding(release: Release, network: NetworkOptions, meter: Meter) -> Iterator[PeerAddress]:
    """Seed in a thread; yield where peers connect."""
    ready, stop = Event(), Event()
    found: list[str] = []

    def on_ready(seeded: list[Any]) -> None:
        found.append(str(seeded[0].magnet))
        ready.set()

    def run() -> None:
        weightswarm.seed(
            [release.locations[0].parent], name=NAME, options=SeedOptions(network), on_ready=on_ready, stop=stop,
            report=meter,
        )  # fmt: skip

    thread = Thread(target=run)
    thread.start()
    try:
        assert ready.wait(30)
        yield PeerAddress.parse(peer_of(found[0]))
    finally:
        stop.set()
        thread.join()


@contextmanager
def leeching(release: Release, peer: PeerAddress, count: int, folder: Path) -> Iterator[list[lt.torrent_handle]]:
    """Have plain sessions download a release from one peer, none from another."""
    sessions = [loopback_session() for _ in range(count)]
    handles = []
    for number, session in enumerate(sessions):
        parameters = lt.add_torrent_params()
        parameters.ti = lt.torrent_info(release.metainfo.data)
        parameters.save_path = str(folder / str(number))
        parameters.peers = [(peer.host, peer.port)]
        handles.append(session.add_torrent(parameters))
    yield handles
    for session in sessions:
        session.pause()


def test_an_upload_limit_holds_for_all_peers_together(release: Release, tmp_path: Path) -> None:
    meter = Meter()
    with (
        seeding(release, limited(upload_limit=RATE), meter) as peer,
        leeching(release, peer, 3, tmp_path / "leeches") as handles,
    ):
        # What they give each other is not the seed's.
        wait_until(lambda: bool(meter.given) and meter.given[-1][1] >= 1_200_000, "the seed gave too little")
        assert sum(each.status().total_payload_download for each in handles) >= 1_200_000

    begin = next(each for each in meter.given if each[1] > 0)
    end = next(each for each in meter.given if each[1] >= 1_200_000)
    assert (end[1] - begin[1]) / (end[0] - begin[0]) < RATE * 1.25


def test_no_more_peers_are_let_in_than_were_allowed(release: Release, tmp_path: Path) -> None:
    meter = Meter()
    # Slow enough that nobody is done before all have asked.
    with (
        seeding(release, limited(upload_limit=100_000, max_connections=3), meter) as peer,
        leeching(release, peer, 8, tmp_path / "leeches") as handles,
    ):
        deadline = time.monotonic() + 20
        while len(meter.given) < 6 and time.monotonic() < deadline:
            time.sleep(0.05)
        connected = sum(bool(each.status().total_payload_download) for each in handles)

    assert 1 <= max(peers for _, _, peers in meter.given) <= 3
    assert 1 <= connected <= 3


def test_no_more_peers_are_dialled_than_were_allowed(release: Release, hub: Path) -> None:
    most = 0

    def watch(event: Progress | Note) -> None:
        nonlocal most
        most = max(most, event.peers if isinstance(event, Progress) else 0)

    with ExitStack() as stack:
        magnets = [stack.enter_context(serving_release(release)) for _ in range(6)]
        peers = tuple(PeerAddress.parse(peer_of(each)) for each in magnets)
        network = limited(download_limit=RATE, max_connections=2, peers=peers)
        weightswarm.fetch(magnets[0], cache_dir=hub, options=options(network), report=watch)

    assert 1 <= most <= 2


# --- by the clock ----------------------------------------------------------------------------------------------------


def test_a_schedule_that_is_in_force_limits_a_fetch(release: Release, cli: CommandLine) -> None:
    with serving_release(release) as magnet:
        started = time.monotonic()
        schedule = ("--limit-schedule", f"{ALL_DAY} down 400000")
        outcome = cli.ok("fetch", magnet, "--name", NAME, *schedule, "--download-limit", "unlimited")

    assert time.monotonic() - started > 1.5
    assert "By the schedule: 400,000 bytes a second down, no limit up." in outcome.stderr


def test_limits_change_at_an_edge_over_the_connections_that_there_are(release: Release, hub: Path) -> None:
    now = datetime(2026, 3, 2, 17, 59)
    edge: list[float] = []

    def then(done: int) -> None:
        nonlocal now
        if done > 300_000 and not edge:
            edge.append(time.monotonic())
            now = datetime(2026, 3, 2, 18, 0)

    meter = Meter(then=then)
    schedule = Schedule((parse_window("mon 08:00-18:00 100k"),), clock=lambda: now)
    with serving_release(release) as magnet:
        weightswarm.fetch(magnet, cache_dir=hub, options=options(limited(schedule=schedule)), report=meter)

    (changed,) = edge
    before = [each for each in meter.came if each[0] <= changed and each[1]]
    assert before[-1][1] > 300_000
    # When the first report comes depends on the machine. From then on the limit counts, of which libtorrent gives a
    # second's worth in advance.
    assert before[-1][1] - before[0][1] < 102_400 * (changed - before[0][0] + 1)
    # What was left would take nine seconds at the old limit.
    assert meter.came[-1][0] - changed < 4
    assert [note for note in meter.notes if note.startswith("By the schedule")] == [
        "By the schedule: 102,400 bytes a second down, 102,400 bytes a second up.",
        "By the schedule: no limit down, no limit up.",
    ]
    # Nobody hung up: from the first byte on the peer was there.
    assert {peers for done, peers in meter.peers if done} == {1}


def test_a_seed_and_a_repair_keep_to_the_schedule_too(
    release: Release, cli: CommandLine, seeder: Any, tmp_path: Path
) -> None:
    schedule = ("--limit-schedule", f"{ALL_DAY} up 300k", "--limit-schedule", f"{ALL_DAY} down 200k")
    seeding = seeder(tmp_path / "source", "--name", NAME, *schedule)
    placed = Path(cli.ok("fetch", seeding.magnet, "--name", NAME).result)
    flip_byte((placed / "model.safetensors").resolve())
    told = "By the schedule: 204,800 bytes a second down, 307,200 bytes a second up."

    repaired = cli.ok("verify", NAME, "--repair", "--peer", peer_of(seeding.magnet), *schedule)

    assert told in repaired.stderr
    assert told in seeding.stop().stderr


def test_a_window_is_a_value() -> None:
    assert parse_window("08:00-18:00 down 1M") == Window(frozenset(range(7)), 480, 1080, 1024**2, None)
