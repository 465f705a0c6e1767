"""Many commands on one cache at once, as processes: nothing comes twice, is lost, or is ever wrong where visible."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import make_model
from faults import MIB, Source, all_right
from hostile import NAME, contents, fetch_json, peer_of, release_of, serving_release
from running import CommandLine, Seeder

ROUNDS = 3
SIZE = 6 * MIB


class Watcher:
    """Looks at all that a loader can see, again and again, and at what the Hub's client makes of it."""

    def __init__(self, hub: Path, allowed: dict[str, str]) -> None:
        self.repository = hub / "models--org--model"
        self.hub = hub
        self.allowed = allowed
        self.looks = 0
        self.faults: list[str] = []
        self._known: dict[tuple[int, int, int, int], str] = {}
        self._stop = threading.Event()

    def look(self) -> None:
        """Look once: each snapshot holds just its files, each with its hash, or has gone meanwhile."""
        try:
            revisions = os.listdir(self.repository / "snapshots")
        except OSError:
            return
        for revision in revisions:
            snapshot = self.repository / "snapshots" / revision
            try:
                before = os.stat(snapshot)
            except OSError:
                continue
            seen = {path: self._digest(snapshot / path) for path in self._expected(revision)}
            try:
                same = os.stat(snapshot).st_ino == before.st_ino
            except OSError:
                same = False
            if same and seen != self._expected(revision):
                self.faults.append(f"{revision}: {seen}")
        self.looks += 1

    def _expected(self, revision: str) -> dict[str, str]:
        prefix = f"{revision}/"
        return {path.removeprefix(prefix): d for path, d in self.allowed.items() if path.startswith(prefix)}

    def _digest(self, path: Path) -> str:
        try:
            with open(path, "rb") as file:
                status = os.fstat(file.fileno())
                key = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
                if key not in self._known:
                    self._known[key] = hashlib.sha256(file.read()).hexdigest()
                return self._known[key]
        except OSError as error:
            return str(error)

    def run(self) -> None:
        """Look until stopped."""
        while not self._stop.wait(0.002):
            self.look()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look all the time meanwhile."""
        thread = threading.Thread(target=self.run)
        self._stop.clear()
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()


def end(process: subprocess.Popen[str], *codes: int) -> str:
    """Wait for a command and return its result."""
    stdout, stderr = process.communicate(timeout=90)
    assert "Traceback" not in stderr, stderr
    assert process.returncode in codes, f"exit code {process.returncode}\n{stderr}"
    return stdout.strip()


HUB_CLIENT = """
import sys, time
from huggingface_hub import scan_cache_dir, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
found, end = 0, time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    try:
        assert snapshot_download("org/model", cache_dir=sys.argv[1], local_files_only=True)
        found += 1
    except LocalEntryNotFoundError:
        pass
print(found)
"""


def test_fetches_verifications_and_prunes_at_once_download_each_byte_once(
    tmp_path: Path, cli: CommandLine, figure: Callable[[str, float], None]
) -> None:
    model = make_model(tmp_path / "model", SIZE)
    sibling = make_model(tmp_path / "sibling", 100_000, seed=9)
    release, other = release_of(model), release_of(sibling)
    size = sum(map(len, contents(model).values()))
    source = Source(release, rate=12 * MIB)
    allowed = {
        f"{each.manifest.revision}/{entry.path}": entry.sha256
        for each in (release, other)
        for entry in each.manifest.files
    }
    looks = loaded = 0
    try:
        with serving_release(other) as magnet:
            for number in range(ROUNDS):
                hub = tmp_path / f"hub-{number}"
                watcher = Watcher(hub, allowed)
                here = ("--cache-dir", str(hub), "--timeout", "30")
                before = source.given
                with watcher.watching():
                    client = subprocess.Popen(
                        [sys.executable, "-c", HUB_CLIENT, str(hub), "2"], stdout=subprocess.PIPE, text=True,
                        stderr=subprocess.PIPE,
                    )  # fmt: skip
                    fetches = [cli.start("fetch", source.magnet, "--name", NAME, *here) for _ in range(2)]
                    fetches.append(cli.start("fetch", magnet, "--name", NAME, *here))
                    others = [cli.start("prune", "--cache-dir", str(hub)), cli.start("ls", "--cache-dir", str(hub))]
                    others.append(cli.start("verify", NAME, "--repair", *here))
                    paths = [Path(end(process, 0)) for process in fetches]
                    for process in others[:2]:
                        end(process, 0)
                    end(others[2], 0, 1)
                    loaded += int(end(client, 0))
                assert [contents(path) for path in paths] == [contents(model), contents(model), contents(sibling)]
                assert watcher.faults == []
                looks += watcher.looks
                again = source.given - before - size
                assert again <= MIB, f"{again:,} bytes came twice"
                figure("MiB downloaded twice by fetches at once", round(max(0, again) / MIB, 2))
    finally:
        source.session.pause()
    assert loaded, "the Hub's client never found the model"
    figure("commands at once on one cache", ROUNDS * 7)
    figure("looks at what is visible meanwhile", looks)


def test_removal_and_everything_else_at_once_shows_nothing_wrong_and_the_next_fetch_is_whole(
    tmp_path: Path, hub: Path, cli: CommandLine, seeder: Seeder, figure: Callable[[str, float], None]
) -> None:
    model = make_model(tmp_path / "model", SIZE)
    release = release_of(model)
    revision = release.manifest.revision
    watcher = Watcher(hub, {f"{revision}/{entry.path}": entry.sha256 for entry in release.manifest.files})
    with serving_release(release) as magnet:
        fetch = ("fetch", magnet, "--name", NAME, "--timeout", "30")
        for _ in range(ROUNDS):
            cli.ok(*fetch)
            with watcher.watching():
                seeding = seeder(NAME)
                running = [
                    cli.start(*fetch),
                    cli.start("rm", NAME, "--yes"),
                    cli.start("verify", NAME, "--repair", "--peer", peer_of(magnet), "--timeout", "30"),
                    cli.start("prune"),
                    cli.start(*fetch, "--set-main"),
                    cli.start("rm", NAME, "--yes"),
                ]
                for process in running:
                    end(process, 0, 1, 3)
                # Its files may have been removed, which it says; what it gives until then is right.
                # The signal may also find a process that is through with everything.
                assert seeding.stop().code in (1, 3, 130, -signal.SIGINT)
            assert watcher.faults == []
            fetched = fetch_json(cli, *fetch[1:])
            assert contents(Path(fetched["path"])) == contents(model)
            assert all_right(hub, model)
            assert "Removed 0 unfinished" in cli.ok("prune").stderr
    figure("commands at once on one cache", ROUNDS * 7)
    figure("looks at what is visible meanwhile", watcher.looks)


def test_a_watcher_sees_a_wrong_file(tmp_path: Path, hub: Path) -> None:
    snapshot = hub / "models--org--model" / "snapshots" / ("1" * 40)
    snapshot.mkdir(parents=True)
    watcher = Watcher(hub, {f"{'1' * 40}/file": hashlib.sha256(b"right").hexdigest()})
    (snapshot / "file").write_bytes(b"right")
    watcher.look()
    assert watcher.faults == []
    (snapshot / "file").write_bytes(b"wrong")
    watcher.look()
    (snapshot / "file").unlink()
    watcher.look()
    assert len(watcher.faults) == 2
