"""The main job with real weights: publish, seed in one process, fetch by magnet in another, and a loader finds it."""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
from pathlib import Path

from conftest import make_model
from running import CommandLine, Seeder
from weightswarm.registry import bundled_registry

NAME = "sentence-transformers/all-MiniLM-L6-v2"


def test_minilm_is_published_seeded_fetched_by_magnet_and_found_by_the_hub_client(
    cli: CommandLine, seeder: Seeder, minilm: Path, hub: Path
) -> None:
    published = cli.ok("publish", minilm, "--name", NAME, "-o", "release").result
    listed_here = bundled_registry().find(NAME)
    assert listed_here is not None
    assert published == str(listed_here.magnet), "whoever publishes these files makes the release that manifests/ lists"
    seeding = seeder(minilm, "--name", NAME)
    assert seeding.magnet.startswith(published), "the seeded magnet is the published one with an address added"

    fetched = cli.ok("fetch", seeding.magnet, "--name", NAME)

    snapshot = Path(fetched.result)
    assert snapshot.parent == hub / "models--sentence-transformers--all-MiniLM-L6-v2" / "snapshots"
    names = sorted(p.relative_to(minilm).as_posix() for p in minilm.rglob("*") if p.is_file())
    assert len(names) == 13
    assert filecmp.cmpfiles(minilm, snapshot, names, shallow=False) == (names, [], [])
    assert not (set(os.listdir(hub)) - {".locks", snapshot.parents[1].name})

    from huggingface_hub import snapshot_download

    assert Path(snapshot_download(NAME, cache_dir=hub, local_files_only=True)) == snapshot
    listed = subprocess.run(
        [Path(sys.executable).with_name("hf"), "cache", "ls", "--no-truncate", "--cache-dir", str(hub)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert NAME in listed.stdout
    assert "warning" not in (listed.stdout + listed.stderr).lower()
    assert cli.ok("verify", NAME).code == 0


def test_a_relative_folder_and_several_named_in_one_word_are_seeded(
    cli: CommandLine, seeder: Seeder, model: Path, tmp_path: Path
) -> None:
    make_model(tmp_path / "second", size=200_000, seed=8)
    seeding = seeder(f"org/first={model.name}", "org/second=./second", releases=2)
    for magnet, name, source in zip(
        seeding.magnets, ("org/first", "org/second"), (model, tmp_path / "second"), strict=True
    ):
        snapshot = Path(cli.ok("fetch", magnet, "--name", name).result)
        assert (snapshot / "model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()
