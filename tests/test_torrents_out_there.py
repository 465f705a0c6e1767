"""Any torrent out there: whoever made it, it is shown, verified and fetched; private ones are looked for nowhere else.

The torrents are made here by the tools themselves, over layouts and piece lengths; what no tool writes, by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import libtorrent as lt
import pytest

from counterparts import Counterparts
from hostile import NAME, contents, flip_byte, loopback_session, wait_until
from running import CommandLine, CommandLineHere, Seeder
from samples import read_by_libtorrent, write_files
from torrent_makers import KIB, MAKERS, Maker
from torrent_seeding import fetched, manifest_of, seeded
from weights import safetensors_bytes
from weightswarm.magnet import parse_magnet
from weightswarm.metainfo import magnet_of, parse_metainfo

pytestmark = pytest.mark.counterpart

Figure = Callable[[str, float], None]

RANDOM = Random(24)
BORDER = 16 * KIB
LAYOUTS: dict[str, dict[str, bytes]] = {
    "folder": {
        ".gitattributes": b"*.bin filter=lfs\n",
        "LICENSE": b"free\n",
        "config.json": b'{"model_type": "test"}\n',
        "empty.txt": b"",
        "Model.safetensors": safetensors_bytes(70_001, RANDOM),
        "a-first/b/c/deep.txt": RANDOM.randbytes(3_000),
        "tokenizer/Vocab.txt": RANDOM.randbytes(40_000),
        "tokenizer/merges.txt": RANDOM.randbytes(17_000),
    },
    "folder of one file": {"model.safetensors": safetensors_bytes(40_000, RANDOM)},
    "borders": {
        f"Größe {index} 模型.txt": RANDOM.randbytes(size)
        for index, size in enumerate((BORDER - 1, BORDER, 1, BORDER + 1, 2 * BORDER, 3 * BORDER))
    },
}
SINGLE = {
    "one file": ("model.safetensors", safetensors_bytes(100_000, RANDOM)),
    "one file named like a folder": ("weights", RANDOM.randbytes(20_000)),
}


@pytest.fixture
def cli(tmp_path: Path) -> CommandLineHere:
    """The command line, in this process."""
    return CommandLineHere(tmp_path)


@pytest.fixture
def real_cli(tmp_path: Path) -> CommandLine:
    """The command as its users run it."""
    return CommandLine(tmp_path)


@dataclass(frozen=True, slots=True)
class Payload:
    """What torrents are made of: `source` is the file or folder, `folder` where its files' paths begin."""

    source: Path
    folder: Path
    files: dict[str, bytes]


def payload(tmp_path: Path, layout: str) -> Payload:
    """Write a layout."""
    if layout in SINGLE:
        name, data = SINGLE[layout]
        folder = write_files(tmp_path / "single", {name: data})
        return Payload(folder / name, folder, {name: data})
    folder = write_files(tmp_path / "model", LAYOUTS[layout])
    return Payload(folder, folder, LAYOUTS[layout])


def cases() -> Iterator[object]:
    """Every maker with each layout, the piece lengths in turn; and each piece length with the folder."""
    for maker in MAKERS:
        for number, layout in enumerate(LAYOUTS if maker.folders_only else (*LAYOUTS, *SINGLE)):
            turn = number % len(maker.piece_lengths)
            for length in maker.piece_lengths if number == 0 else maker.piece_lengths[turn : turn + 1]:
                shown = "own choice" if length is None else f"{length // KIB} KiB"
                yield pytest.param(maker, layout, length, id=f"{maker.name}, {layout}, {shown}")


@pytest.mark.parametrize(("maker", "layout", "piece_length"), list(cases()))
def test_a_torrent_of_anybodys_making_is_shown_verified_and_fetched(
    cli: CommandLineHere, tmp_path: Path, figure: Figure, maker: Maker, layout: str, piece_length: int | None
) -> None:
    made = payload(tmp_path, layout)
    files = {path: data for path, data in made.files.items() if not maker.leaves_out(path, data)}
    torrent = tmp_path / "theirs.torrent"
    document = maker.make(made.source, torrent, piece_length)
    metainfo = parse_metainfo(document)
    v1, v2, listed = read_by_libtorrent(document)
    assert piece_length in (None, metainfo.piece_length)
    assert (metainfo.info_hash.v1, metainfo.info_hash.v2) == (v1, v2)
    assert [file.size for file in metainfo.files] == [size for _, size in listed]
    assert {file.path: file.size for file in metainfo.files} == {path: len(data) for path, data in files.items()}

    shown = cli.ok("show", torrent, "--json").json
    assert (shown["info_hash"]["v1"], shown["info_hash"]["v2"]) == (v1, v2)
    assert {file["path"] for file in shown["files"]} == files.keys()

    for path in made.files.keys() - files.keys():
        (made.folder / path).unlink()
    cli.ok("verify", made.folder, "--manifest", torrent)
    largest = max(files, key=lambda path: len(files[path]))
    flip_byte(made.folder / largest)
    broken = cli("verify", made.folder, "--manifest", torrent, "--json")
    assert broken.code == 3
    assert largest in [finding["path"] for finding in broken.json["findings"]]
    flip_byte(made.folder / largest)

    manifest = manifest_of(made.folder, files)
    with seeded(metainfo, made.folder) as (magnet, options):
        assert fetched(torrent, tmp_path / "1", replace(options, manifest=manifest.to_bytes())) == files
        assert fetched(magnet, tmp_path / "2", replace(options, trust_magnet=True)) == files
    figure(f"torrents made by {maker.tool}, each shown, verified and fetched twice", 1)


