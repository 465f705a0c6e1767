"""A new revision brings what changed and nothing else: whole files by their SHA-256, of changed files the pieces."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import weightswarm
from faults import MIB, Source
from hostile import NAME, contents, fetch_json, flip_byte, place, visible
from old_client import OldClient
from running import COMMAND, CommandLine, CommandLineHere, Seeder
from test_pieces_of_files import torrent
from weightswarm import PublishOptions, Release
from weightswarm.fetching import changed, piece_checks
from weightswarm.fetching.piece_checks import digests_on_disk
from weightswarm.hashing import Worker, WorkerPool, piece_digests
from weightswarm.metainfo import TorrentOptions, TorrentVersion, hashed_pieces

DATA = "weights.dat"
REPOSITORY = "models--org--model"
PIECE = 256 * 1024
SIZE = 8 * MIB + 12_345
OVERHEAD = 64 * 1024
"""Bytes of small files, which come whole, and of blocks that were asked for twice."""

Figure = Callable[[str, float], None]


def write_model(folder: Path, size: int = SIZE, seed: int = 1) -> Path:
    """Write a model of one large file and a small one."""
    folder.mkdir(parents=True)
    (folder / DATA).write_bytes(Random(seed).randbytes(size))
    (folder / "config.json").write_text('{"model_type": "test"}\n')
    return folder


def revised(model: Path, name: str, change: Callable[[Path], object]) -> Path:
    """Return a copy of a model, its large file changed."""
    folder = Path(shutil.copytree(model, model.parent / name))
    change(folder / DATA)
    return folder


def released(
    folder: Path, version: TorrentVersion = TorrentVersion.HYBRID, name: str = NAME, **options: Any
) -> Release:
    """Make a release with pieces of `PIECE` bytes."""
    chosen = PublishOptions(version=version, piece_length=PIECE, **options)
    return weightswarm.prepare(folder, name=name, options=chosen)


@contextmanager
def source_of(release: Release) -> Iterator[Source]:
    """Seed a release by a plain session that counts what it gives."""
    source = Source(release, 0)
    try:
        yield source
    finally:
        source.session.pause()


@pytest.fixture
def here(tmp_path: Path) -> CommandLineHere:
    """The command line in this process."""
    return CommandLineHere(tmp_path)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The files of a revision."""
    return write_model(tmp_path / "old")


@pytest.fixture
def new(old: Path) -> Path:
    """The files of the next one: a byte in the middle is another."""
    return revised(old, "new", lambda file: flip_byte(file, 4 * MIB))


# --- what comes ------------------------------------------------------------------------------------------------------


def test_of_a_64_mib_file_with_one_byte_changed_one_piece_comes(
    tmp_path: Path, hub: Path, cli: CommandLine, figure: Figure
) -> None:
    old = write_model(tmp_path / "old", 64 * MIB)
    new = revised(old, "new", lambda file: flip_byte(file, 40 * MIB))
    place(released(old), hub)
    with source_of(released(new)) as source:
        outcome = cli.ok("fetch", source.magnet, "--name", NAME)
        given = source.given
    assert contents(Path(outcome.result)) == contents(new)
    assert PIECE <= given <= PIECE + OVERHEAD
    assert "256 KiB downloaded, 63.8 MiB reused (1 file, 255 pieces)" in outcome.stderr
    assert "Comparing: 64 MiB of 64 MiB" in outcome.stderr
    figure("bytes given for one changed byte of 64 MiB", given)


def _grow(file: Path) -> None:
    with file.open("ab") as stream:
        stream.write(Random(5).randbytes(MIB))


CHANGES: dict[str, tuple[Callable[[Path], object], int]] = {
    "changed": (lambda file: flip_byte(file, 4 * MIB), PIECE),
    "grown": (_grow, MIB + PIECE),
    "shrunk": (lambda file: os.truncate(file, 5 * MIB + 777), 0),
}
"""What happens to a file, and how many bytes of it are other ones then, in whole pieces."""


