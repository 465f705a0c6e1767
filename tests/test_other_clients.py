"""Other people's clients download our releases, and we theirs, with opentracker as the only way to find a peer."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from counterparts import Counterparts, Tracker, free_port
from running import CommandLine, Seeder

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
    """A release and the tracker at `url` that is its only way to peers: the magnet names none."""

    model: Path
    version: tuple[str, ...]
    info_hash: str
    magnet: str
    tracker: Tracker
    url: str

    def torrent(self, cli: CommandLine) -> Path:
        """Publish it as a .torrent that names the tracker."""
        options = ["--name", NAME, *self.version, "-t", self.url, "-o", "release"]
        return Path(cli.folder, cli.ok("publish", self.model, *options, "--json").json["torrent"])

    def seed(self, seeder: Seeder) -> None:
        """Seed it with `weightswarm seed`."""
        seeding = seeder(self.model, "--name", NAME, *self.version, "-t", self.url)
        assert seeding.magnet.startswith(self.magnet), "it seeds another release"


def announced(cli: CommandLine, counterparts: Counterparts, model: Path, *version: str, udp: bool = False) -> Announced:
    """Publish a model and start a tracker that serves it."""
    # Trackers are not under the info-hash: it can be known before the tracker is, which starts with it.
    release = cli.ok("publish", model, "--name", NAME, *version, "-o", "unannounced", "--json").json
    digests = [digest for digest in (release["info_hash_v1"], release["info_hash_v2"]) if digest]
    tracker = counterparts.opentracker(*digests)
    url = tracker.udp if udp else tracker.http
    return Announced(model, version, digests[0], with_tracker(release["magnet"], url), tracker, url)


def with_tracker(magnet: str, url: str) -> str:
    """Return a magnet link that names a tracker, and no peer."""
    assert "x.pe=" not in magnet
    return f"{magnet}&tr={quote(url, safe='')}"


def digests_below(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below `folder`, by path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("version", [(), ("--v1-only",), ("--v2-only",)], ids=["hybrid", "v1", "v2"])
def test_qbittorrent_downloads_what_weightswarm_seeds(
    cli: CommandLine, seeder: Seeder, counterparts: Counterparts, model: Path, version: tuple[str, ...]
) -> None:
    release = announced(cli, counterparts, model, *version)
    release.seed(seeder)
    client = counterparts.qbittorrent()

    client.download(release.magnet)

    assert digests_below(client.downloads / "model") == digests_below(model)


def test_aria2_downloads_what_weightswarm_seeds_as_v1(
    cli: CommandLine, seeder: Seeder, counterparts: Counterparts, model: Path
) -> None:
    release = announced(cli, counterparts, model, "--v1-only")
    release.seed(seeder)

    downloads = counterparts.aria2(release.torrent(cli))

    assert digests_below(downloads / "model") == digests_below(model)


def test_transmission_downloads_what_weightswarm_seeds_as_v1(
    cli: CommandLine, seeder: Seeder, counterparts: Counterparts, model: Path
) -> None:
    release = announced(cli, counterparts, model, "--v1-only")
    client = counterparts.transmission()
    client.add(release.torrent(cli))
    # It waits to be dialled: the seeder must hear of it from the tracker.
    release.tracker.wait_for_leecher(release.info_hash)
    release.seed(seeder)

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
    client.add(release.torrent(cli))
    # Nor does it dial when it seeds: it must be known to the tracker before we ask there.
    release.tracker.wait_for_seeder(release.info_hash)

    # Transmission lets a new peer wait for ten seconds and more before it gives anything.
    fetched = cli.ok("fetch", release.magnet, "--name", NAME, "--timeout", "90")

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
    magnet = with_tracker(f"magnet:?xt=urn:btih:{info_hash}", tracker.http)

    refused = cli("fetch", torrent, "--name", NAME)
    assert refused.code == 1
    assert "--trust-magnet" in refused.stderr
    assert not list(hub.glob("models--*"))

    fetched = cli.ok("fetch", magnet, "--name", NAME, "--trust-magnet", "--timeout", "90")
    assert Path(fetched.result).parent == hub / "models--org--model" / "snapshots"
    assert digests_below(Path(fetched.result)) == digests_below(model)
    cli.ok("verify", NAME)


@pytest.mark.parametrize("udp", [False, True], ids=["http", "udp"])
def test_a_magnet_that_names_only_a_tracker_finds_the_seeder(
    cli: CommandLine, seeder: Seeder, counterparts: Counterparts, model: Path, udp: bool
) -> None:
    release = announced(cli, counterparts, model, udp=udp)
    release.seed(seeder)

    fetched = cli.ok("fetch", release.magnet, "--name", NAME, "--timeout", "30")

    assert digests_below(Path(fetched.result)) == digests_below(model)


def test_peers_that_a_tracker_names_are_counted_when_none_of_them_answers(
    cli: CommandLine, counterparts: Counterparts
) -> None:
    info_hash = "5e" * 20
    tracker = counterparts.opentracker(info_hash)
    assert tracker.announce(info_hash, free_port())

    failed = cli("fetch", with_tracker(f"magnet:?xt=urn:btih:{info_hash}", tracker.http), "--timeout", "4")

    assert failed.code == 4
    (error,) = (line for line in failed.stderr.splitlines() if line.startswith("Error: "))
    assert "1 of 1 trackers answered" in error
    assert re.search(r"of [1-9]\d* known", error), error