# --- other clients seed them, and we seed them on --------------------------------------------------------------------

BY_QBITTORRENT = ("mktorrent", "create-torrent", "libtorrent hybrid", "torrentfile hybrid", "libtorrent v2")
SEEDED_ON = ("transmission-create", "buildtorrent", "torrentfile v2", "libtorrent hybrid", "libtorrent v1")


def by_name(name: str) -> Maker:
    """Return one of the makers."""
    (found,) = (maker for maker in MAKERS if maker.name == name)
    return found


def made_of_folder(maker: Maker, tmp_path: Path) -> tuple[Payload, dict[str, bytes], Path]:
    """Make a torrent of the folder layout; return what it was made of, the files that are in it, and the torrent."""
    made, torrent = payload(tmp_path, "folder"), tmp_path / "theirs.torrent"
    maker.make(made.source, torrent, 32 * KIB)
    return made, {path: data for path, data in made.files.items() if not maker.leaves_out(path, data)}, torrent


def test_what_qbittorrent_seeds_is_fetched_by_manifest_on_trust_and_by_magnet(
    cli: CommandLineHere, real_cli: CommandLine, tmp_path: Path, figure: Figure
) -> None:
    counterparts = Counterparts(tmp_path / "counterparts")
    made = payload(tmp_path, "folder")
    client = counterparts.qbittorrent()
    try:
        for number, name in enumerate(BY_QBITTORRENT):
            maker, torrent = by_name(name), tmp_path / f"{number}.torrent"
            # Two makers of hybrids may well make the same one, and a client takes it once.
            metainfo = parse_metainfo(maker.make(made.source, torrent, (16 if number % 2 else 32) * KIB))
            files = {path: data for path, data in made.files.items() if not maker.leaves_out(path, data)}
            client.seed(torrent, tmp_path, torrents=number + 1)
            manifest = tmp_path / "manifest.json"
            manifest.write_bytes(manifest_of(made.folder, files).to_bytes())
            peer = ("--peer", f"127.0.0.1:{client.peer_port}", "--timeout", "60", "--cache-dir")
            magnet = str(replace(magnet_of(metainfo), trackers=()))
            for place, arguments in (
                ("1", (torrent, "--manifest", manifest)),
                ("2", (torrent, "--trust-magnet", "--name", NAME)),
                ("3", (magnet, "--trust-magnet", "--name", NAME)),
            ):
                hub = tmp_path / f"{number}-{place}"
                command = cli if number else real_cli
                assert contents(Path(command.ok("fetch", *arguments, *peer, hub).result)) == files
            figure("torrents of others that qbittorrent-nox seeded, each fetched three ways", 1)
    finally:
        counterparts.stop_all()


@pytest.mark.parametrize("name", SEEDED_ON)
def test_what_came_by_a_torrent_is_seeded_on_as_that_torrent(
    cli: CommandLineHere, seeder: Seeder, tmp_path: Path, figure: Figure, name: str
) -> None:
    made, files, torrent = made_of_folder(by_name(name), tmp_path)
    metainfo = parse_metainfo(torrent.read_bytes())
    with seeded(metainfo, made.folder) as (_, options):
        (peer,) = options.network.peers
        cli.ok("fetch", torrent, "--trust-magnet", "--name", NAME, "--peer", str(peer))

    seeding = seeder(NAME)

    assert parse_magnet(seeding.magnet).info_hash == metainfo.info_hash
    again = cli.ok("fetch", seeding.magnet, "--trust-magnet", "--cache-dir", tmp_path / "third").result
    assert contents(Path(again)) == files
    download_by_libtorrent(torrent, seeding.port, tmp_path / "plain", files)
    figure("torrents of others that were fetched, seeded on and fetched again by a plain client", 1)


def test_fetch_seed_gives_a_foreign_torrent_on_under_its_own_info_hash(real_cli: CommandLine, tmp_path: Path) -> None:
    made, files, torrent = made_of_folder(by_name("libtorrent hybrid"), tmp_path)
    metainfo = parse_metainfo(torrent.read_bytes())
    with seeded(metainfo, made.folder) as (magnet, _):
        process = real_cli.start("fetch", magnet, "--trust-magnet", "--name", NAME, "--seed")
        assert process.stderr is not None
        try:
            lines = iter(process.stderr.readline, "")
            link = next(line.partition("Seeding it: ")[2].strip() for line in lines if "Seeding it: " in line)
            port = parse_magnet(link).peers[0].port
            assert parse_magnet(link).info_hash == metainfo.info_hash
            download_by_libtorrent(torrent, port, tmp_path / "plain", files)
        finally:
            process.terminate()
            process.communicate()


def download_by_libtorrent(torrent: Path, port: int, folder: Path, files: dict[str, bytes]) -> None:
    """Download a torrent from the one peer at `port` with a plain client, until `files` are there."""
    session = loopback_session()
    parameters = lt.add_torrent_params()
    parameters.ti = lt.torrent_info(torrent.read_bytes())
    parameters.save_path = str(folder)
    parameters.peers = [("127.0.0.1", port)]
    session.add_torrent(parameters)
    try:
        # It says that it has them before they are all on disk.
        wait_until(lambda: contents(folder / "model") == files, "the plain client did not get it whole")
    finally:
        session.pause()