@pytest.mark.parametrize("version", TorrentVersion)
@pytest.mark.parametrize("change", CHANGES)
def test_whatever_the_torrent_pieces_that_stayed_are_not_downloaded(
    version: TorrentVersion, change: str, old: Path, hub: Path, here: CommandLine, figure: Figure
) -> None:
    do, other = CHANGES[change]
    new = revised(old, "new", do)
    place(released(old, version), hub)
    with source_of(released(new, version)) as source:
        fetched = fetch_json(here, source.magnet, "--name", NAME)
        given = source.given
    assert contents(Path(fetched["path"])) == contents(new)
    # v1 alone has no pad files: the piece that a file shares with the one before it comes.
    at_most = other + (PIECE if version is TorrentVersion.V1 else 0)
    assert given <= at_most + OVERHEAD
    assert fetched["reused"] >= (new / DATA).stat().st_size - at_most
    assert fetched["reused_files"] == 1
    assert fetched["reused_pieces"] >= (5 * MIB) // PIECE - 1
    figure("bytes given for changed pieces", given)
    figure("bytes reused of changed files", fetched["reused"])


def test_a_swarm_that_knows_no_v2_hashes_is_enough(old: Path, new: Path, hub: Path, here: CommandLine) -> None:
    for folder in (old, new):
        (folder / "zeros.txt").write_text("a pad file stands before it")
    place(released(old), hub)
    release = released(new)
    with OldClient(release.metainfo, release.locations) as client:
        fetched = fetch_json(here, client.magnet, "--name", NAME)
    assert contents(Path(fetched["path"])) == contents(new)
    assert client.uploaded <= PIECE + OVERHEAD
    assert fetched["reused_pieces"] == SIZE // PIECE


def test_what_one_older_revision_lacks_another_has(old: Path, tmp_path: Path, hub: Path, here: CommandLine) -> None:
    """The newest has the end, one before it the beginning, one before that nothing."""
    end = revised(old, "end", lambda file: file.write_bytes(bytes(4 * MIB) + file.read_bytes()[4 * MIB :]))
    beginning = revised(old, "beginning", lambda file: file.write_bytes(file.read_bytes()[: 4 * MIB]))
    for moment, folder in enumerate([write_model(tmp_path / "nothing", seed=9), beginning, end]):
        os.utime(place(released(folder), hub), (moment, moment))
    with source_of(released(old)) as source:
        fetched = fetch_json(here, source.magnet, "--name", NAME)
    assert contents(Path(fetched["path"])) == contents(old)
    assert fetched["downloaded"] <= OVERHEAD
    assert fetched["reused"] == sum(map(len, contents(old).values()))


@pytest.mark.parametrize("named", ["in the manifest", "in the torrent"])
def test_a_base_under_another_name_is_found(named: str, old: Path, new: Path, hub: Path, here: CommandLine) -> None:
    base = released(old, name="lab/base")
    place(base, hub, "lab/base")
    in_torrent = TorrentOptions(similar=(base.metainfo.info_hash,))
    options = {"base_revision": base.manifest.revision} if named == "in the manifest" else {"torrent": in_torrent}
    with source_of(released(new, **options)) as source:
        fetched = fetch_json(here, source.magnet, "--name", NAME)
    assert contents(Path(fetched["path"])) == contents(new)
    assert fetched["downloaded"] <= PIECE + OVERHEAD


def test_a_torrent_without_manifest_takes_pieces_too(old: Path, new: Path, hub: Path, here: CommandLine) -> None:
    from hostile import with_manifest

    place(released(old), hub)
    release = released(new)
    bare = Release(
        release.manifest, with_manifest(release.metainfo, None), release.places, release.signatures, release.signed
    )
    with source_of(bare) as source:
        fetched = fetch_json(here, source.magnet, "--name", NAME, "--trust-magnet")
    assert contents(Path(fetched["path"])) == contents(new)
    assert fetched["downloaded"] <= PIECE + OVERHEAD
    assert fetched["reused_pieces"] == SIZE // PIECE


