"""Attacks on staging and cache by whoever else may write there: planted and swapped links, wrong blobs, odd refs.

The victim is a folder outside the cache: its contents, modes and times must never change.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import weightswarm
from conftest import make_model
from hostile import (
    LOOPBACK,
    NAME,
    SLOW,
    WEIGHTS,
    contents,
    fetch_json,
    listing,
    place,
    refused,
    release_of,
    serving_release,
    staged_weights,
    wait_until,
)
from running import CommandLine, Outcome
from weightswarm import FetchOptions, Release, WeightswarmError
from weightswarm.cache import (
    CachePlacement,
    ModelCache,
    StagedFile,
    VerifiedFiles,
    hold,
    prune_staging,
    remove_revision,
)
from weightswarm.cache.locks import hold_if_free
from weightswarm.errors import ContentMismatch, StorageFailure
from weightswarm.storage import FileIdentity

SECRET = b"the victim's own"


@pytest.fixture
def release(model: Path) -> Release:
    """The model as a release."""
    return release_of(model)


class Victim:
    """A folder of somebody's, with a file of each name that an attack could aim at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "file"
        folder.mkdir()
        for name in ("file", "main", WEIGHTS, "config.json", "record.json", "release.torrent", "weightswarm.lock"):
            (folder / name).write_bytes(SECRET)
            (folder / name).chmod(0o640)
        for name in ("files", "blobs", "refs", "snapshots"):
            (folder / name).mkdir()
            (folder / name / WEIGHTS).write_bytes(SECRET)
        self.before = self.seen()

    def seen(self) -> tuple[object, object]:
        """Everything that a write could change; not how many names a file has."""
        return listing(self.folder), contents(self.folder)

    def unharmed(self) -> bool:
        """Whether nothing was written, renamed, removed or re-dated."""
        return self.seen() == self.before


@pytest.fixture
def victim(tmp_path: Path) -> Victim:
    """Somebody else's folder."""
    return Victim(tmp_path / "victim")


def link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def hard_link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.hardlink_to(target)


def digest(release: Release) -> str:
    return str(release.metainfo.info_hash.digests[0])


STAGING = ".locks/weightswarm/{digest}"
REPOSITORY = "models--org--model"
PLANTED_FOLDERS = [
    ".locks",
    ".locks/weightswarm",
    ".locks/models--org--model",
    STAGING,
    f"{STAGING}/files",
    f"{STAGING}/files/tokenizer",
    f"{STAGING}/reused",
    f"{STAGING}/snapshot",
    f"{STAGING}/unwanted",
    REPOSITORY,
    f"{REPOSITORY}/blobs",
    f"{REPOSITORY}/refs",
    f"{REPOSITORY}/snapshots",
    f"{REPOSITORY}/snapshots/{{revision}}",
    f"{REPOSITORY}/.weightswarm",
    f"{REPOSITORY}/.weightswarm/{{revision}}",
]
PLANTED_FILES = [
    ".locks/weightswarm/{digest}.lock",
    ".locks/models--org--model/weightswarm.lock",
    f"{STAGING}/release.torrent",
    f"{STAGING}/files/{WEIGHTS}",
    f"{STAGING}/files/config.json",
    f"{STAGING}/.{{digest}}.parts",
    f"{STAGING}/link",
    f"{REPOSITORY}/refs/main",
    f"{REPOSITORY}/blobs/{{weights}}",
    f"{REPOSITORY}/snapshots/{{revision}}/{WEIGHTS}",
    f"{REPOSITORY}/.weightswarm/{{revision}}/record.json",
]


def planted_path(hub: Path, template: str, release: Release) -> Path:
    weights = next(entry.sha256 for entry in release.manifest.files if entry.path == WEIGHTS)
    return hub / template.format(digest=digest(release), revision=release.manifest.revision, weights=weights)


def fetch_or_refusal(magnet: str, hub: Path) -> Path | None:
    """Fetch in this process; None for a clear refusal."""
    try:
        return weightswarm.fetch(
            magnet, cache_dir=hub, options=FetchOptions(name=NAME, timeout=10, network=LOOPBACK)
        ).path
    except (StorageFailure, ContentMismatch) as error:
        assert error.hint or "symbolic links" in str(error), f"no remedy is named: {error}"
        return None


