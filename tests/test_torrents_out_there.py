"""Any torrent out there: whoever made it, it is shown, verified and fetched; private ones are looked for nowhere else.

The torrents are made here by the tools themselves, over layouts and piece lengths; what no tool writes, by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import pytest

from hostile import flip_byte
from running import CommandLineHere
from samples import read_by_libtorrent, write_files
from torrent_makers import KIB, MAKERS, Maker
from torrent_seeding import fetched, manifest_of, seeded
from weights import safetensors_bytes
from weightswarm.metainfo import parse_metainfo

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