def test_what_stands_twice_in_a_release_comes_once_and_is_seeded_whole(
    old: Path, tmp_path: Path, hub: Path, here: CommandLine, seeder: Seeder
) -> None:
    shutil.copy(old / DATA, old / "twin.dat")
    with source_of(released(old)) as source:
        fetched = fetch_json(here, source.magnet, "--name", NAME)
        given = source.given
    assert contents(Path(fetched["path"])) == contents(old)
    assert given <= SIZE + OVERHEAD
    assert fetched["reused"] == SIZE and fetched["reused_files"] == 1
    assert len(list((hub / REPOSITORY / "blobs").iterdir())) == 2
    again = fetch_json(here, seeder(NAME).magnet, "--name", NAME, "--cache-dir", tmp_path / "second")
    assert contents(Path(again["path"])) == contents(old)
    assert again["downloaded"] <= SIZE + OVERHEAD


@pytest.mark.parametrize("version", [TorrentVersion.HYBRID, TorrentVersion.V1])
def test_only_wanted_files_are_compared(
    version: TorrentVersion, old: Path, new: Path, hub: Path, here: CommandLine
) -> None:
    place(released(old, version), hub)
    shutil.copy(old / DATA, new / "another.dat")
    with source_of(released(new, version)) as source:
        fetched = fetch_json(here, source.magnet, "--name", NAME, "--include", DATA)
    assert contents(Path(fetched["path"])) == {DATA: (new / DATA).read_bytes()}
    assert fetched["complete"] is False
    assert fetched["downloaded"] <= 2 * PIECE + OVERHEAD
    assert fetched["reused_files"] == 0


def test_a_folder_is_brought_up_to_date_in_place(
    old: Path, new: Path, tmp_path: Path, hub: Path, here: CommandLine
) -> None:
    target = tmp_path / "mine"
    with source_of(released(old)) as source:
        fetch_json(here, source.magnet, "--local-dir", target)
    shutil.copy(new / DATA, new / "twice.dat")
    shutil.copy(old / DATA, new / "moved.dat")
    before = (target / DATA).stat()
    with source_of(released(new)) as source:
        plan = here.ok("fetch", source.magnet, "--local-dir", target, "--dry-run", "--json").json
        fetched = fetch_json(here, source.magnet, "--local-dir", target)
        given = source.given
    planned = {each["path"]: (each["source"], each.get("shared")) for each in plan["files"]}
    assert planned[DATA] == ("partly", SIZE)
    assert planned["moved.dat"] == ("reuse", None)
    assert planned["config.json"] == ("here", None)
    assert contents(target) == contents(new)
    assert fetched["reused_pieces"] == SIZE // PIECE
    assert given <= PIECE + OVERHEAD, "what stands twice in it comes once"
    assert (target / DATA).stat().st_ino != before.st_ino, "an open file goes on as it was"
    assert not (target / DATA).stat().st_nlink > 1
    assert visible(hub) == []


def test_a_users_own_file_stays_where_the_next_release_has_one_by_that_name(
    old: Path, new: Path, tmp_path: Path, here: CommandLine
) -> None:
    target = tmp_path / "mine"
    with source_of(released(old)) as source:
        fetch_json(here, source.magnet, "--local-dir", target)
    (new / "notes.md").write_bytes(b"the publisher's")
    (target / "notes.md").write_bytes(b"my own")
    with source_of(released(new)) as source:
        outcome = here("fetch", source.magnet, "--local-dir", target)
        assert (outcome.code, "other files by the same names: notes.md" in outcome.stderr) == (3, True)
        assert contents(target) == {**contents(old), "notes.md": b"my own"}
        (target / "notes.md").write_bytes(b"the publisher's")
        fetch_json(here, source.magnet, "--local-dir", target)
    assert contents(target) == contents(new)


def test_a_folder_takes_from_the_cache(old: Path, new: Path, tmp_path: Path, hub: Path, here: CommandLine) -> None:
    place(released(old), hub)
    with source_of(released(new)) as source:
        fetched = fetch_json(here, source.magnet, "--name", NAME, "--local-dir", tmp_path / "mine")
    assert contents(tmp_path / "mine") == contents(new)
    assert fetched["downloaded"] <= PIECE + OVERHEAD
    assert fetched["reused_files"] == 1