@pytest.mark.parametrize("planting", [link, hard_link])
def test_no_planted_link_in_place_of_a_file_is_written_through(
    planting: Callable[[Path, Path], None],
    release: Release,
    model: Path,
    hub: Path,
    victim: Victim,
    figure: Callable[[str, float], None],
) -> None:
    with serving_release(release) as magnet:
        for template in PLANTED_FILES:
            shutil.rmtree(hub, ignore_errors=True)
            planting(planted_path(hub, template, release), victim.file)
            before = victim.seen()
            path = fetch_or_refusal(magnet, hub)
            assert path is None or contents(path) == contents(model), template
            assert victim.seen() == before, template
            assert victim.file.read_bytes() == SECRET
            figure("planted links that led no write astray", 1)


def test_no_planted_link_in_place_of_a_folder_is_written_through(
    release: Release, model: Path, hub: Path, victim: Victim, figure: Callable[[str, float], None]
) -> None:
    with serving_release(release) as magnet:
        for template in PLANTED_FOLDERS:
            shutil.rmtree(hub, ignore_errors=True)
            link(planted_path(hub, template, release), victim.folder)
            path = fetch_or_refusal(magnet, hub)
            assert path is None or contents(path) == contents(model), template
            assert victim.unharmed(), template
            figure("planted links that led no write astray", 1)


def test_removal_and_prune_follow_no_link_either(
    release: Release, hub: Path, victim: Victim, figure: Callable[[str, float], None]
) -> None:
    snapshot = place(release, hub)
    repository = ModelCache(hub).repository(NAME)
    for template in PLANTED_FOLDERS:
        path = planted_path(hub, template, release)
        aside = hub.parent / "aside"
        if path.exists():
            path.rename(aside)
        link(path, victim.folder)
        try:
            remove_revision(repository, snapshot.name)
            prune_staging(ModelCache(hub))
        except StorageFailure as error:
            assert "in the way" in str(error), template
        assert victim.unharmed(), template
        shutil.rmtree(hub)
        shutil.rmtree(aside, ignore_errors=True)
        place(release, hub)
        figure("planted links that led no write astray", 1)


def test_a_lock_that_is_a_fifo_or_a_folder_is_named_and_does_not_hang(tmp_path: Path) -> None:
    locks = tmp_path / "hub" / ".locks" / "weightswarm"
    locks.mkdir(parents=True)
    os.mkfifo(locks / "fifo.lock")
    (locks / "folder.lock").mkdir()
    for name in ("fifo.lock", "folder.lock"):
        with pytest.raises(StorageFailure, match=name), hold(locks / name):
            pass
        with pytest.raises(StorageFailure, match=name), hold_if_free(locks / name):
            pass


def test_records_and_refs_that_are_no_plain_files_do_not_hang(
    release: Release, model: Path, hub: Path, cli: CommandLine
) -> None:
    snapshot = place(release, hub)
    record = ModelCache(hub).repository(NAME).record(snapshot.name)
    for path in (record / "record.json", hub / REPOSITORY / "refs" / "main"):
        path.unlink()
        os.mkfifo(path)
    cli.ok("ls", timeout=20)
    with serving_release(release) as magnet:
        assert fetch_json(cli, magnet, "--name", NAME, timeout=30)["path"] == str(snapshot)
    assert (hub / REPOSITORY / "refs" / "main").read_text() == snapshot.name
    assert contents(snapshot) == contents(model)


@pytest.mark.parametrize("text", ["../../../../victim", "a" * 40 + "/../..", "", "\n", "A" * 40, "\0" * 40, "f" * 40])
def test_a_ref_that_says_nonsense_leads_nowhere(
    text: str, release: Release, hub: Path, victim: Victim, cli: CommandLine
) -> None:
    snapshot = place(release, hub)
    (hub / REPOSITORY / "refs" / "main").write_text(text)
    assert cli.ok("ls", "--json").json[0]["revision"] == snapshot.name
    assert cli.ok("verify", NAME).code == 0, "it is the only revision there is"
    cli.ok("rm", NAME, "--yes")
    assert victim.unharmed()


