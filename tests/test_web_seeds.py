"""Web seeds beside peers and alone: by libtorrent through the relay, and by HTTP without any session."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import weightswarm
from conftest import make_model
from counterparts import Counterparts
from hostile import (
    LOOPBACK,
    NAME,
    WEIGHTS,
    contents,
    fetch_json,
    interrupted_fetch,
    peer_of,
    refused,
    release_of,
    serving_release,
    visible,
    wait_until,
    with_manifest,
)
from running import CommandLine
from samples import torrent_by_libtorrent
from test_pieces_of_files import PIECE
from test_pieces_of_files import torrent as torrent_of
from web_origins import (
    Asked,
    Fault,
    Handler,
    another_range,
    cut,
    hub_stub,
    lie,
    origin,
    slowly,
    stall,
    status,
    whole_file,
)
from weightswarm import FetchOptions, Note, Release
from weightswarm.cache import Staging
from weightswarm.errors import ContentMismatch, NetworkFailure, SwarmTimeout
from weightswarm.fetching import extents, http_transfer
from weightswarm.fetching.extents import Extents
from weightswarm.fetching.http_transfer import HttpTransfer
from weightswarm.hub import Hub
from weightswarm.metainfo import Metainfo, TorrentOptions, TorrentVersion, parse_metainfo, with_outer_fields
from weightswarm.registry import DirectoryRegistry, RegistryEntry
from weightswarm.scheduling import Schedule, Window
from weightswarm.verifying import Expectation, Finding
from weightswarm.verifying import Fault as VerifyFault
from weightswarm.webseed import Pace, WebSeed, file_url, is_hub_folder, retry_after, upstream
from weightswarm.webseed import watched as watching

MIB = 2**20
TOKEN = "hf_abcdefghijklmnop"
Figure = Callable[[str, float], None]
BOTH = pytest.mark.parametrize("http_only", [True, False], ids=["http-only", "relay"])


@pytest.fixture
def release(model: Path) -> Release:
    """An honest release; its torrent's name is that of the folder."""
    return release_of(model)


