"""A full disk: said before payload where it can be known, and else an end that loses nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import make_model
from faults import MIB, Source, all_right
from hostile import NAME, fetch_json, refused, release_of, staged_weights, visible, wait_until
from running import CommandLine

SIZE = 24 * MIB


@pytest.fixture
def file_system(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a file system of so many MiB in memory and returns where it stands; needs root."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: only root may mount a file system")
    mounted: list[Path] = []

    def mount(size: int) -> Path:
        where = tmp_path / f"disk-{len(mounted)}"
        where.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}m", "weightswarm-test", str(where)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"NOT TESTED: no file system can be mounted here: {done.stderr.strip()}")
        mounted.append(where)
        return where

    yield mount
    for where in mounted:
        subprocess.run(["umount", "--lazy", str(where)], check=True)


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Source]:
    """A source of a model of 24 MiB."""
    made = Source(release_of(make_model(tmp_path / "model", SIZE)), rate=0)
    yield made
    made.session.pause()


def test_a_disk_that_is_too_small_is_refused_with_the_sizes_before_any_payload(
    source: Source, file_system: Callable[[int], Path], cli: CommandLine
) -> None:
    hub = file_system(16) / "hub"
    outcome = cli("fetch", source.magnet, "--name", NAME, "--cache-dir", hub)
    refused(outcome, 1, "Not enough space", "bytes are needed", "are free")
    assert source.given == 0
    assert visible(hub) == []


def test_a_disk_that_fills_up_meanwhile_ends_the_fetch_and_the_next_one_goes_on(
    source: Source,
    file_system: Callable[[int], Path],
    cli: CommandLine,
    tmp_path: Path,
    figure: Callable[[str, float], None],
) -> None:
    disk = file_system(64)
    hub, filler = disk / "hub", disk / "filler"
    source.handle.set_upload_limit(6 * MIB)
    fetching = cli.start("fetch", source.magnet, "--name", NAME, "--cache-dir", str(hub), "--timeout", "20")
    try:
        wait_until(lambda: staged_weights(hub, 4 * MIB) is not None, "nothing came")
        with pytest.raises(OSError, match="No space left"), open(filler, "wb", buffering=0) as file:
            while file.write(bytes(MIB)):
                pass
        stdout, stderr = fetching.communicate(timeout=60)
    finally:
        fetching.kill()
    assert fetching.returncode == 1, stderr
    assert stdout == ""
    assert "Error: " in stderr and "Traceback" not in stderr, stderr
    assert "space" in stderr, stderr
    assert not all_right(hub, tmp_path / "model"), "nothing is placed"
    filler.unlink()
    source.handle.set_upload_limit(0)
    result = fetch_json(cli, source.magnet, "--name", NAME, "--cache-dir", hub)
    assert all_right(hub, tmp_path / "model")
    again = source.given - SIZE
    figure("MiB downloaded again after a full disk", round(max(0, again) / MIB, 1))
    assert again <= SIZE // 100 + 16 * MIB
    assert result["downloaded"] < SIZE, "what came before is used"