def test_a_dry_run_tells_how_much_may_be_here_at_most(old: Path, hub: Path, here: CommandLine) -> None:
    place(released(old), hub)
    new = revised(old, "new", lambda file: os.truncate(file, 5 * MIB))
    with source_of(released(new)) as source:
        outcome = here.ok("fetch", source.magnet, "--name", NAME, "--dry-run")
        plan = here.ok("fetch", source.magnet, "--name", NAME, "--dry-run", "--json").json
    assert "partly        5 MiB  weights.dat" in outcome.stdout
    assert "5 MiB would be downloaded" in outcome.stderr
    assert "up to 5 MiB of it may be in older files here" in outcome.stderr
    assert plan["download_size"] == 5 * MIB
    assert {"path": DATA, "size": 5 * MIB, "source": "partly", "code": None, "shared": 5 * MIB} in plan["files"]


# --- where it comes from ---------------------------------------------------------------------------------------------


def hub_client_places(folder: Path, hub: Path, *, repository: str = REPOSITORY, links: bool = True) -> Path:
    """Place a folder in the cache as the Hub's own client does: blobs by SHA-256 or git's SHA-1, no record of ours."""
    snapshot = hub / repository / "snapshots" / ("c" * 40)
    blobs = hub / repository / "blobs"
    for path in (snapshot, blobs):
        path.mkdir(parents=True)
    for file in folder.iterdir():
        data = file.read_bytes()
        git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        blob = blobs / (hashlib.sha256(data).hexdigest() if len(data) > MIB else git)
        if links:
            blob.write_bytes(data)
            (snapshot / file.name).symlink_to(f"../../blobs/{blob.name}")
        else:
            (snapshot / file.name).write_bytes(data)
    return snapshot


SHAPES = ["blobs", "blobs in a shared store", "plain files", "plain files of another model"]


@pytest.mark.parametrize("shape", SHAPES)
def test_what_the_hubs_client_placed_serves_as_well(
    shape: str, old: Path, new: Path, tmp_path: Path, hub: Path, here: CommandLine
) -> None:
    repository = "models--some--body" if "another" in shape else REPOSITORY
    snapshot = hub_client_places(old, hub, repository=repository, links="blobs" in shape)
    if "shared" in shape:
        blob = (snapshot / DATA).resolve()
        blob.rename(tmp_path / "store")
        blob.symlink_to(tmp_path / "store")
    shutil.copy(old / DATA, new / "unchanged.dat")
    with source_of(released(new)) as source:
        fetched = fetch_json(here, source.magnet, "--name", NAME)
    assert contents(Path(fetched["path"])) == contents(new)
    assert fetched["downloaded"] <= PIECE + OVERHEAD
    for blob in (hub / REPOSITORY / "blobs").iterdir():
        assert blob.stat().st_nlink == 1, "nothing shares a file with what others may write to"


def test_of_a_damaged_copy_the_damaged_piece_alone_comes(old: Path, hub: Path, here: CommandLine) -> None:
    release = released(old)
    sha256 = hashlib.sha256((old / DATA).read_bytes()).hexdigest()
    blob = hub / "models--some--body" / "blobs" / sha256
    blob.parent.mkdir(parents=True)
    shutil.copy(old / DATA, blob)
    flip_byte(blob, 3 * MIB)
    with source_of(release) as source:
        fetched = fetch_json(here, source.magnet, "--name", NAME)
        given = source.given
    assert contents(Path(fetched["path"])) == contents(old)
    assert PIECE <= given <= PIECE + OVERHEAD
    assert fetched["reused_files"] == 0, "it was found damaged after it was copied"


# --- what goes wrong -------------------------------------------------------------------------------------------------


def _as_link(file: Path) -> None:
    target = file.parents[4] / "elsewhere"
    file.rename(target)
    file.symlink_to(target)


def _as_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _as_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _as_holes(file: Path) -> None:
    os.truncate(file, 0)
    os.truncate(file, SIZE)


