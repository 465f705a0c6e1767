"""Web seeds where no peer is: the engine without BitTorrent brings it, until peers come or web seeds fail."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

import weightswarm
from conftest import make_model
from faults import MIB, Source
from hostile import LOOPBACK, NAME, contents, peer_of, release_of, wait_until
from web_origins import Fault, origin, slowly, status
from weightswarm import FetchOptions, FetchResult, PeerAddress, Release
from weightswarm.fetching import ways
from weightswarm.progress import Note, Progress

SIZE = 8 * MIB


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that is worth a second."""
    monkeypatch.setattr(ways, "_WORTH_WAITING", MIB)
    return make_model(tmp_path / "model", SIZE)


@pytest.fixture
def release(folder: Path, tmp_path: Path) -> Release:
    """Its release; the torrent is in a file."""
    made = release_of(folder)
    (tmp_path / "release.torrent").write_bytes(made.metainfo.data)
    return made


class Fetching(threading.Thread):
    """A fetch of the torrent from a web seed, by BitTorrent too, in a thread."""

    def __init__(self, folder: Path, web_seed: str, *peers: PeerAddress) -> None:
        super().__init__()
        self.folder = folder
        self.web_seed = web_seed
        self.peers = peers
        self.said: list[Progress | Note] = []
        self.result: FetchResult | None = None
        self.start()

    def run(self) -> None:
        """Fetch."""
        options = FetchOptions(
            name=NAME, timeout=20, network=replace(LOOPBACK, peers=self.peers), web_seeds=(self.web_seed,)
        )
        self.result = weightswarm.fetch(
            str(self.folder / "release.torrent"),
            cache_dir=self.folder / "cache",
            options=options,
            report=self.said.append,
        )

    def ended(self) -> FetchResult:
        """Return what came of it."""
        self.join(60)
        assert self.result is not None
        return self.result

    @property
    def ways(self) -> set[str]:
        """Who was said to give."""
        return {each.note for each in self.said if isinstance(each, Progress) and each.note}


def test_where_no_peer_is_a_web_seed_brings_it_without_libtorrent(
    release: Release, folder: Path, tmp_path: Path
) -> None:
    with origin(tmp_path) as server:
        fetching = Fetching(tmp_path, server.url)
        result = fetching.ended()
    assert contents(result.path) == contents(folder)
    assert fetching.ways == {"1 web seed"}
    assert result.from_web_seeds == result.downloaded == release.manifest.total_size


def test_where_a_peer_is_both_are_asked(release: Release, folder: Path, tmp_path: Path) -> None:
    source = Source(release, rate=4 * MIB)
    with origin(tmp_path) as server:
        server.faults.append(Fault(slowly(server, 1_000_000), path="model.safetensors"))
        fetching = Fetching(tmp_path, server.url, PeerAddress.parse(peer_of(source.magnet)))
        assert contents(fetching.ended().path) == contents(folder)
    source.session.pause()
    assert "1 web seed" not in fetching.ways
    assert source.given


def test_when_a_peer_comes_it_goes_on_with_both(release: Release, folder: Path, tmp_path: Path) -> None:
    source = Source(release, rate=0)
    source.session.pause()
    with origin(tmp_path) as server:
        server.faults.append(Fault(slowly(server, 600_000), path="model.safetensors"))
        fetching = Fetching(tmp_path, server.url, PeerAddress.parse(peer_of(source.magnet)))
        wait_until(lambda: server.asked_bytes > 0, "the web seed is not asked")
        time.sleep(1)
        source.session.resume()
        result = fetching.ended()
    source.session.pause()
    assert contents(result.path) == contents(folder)
    assert "1 web seed" in fetching.ways
    assert source.given > SIZE / 4
    assert result.downloaded < SIZE * 1.5, "what the web seed gave before is kept"


def test_when_web_seeds_fail_peers_are_waited_for(release: Release, folder: Path, tmp_path: Path) -> None:
    source = Source(release, rate=0)
    source.session.pause()
    with origin(tmp_path) as server:
        server.faults.append(Fault(status(404)))
        fetching = Fetching(tmp_path, server.url, PeerAddress.parse(peer_of(source.magnet)))
        wait_until(lambda: len(server.asked) > 0, "the web seed is not asked")
        time.sleep(1)
        source.session.resume()
        result = fetching.ended()
    source.session.pause()
    assert contents(result.path) == contents(folder)
    assert result.from_web_seeds == 0
