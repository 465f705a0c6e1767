"""SIGKILL at any moment and at any step: what can be seen is right, nothing good is lost, the next command ends it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import killed_at
import weightswarm
from conftest import make_model
from faults import MIB, Source, all_right
from hostile import (
    NAME,
    WEIGHTS,
    age,
    contents,
    fetch_json,
    flip_byte,
    peer_of,
    place,
    release_of,
    serving_release,
)
from running import CommandLine, Seeder
from weightswarm.cache import ModelCache, prune_staging
from weightswarm.registry.index import parse_index
from weightswarm.storage import write_atomically

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


def steps_of(run: Callable[[int], subprocess.Popen[Any]], fewest: int = 8) -> Iterator[int]:
    """Run a command again and again, killed one change to a folder later each time, until it comes to its end."""
    for step in range(1, 400):
        process = run(step)
        _, stderr = process.communicate(timeout=60)
        if process.returncode == 0:
            assert step > fewest, "there were no steps to be killed at"
            return
        assert process.returncode == -signal.SIGKILL, stderr
        yield step
    raise AssertionError("it never comes to its end")


def start_at(step: int, folder: Path, *arguments: str | Path) -> subprocess.Popen[Any]:
    command = [sys.executable, killed_at.__file__, str(step), *map(str, arguments)]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_removal_killed_at_any_step_leaves_no_link_that_leads_nowhere_and_is_ended_by_the_next_command(
    hub: Path, tmp_path: Path, cli: CommandLine, figure: Callable[[str, float], None]
) -> None:
    """Two revisions that share files: one goes, the other must stay whole, and no blob of the first may stay."""
    kept, doomed = make_model(tmp_path / "kept", 50_000), make_model(tmp_path / "doomed", 60_000, seed=8)
    shutil.copy(kept / "tokenizer" / "vocab.txt", doomed / "tokenizer" / "vocab.txt")
    first, second = release_of(kept), release_of(doomed)
    pristine = tmp_path / "pristine"
    snapshot = place(first, pristine)
    place(second, pristine)
    blobs = {entry.sha256 for entry in first.manifest.files}

    def run(step: int) -> subprocess.Popen[Any]:
        shutil.rmtree(hub, ignore_errors=True)
        shutil.copytree(pristine, hub, symlinks=True)
        return start_at(step, tmp_path, "rm", f"{NAME}@{second.manifest.revision}", "--yes")

    repository = hub / "models--org--model"
    for step in steps_of(run):
        for each in (repository / "snapshots").iterdir():
            whole = {snapshot.name: kept, second.manifest.revision: doomed}[each.name]
            assert contents(each) == contents(whole), f"after step {step}"
        # What a killed removal left is nobody's unless the snapshot is still there: then it can be removed again.
        if (repository / "snapshots" / second.manifest.revision).exists():
            cli.ok("rm", f"{NAME}@{second.manifest.revision}", "--yes")
        prune_staging(ModelCache(hub))
        assert {blob.name for blob in (repository / "blobs").iterdir()} == blobs, f"after step {step}"
        assert sorted(p.name for p in (repository / ".weightswarm").iterdir()) == [snapshot.name]
        assert not [p for p in (hub / ".locks" / "weightswarm").iterdir() if p.is_dir()], "nothing is left"
        assert all_right(hub, kept)
        figure("SIGKILLs of rm survived", 1)


def test_a_removal_of_all_killed_at_any_step_is_ended_by_prune(
    hub: Path, tmp_path: Path, figure: Callable[[str, float], None]
) -> None:
    folder = make_model(tmp_path / "model", 50_000)
    release = release_of(folder)
    pristine = tmp_path / "pristine"
    place(release, pristine)

    def run(step: int) -> subprocess.Popen[Any]:
        shutil.rmtree(hub, ignore_errors=True)
        shutil.copytree(pristine, hub, symlinks=True)
        return start_at(step, tmp_path, "rm", NAME, "--yes")

    for step in steps_of(run):
        gone = not all_right(hub, folder)
        prune_staging(ModelCache(hub))
        assert all_right(hub, folder) is not gone
        if gone:
            assert not (hub / "models--org--model").exists(), f"after step {step}"
        figure("SIGKILLs of rm survived", 1)


def test_publishing_killed_at_any_step_leaves_each_file_whole_or_not_there(
    tmp_path: Path, figure: Callable[[str, float], None]
) -> None:
    model = make_model(tmp_path / "model", 50_000)
    age(model)
    memory, output, registry = tmp_path / "user-cache", tmp_path / "out", tmp_path / "registry"
    release = release_of(model)
    before = {**contents(model)}

    def run(step: int) -> subprocess.Popen[Any]:
        for folder in (memory, output, registry):
            shutil.rmtree(folder, ignore_errors=True)
        return start_at(2 * step, tmp_path, "publish", model, "--name", NAME, "-o", output, "--add-to", registry)

    for step in steps_of(run):
        found = [p for folder in (output, registry) for p in folder.rglob("*") if p.is_file()]
        for path in found:
            data = path.read_bytes()
            if path.name.endswith("manifest.json"):
                assert data == release.manifest.to_bytes(), f"after step {step}"
            elif path.name.endswith(".torrent"):
                assert data == release.metainfo.data, f"after step {step}"
            elif path.name == "index.json":
                assert [each.name for each in parse_index(data)] == [NAME]
            elif not path.name.endswith((".tmp", ".lock")):
                assert data.decode().strip() in (release.manifest.revision, str(release.magnet()))
        assert sum(path.name.endswith(".tmp") for path in found) <= 1
        again = weightswarm.publish(model, name=NAME, output=output, registry=registry)
        assert again.release.metainfo == release.metainfo, "what is remembered after a kill is right"
        figure("SIGKILLs of publish survived", 1)
    assert contents(model) == before


def test_what_killed_writes_leave_is_swept_an_hour_later_and_nothing_else_is(tmp_path: Path) -> None:
    stale, fresh, other = (tmp_path / name for name in (".facts.json.a.tmp", ".facts.json.b.tmp", ".else.json.c.tmp"))
    for path in (stale, fresh, other):
        path.write_bytes(b"half")
    long_ago = time.time() - 4000
    os.utime(stale, (long_ago, long_ago))
    os.utime(other, (long_ago, long_ago))
    write_atomically(tmp_path / "facts.json", b"whole")
    assert {p.name for p in tmp_path.iterdir() if p.is_file()} == {fresh.name, other.name, "facts.json"}


def test_a_repair_killed_at_any_step_loses_nothing_good(
    hub: Path, tmp_path: Path, cli: CommandLine, figure: Callable[[str, float], None]
) -> None:
    folder = make_model(tmp_path / "model", 50_000)
    release = release_of(folder)
    pristine = tmp_path / "pristine"
    snapshot = place(release, pristine)
    flip_byte((snapshot / WEIGHTS).resolve())
    damaged = contents(snapshot)
    with serving_release(release) as magnet:
        repair = ("verify", NAME, "--repair", "--timeout", "20", "--peer", peer_of(magnet))

        def run(step: int) -> subprocess.Popen[Any]:
            shutil.rmtree(hub, ignore_errors=True)
            shutil.copytree(pristine, hub, symlinks=True)
            return start_at(3 * step, tmp_path, *repair)

        for step in steps_of(run, fewest=5):
            visible = contents(hub / snapshot.relative_to(pristine))
            assert visible in (damaged, contents(folder)), f"after step {step}"
            if step % 5 == 0:
                cli.ok(*repair)
                assert all_right(hub, folder)
            figure("SIGKILLs of verify --repair survived", 1)
    assert all_right(hub, folder)


def test_a_fetch_into_a_folder_killed_at_any_step_shows_only_whole_files(
    tmp_path: Path, cli: CommandLine, figure: Callable[[str, float], None]
) -> None:
    folder = make_model(tmp_path / "model", 50_000)
    whole = contents(folder)
    target = tmp_path / "mine"
    with serving_release(release_of(folder)) as magnet:
        fetch = ("fetch", magnet, "--local-dir", target, "--timeout", "20")

        def run(step: int) -> subprocess.Popen[Any]:
            shutil.rmtree(target, ignore_errors=True)
            return start_at(3 * step, tmp_path, *fetch)

        for step in steps_of(run, fewest=5):
            found = contents(target)
            assert {path: whole[path] for path in found} == found, f"after step {step}"
            if step % 5 == 0:
                cli.ok(*fetch)
                assert contents(target) == whole
            figure("SIGKILLs of fetch --local-dir survived", 1)
    assert contents(target) == whole


def test_a_seed_killed_at_any_moment_leaves_its_files_and_what_it_remembers_right(
    tmp_path: Path, seeder: Seeder, figure: Callable[[str, float], None]
) -> None:
    model = make_model(tmp_path / "model", 2 * MIB)
    age(model)
    before = {**contents(model)}
    moments = random.Random(21)
    for number in range(12):
        # Every other time it hashes anew, and is killed early; else it knows the hashes, and is killed while it gives.
        if number % 2 == 0:
            shutil.rmtree(tmp_path / "user-cache", ignore_errors=True)
        process = CommandLine(tmp_path).start("seed", model, "--name", NAME)
        time.sleep(moments.uniform(0.05, 0.5))
        process.kill()
        process.communicate()
        figure("SIGKILLs of seed survived", 1)
    assert contents(model) == before
    seeding = seeder(model, "--name", NAME)
    fetched = fetch_json(CommandLine(tmp_path), seeding.magnet, "--name", NAME)
    assert contents(Path(fetched["path"])) == before