def test_a_blob_of_the_right_name_and_size_is_hashed_before_it_counts(
    release: Release, model: Path, hub: Path, cli: CommandLine
) -> None:
    weights = next(entry for entry in release.manifest.files if entry.path == WEIGHTS)
    blob = ModelCache(hub).repository(NAME).blob(weights)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(bytes(weights.size))
    with serving_release(release) as magnet:
        fetched = fetch_json(cli, magnet, "--name", NAME)
    assert fetched["downloaded"] >= weights.size
    assert contents(Path(fetched["path"])) == contents(model)
    assert blob.stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize("kind", ["plain", "link out of the cache", "link to a wrong blob"])
def test_a_planted_snapshot_with_wrong_files_is_refused_and_stays(
    kind: str, release: Release, hub: Path, victim: Victim, cli: CommandLine
) -> None:
    snapshot = ModelCache(hub).repository(NAME).snapshot(release.manifest.revision)
    snapshot.mkdir(parents=True)
    if kind == "plain":
        (snapshot / WEIGHTS).write_bytes(b"planted")
    elif kind == "link out of the cache":
        (snapshot / WEIGHTS).symlink_to(victim.file)
    else:
        (hub / REPOSITORY / "blobs").mkdir()
        (hub / REPOSITORY / "blobs" / ("ab" * 32)).write_bytes(b"planted")
        (snapshot / WEIGHTS).symlink_to(f"../../blobs/{'ab' * 32}")
    with serving_release(release) as magnet:
        refused(cli("fetch", magnet, "--name", NAME, "--timeout", "20"), 3, WEIGHTS)
    assert victim.unharmed()


# --- between verification and placing ------------------------------------------------------------------------------


def stage(folder: Path, model: Path) -> dict[str, StagedFile]:
    """Copy a model into staging, as a transfer leaves it: verified, nobody else's."""
    fresh = folder.with_name("fresh")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(model, fresh)
    staged = {path: StagedFile(folder / path, FileIdentity.of(os.lstat(fresh / path))) for path in contents(fresh)}
    # By one rename: who swaps things there all the time must not make the test itself write through a link.
    for _ in range(1000):
        if not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            fresh.rename(folder)
            return staged
        time.sleep(0.002)
    raise AssertionError("the racing process never let go")


def placing(release: Release, hub: Path, staged: dict[str, StagedFile]) -> CachePlacement:
    cache = ModelCache(hub)
    placement = CachePlacement(cache, cache.repository(NAME), release.manifest)
    scratch = next(iter(staged.values())).path.parents[1]
    placement.place(
        VerifiedFiles(staged, (), release.metainfo.data, release.metainfo.info_hash, "2026-01-31T00:00:00Z", scratch)
    )
    return placement


def swapped_for_another(file: Path, victim: Victim) -> None:
    file.with_name("other").write_bytes(file.read_bytes())
    file.with_name("other").rename(file)


def written_to(file: Path, victim: Victim) -> None:
    status = file.stat()
    file.write_bytes(bytes(status.st_size))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def given_a_second_name(file: Path, victim: Victim) -> None:
    file.with_name("second").hardlink_to(file)


def swapped_for_a_link(file: Path, victim: Victim) -> None:
    file.unlink()
    file.symlink_to(victim.file)


def swapped_for_a_hard_link(file: Path, victim: Victim) -> None:
    file.unlink()
    file.hardlink_to(victim.file)


def in_a_folder_swapped_for_a_link(file: Path, victim: Victim) -> None:
    file.parent.rename(file.parent.with_name("aside"))
    file.parent.symlink_to(victim.folder)


@pytest.mark.parametrize(
    "attack",
    [
        swapped_for_another,
        written_to,
        given_a_second_name,
        swapped_for_a_link,
        swapped_for_a_hard_link,
        in_a_folder_swapped_for_a_link,
    ],
)
def test_what_changes_between_verification_and_placing_is_not_placed(
    attack: Callable[[Path, Victim], None], release: Release, model: Path, hub: Path, victim: Victim
) -> None:
    staged = stage(hub / ".locks" / "weightswarm" / "staging" / "files", model)
    attack(staged[WEIGHTS].path, victim)
    before = victim.seen()
    with pytest.raises((ContentMismatch, StorageFailure)):
        placing(release, hub, staged)
    assert victim.seen() == before
    assert not ModelCache(hub).repository(NAME).snapshots.joinpath(release.manifest.revision).exists()
    for blob in (hub / REPOSITORY / "blobs").iterdir():
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name


