"""Other people's clients download our releases, and we theirs, with opentracker as the only way to find a peer."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from counterparts import Counterparts, Tracker
from running import CommandLine, Seeder, Seeding

pytestmark = pytest.mark.counterpart

NAME = "org/model"


@pytest.fixture
def counterparts(tmp_path: Path) -> Iterator[Counterparts]:
    """Starts other programs and ends them with the test."""
    starter = Counterparts(tmp_path / "counterparts")
    yield starter
    starter.stop_all()


@dataclass(frozen=True, slots=True)
class Announced:
    """A release and the tracker that is its only way to peers: neither torrent nor magnet names one."""

    tracker: Tracker
    info_hash: str
    torrent: Path
    magnet: str


def announced(cli: CommandLine, counterparts: Counterparts, model: Path, *version: str, udp: bool = False) -> Announced:
    """Publish a model with a tracker that serves it."""
    # The trackers are not under the info-hash, which opentracker must know before it starts.
    plain = cli.ok("publish", model, "--name", NAME, *version, "--json", "-o", "plain").json
    digests = [digest for digest in (plain["info_hash_v1"], plain["info_hash_v2"]) if digest]
    tracker = counterparts.opentracker(*digests)
    url = tracker.udp if udp else tracker.http
    release = cli.ok("publish", model, "--name", NAME, *version, "-t", url, "--json", "-o", "release").json
    assert "x.pe=" not in release["magnet"]
    return Announced(tracker, digests[0], cli.folder / release["torrent"], release["magnet"])


def seed(seeder: Seeder, model: Path, release: Announced, *version: str, udp: bool = False) -> Seeding:
    """Seed a model under the release's tracker."""
    url = release.tracker.udp if udp else release.tracker.http
    seeding = seeder(model, "--name", NAME, *version, "-t", url)
    assert seeding.magnet.startswith(release.magnet), "it seeds another release"
    return seeding


def digests_below(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below `folder`, by path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("version", [(), ("--v1-only",), ("--v2-only",)], ids=["hybrid", "v1", "v2"])
def test_qbittorrent_downloads_what_weightswarm_seeds(
    cli: CommandLine, seeder: Seeder, counterparts: Counterparts, model: Path, version: tuple[str, ...]
) -> None:
    release = announced(cli, counterparts, model, *version)
    seed(seeder, model, release, *version)
    client = counterparts.qbittorrent()

    client.download(release.magnet)

    assert digests_below(client.downloads / "model") == digests_below(model)


def test_aria2_downloads_what_weightswarm_seeds_as_v1(
    cli: CommandLine, seeder: Seeder, counterparts: Counterparts, model: Path
) -> None:
    release = announced(cli, counterparts, model, "--v1-only")
    seed(seeder, model, release, "--v1-only")

    downloads = counterparts.aria2(release.torrent)

    assert digests_below(downloads / "model") == digests_below(model)


def test_transmission_downloads_what_weightswarm_seeds_as_v1(
    cli: CommandLine, seeder: Seeder, counterparts: Counterparts, model: Path
) -> None:
    release = announced(cli, counterparts, model, "--v1-only")
    client = counterparts.transmission()
    client.add(release.torrent)
    # It waits to be dialled: the seeder must hear of it from the tracker.
    release.tracker.wait_for_leecher(release.info_hash)
    seed(seeder, model, release, "--v1-only")

    client.wait_until_seeding()

    # Transmission 3.00 makes no file for an empty one.
    empty = {"empty.txt": hashlib.sha256(b"").hexdigest()}
    assert digests_below(client.downloads / "model") | empty == digests_below(model)


def test_a_release_that_transmission_seeds_is_fetched(
    cli: CommandLine, counterparts: Counterparts, model: Path
) -> None:
    release = announced(cli, counterparts, model, "--v1-only")
    client = counterparts.transmission()
    shutil.copytree(model, client.downloads / "model")
    client.add(release.torrent)
    # Nor does it dial when it seeds: it must be known to the tracker before we ask there.
    release.tracker.wait_for_seeder(release.info_hash)

    fetched = cli.ok("fetch", release.magnet, "--name", NAME, "--timeout", "30")

    assert digests_below(Path(fetched.result)) == digests_below(model)


def test_a_torrent_of_transmissions_own_making_is_fetched_only_on_trust_and_then_verifies(
    cli: CommandLine, counterparts: Counterparts, model: Path, hub: Path
) -> None:
    (model / "empty.txt").unlink()  # transmission-create leaves empty files out.
    torrent = cli.folder / "theirs.torrent"
    counterparts.transmission_create(model, torrent)
    info_hash = cli.ok("show", torrent, "--json").json["info_hash"]["v1"]
    tracker = counterparts.opentracker(info_hash)
    counterparts.transmission_create(model, torrent, tracker.http)
    client = counterparts.transmission()
    shutil.copytree(model, client.downloads / "model")
    client.add(torrent)
    tracker.wait_for_seeder(info_hash)
    magnet = f"magnet:?xt=urn:btih:{info_hash}&tr={quote(tracker.http)}"

    refused = cli("fetch", magnet, "--name", NAME, "--timeout", "30")
    assert refused.code == 1
    assert "--trust-magnet" in refused.stderr
    assert not list(hub.glob("models--*"))

    fetched = cli.ok("fetch", magnet, "--name", NAME, "--trust-magnet", "--timeout", "30")
    assert Path(fetched.result).parent == hub / "models--org--model" / "snapshots"
    assert digests_below(Path(fetched.result)) == digests_below(model)
    cli.ok("verify", NAME)


@pytest.mark.parametrize("udp", [False, True], ids=["http", "udp"])
def test_a_magnet_that_names_only_a_tracker_finds_the_seeder(
    cli: CommandLine, seeder: Seeder, counterparts: Counterparts, model: Path, udp: bool
) -> None:
    release = announced(cli, counterparts, model, udp=udp)
    seed(seeder, model, release, udp=udp)

    fetched = cli.ok("fetch", release.magnet, "--name", NAME, "--timeout", "30")

    assert digests_below(Path(fetched.result)) == digests_below(model)
