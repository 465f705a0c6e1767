"""SIGKILL at any moment: what a loader can see in the cache is right, and the next fetch goes on from what came."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import killed_at
from conftest import make_model
from faults import MIB, Source, all_right
from hostile import NAME, contents, fetch_json, release_of
from running import CommandLine

SIZE = 48 * MIB
KILLS = 30
LOST_BY_A_KILL = SIZE // 100 + 16 * MIB


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of some hundred pieces."""
    return make_model(tmp_path_factory.mktemp("killed") / "model", SIZE)


@pytest.fixture
def source(folder: Path) -> Iterator[Source]:
    """Gives the model within about two seconds."""
    made = Source(release_of(folder), rate=24 * MIB)
    yield made
    made.session.pause()


def begin(magnet: str, folder: Path, *prefix: str) -> subprocess.Popen[Any]:
    command = [sys.executable, *(prefix or ("-m", "weightswarm")), "fetch", magnet, "--name", NAME, "--timeout", "30"]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_a_fetch_that_is_killed_at_thirty_moments_loses_little_and_shows_nothing_wrong(
    source: Source, folder: Path, hub: Path, tmp_path: Path, cli: CommandLine, figure: Callable[[str, float], None]
) -> None:
    moments = random.Random(20)
    kills = completed = 0
    while kills < KILLS:
        process = begin(source.magnet, tmp_path)
        time.sleep(moments.uniform(0.05, 1.2))
        # Anything after the command's own end is no kill.
        process.kill()
        kills += process.wait(10) == -signal.SIGKILL
        if all_right(hub, folder):
            completed += 1
            cli.ok("rm", NAME, "--yes")
            cli("prune", "--yes")
    before = source.given
    result = fetch_json(cli, source.magnet, "--name", NAME)
    assert all_right(hub, folder)
    size = sum(map(len, contents(folder).values()))
    lost = source.given - size * (completed + 1)
    figure("SIGKILLs of a fetch survived", kills)
    figure("MiB downloaded again after SIGKILLs of a fetch", round(max(0, lost) / MIB, 1))
    assert result["downloaded"] <= source.given - before + MIB
    assert lost <= kills * LOST_BY_A_KILL


@pytest.mark.parametrize("step", [name for each in killed_at.STEPS for name in (f"before-{each}", each)])
def test_a_fetch_that_is_killed_at_a_step_shows_nothing_wrong_and_the_next_one_ends_it(
    step: str,
    source: Source,
    folder: Path,
    hub: Path,
    tmp_path: Path,
    cli: CommandLine,
    figure: Callable[[str, float], None],
) -> None:
    source.handle.set_upload_limit(0)
    process = begin(source.magnet, tmp_path, killed_at.__file__, step)
    assert process.wait(60) == -signal.SIGKILL, "it never came to that step"
    all_right(hub, folder)
    path = Path(fetch_json(cli, source.magnet, "--name", NAME)["path"])
    assert contents(path) == contents(folder)
    assert all_right(hub, folder)
    assert (hub / "models--org--model" / "refs" / "main").read_text() == path.name
    again = source.given - sum(map(len, contents(folder).values()))
    assert again <= LOST_BY_A_KILL
    figure("SIGKILLs of a fetch survived", 1)
    figure("MiB downloaded again after SIGKILLs of a fetch", round(max(0, again) / MIB, 1))