ODD: dict[str, tuple[Callable[[Path], object], bool]] = {
    "a link that leads out": (_as_link, False),
    "a folder": (_as_folder, False),
    "a pipe": (_as_pipe, False),
    "nothing": (lambda file: file.unlink(), False),
    "a file of holes": (_as_holes, False),
    "a file cut off": (lambda file: os.truncate(file, 6 * MIB), True),
}
"""What may stand where an older file was, and whether something can be taken from it."""


@pytest.mark.parametrize("odd", ODD)
def test_whatever_stands_in_place_of_an_older_file_the_fetch_goes_on(
    odd: str, old: Path, new: Path, hub: Path, here: CommandLine
) -> None:
    make, useful = ODD[odd]
    snapshot = hub_client_places(old, hub, links=False)
    make(snapshot / DATA)
    with source_of(released(new)) as source:
        fetched = fetch_json(here, source.magnet, "--name", NAME)
    assert contents(Path(fetched["path"])) == contents(new)
    assert (fetched["reused_pieces"] > 0) is useful


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach."""
    with TemporaryDirectory(prefix="weightswarm-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_an_older_file_that_may_not_be_read_is_passed_over(new: Path, open_folder: Path) -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("NOT TESTED: only root may run a command as somebody else")
    hub = open_folder / "hub"
    closed = hub_client_places(new, hub, links=False) / DATA
    closed.write_bytes((new / DATA).read_bytes())
    for path in (hub, *hub.rglob("*")):
        os.chown(path, 54322, 54322)
    os.chown(closed, 0, 0)
    closed.chmod(0o600)
    nobody = ["setpriv", "--reuid=54322", "--regid=54322", "--clear-groups", "--inh-caps=-all"]
    with source_of(released(new)) as source:
        done = subprocess.run(
            [*nobody, *COMMAND, "fetch", source.magnet, "--name", NAME, "--json"],
            env={**os.environ, "HF_HUB_CACHE": str(hub), "HOME": str(open_folder), "XDG_CONFIG_HOME": str(open_folder)},
            cwd=open_folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if "ModuleNotFoundError" in done.stderr:
            pytest.skip("NOT TESTED: this package stands where nobody else may read it")
        assert done.returncode == 0, done.stderr
        assert source.given >= SIZE
    assert '"reused_pieces": 0' in done.stdout


def test_an_older_file_that_changes_between_its_hash_and_its_copy_costs_a_download_and_nothing_else(
    old: Path, new: Path, hub: Path, here: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = hub_client_places(old, hub, links=False)
    copy = changed._Taking._copy

    def change_and_copy(self: Any, source: int, staged: Any, offset: int, length: int) -> None:
        with (snapshot / DATA).open("r+b") as file:
            file.seek(offset)
            file.write(b"other bytes")
        copy(self, source, staged, offset, length)

    monkeypatch.setattr(changed._Taking, "_copy", change_and_copy)
    with source_of(released(new)) as source:
        fetched = fetch_json(here, source.magnet, "--name", NAME)
        given = source.given
    assert contents(Path(fetched["path"])) == contents(new)
    assert fetched["downloaded"] == given > PIECE
    assert fetched["downloaded"] + fetched["reused"] <= SIZE + OVERHEAD, "what was copied wrong is not called reused"


def test_a_file_that_shrinks_while_it_is_hashed_is_left(
    old: Path, new: Path, hub: Path, here: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = hub_client_places(old, hub, links=False)

    def shrink(*arguments: Any, **keywords: Any) -> list[bytes]:
        os.truncate(snapshot / DATA, 100_000)
        return piece_digests(*arguments, **keywords)

    monkeypatch.setattr(piece_checks, "piece_digests", shrink)
    with source_of(released(new)) as source:
        fetched = fetch_json(here, source.magnet, "--name", NAME)
    assert contents(Path(fetched["path"])) == contents(new)
    assert fetched["reused_pieces"] == 0


def test_of_an_older_file_without_a_right_piece_a_sample_alone_is_read(
    old: Path, hub: Path, here: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when bytes were inserted near the start: only pieces at the same offset are looked for."""
    place(released(old), hub)
    new = revised(old, "new", lambda file: file.write_bytes(b"longer header" + file.read_bytes()))
    read: list[int] = []

    def count(worker: Worker, path: Path, offset: int, length: int, *rest: Any, **keywords: Any) -> list[bytes]:
        read.append(length)
        return piece_digests(worker, path, offset, length, *rest, **keywords)

    monkeypatch.setattr(piece_checks, "piece_digests", count)
    with source_of(released(new)) as source:
        fetched = fetch_json(here, source.magnet, "--name", NAME)
    assert contents(Path(fetched["path"])) == contents(new)
    assert fetched["reused_pieces"] == 0
    assert sum(read) == changed.SAMPLES * PIECE < SIZE