RACER = """
import os, shutil, sys, time
target, victim, kind, end = sys.argv[1], sys.argv[2], sys.argv[3], time.monotonic() + float(sys.argv[4])
aside, count = target + ".aside", 0
make = {"link": os.symlink, "hard link": os.link}[kind]
print("ready", flush=True)
while time.monotonic() < end and not os.path.exists(sys.argv[5]):
    try:
        os.rename(target, aside)
        make(victim, target)
        count += 1
        os.unlink(target)
    except OSError:
        pass
    try:
        os.rename(aside, target)
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
print(count)
"""


def race(target: Path, victim: Path, kind: str, stop: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RACER, str(target), str(victim), kind, "20", str(stop)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(
    ("target", "aimed_at", "kind"),
    [
        (f"staging/files/{WEIGHTS}", "file", "link"),
        (f"staging/files/{WEIGHTS}", "file", "hard link"),
        ("staging/files", "folder", "link"),
        ("blobs", "folder", "link"),
        ("snapshots", "folder", "link"),
        ("refs", "folder", "link"),
        (".weightswarm", "folder", "link"),
    ],
)
def test_a_process_that_swaps_files_and_folders_for_links_all_the_time_turns_no_write_aside(
    target: str,
    aimed_at: str,
    kind: str,
    tmp_path: Path,
    hub: Path,
    victim: Victim,
    figure: Callable[[str, float], None],
) -> None:
    model = make_model(tmp_path / "small", 2000)
    release = release_of(model)
    files = hub / ".locks" / "weightswarm" / "staging" / "files"
    base = files.parents[1] if target.startswith("staging") else hub / REPOSITORY
    stop = tmp_path / "stop"
    good = contents(model)
    placed = stopped = 0
    (base / target).mkdir(parents=True, exist_ok=True) if not target.startswith("staging") else None
    racer = race(base / target, victim.file if aimed_at == "file" else victim.folder, kind, stop)
    before = victim.seen()[1]
    try:
        for _ in range(60):
            try:
                placement = placing(release, hub, stage(files, model))
            except (WeightswarmError, OSError):
                stopped += 1
            else:
                placed += 1
                if target.startswith("staging"):
                    assert contents(placement.target) == good
            if target.startswith("staging"):
                shutil.rmtree(hub / REPOSITORY, ignore_errors=True)
    finally:
        stop.touch()
        swaps = int(racer.communicate(timeout=30)[0])
    assert victim.seen()[1] == before
    if kind == "link":
        assert victim.unharmed()
    assert swaps > 50
    figure("links swapped in by a racing process", swaps)
    figure("placements against a racing process", placed + stopped)
    figure("placements against a racing process that were refused", stopped)


# --- other users ---------------------------------------------------------------------------------------------------


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach; `tmp_path` is not."""
    folder = Path(tempfile.mkdtemp(prefix="weightswarm-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


AS_USER = """
import importlib, os, pkgutil, sys
uid, gid, umask = map(int, sys.argv[1:4])
del sys.argv[1:4]
import libtorrent, uuid, weightswarm
# All that it needs is loaded first: the interpreter itself may stand where that user cannot read.
for module in pkgutil.walk_packages(weightswarm.__path__, "weightswarm."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from weightswarm.cli.start import main
os.umask(umask)
if os.geteuid() != uid:
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
os.environ["HOME"] = os.environ["XDG_CACHE_HOME"] = os.environ["XDG_CONFIG_HOME"] = "/nonexistent"
main()
"""
GROUP = 54321


def as_user(uid: int, umask: int, *arguments: str | Path) -> Outcome:
    """Run the command line as some user of the group; root alone can."""
    if os.geteuid() not in (0, uid):
        pytest.skip("NOT TESTED: only root may act as other users")
    words = [sys.executable, "-c", AS_USER, str(uid), str(GROUP), str(umask), *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, cwd="/", timeout=60, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022])
def test_staging_is_closed_to_other_users_whatever_the_umask(
    umask: int, release: Release, open_folder: Path, cli: CommandLine
) -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("NOT TESTED: only root may act as other users")
    hub = open_folder / "hub"
    script = (
        "import os, sys; os.umask(int(sys.argv[1])); from weightswarm.cli.start import main; del sys.argv[1]; main()"
    )
    with serving_release(release, SLOW) as magnet:
        command = [sys.executable, "-c", script, str(umask), "fetch", magnet, "--name", NAME, "--cache-dir", str(hub)]
        process = subprocess.Popen(command, cwd=cli.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: staged_weights(hub, 1) is not None, "the fetch does not begin")
            staging = hub / ".locks" / "weightswarm" / digest(release)
            assert staging.stat().st_mode & 0o777 == 0o700
            tries = f"ls {staging}; echo x >{staging}/files/{WEIGHTS}; ln -s / {staging}/files/x"
            stranger = subprocess.run(
                ["setpriv", "--reuid=54322", "--regid=54321", "--clear-groups", "--inh-caps=-all", "sh", "-c", tries],
                capture_output=True,
                text=True,
                check=False,
            )
            assert stranger.returncode != 0 and stranger.stdout == ""
            assert stranger.stderr.count("ermission denied") == 3, stranger.stderr
        finally:
            process.kill()
            process.wait(10)


def test_an_unfinished_download_of_another_user_is_not_gone_on_with(
    release: Release, hub: Path, cli: CommandLine
) -> None:
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: only root may act as other users")
    staging = hub / ".locks" / "weightswarm" / digest(release)
    staging.mkdir(parents=True)
    os.chown(staging, 54322, 54321)
    with serving_release(release) as magnet:
        outcome = cli("fetch", magnet, "--name", NAME, "--timeout", "20")
        refused(outcome, 1, "belongs to another user", str(staging))
        assert "Hint: `weightswarm prune`" in outcome.stderr
        cli.ok("prune")
        cli.ok("fetch", magnet, "--name", NAME, "--timeout", "20")


def test_two_users_of_one_group_share_a_cache(model: Path, tmp_path: Path, open_folder: Path) -> None:
    """Each fetches a revision of one model into a cache whose folders belong to their group (umask 002)."""
    hub = open_folder / "hub"
    hub.mkdir()
    if os.geteuid() == 0:
        os.chown(hub, 0, GROUP)
    hub.chmod(0o2775)
    other = make_model(tmp_path / "other", 100_000, seed=9)
    for uid, folder in ((54322, model), (54323, other), (54322, other), (54323, model)):
        with serving_release(release_of(folder)) as magnet:
            done = as_user(uid, 0o002, "fetch", magnet, "--name", NAME, "--cache-dir", hub, "--set-main")
        assert done.code == 0, done.stderr
        assert contents(Path(done.result)) == contents(folder)
    owners = {path.stat().st_uid for path in (hub / REPOSITORY / "blobs").iterdir()}
    assert owners == {54322, 54323}
    assert as_user(54322, 0o002, "rm", NAME, "--yes", "--cache-dir", hub).code == 0
    assert not (hub / REPOSITORY).exists()


def test_a_cache_that_this_user_may_only_read_is_refused_with_one_line_and_still_verified(
    release: Release, open_folder: Path
) -> None:
    hub = open_folder / "hub"
    place(release, hub)
    before = listing(hub / REPOSITORY)
    other = release_of(make_model(open_folder / "other", 100_000, seed=9))
    with serving_release(other) as magnet:
        refused(as_user(54322, 0o022, "fetch", magnet, "--name", NAME, "--cache-dir", hub), 1, "Permission denied")
    refused(as_user(54322, 0o022, "rm", NAME, "--yes", "--cache-dir", hub), 1, "Permission denied")
    assert as_user(54322, 0o022, "verify", NAME, "--cache-dir", hub).code == 0
    assert as_user(54322, 0o022, "ls", "--cache-dir", hub).code == 0
    assert listing(hub / REPOSITORY) == before
