"""Clients that speak only BitTorrent v1 keep a hybrid release alive, though they know none of its v2 hashes.

A magnet's metadata lacks the v2 hashes of files longer than a piece. Those whom `fetch` meets here cannot send them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from hostile import WEIGHTS, contents, fetch_json, flip_byte, peer_of, refused, staged_weights, visible, wait_until
from old_client import OldClient
from running import CommandLine, Seeder
from samples import Sample, make_sample
from weights import safetensors_bytes

NAME = "test-org/tiny"
WEIGHTS_SIZE = 3_500_001
GENERATOR = Random(11)
FILES = {
    "config.json": b'{"model_type": "test"}\n',
    "empty.txt": b"",
    WEIGHTS: safetensors_bytes(WEIGHTS_SIZE, GENERATOR),
    "tokenizer/merges.txt": GENERATOR.randbytes(150_000),
    "tokenizer/vocab.txt": GENERATOR.randbytes(40_000),
}
SLOW = 2_000_000
"""Bytes a second at which a fetch takes two seconds: pieces are judged one by one, not a whole file at once."""


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    """A hybrid release of a few MiB, with pad files between its files."""
    return make_sample(tmp_path / "origin", FILES)


def files_of(sample: Sample) -> Sequence[Path]:
    """Return where a sample's files stand, in the torrent's order."""
    return [sample.root / file.path for file in sample.metainfo.files]


def old_client(sample: Sample, rate: int = 0) -> OldClient:
    """Return an old client that seeds a sample."""
    return OldClient(sample.metainfo, files_of(sample), rate)


# --- honest ----------------------------------------------------------------------------------------------------------


def test_a_magnet_is_fetched_whole_from_an_old_client_alone(cli: CommandLine, sample: Sample) -> None:
    with old_client(sample, SLOW) as old:
        fetched = fetch_json(cli, old.magnet, "--name", NAME, "--timeout", "30")
    assert contents(Path(fetched["path"])) == FILES
    assert fetched["complete"] is True
    assert old.uploaded < 1.1 * old.size
    assert fetched["downloaded"] < 1.1 * old.size


def test_an_old_client_sends_no_byte_twice(cli: CommandLine, sample: Sample) -> None:
    with old_client(sample) as old:
        fetched = fetch_json(cli, old.magnet, "--timeout", "30")
    assert contents(Path(fetched["path"])) == FILES
    assert old.uploaded <= old.size


def test_a_release_of_one_piece_comes_from_an_old_client(cli: CommandLine, tmp_path: Path) -> None:
    files = {WEIGHTS: safetensors_bytes(20_000, GENERATOR)}
    with old_client(make_sample(tmp_path / "origin", files)) as old:
        fetched = fetch_json(cli, old.magnet, "--timeout", "30")
    assert contents(Path(fetched["path"])) == files
    assert old.uploaded == old.size == 20_000


def test_a_release_of_one_file_comes_from_an_old_client(cli: CommandLine, tmp_path: Path) -> None:
    files = {WEIGHTS: FILES[WEIGHTS]}
    with old_client(make_sample(tmp_path / "origin", files), SLOW) as old:
        fetched = fetch_json(cli, old.magnet, "--timeout", "30")
    assert contents(Path(fetched["path"])) == files
    assert old.uploaded < 1.1 * old.size


def test_one_file_of_a_release_comes_from_an_old_client(cli: CommandLine, sample: Sample) -> None:
    with old_client(sample) as old:
        fetched = fetch_json(cli, old.magnet, "--include", "tokenizer/merges.txt", "--timeout", "30")
    assert contents(Path(fetched["path"])) == {"tokenizer/merges.txt": FILES["tokenizer/merges.txt"]}
    assert fetched["complete"] is False
    assert old.uploaded <= 5 * 32 * 1024


def test_an_old_client_and_a_seeder_of_today_serve_one_release_together(
    cli: CommandLine, seeder: Seeder, sample: Sample
) -> None:
    seeding = seeder(sample.root, "--name", NAME, "--piece-length", "32k", "--upload-limit", "500k")
    with old_client(sample, 500_000) as old:
        assert old.magnet.partition("&x.pe=")[0] == seeding.magnet.partition("&x.pe=")[0], "it seeds another release"
        fetched = fetch_json(cli, old.magnet, "--peer", peer_of(seeding.magnet), "--timeout", "30")
    assert contents(Path(fetched["path"])) == FILES
    assert 0 < old.uploaded < WEIGHTS_SIZE, "both gave"


def test_what_came_from_an_old_client_is_seeded_to_others(
    cli: CommandLine, seeder: Seeder, sample: Sample, tmp_path: Path
) -> None:
    with old_client(sample, SLOW) as old:
        cli.ok("fetch", old.magnet, "--name", NAME, "--timeout", "30")
    seeding = seeder(NAME)
    fetched = fetch_json(cli, seeding.magnet, "--cache-dir", tmp_path / "third", "--timeout", "30")
    assert contents(Path(fetched["path"])) == FILES
    cli.ok("verify", NAME)


# --- lying -----------------------------------------------------------------------------------------------------------


def test_a_wrong_byte_in_a_file_that_came_whole_at_once_is_refused(cli: CommandLine, sample: Sample, hub: Path) -> None:
    flip_byte(sample.root / WEIGHTS)
    with old_client(sample) as old:
        refused(cli("fetch", old.magnet, "--timeout", "3"), 3, WEIGHTS)
    assert visible(hub) == []


def test_a_wrong_byte_in_the_last_piece_of_a_file_is_refused(cli: CommandLine, sample: Sample, hub: Path) -> None:
    flip_byte(sample.root / WEIGHTS)
    with old_client(sample, SLOW) as old:
        refused(cli("fetch", old.magnet, "--timeout", "3"), 3, WEIGHTS)
    assert visible(hub) == []


def test_a_wrong_byte_near_the_start_of_a_file_is_refused(cli: CommandLine, sample: Sample, hub: Path) -> None:
    flip_byte(sample.root / WEIGHTS, 100_000)
    with old_client(sample, SLOW) as old:
        refused(cli("fetch", old.magnet, "--timeout", "3"), 3, WEIGHTS)
    assert visible(hub) == []


def test_what_a_lying_old_client_held_up_comes_later_from_an_honest_one(
    cli: CommandLine, sample: Sample, tmp_path: Path
) -> None:
    lying = make_sample(tmp_path / "lying", FILES)
    flip_byte(lying.root / WEIGHTS)
    with old_client(lying) as liar:
        assert cli("fetch", liar.magnet, "--timeout", "3").code == 3
    with old_client(sample) as old:
        fetched = fetch_json(cli, old.magnet, "--timeout", "30")
    assert contents(Path(fetched["path"])) == FILES
    assert old.uploaded < old.size, "what was right is kept"


# --- interrupted -----------------------------------------------------------------------------------------------------


def test_a_fetch_from_an_old_client_that_was_killed_goes_on_from_there(
    cli: CommandLine, sample: Sample, hub: Path
) -> None:
    with old_client(sample, 500_000) as old:
        process = cli.start("fetch", old.magnet)
        try:
            wait_until(lambda: staged_weights(hub, wanted=1_000_000) is not None, "nothing arrived in staging")
        finally:
            process.kill()
            process.communicate()
        assert process.returncode < 0, "it ended before it was killed"
    assert visible(hub) == []
    with old_client(sample) as again:
        fetched = fetch_json(cli, again.magnet, "--timeout", "30")
    assert contents(Path(fetched["path"])) == FILES
    assert again.uploaded < again.size - 900_000, "what came before the kill is kept"