_KILLED = """
import os, signal, sys
from weightswarm.cli.start import main
from weightswarm.fetching import changed
left, copy = int(sys.argv.pop(1)), changed._Taking._copy
def killing(self, source, staged, offset, length):
    global left
    left -= 1
    if left == 0:
        copy(self, source, staged, offset, length // 2)
        os.kill(os.getpid(), signal.SIGKILL)
    copy(self, source, staged, offset, length)
changed._Taking._copy = killing
main()
"""


@pytest.mark.parametrize("version", [TorrentVersion.HYBRID, TorrentVersion.V1])
def test_a_kill_in_the_midst_of_it_loses_nothing_and_the_next_run_goes_on(
    version: TorrentVersion, old: Path, new: Path, tmp_path: Path, hub: Path, here: CommandLine, figure: Figure
) -> None:
    place(released(old, version), hub)
    before = visible(hub)
    with source_of(released(new, version)) as source:
        reused = []
        for copies in (1, 7, 16):
            command = [sys.executable, "-c", _KILLED, str(copies), "fetch", source.magnet, "--name", NAME]
            killed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
            assert killed.returncode == -signal.SIGKILL, killed.stderr
            assert visible(hub) == before
            figure("SIGKILLs of a fetch that takes pieces survived", 1)
            reused.append(sum(file.stat().st_blocks for file in (hub / ".locks").rglob(f"files/{DATA}")) * 512)
        assert sorted(reused) == reused and reused[-1] > reused[0]
        fetched = fetch_json(here, source.magnet, "--name", NAME)
        given = source.given
    assert contents(Path(fetched["path"])) == contents(new)
    assert fetched["reused_pieces"] < SIZE // PIECE, "what is staged stays"
    assert given <= (4 if version is TorrentVersion.V1 else 2) * PIECE + OVERHEAD


def test_what_is_staged_already_wins(old: Path, new: Path, hub: Path, here: CommandLine) -> None:
    """Whatever stands in staging is not written over from an older file."""
    place(released(old), hub)
    release = released(new)
    staged = hub / ".locks" / "weightswarm" / release.metainfo.info_hash.digests[0] / "files" / DATA
    staged.parent.mkdir(parents=True)
    with staged.open("wb") as file:
        file.seek(2 * MIB)
        file.write((new / DATA).read_bytes()[2 * MIB : 6 * MIB])
    with source_of(release) as source:
        fetched = fetch_json(here, source.magnet, "--name", NAME)
        given = source.given
    assert contents(Path(fetched["path"])) == contents(new)
    assert given <= OVERHEAD, "the changed piece was staged"
    assert fetched["reused_pieces"] == SIZE // PIECE + 1 - 4 * MIB // PIECE


