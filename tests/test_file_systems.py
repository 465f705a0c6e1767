"""File systems that refuse: read-only, with things in the way, without links. One clear line, and nothing is lost."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import weightswarm
from conftest import make_model
from faults import MIB
from hostile import (
    LOOPBACK,
    NAME,
    WEIGHTS,
    contents,
    fetch_json,
    flip_byte,
    listing,
    peer_of,
    place,
    refused,
    release_of,
    serving_release,
    visible,
)
from running import COMMAND, CommandLine, Outcome, Seeder
from weightswarm import FetchOptions, Release
from weightswarm.cache import ModelCache, list_cache, remove_revision
from weightswarm.storage import OpenFolder

REPOSITORY = "models--org--model"


@pytest.fixture
def release(model: Path) -> Release:
    """The model as a release."""
    return release_of(model)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Makes a folder read-only as a mount does; root is not held back by modes."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: only root may mount a file system")
    mounted: list[Path] = []

    def remount(folder: Path) -> None:
        done = run("mount", "--bind", folder, folder)
        if done.returncode != 0:
            pytest.skip(f"NOT TESTED: nothing can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        assert run("mount", "-o", "remount,bind,ro", folder).returncode == 0

    yield remount
    for folder in mounted:
        run("umount", "--lazy", folder)


def test_a_read_only_cache_is_named_before_payload_and_can_be_read_listed_verified_and_seeded(
    release: Release, model: Path, hub: Path, tmp_path: Path, cli: CommandLine, seeder: Seeder,
    read_only: Callable[[Path], None],
) -> None:  # fmt: skip
    place(release, hub)
    before = listing(hub)
    read_only(hub)
    other = release_of(make_model(tmp_path / "other", 100_000, seed=9))
    with serving_release(other) as magnet:
        refused(cli("fetch", magnet, "--name", NAME, "--timeout", "20"), 1, "Read-only file system", str(hub))
    refused(cli("rm", NAME, "--yes"), 1, "Read-only file system")
    assert fetch_json(cli, str(release.magnet()), "--name", NAME)["complete"] is True
    assert cli.ok("ls", "--json").json[0]["state"] == "complete"
    verified = cli.ok("verify", NAME)
    assert "could not be noted" in verified.stderr
    magnet = seeder(NAME).magnet
    fetched = fetch_json(cli, magnet, "--name", NAME, "--cache-dir", tmp_path / "second")
    assert contents(Path(fetched["path"])) == contents(model)
    assert listing(hub) == before


@pytest.mark.parametrize("length", [4050, 4200], ids=["staging", "the cache itself"])
def test_a_path_that_is_too_long_is_named(
    length: int, release: Release, model: Path, tmp_path: Path, cli: CommandLine
) -> None:
    """A path may have 4,095 bytes, a name 255."""
    count, rest = divmod(length - len(str(tmp_path)) - 150, 150)
    deep = tmp_path.joinpath(*["x" * 149] * count, "y" * (rest + 149))
    assert len(str(deep)) == length
    with serving_release(release) as magnet:
        refused(cli("fetch", magnet, "--name", NAME, "--cache-dir", deep, "--timeout", "20"), 1, "File name too long")
        refused(cli("fetch", magnet, "--local-dir", tmp_path / ("y" * 300), "--timeout", "20"), 1, "too long")
    refused(cli("publish", model, "--name", NAME, "-o", tmp_path / ("y" * 300)), 1, "too long")


OBSTACLES = {
    "a folder for the blob": (f"{REPOSITORY}/blobs/{{weights}}", "folder", "is a folder where a file should be"),
    "a folder for the ref": (f"{REPOSITORY}/refs/main", "folder", "is a folder where a file should be"),
    "a folder for the lock": (".locks/models--org--model/weightswarm.lock", "folder", "weightswarm.lock"),
    "a folder for the staging lock": (".locks/weightswarm/{digest}.lock", "folder", "lock"),
    "a folder for the torrent": (".locks/weightswarm/{digest}/release.torrent", "folder", "release.torrent"),
    "a folder for a file in staging": (f".locks/weightswarm/{{digest}}/files/{WEIGHTS}", "folder", WEIGHTS),
    "a folder for a file in the snapshot": (f"{REPOSITORY}/snapshots/{{revision}}/{WEIGHTS}", "folder", WEIGHTS),
    "a file for the snapshot": (f"{REPOSITORY}/snapshots/{{revision}}", "file", "is in the way"),
    "a file for the blobs": (f"{REPOSITORY}/blobs", "file", "is in the way"),
    "a file for the model": (REPOSITORY, "file", "is in the way"),
    "a file for the locks": (".locks", "file", "is in the way"),
    "a file for the records": (f"{REPOSITORY}/.weightswarm", "file", "is in the way"),
}


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_what_is_in_the_way_is_named_and_moving_it_away_is_all_it_takes(
    obstacle: str, release: Release, model: Path, hub: Path, cli: CommandLine
) -> None:
    template, kind, words = OBSTACLES[obstacle]
    weights = next(entry.sha256 for entry in release.manifest.files if entry.path == WEIGHTS)
    digest = release.metainfo.info_hash.digests[0]
    path = hub / template.format(weights=weights, digest=digest, revision=release.manifest.revision)
    path.parent.mkdir(parents=True)
    if kind == "folder":
        (path / "precious").mkdir(parents=True)
    else:
        path.write_text("precious")
    with serving_release(release) as magnet:
        outcome = cli("fetch", magnet, "--name", NAME, "--timeout", "20")
        assert outcome.code in (1, 3)
        refused(outcome, outcome.code, words)
        assert path.exists(), "what is somebody's is not removed"
        path.rename(hub.parent / "moved")
        assert contents(Path(fetch_json(cli, magnet, "--name", NAME)["path"])) == contents(model)


def test_a_file_that_is_larger_than_the_file_system_allows_is_named(
    release: Release, hub: Path, tmp_path: Path
) -> None:
    """As on FAT, whose files end at 4 GiB."""
    with serving_release(release) as magnet:
        done = subprocess.run(
            [*COMMAND, "fetch", magnet, "--name", NAME, "--timeout", "20"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=60,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB)),
        )
    refused(Outcome(done.returncode, done.stdout, done.stderr), 1, "File too large")
    assert visible(hub) == []


# --- without links -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A real exFAT file system: no links of either kind, no modes, no owners, names that differ in case are one."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: only root may mount a file system")
    if not (shutil.which("mkfs.exfat") and shutil.which("mount.exfat-fuse")):
        pytest.skip("NOT TESTED: the Debian packages exfat-fuse and exfatprogs are not installed")
    image = tmp_path_factory.mktemp("card") / "image"
    where = image.with_name("mounted")
    where.mkdir()
    with image.open("wb") as file:
        file.truncate(256 * MIB)
    assert run("mkfs.exfat", image).returncode == 0
    loop = run("losetup", "--find", "--show", image)
    if loop.returncode != 0:
        pytest.skip(f"NOT TESTED: no loop device can be had: {loop.stderr.strip()}")
    device = loop.stdout.strip()
    try:
        mounted = run("mount.exfat-fuse", device, where)
        if mounted.returncode != 0 or not os.path.ismount(where):
            pytest.skip(f"NOT TESTED: exFAT cannot be mounted here: {mounted.stderr.strip()}")
        yield where
        for _ in range(50):
            if run("umount", where).returncode == 0:
                break
            time.sleep(0.1)
    finally:
        run("losetup", "--detach", device)


def test_everything_works_in_a_cache_on_a_file_system_without_links(
    card: Path, release: Release, model: Path, tmp_path: Path, cli: CommandLine, seeder: Seeder
) -> None:
    with pytest.raises(OSError, match=r"not implemented|not permitted"):
        (card / "probe").symlink_to("nowhere")
    hub = card / "hub"
    here = ("--cache-dir", hub)
    with serving_release(release) as magnet:
        part = fetch_json(cli, magnet, "--name", NAME, "--include", "config.json", *here)
        assert part["complete"] is False
        fetched = fetch_json(cli, magnet, "--name", NAME, *here)
        snapshot = Path(fetched["path"])
        assert fetched["complete"] is True
        assert contents(snapshot) == contents(model)
        assert not [path for path in (hub / REPOSITORY).rglob("*") if path.is_symlink()]
        assert [entry["state"] for entry in cli.ok("ls", "--json", *here).json] == ["complete"]
        assert "4 files" in cli.ok("verify", NAME, *here).stderr
        assert fetch_json(cli, magnet, "--name", NAME, "--timeout", "1", *here)["downloaded"] == 0

        from huggingface_hub import scan_cache_dir, snapshot_download

        assert snapshot_download(NAME, cache_dir=hub, local_files_only=True) == str(snapshot)
        assert scan_cache_dir(hub).warnings == []

        flip_byte(snapshot / WEIGHTS)
        assert cli("verify", NAME, *here).stdout.startswith(f"wrong hash: {WEIGHTS}")
        cli.ok("verify", NAME, "--repair", "--peer", peer_of(magnet), "--timeout", "20", *here)
        assert contents(snapshot) == contents(model)
    second = fetch_json(cli, seeder(NAME, *here).magnet, "--name", NAME, "--cache-dir", tmp_path / "second")
    assert contents(Path(second["path"])) == contents(model)
    # The same content under another name is not downloaded again.
    reused = fetch_json(cli, str(release.magnet()), "--name", "org/twin", "--timeout", "5", *here)
    assert reused["reused"] == reused["size"] and reused["downloaded"] == 0
    assert "Freed" in cli.ok("rm", NAME, "org/twin", "--yes", *here).stderr
    assert visible(hub) == []


def test_a_revision_takes_from_an_older_one_where_there_are_no_links(card: Path, tmp_path: Path) -> None:
    hub = card / "revisions"
    old = make_model(tmp_path / "old")
    new = Path(shutil.copytree(old, tmp_path / "new"))
    flip_byte(new / WEIGHTS, 2_000_000)
    place(release_of(old), hub)
    with serving_release(release_of(new)) as magnet:
        options = FetchOptions(name=NAME, timeout=30, network=LOOPBACK)
        result = weightswarm.fetch(magnet, cache_dir=hub, options=options)
    assert contents(result.path) == contents(new)
    assert result.downloaded < 100_000 and result.reuse.pieces > 180


def test_a_killed_fetch_goes_on_where_there_are_no_links(card: Path, tmp_path: Path, cli: CommandLine) -> None:
    from faults import Source

    hub = card / "other-hub"
    model = make_model(tmp_path / "large", 12 * MIB)
    source = Source(release_of(model), rate=6 * MIB)
    try:
        fetching = cli.start("fetch", source.magnet, "--name", NAME, "--cache-dir", str(hub), "--timeout", "20")
        time.sleep(1.2)
        fetching.kill()
        fetching.communicate()
        source.handle.set_upload_limit(0)
        fetched = fetch_json(cli, source.magnet, "--name", NAME, "--cache-dir", hub)
        assert contents(Path(fetched["path"])) == contents(model)
        assert source.given <= 12 * MIB + 6 * MIB
    finally:
        source.session.pause()


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_links_are_refused_the_snapshot_holds_the_files(
    number: int, release: Release, model: Path, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same without a file system of that kind: every link fails as it does there."""

    def fail(self: OpenFolder, name: str, destination: str) -> None:
        raise OSError(number, os.strerror(number), str(self.path / name))

    monkeypatch.setattr(OpenFolder, "link", fail)
    snapshot = place(release, hub)
    assert contents(snapshot) == contents(model)
    assert all(stat.S_IMODE(f.stat().st_mode) == 0o444 for f in snapshot.rglob("*") if f.is_file())
    assert [each.state for each in list_cache(ModelCache(hub))] == ["complete"]
    assert weightswarm.verify(NAME, cache_dir=hub).verdict.ok
    assert place(release, hub) == snapshot
    freed = remove_revision(ModelCache(hub).repository(NAME), snapshot.name)
    assert freed == sum(map(len, contents(model).values()))


def test_blobs_of_another_client_are_copied_into_the_snapshot_where_links_are_refused(
    release: Release, model: Path, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = ModelCache(hub).repository(NAME)
    repository.blobs.mkdir(parents=True)
    weights = next(entry for entry in release.manifest.files if entry.path == WEIGHTS)
    shutil.copy(model / WEIGHTS, repository.blob(weights))

    def fail(self: OpenFolder, name: str, destination: str) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(OpenFolder, "link", fail)
    with serving_release(release) as magnet:
        options = FetchOptions(name=NAME, timeout=30, network=LOOPBACK)
        result = weightswarm.fetch(magnet, cache_dir=hub, options=options)
    assert result.downloaded < weights.size
    assert contents(result.path) == contents(model)


def test_a_server_that_cannot_lock_says_so(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from weightswarm.cache import hold
    from weightswarm.errors import StorageFailure

    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StorageFailure, match="No locks available") as caught, hold(hub / ".locks" / "x" / "y.lock"):
        pass
    assert caught.value.hint is not None