@pytest.fixture
def counterparts(tmp_path: Path) -> Iterator[Counterparts]:
    """Starts other programs and ends them with the test."""
    programs = Counterparts(tmp_path / "counterparts")
    yield programs
    programs.stop_all()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stalls is found out soon."""
    monkeypatch.setattr(upstream, "PACE", Pace(slow_seconds=0.5))


def torrent(metainfo: Metainfo, folder: Path) -> str:
    """Write a torrent and return where it is."""
    path = folder / "release.torrent"
    path.write_bytes(metainfo.data)
    return str(path)


def by_web(
    source: str, hub: Path, *web_seeds: str, http_only: bool = True, timeout: float = 20, **options: object
) -> tuple[weightswarm.FetchResult, list[str]]:
    """Fetch from web seeds inside this process; return the result and what was said."""
    said: list[str] = []
    chosen = FetchOptions(
        name=NAME,
        web_seeds=web_seeds,
        http_only=http_only,
        timeout=timeout,
        network=LOOPBACK,
        **options,  # type: ignore[arg-type]
    )
    result = weightswarm.fetch(
        source, cache_dir=hub, options=chosen, report=lambda e: said.append(e.text) if isinstance(e, Note) else None
    )
    return result, said


# --- real servers ----------------------------------------------------------------------------------------------------


@pytest.mark.counterpart
def test_nginx_and_a_slow_peer_both_give(
    cli: CommandLine, counterparts: Counterparts, tmp_path: Path, hub: Path
) -> None:
    folder = make_model(tmp_path / "model", size=12_000_000)
    release = release_of(folder)
    nginx = counterparts.nginx(tmp_path)
    with serving_release(release, rate=1_500_000) as magnet:
        outcome = cli.ok("fetch", magnet, "-w", nginx.url, "-n", NAME, "--download-limit", "4M", "--timeout", "30")

    assert contents(hub / "models--org--model" / "snapshots" / release.manifest.revision) == contents(folder)
    assert " from web seeds, " in outcome.stderr, outcome.stderr
    assert " from peers)" in outcome.stderr


@pytest.mark.counterpart
@pytest.mark.parametrize("way", ["torrent", "xs", "registry"])
@BOTH
def test_nginx_suffices_where_no_peer_answers(
    cli: CommandLine,
    counterparts: Counterparts,
    release: Release,
    model: Path,
    tmp_path: Path,
    hub: Path,
    way: str,
    http_only: bool,
) -> None:
    nginx = counterparts.nginx(tmp_path)
    file = torrent(release.metainfo, tmp_path)
    link = f"{release.magnet()}&xs={nginx.url}release.torrent&ws={nginx.url}"
    if way == "registry":
        magnet = release.magnet()
        entry = RegistryEntry(
            NAME, release.manifest.revision, magnet, release.manifest.to_bytes(), release.metainfo.data
        )
        DirectoryRegistry(tmp_path / "registry").add(entry)
    source = {
        "torrent": [file, "-w", nginx.url],
        "xs": [link],
        "registry": [NAME, "--registry", str(tmp_path / "registry"), "-w", nginx.url],
    }[way]

    done = fetch_json(cli, *source, "--timeout", "20", "-n", NAME, *(["--http-only"] if http_only else []))

    assert contents(Path(done["path"])) == contents(model)
    assert (done["from_web_seeds"], done["from_peers"]) == (done["downloaded"], 0)
    if http_only:
        assert done["downloaded"] == release.manifest.total_size


# --- by HTTP alone ---------------------------------------------------------------------------------------------------


def test_nothing_listens_and_no_session_is_opened(
    release: Release, tmp_path: Path, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with origin(tmp_path) as server:
        monkeypatch.setattr("weightswarm.swarm.session.make_session", _must_not)
        monkeypatch.setattr(socket.socket, "bind", _must_not)
        monkeypatch.setattr(socket.socket, "listen", _must_not)
        result, _ = by_web(torrent(release.metainfo, tmp_path), hub, server.url)

    assert result.complete
    assert result.from_web_seeds == result.downloaded == release.manifest.total_size


def _must_not(*_arguments: object, **_keywords: object) -> None:
    raise AssertionError("BitTorrent was spoken")


@pytest.mark.parametrize("version", TorrentVersion)
@pytest.mark.parametrize("trusted", [False, True], ids=["manifest", "pieces alone"])
def test_every_kind_of_torrent_comes_and_wrong_pieces_come_again(
    model: Path, tmp_path: Path, hub: Path, version: TorrentVersion, trusted: bool, figure: Figure
) -> None:
    """A v1 torrent packs its files: its pieces lie across them."""
    metainfo = release_of(model, version).metainfo
    if trusted:
        metainfo = with_manifest(metainfo, None)
    with origin(tmp_path) as honest, origin(tmp_path) as liar:
        liar.faults.append(Fault(lie(liar, 1_000_000), path=WEIGHTS))
        result, said = by_web(torrent(metainfo, tmp_path), hub, liar.url, honest.url, trust_magnet=trusted)

    assert contents(result.path) == contents(model)
    told = [text for text in said if "left out" in text]
    # It may have been asked for nothing but what it told the truth about.
    assert told in ([], [f"The web seed {liar.url} is left out: it sends bytes that are not the torrent's: {WEIGHTS}"])
    figure("faults of web seeds", len(told))


def test_one_file_and_some_files_come_alone(model: Path, tmp_path: Path, hub: Path) -> None:
    for version in TorrentVersion:
        metainfo = release_of(model, version).metainfo
        with origin(tmp_path) as server:
            result, _ = by_web(torrent(metainfo, tmp_path), hub / version.name, server.url, include=("tokenizer/*",))
        assert list(contents(result.path)) == ["tokenizer/vocab.txt"]
        assert server.asked_bytes == 40_000


def test_a_torrent_of_one_file_is_the_url_itself_or_below_it(tmp_path: Path, hub: Path) -> None:
    weights = make_model(tmp_path / "m") / WEIGHTS
    metainfo = parse_metainfo(torrent_by_libtorrent(weights, TorrentVersion.HYBRID))
    assert metainfo.single_file
    for number, place in enumerate(("", WEIGHTS)):
        with origin(tmp_path / "m") as server:
            source = torrent(metainfo, tmp_path)
            result, _ = by_web(source, hub / str(number), f"{server.url}{place}", trust_magnet=True)
        assert contents(result.path) == {WEIGHTS: weights.read_bytes()}


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("magnet", 1, ["--http-only needs the torrent of", "no xs= or as= URL"]),
        ("xs", 1, ["none of its xs= and as= URLs gave it"]),
        ("torrent", 2, ["--http-only needs a web seed"]),
    ],
)
def test_what_is_missing_is_said_in_one_line_with_the_remedy(
    cli: CommandLine, release: Release, tmp_path: Path, source: str, code: int, words: list[str]
) -> None:
    with origin(tmp_path) as server:
        given = {
            "magnet": str(release.magnet()),
            "xs": f"{release.magnet()}&xs={server.url}nowhere.torrent",
            "torrent": torrent(release.metainfo, tmp_path),
        }[source]
        outcome = cli("fetch", given, "--http-only", "-n", NAME)

    refused(outcome, code, *words)
    assert "Hint: give " in outcome.stderr


def test_a_wrong_folder_is_told_where_peers_are_asked_as_well(
    cli: CommandLine, release: Release, tmp_path: Path
) -> None:
    with origin(tmp_path) as server:
        source = torrent(release.metainfo, tmp_path)
        outcome = cli("fetch", source, "-w", f"{server.url}wrong/", "-n", NAME, "--timeout", "3")

    assert outcome.code == 4
    assert f"A web seed has no {server.url}wrong/model/" in outcome.stderr
    assert outcome.stderr.count("answered 404") == 1


def test_a_killed_download_goes_on_by_either_way_from_what_the_other_left(
    cli: CommandLine, tmp_path: Path, hub: Path, figure: Figure
) -> None:
    folder = make_model(tmp_path / "model", size=8_000_000)
    release = release_of(folder)
    file = torrent(release.metainfo, tmp_path)
    with origin(tmp_path) as server:
        with serving_release(release, rate=1_500_000) as magnet:
            interrupted_fetch(cli, hub, file, "--peer", peer_of(magnet), "-n", NAME)

        # BitTorrent's part is taken over by HTTP, which is killed in its turn.
        server.faults.append(Fault(slowly(server, 1_500_000), path=WEIGHTS))
        process = cli.start("fetch", file, "--http-only", "-w", f"{server.url}", "-n", NAME)
        staged = next((hub / ".locks" / "weightswarm").glob(f"*/files/{WEIGHTS}"))
        begun = staged.stat().st_blocks * 512
        try:
            wait_until(lambda: staged.stat().st_blocks * 512 > begun + 1_000_000, "HTTP does not go on")
        finally:
            process.kill()
            process.communicate()
        first_asked = server.asked_bytes
        assert first_asked < 8_100_000 - 300_000

        with serving_release(release) as magnet:
            done = fetch_json(cli, file, "--peer", peer_of(magnet), "-n", NAME, "--timeout", "30")

    assert contents(Path(done["path"])) == contents(folder)
    assert done["downloaded"] < 8_100_000 - 1_000_000
    figure("bytes not downloaded again", 8_040_000 - done["downloaded"])


def test_only_what_is_missing_or_rotten_is_asked_for_again(tmp_path: Path, hub: Path) -> None:
    folder = make_model(tmp_path / "model", size=4_000_000)
    release = release_of(folder)
    source = torrent(release.metainfo, tmp_path)
    with origin(tmp_path) as server:
        server.faults.append(Fault(cut(server, 2_500_000), path=WEIGHTS, left=1))
        server.faults.append(Fault(status(404), path=WEIGHTS))
        with pytest.raises(NetworkFailure, match=f"No web seed has {WEIGHTS}"):
            by_web(source, hub, server.url)
        staged = next((hub / ".locks" / "weightswarm").glob(f"*/files/{WEIGHTS}"))
        with staged.open("r+b") as file:
            file.seek(100_000)
            file.write(b"rotten")
        server.faults.clear()
        server.asked.clear()
        result, _ = by_web(source, hub, server.url)

    assert contents(result.path) == contents(folder)
    piece = release.metainfo.piece_length
    assert 1_500_000 <= server.asked_bytes <= 1_500_000 + 3 * piece + 50_000
    assert result.downloaded == server.asked_bytes


@pytest.mark.parametrize("by", ["limit", "schedule"])
def test_a_limit_is_kept(release: Release, tmp_path: Path, hub: Path, by: str) -> None:
    always = Schedule((Window(frozenset(range(7)), 0, 24 * 60, 2_000_000, None),))
    network = weightswarm.NetworkOptions(
        network=LOOPBACK.network,
        download_limit=2_000_000 if by == "limit" else 0,
        schedule=always if by == "schedule" else Schedule(),
    )
    with origin(tmp_path) as server:
        options = FetchOptions(name=NAME, http_only=True, network=network, timeout=20, web_seeds=(server.url,))
        started = time.monotonic()
        weightswarm.fetch(torrent(release.metainfo, tmp_path), cache_dir=hub, options=options)

    assert time.monotonic() - started > release.manifest.total_size / 2_000_000 * 0.8


# --- servers that fail, lie or are slow ------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "kind", ["cut", "stall", "short", "range", "absent", "error", "denied", "lie", "dead", "whole"]
)
def test_one_that_fails_does_not_hold_up_the_others(tmp_path: Path, hub: Path, kind: str, figure: Figure) -> None:
    folder = make_model(tmp_path / "model", size=4_000_000)
    with origin(tmp_path) as bad, origin(tmp_path) as good:
        answers = {
            "cut": cut(bad, 70_000),
            "stall": stall(bad, 70_000),
            "short": cut(bad, 0),
            "range": another_range(bad),
            "absent": status(404),
            "error": status(500),
            "denied": status(403),
            "lie": lie(bad),
            "dead": status(500),
            "whole": whole_file(bad),
        }
        bad.faults.append(Fault(answers[kind]))
        url = "http://127.0.0.1:9999/" if kind == "dead" else bad.url
        # The honest one is slow to begin, so that the other is asked.
        good.faults.append(Fault(slowly(good, 3_000_000), left=2))
        result, _ = by_web(torrent(release_of(folder).metainfo, tmp_path), hub, url, good.url)

    assert contents(result.path) == contents(folder)
    assert kind == "dead" or bad.asked
    figure("faults of web seeds", 1)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("kind", ["cut", "stall", "error", "busy"])
def test_what_passes_is_waited_for(tmp_path: Path, hub: Path, release: Release, kind: str, figure: Figure) -> None:
    with origin(tmp_path) as server:
        answer, times = {
            "cut": (cut(server, 1_200_000), 3),
            "stall": (stall(server, 1_200_000), 1),
            "error": (status(502), 2),
            "busy": (status(429, Retry_After="1"), 1),
        }[kind]
        server.faults.append(Fault(answer, left=times, path=WEIGHTS))
        started = time.monotonic()
        result, _ = by_web(torrent(release.metainfo, tmp_path), hub, server.url)

    assert result.complete
    assert kind != "busy" or time.monotonic() - started >= 1
    # What had come did not come again, but for less than a piece at each break.
    assert result.downloaded <= release.manifest.total_size
    figure("faults of web seeds", times)


def test_a_server_without_ranges_gives_whole_files_from_the_start(
    tmp_path: Path, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extents, "EXTENT", MIB)
    monkeypatch.setattr(upstream, "_MAX_SKIP", 1000)
    folder = make_model(tmp_path / "model", size=6_000_000)
    with origin(tmp_path) as server:
        server.faults.append(Fault(whole_file(server)))
        result, _ = by_web(torrent(release_of(folder).metainfo, tmp_path), hub, server.url)

    assert contents(result.path) == contents(folder)
    whole = [asked for asked in server.asked if asked.span is None and WEIGHTS in asked.path]
    assert 1 <= len(whole) <= 2


def test_reading_past_what_is_here_already_is_no_standstill(
    tmp_path: Path, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "_MAX_SKIP", 1000)
    folder = make_model(tmp_path / "model", size=4_000_000)
    source = torrent(release_of(folder).metainfo, tmp_path)
    with origin(tmp_path) as server:
        server.faults.append(Fault(cut(server, 3_500_000), path=WEIGHTS, left=1))
        server.faults.append(Fault(status(404), path=WEIGHTS))
        with pytest.raises(NetworkFailure):
            by_web(source, hub, server.url)

        def without_ranges(handler: Handler, asked: Asked) -> None:
            slowly(server, 1_000_000)(handler, Asked(asked.path, asked.headers, None))

        server.faults[:] = [Fault(without_ranges, path=WEIGHTS)]
        result, _ = by_web(source, hub, server.url, timeout=1.5)

    assert contents(result.path) == contents(folder)
    assert result.downloaded < 1_500_000


def test_where_all_lie_nothing_is_placed(cli: CommandLine, release: Release, tmp_path: Path, hub: Path) -> None:
    with origin(tmp_path) as first, origin(tmp_path) as second:
        for server in (first, second):
            server.faults.append(Fault(lie(server), path=WEIGHTS))
        seeds = ["-w", first.url, "-w", second.url]
        outcome = cli("fetch", torrent(release.metainfo, tmp_path), "--http-only", "-n", NAME, *seeds)

    refused(outcome, 3, "Web seeds sent bytes that are not the torrent's", WEIGHTS)
    assert visible(hub) == []


def fetch_from_a_liar(tmp_path: Path, hub: Path, size: int, *, honest: bool) -> tuple[int, Release]:
    """Fetch weights of `size` bytes, one of them wrong at a web seed that is found out; return the bytes downloaded.

    With `honest` another has the right ones, and the fetch succeeds.
    """
    folder = make_model(tmp_path / "model", size=size)
    release = release_of(folder)
    source = torrent(release.metainfo, tmp_path)
    with origin(tmp_path) as liar, origin(tmp_path) as server:
        liar.faults.append(Fault(lie(liar, size // 2), path=WEIGHTS))
        if not honest:
            with pytest.raises(ContentMismatch, match="Web seeds sent bytes that are not"):
                by_web(source, hub, liar.url)
            assert visible(hub) == []
            return 0, release
        # It lets the liar bring the weights.
        server.faults.append(Fault(status(503), path=WEIGHTS, left=2))
        result, said = by_web(source, hub, liar.url, server.url)
    assert contents(result.path) == contents(folder)
    assert any(f"{liar.url} is left out: it sends bytes that are not" in text for text in said), said
    return result.downloaded, release


@pytest.mark.parametrize("honest", [True, False], ids=["another is honest", "nobody is"])
def test_a_wrong_file_of_one_piece_is_found_by_its_hash_and_whoever_sent_it_is_left_out(
    tmp_path: Path, hub: Path, honest: bool
) -> None:
    """Its piece is not hashed besides, however slowly it comes."""
    fetch_from_a_liar(tmp_path, hub, 3_000, honest=honest)


@pytest.mark.parametrize("honest", [True, False], ids=["another is honest", "nobody is"])
def test_wrong_bytes_that_came_too_fast_to_check_are_found_by_the_files_hash(
    tmp_path: Path, hub: Path, monkeypatch: pytest.MonkeyPatch, honest: bool
) -> None:
    monkeypatch.setattr(http_transfer, "CHECKED_RATE", 0)
    monkeypatch.setattr(http_transfer, "_CHECKED_AT_ONCE", 0)

    downloaded, release = fetch_from_a_liar(tmp_path, hub, 3_000_000, honest=honest)

    # One piece alone came twice.
    assert downloaded <= release.manifest.total_size + release.metainfo.piece_length


@pytest.mark.parametrize("verified", [False, True], ids=["none is verified", "one is verified"])
def test_of_a_wrong_piece_that_two_files_share_what_is_unverified_comes_once_more(
    tmp_path: Path, hub: Path, monkeypatch: pytest.MonkeyPatch, verified: bool
) -> None:
    monkeypatch.setattr(http_transfer, "CALL_BYTES", 1)
    metainfo = torrent_of(tmp_path, [PIECE + 10, PIECE], TorrentVersion.V1)
    staging = Staging(hub / ".locks" / "weightswarm", metainfo.info_hash)
    staging.prepare(metainfo.data, [file.path for file in metainfo.files])
    wanted = {file.index: Expectation(file.path, file.size, "ab" * 32) for file in metainfo.files}
    transfer = HttpTransfer(LOOPBACK, metainfo, wanted, staging, timeout=20, report=lambda _: None)
    transfer._web_seeds = [WebSeed(0, "http://127.0.0.1/")]
    for file in metainfo.files:
        Path(transfer.files[file.index]).write_bytes((tmp_path / file.path).read_bytes())
        transfer._unchecked |= {*transfer._coverage.brought(0, file.index, 0, file.size)}
    with Path(transfer.files[0]).open("r+b") as staged:
        staged.seek(PIECE)
        staged.write(b"rotten")
    if verified:
        transfer._verification.done.add(1)
    for index in {0} if verified else wanted:
        transfer._doubt(index, Finding(str(index), VerifyFault.WRONG_HASH, ""))

    def settled() -> bool:
        transfer._submit_checks()
        transfer._collect_checks()
        return not transfer._doubted

    wait_until(settled, "every piece was checked")
    transfer._verification.close()

    assert transfer._rejections == {1: 1}
    assert transfer._coverage.total - transfer._coverage.done == (10 if verified else PIECE)
    again = [(each.file, each.position, each.end) for each in iter(lambda: transfer._extents.take((), 0), None)]
    assert again == [(0, PIECE, PIECE + 10)] + ([] if verified else [(1, 0, PIECE - 10)])


def test_a_torrent_that_is_not_its_manifests_is_no_servers_fault(tmp_path: Path, hub: Path, model: Path) -> None:
    """Every piece is the torrent's, and the SHA-256 is another."""
    from hostile import edited

    honest = release_of(model)
    forged = with_manifest(honest.metainfo, edited(honest.manifest, WEIGHTS, sha256="ab" * 32))
    with origin(tmp_path) as server, pytest.raises(ContentMismatch, match="is not what the manifest says"):
        by_web(torrent(forged, tmp_path), hub, server.url)
    assert visible(hub) == []