# --- space -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a file system of its own: `mounted("btrfs", 128 * MIB)`."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: only root may mount a file system")
    where = tmp_path / "mounted"
    where.mkdir()

    def run(*command: str | Path) -> None:
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            pytest.skip(f"NOT TESTED: {command[0]}: {done.stderr.strip()}")

    def mount(kind: str, size: int) -> Path:
        if kind == "tmpfs":
            run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", where)
            return where
        if shutil.which(f"mkfs.{kind}") is None:
            pytest.skip(f"NOT TESTED: the Debian packages btrfs-progs and xfsprogs are not installed (mkfs.{kind})")
        image = tmp_path / "image"
        image.touch()
        os.truncate(image, size)
        run(f"mkfs.{kind}", "-q", image)
        run("mount", "-o", "loop", image, where)
        return where

    yield mount
    subprocess.run(["umount", "--lazy", where], capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize(("kind", "size"), [("btrfs", 160 * MIB), ("xfs", 320 * MIB)])
def test_where_blocks_can_be_shared_a_revision_takes_the_space_of_what_changed(
    kind: str, size: int, mounted: Callable[..., Path], tmp_path: Path, here: CommandLine, figure: Figure
) -> None:
    """Two revisions lie on a disk that could not hold them side by side."""
    disk = mounted(kind, size)
    old = write_model(tmp_path / "old", 32 * MIB + 1)
    new = revised(old, "new", lambda file: flip_byte(file, 20 * MIB))
    (new / "second.dat").write_bytes((old / DATA).read_bytes())
    hub = disk / "hub"
    base = released(old, name="lab/base")
    place(base, hub, "lab/base")
    filler = disk / "filler"
    free = shutil.disk_usage(disk).free - 28 * MIB
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free)
    os.sync()
    before = shutil.disk_usage(disk).free
    with source_of(released(new, base_revision=base.manifest.revision)) as source:
        fetched = fetch_json(here, source.magnet, "--name", NAME, "--cache-dir", hub)
    os.sync()
    assert contents(Path(fetched["path"])) == contents(new)
    assert (fetched["reused_files"], fetched["reused_pieces"]) == (2, 32 * MIB // PIECE)
    taken = before - shutil.disk_usage(disk).free
    assert taken < 8 * MIB, "of 64 MiB"
    figure(f"MiB that 64 MiB of a second revision take on {kind}", round(taken / MIB, 2))


def test_pieces_that_will_not_fit_are_not_copied(
    old: Path, new: Path, mounted: Callable[..., Path], here: CommandLine
) -> None:
    hub = mounted("tmpfs", SIZE + 6 * MIB) / "hub"
    place_on(hub, old)
    with source_of(released(new)) as source:
        outcome = here("fetch", source.magnet, "--name", NAME, "--cache-dir", hub)
    assert outcome.code == 1
    assert "Not enough space" in outcome.stderr
    assert not [file for file in (hub / ".locks").rglob("files/*") if file.stat().st_size]


def place_on(hub: Path, folder: Path) -> None:
    """Put a snapshot of plain files where a fetch would not fit."""
    hub_client_places(folder, hub, links=False)


# --- what pieces hash to ---------------------------------------------------------------------------------------------


SIZES = [100, 0, 3 * 16_384, 5 * 16_384 + 1, 16_384, 16_383, 40, 2 * 16_384 + 77]


@pytest.mark.parametrize("layers", [True, False])
@pytest.mark.parametrize("version", TorrentVersion)
def test_every_piece_of_every_layout_hashes_to_what_the_torrent_says(
    version: TorrentVersion, layers: bool, tmp_path: Path
) -> None:
    metainfo = torrent(tmp_path, SIZES, version)
    if not layers:
        metainfo = replace(metainfo, piece_layers={})
    found = hashed_pieces(metainfo, set(range(len(SIZES))))
    pool = WorkerPool(1)
    try:
        covered = 0
        for index, pieces in found.items():
            path = tmp_path / metainfo.files[index].path
            with path.open("ab") as file:
                file.write(b"an older file may be longer")

            digests = pool.submit(partial(digests_on_disk, path, pieces, pieces.numbers)).result()
            assert digests == [pieces.digest(number) for number in pieces.numbers]
            covered += pieces.span(pieces.numbers)[1]
    finally:
        pool.close()
    if version is TorrentVersion.V1:
        assert 0 < covered < sum(SIZES), "pieces that two files share are not compared"
    elif version is TorrentVersion.V2 and not layers:
        assert covered == sum(size for size in SIZES if size <= 16_384), "a file within one piece is its own hash"
    else:
        assert covered == sum(SIZES)
