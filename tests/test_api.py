"""The library as a program uses it: typed results, progress by callback, errors with fields, a light import."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import weightswarm
from hostile import LOOPBACK, NAME, NOWHERE, WEIGHTS, contents, flip_byte, place, release_of, serving_release, visible
from weightswarm import (
    FetchOptions,
    FetchPlan,
    FetchResult,
    Manifest,
    Note,
    Phase,
    Progress,
    Published,
    SeededRelease,
    SeedOptions,
    Verification,
)
from weightswarm.errors import ContentMismatch, InvalidInput, NotFound, SwarmTimeout, WeightswarmError

FETCH = FetchOptions(name=NAME, timeout=30, network=LOOPBACK)


class Events(list[Progress | Note]):
    """A callback that keeps what it is told."""

    def __call__(self, event: Progress | Note) -> None:
        self.append(event)

    def of(self, phase: Phase) -> list[Progress]:
        """Return one phase's events."""
        return [event for event in self if isinstance(event, Progress) and event.phase is phase]

    def phases(self) -> list[Phase]:
        """Return the phases in the order of their first events."""
        return list(dict.fromkeys(event.phase for event in self if isinstance(event, Progress)))


@pytest.fixture
def magnet(model: Path) -> Iterator[str]:
    """The magnet of the model, which a plain session seeds during the test."""
    with serving_release(release_of(model)) as served:
        yield served


def grows_to(events: list[Progress], total: int) -> None:
    """Assert that a phase's progress never falls and ends whole."""
    done = [event.done for event in events]
    assert done == sorted(done)
    assert done[-1] == total
    assert all(event.total == total for event in events)


def test_publish_reports_hashing_from_nothing_to_all_and_returns_the_release(model: Path, tmp_path: Path) -> None:
    events = Events()
    published = weightswarm.publish(model, name=NAME, output=tmp_path / "out", report=events)
    assert isinstance(published, Published)
    assert isinstance(published.release.manifest, Manifest)
    assert published.manifest_path.read_bytes() == published.release.manifest.to_bytes()
    assert published.torrent_path.read_bytes() == published.release.metainfo.data
    assert published.magnet == published.release.magnet()
    assert events.phases() == [Phase.HASHING]
    assert events.of(Phase.HASHING)[0].done == 0
    grows_to(events.of(Phase.HASHING), 3_040_024)


def test_fetch_reports_metadata_downloading_and_verifying_and_returns_what_is_where(
    magnet: str, model: Path, hub: Path
) -> None:
    events = Events()
    fetched = weightswarm.fetch(magnet, options=FETCH, report=events)
    assert isinstance(fetched, FetchResult)
    assert fetched.path == hub / "models--org--model" / "snapshots" / fetched.revision
    assert contents(fetched.path) == contents(model)
    assert (fetched.name, fetched.complete, fetched.size, fetched.reused) == (NAME, True, 3_040_024, 0)
    assert fetched.manifest.revision == fetched.revision
    assert set(events.phases()) >= {Phase.DOWNLOADING, Phase.VERIFYING}
    grows_to(events.of(Phase.DOWNLOADING), 3_040_024)
    grows_to(events.of(Phase.VERIFYING), 3_040_024)


def test_plan_fetch_tells_what_would_come(magnet: str, model: Path, hub: Path) -> None:
    plan = weightswarm.plan_fetch(magnet, options=FETCH)
    assert isinstance(plan, FetchPlan)
    assert plan.download_size == 3_040_024
    assert {file.source for file in plan.files} == {"download"}
    assert visible(hub) == []
    place(release_of(model), hub, "org/elsewhere")
    plan = weightswarm.plan_fetch(magnet, options=FETCH)
    assert plan.download_size == 0
    assert {file.source for file in plan.files if file.entry.size} == {"reuse"}


def test_verify_reports_every_byte_and_returns_findings(model: Path, hub: Path) -> None:
    snapshot = place(release_of(model), hub)
    events = Events()
    verified = weightswarm.verify(NAME, report=events)
    assert isinstance(verified, Verification)
    assert (verified.root, verified.verdict.ok, verified.partial) == (snapshot, True, False)
    grows_to(events.of(Phase.VERIFYING), 3_040_024)
    flip_byte((snapshot / WEIGHTS).resolve())
    findings = weightswarm.verify(snapshot).verdict.findings
    assert [(finding.path, finding.fault.value) for finding in findings] == [(WEIGHTS, "wrong hash")]


def test_seed_calls_back_when_peers_can_connect_and_returns_what_it_gave(model: Path, tmp_path: Path) -> None:
    events, ready, stop = Events(), threading.Event(), threading.Event()
    magnets: list[str] = []
    returned: list[SeededRelease] = []

    def on_ready(releases: list[SeededRelease]) -> None:
        magnets.extend(str(release.magnet) for release in releases)
        ready.set()

    def run() -> None:
        options = SeedOptions(network=LOOPBACK)
        returned.extend(
            weightswarm.seed([model], name=NAME, options=options, on_ready=on_ready, stop=stop, report=events)
        )

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(30)
        fetched = weightswarm.fetch(magnets[0], cache_dir=tmp_path / "cache", options=FETCH)
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()
    assert contents(fetched.path) == contents(model)
    assert len(returned) == 1
    assert returned[0].error is None
    assert returned[0].uploaded >= 3_040_024
    assert events.phases() == [Phase.HASHING, Phase.SEEDING]


def test_an_exception_in_the_callback_ends_a_fetch_and_places_nothing(magnet: str, hub: Path, model: Path) -> None:
    class Enough(Exception):
        pass

    def report(event: Progress | Note) -> None:
        if isinstance(event, Progress) and event.phase is Phase.DOWNLOADING:
            raise Enough

    with pytest.raises(Enough):
        weightswarm.fetch(magnet, options=FETCH, report=report)
    assert visible(hub) == []
    assert contents(weightswarm.fetch(magnet, options=FETCH).path) == contents(model), "and no lock is left behind"


def test_errors_share_one_root_and_carry_what_a_program_needs(model: Path, hub: Path) -> None:
    with pytest.raises(SwarmTimeout) as timeout:
        weightswarm.fetch(NOWHERE, options=FetchOptions(timeout=0.5, network=LOOPBACK))
    assert timeout.value.after == 0.5
    assert timeout.value.hint
    with pytest.raises(InvalidInput):
        weightswarm.publish(model)
    with pytest.raises(NotFound):
        weightswarm.verify("org/unknown")
    for kind in (SwarmTimeout, InvalidInput, NotFound, ContentMismatch):
        assert issubclass(kind, weightswarm.WeightswarmError)
    assert weightswarm.WeightswarmError is WeightswarmError


def test_everything_the_package_lists_is_there() -> None:
    assert all(getattr(weightswarm, name) is not None for name in weightswarm.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = weightswarm.no_such_name


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, weightswarm, weightswarm.cli.main;"
        "print(*sorted({'libtorrent', 'requests', 'tqdm'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