def test_the_rest_of_what_a_slow_one_brings_is_taken_over(tmp_path: Path, hub: Path) -> None:
    folder = make_model(tmp_path / "model", size=8_000_000)
    with origin(tmp_path) as slow, origin(tmp_path) as fast:
        slow.faults.append(Fault(slowly(slow, 200_000), path=WEIGHTS))
        fast.faults.append(Fault(slowly(fast, 8_000_000), path=WEIGHTS))
        started = time.monotonic()
        result, _ = by_web(torrent(release_of(folder).metainfo, tmp_path), hub, slow.url, fast.url)

    assert contents(result.path) == contents(folder)
    assert time.monotonic() - started < 20
    assert result.downloaded == result.size


def test_nobody_waits_for_ever(release: Release, tmp_path: Path, hub: Path) -> None:
    with origin(tmp_path) as server:
        server.faults.append(Fault(status(500)))
        chosen = FetchOptions(name=NAME, web_seeds=(server.url,), http_only=True, timeout=1.5, network=LOOPBACK)
        with pytest.raises(SwarmTimeout, match="it answered 500"):
            weightswarm.fetch(torrent(release.metainfo, tmp_path), cache_dir=hub, options=chosen)
        assert len(server.asked) < 20
        server.faults[:] = [Fault(status(429, Retry_After="3600"))]
        with pytest.raises(NetworkFailure, match="wants to be left alone for 3,600 seconds"):
            weightswarm.fetch(torrent(release.metainfo, tmp_path), cache_dir=hub, options=chosen)
        assert threading.active_count() < 40


