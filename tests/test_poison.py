"""Peers that lie beside an honest one: the fetch completes, wastes little, and soon hears the liar no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest

from hostile import WEIGHTS, contents, fetch_json, refused, serving, visible
from hostile_peer import Babbler, HalfPoisoner, HashLiar, HostilePeer, Poisoner
from old_client import OldClient
from running import CommandLine
from samples import Sample, make_sample
from weights import safetensors_bytes
from weightswarm.metainfo import Metainfo, TorrentVersion, bdecode, bencode, magnet_of, parse_metainfo

NAME = "test-org/tiny"
PIECE = 32 * 1024
GENERATOR = Random(12)
FILES = {
    "config.json": b'{"model_type": "test"}\n',
    WEIGHTS: safetensors_bytes(2_000_001, GENERATOR),
    "tokenizer/vocab.txt": GENERATOR.randbytes(40_000),
}
SIZE = sum(map(len, FILES.values()))
SLOW = 750_000
"""Bytes a second that the honest peer gives, so that the other one is asked as well: the release takes three seconds,
and a second of it may be under way from the other one before its first piece is judged."""
ALL = list(TorrentVersion)
Figure = Callable[[str, float], None]


def locations(sample: Sample) -> Sequence[Path]:
    return [sample.root / file.path for file in sample.metainfo.files]


def fetched_beside(cli: CommandLine, sample: Sample, peer: OldClient, rate: int = SLOW) -> int:
    """Fetch from an honest peer and another one; return how many bytes came in all."""
    with peer, serving(sample.metainfo, locations(sample), rate) as magnet:
        found = fetch_json(cli, magnet, "--peer", str(peer.address), "--name", NAME, "--timeout", "20")
    assert contents(Path(found["path"])) == FILES
    return int(found["downloaded"])


@pytest.mark.parametrize(("kind", "version"), [*((Poisoner, v) for v in ALL), (HalfPoisoner, TorrentVersion.HYBRID)])
def test_a_poisoner_is_hung_up_on_and_costs_no_more_than_it_sent(
    cli: CommandLine, tmp_path: Path, kind: type[HostilePeer], version: TorrentVersion, figure: Figure
) -> None:
    sample = make_sample(tmp_path / "origin", FILES, version)
    poisoner = kind(sample.metainfo, locations(sample), rate=SLOW)
    downloaded = fetched_beside(cli, sample, poisoner)

    assert poisoner.uploaded > 0, "it was never asked"
    if kind is Poisoner:
        # One connection is for the metadata; each of the others ends with what was under way when a piece was judged.
        # That is late where v2 hashes alone judge, and come from the other peer after the pieces.
        most = SIZE if version is TorrentVersion.V2 else 1.5 * SLOW
        assert poisoner.uploaded <= most * (poisoner.connections - 1), "it was heard to the end"
    # Once for the metadata, once for the payload, and once each of three times that all were sent away.
    assert poisoner.connections <= 5
    assert downloaded <= 3 * poisoner.size
    figure("poisoners hung up on", 1)
    figure("KiB taken from poisoners", poisoner.uploaded // 1024)


@pytest.mark.parametrize("version", ALL)
def test_babble_is_no_crash_and_holds_nothing_up(
    cli: CommandLine, tmp_path: Path, version: TorrentVersion, figure: Figure
) -> None:
    """HAVE and bitfields past the end, pieces nobody asked for, messages of 2 GiB, noise, broken extensions."""
    sample = make_sample(tmp_path / "origin", FILES, version)
    babblers = [Babbler(sample.metainfo, locations(sample)) for _ in Babbler.NONSENSE]
    for number, babbler in enumerate(babblers):
        babbler.connections = number
    with serving(sample.metainfo, locations(sample), SLOW) as magnet:
        peers = [word for babbler in babblers for word in ("--peer", str(babbler.address))]
        found = fetch_json(cli, magnet, *peers, "--name", NAME, "--timeout", "20")
    for babbler in babblers:
        with babbler:
            pass
    assert contents(Path(found["path"])) == FILES
    assert all(babbler.connections > number for number, babbler in enumerate(babblers)), "one was never asked"
    assert found["downloaded"] <= SIZE + 20 * PIECE
    figure("peers that babbled borne", len(babblers))


def test_wrong_piece_layers_are_not_believed(cli: CommandLine, tmp_path: Path) -> None:
    sample = make_sample(tmp_path / "origin", FILES, TorrentVersion.V2)
    liar = HashLiar(sample.metainfo, locations(sample), rate=SLOW)
    fetched_beside(cli, sample, liar)
    assert liar.lies > 0, "it was never asked"


def test_a_lying_old_client_beside_an_honest_peer_is_no_mismatch(cli: CommandLine, tmp_path: Path) -> None:
    """Its pieces may come before their v2 hashes are known: those are asked for again."""
    sample = make_sample(tmp_path / "origin", FILES)
    liar = Poisoner(sample.metainfo, locations(sample))
    fetched_beside(cli, sample, liar, rate=4 * SLOW)
    assert liar.connections > 0


# --- a hybrid whose two halves disagree ------------------------------------------------------------------------------


@pytest.fixture
def torn(tmp_path: Path) -> tuple[Metainfo, Sequence[Path], Sequence[Path]]:
    """A hybrid whose v1 pieces describe other bytes than its v2 roots, and where the files of both are."""
    sample = make_sample(tmp_path / "origin", FILES)
    other = make_sample(tmp_path / "other", {**FILES, WEIGHTS: safetensors_bytes(len(FILES[WEIGHTS]), GENERATOR)})
    document = bdecode(sample.metainfo.data)
    document[b"info"][b"pieces"] = bdecode(other.metainfo.data)[b"info"][b"pieces"]
    return parse_metainfo(bencode(document)), locations(sample), locations(other)


def test_a_hybrid_that_disagrees_with_itself_ends_as_a_mismatch_from_a_v1_peer(
    cli: CommandLine, torn: tuple[Metainfo, Sequence[Path], Sequence[Path]], hub: Path
) -> None:
    metainfo, _, by_v1 = torn
    with OldClient(metainfo, by_v1) as old:
        outcome = cli("fetch", old.magnet, "--timeout", "3")
    refused(outcome, 3, WEIGHTS)
    assert visible(hub) == []
    assert old.uploaded <= 3 * old.size, "asked for again and again"


def test_a_hybrid_that_disagrees_with_itself_ends_as_a_mismatch_among_both_kinds_of_peers(
    cli: CommandLine, torn: tuple[Metainfo, Sequence[Path], Sequence[Path]], hub: Path
) -> None:
    metainfo, by_v2, by_v1 = torn
    with OldClient(metainfo, by_v1) as old, HostilePeer(metainfo, by_v2) as new:
        magnet = str(magnet_of(metainfo, peers=(old.address, new.address)))
        outcome = cli("fetch", magnet, "--timeout", "3")
    refused(outcome, 3, WEIGHTS)
    assert visible(hub) == []
    assert old.uploaded + new.uploaded <= 4 * old.size, "asked for again and again"