# --- the Hub ---------------------------------------------------------------------------------------------------------


@BOTH
def test_a_download_goes_on_when_its_signed_urls_expire(
    tmp_path: Path, hub: Path, http_only: bool, figure: Figure, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_model(tmp_path / "model", size=6_000_000)
    release = release_of(folder)
    with hub_stub(folder, NAME, release.manifest.revision, seconds=0.3) as stub:
        # More often than there are connections: one of them asks again by what it was told before.
        stub.cuts, stub.cut_at = 5, 1_100_000
        monkeypatch.setenv("HF_ENDPOINT", stub.hub.url)
        result, said = by_web(torrent(release.metainfo, tmp_path), hub, "hub", http_only=http_only)

    assert contents(result.path) == contents(folder)
    assert stub.denied >= 1
    assert not any("left out" in text for text in said), said
    figure("expired signatures", stub.denied)


@BOTH
def test_a_hub_that_is_busy_or_broken_for_a_moment_is_asked_again(
    tmp_path: Path, hub: Path, release: Release, model: Path, http_only: bool, figure: Figure
) -> None:
    with hub_stub(model, NAME, release.manifest.revision) as stub:
        for answer in (status(429, Retry_After="1"), status(500), status(403)):
            stub.hub.faults.append(Fault(answer, path=WEIGHTS, left=1))
        result, said = by_web(torrent(release.metainfo, tmp_path), hub, stub.folder_url, http_only=http_only)

    assert contents(result.path) == contents(model)
    assert not any("left out" in text for text in said), said
    figure("faults of web seeds", 3)


@BOTH
def test_the_token_goes_to_the_hub_and_to_nobody_else(
    tmp_path: Path, hub: Path, release: Release, model: Path, http_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub_stub(model, NAME, release.manifest.revision, token=TOKEN) as stub, origin(tmp_path) as other:
        monkeypatch.setenv("HF_ENDPOINT", stub.hub.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        # A web seed that leads to the Hub, to borrow the token.
        led = f"/{NAME}/resolve/{release.manifest.revision}/config.json"
        other.faults.append(Fault(status(302, Location=f"{stub.hub.url[:-1]}{led}"), path="config.json"))
        other.faults.append(Fault(status(404)))
        result, _ = by_web(torrent(release.metainfo, tmp_path), hub, other.url, "hub", http_only=http_only)

    assert contents(result.path) == contents(model)
    sent = [asked.headers.get("authorization") for asked in stub.hub.asked]
    assert f"Bearer {TOKEN}" in sent
    strangers = [*stub.store.asked, *other.asked]
    assert stub.store.asked
    assert not any("authorization" in asked.headers or TOKEN in asked.path for asked in strangers)
    borrowed = [asked for asked in stub.hub.asked if asked.path == led and "authorization" not in asked.headers]
    assert len(borrowed) == len([asked for asked in other.asked if "config.json" in asked.path])


def test_no_link_has_the_hub_asked_in_the_users_name_for_more_than_files(tmp_path: Path) -> None:
    with origin(tmp_path) as served:
        served.answer = status(404)
        limits = upstream.Limits(LOOPBACK.network, frozenset(), Hub(served.url[:-1], TOKEN), web_seeds=(served.url,))
        connection = upstream.Upstream(limits)
        for path in ("api/whoami-v2", "o/m/resolve/main/../../../../api/a", "oauth/authorize?id=1", "o/m/raw/main/a"):
            with pytest.raises(watching.Failed):
                list(connection.read(f"{served.url}{path}", 0, 3))
        assert not any("authorization" in asked.headers for asked in served.asked)
        with pytest.raises(watching.Failed):
            list(connection.read(f"{served.url}o/m/resolve/main/a", 0, 3))
        connection.close()
        assert [asked.headers.get("authorization") for asked in served.asked][4:] == [f"Bearer {TOKEN}"]


@BOTH
def test_a_link_has_nothing_asked_in_the_users_name(
    cli: CommandLine, tmp_path: Path, release: Release, model: Path, http_only: bool
) -> None:
    """What the account may read would be handed on to a stranger's swarm."""
    mode = ["--http-only"] if http_only else []
    with hub_stub(model, NAME, release.manifest.revision, token=TOKEN) as stub:
        theirs = with_outer_fields(release.metainfo, TorrentOptions(web_seeds=(stub.folder_url,)))
        given: dict[str, Any] = {"HF_ENDPOINT": stub.hub.url, "HF_TOKEN": TOKEN}
        outcome = cli("fetch", torrent(theirs, tmp_path), "-n", NAME, "--timeout", "3", *mode, **given)
        assert stub.hub.asked
        assert not any("authorization" in asked.headers for asked in stub.hub.asked)
        assert outcome.code == (1 if http_only else 4)
        assert "web seeds that you name yourself" in outcome.stderr
        cli.ok("fetch", torrent(theirs, tmp_path), "-n", NAME, "-w", "hub", *mode, **given)


@BOTH
def test_a_password_in_a_web_seeds_url_is_shown_and_published_nowhere(
    cli: CommandLine, tmp_path: Path, release: Release, http_only: bool
) -> None:
    secret = "s3cret" * 40
    mode = ["--http-only"] if http_only else ["--timeout", "3"]
    with origin(tmp_path) as served:
        served.answer = status(401)
        url = served.url.replace("://", f"://me:{secret}@")
        away = f"https://me:{secret}@192.0.2.1/"
        given = torrent(release.metainfo, tmp_path)
        outcome = cli("fetch", given, "-w", url, "-w", away, "-n", NAME, *mode)
        assert any(asked.headers.get("authorization", "").startswith("Basic ") for asked in served.asked)
        told = cli("fetch", url + "a.torrent")
        configured = cli("config", WEIGHTSWARM_WEB_SEED=url)
        published = [cli(command, tmp_path / "model", "-n", NAME, "-w", url) for command in ("publish", "seed")]
        exported = [cli("export", kind, given, "-w", url, "-o", "x") for kind in ("magnet", "torrent", "metalink")]
    assert "://***@" in outcome.stderr and "://***@" in told.stderr and "://***@" in configured.stdout
    for refusal in (*published, *exported):
        refused(refusal, 2, "has a user or password")
    for each in (outcome, told, configured, *published, *exported):
        assert "s3cret" not in each.stderr + each.stdout


@BOTH
@pytest.mark.parametrize("token", [None, "hf_another"])
def test_a_gated_repository_is_named_with_what_to_do(
    cli: CommandLine, tmp_path: Path, release: Release, model: Path, http_only: bool, token: str | None
) -> None:
    mode = ["--http-only"] if http_only else ["--timeout", "6"]
    with hub_stub(model, NAME, release.manifest.revision, token=TOKEN) as stub:
        given: dict[str, Any] = {"HF_ENDPOINT": stub.hub.url, **({"HF_TOKEN": token} if token else {})}
        outcome = cli("fetch", torrent(release.metainfo, tmp_path), "-w", "hub", "-n", NAME, *mode, **given)

    (told,) = {line.partition("left out: ")[2] for line in outcome.stderr.splitlines() if "is left out" in line}
    assert told.startswith(f"it answered {403 if token else 401} to ")
    assert "HF_TOKEN" in told
    assert told.endswith(f"terms at {stub.hub.url}{NAME}")
    assert outcome.code == (1 if http_only else 4)
    assert TOKEN not in outcome.stderr


def test_publishing_names_the_hubs_folder(cli: CommandLine, model: Path) -> None:
    commit = "ab" * 20
    published = cli.ok("publish", model, "-n", NAME, "-w", "hub", "--revision", commit)
    assert "ws=https%3A%2F%2Fhuggingface.co%2Forg%2Fmodel%2Fresolve%2F" + commit + "%2F" in published.result

    refused(cli("publish", model, "-n", NAME, "-w", "hub"), 2, "-w hub")


# --- parts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("web_seed", "url"),
    [
        ("https://w.example/models/", "https://w.example/models/name/a%20b/c.bin"),
        ("https://w.example/models", "https://w.example/models/name/a%20b/c.bin"),
        ("https://w.example", "https://w.example/name/a%20b/c.bin"),
        ("https://hf.example/org/model/resolve/main/", "https://hf.example/org/model/resolve/main/a%20b/c.bin"),
        (
            "https://hf.example/datasets/org/d/resolve/v%2F1",
            "https://hf.example/datasets/org/d/resolve/v%2F1/a%20b/c.bin",
        ),
        ("https://w.example/resolve/main/", "https://w.example/resolve/main/name/a%20b/c.bin"),
    ],
)
def test_where_a_file_is(web_seed: str, url: str) -> None:
    assert file_url(web_seed, "name", "a b/c.bin", single_file=False) == url
    assert is_hub_folder(web_seed) == ("/name/" not in url)


def test_an_extent_is_brought_by_one_connection_and_its_rest_by_a_faster_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extents, "_STEAL_SECONDS", 0.0)
    shared = Extents()
    shared.add([(0, 0, 100 * MIB), (1, 0, 10)])
    first, other, second = shared.take((), 0), shared.take((), 0), shared.take((), 0)
    assert first is not None and other is not None and second is not None
    assert (first.file, first.end) == (0, 64 * MIB)
    assert (other.file, other.end) == (1, 10)
    assert (second.position, second.end) == (64 * MIB, 100 * MIB)
    assert shared.claim(first, MIB) == MIB
    shared.give_back([second])
    again = shared.take((), 0)
    assert again is not None and (again.position, again.end) == (64 * MIB, 100 * MIB)
    time.sleep(0.01)
    stolen = shared.take((), 1e12)
    # All but what is on its way to the disk.
    assert stolen is not None and (stolen.position, stolen.end) == (MIB, 64 * MIB)
    assert first.end == MIB
    assert shared.take({0}, 1e12) is None


@pytest.mark.parametrize("text", ["-1", "soon", "1e9", "9" * 100, None])
def test_an_odd_wish_to_be_left_alone_is_none(text: str | None) -> None:
    assert retry_after(text) is None
