"""Power cuts: in the order of a real command's system calls, no name appears before its data is on the disk."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from conftest import make_model
from hostile import NAME, release_of, serving_release
from running import COMMAND

CALLS = (
    "open,openat,creat,close,dup,dup2,dup3,fcntl,write,pwrite64,pwritev,pwritev2,writev,sendfile,copy_file_range,"
    "ftruncate,fallocate,ioctl,fsync,fdatasync,syncfs,rename,renameat,renameat2,symlink,symlinkat,link,linkat,mkdirat"
)
_LINE = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\d+)")
_UNFINISHED = re.compile(r"^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)$")
_DESCRIPTOR = re.compile(r"(?:\d+|AT_FDCWD)<([^>]*)>")
_NAME = re.compile(r'"((?:[^"\\]|\\.)*)"')
_WRITING = ("write", "pwrite64", "pwritev", "pwritev2", "writev", "sendfile", "copy_file_range", "ftruncate", "ioctl")


@dataclass(slots=True)
class Disk:
    """What a power cut would leave: files whose data waits, folders whose names wait. Paths as of now."""

    unsynced: set[str] = field(default_factory=set)
    unsynced_folders: set[str] = field(default_factory=set)
    renames: list[tuple[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    written: set[str] = field(default_factory=set)
    synced_folders: set[str] = field(default_factory=set)
    synced_files: int = 0
    synced_all: int = 0

    def take(self, call: str, arguments: str) -> None:
        """Follow one system call that succeeded."""
        paths = _DESCRIPTOR.findall(arguments)
        names = _NAME.findall(arguments)
        if call in _WRITING and paths and paths[0].startswith("/"):
            self.unsynced.add(paths[0])
            self.written.add(paths[0])
        elif call in ("fsync", "fdatasync"):
            self.synced_files += paths[0] in self.unsynced
            self.unsynced.discard(paths[0])
            if call == "fsync":
                self.synced_folders |= {paths[0]} & self.unsynced_folders
                self.unsynced_folders.discard(paths[0])
        elif call == "syncfs":
            self.synced_all += 1
            self.unsynced.clear()
            self.unsynced_folders.clear()
        elif call.startswith("rename"):
            source, target = (_joined(folder, name) for folder, name in zip(_folders(paths), names, strict=False))
            self._rename(source, target)
        elif call.startswith("symlink") or call == "mkdirat":
            self.unsynced_folders.add(os.path.dirname(_joined(paths[0] if paths else "", names[-1])))

    def _rename(self, source: str, target: str) -> None:
        waiting = [path for path in self.unsynced if path == source or path.startswith(f"{source}/")]
        self.faults += [f"{path} was named {target} before its data was on the disk" for path in waiting]
        folders = [folder for folder in self.unsynced_folders if folder == source or folder.startswith(f"{source}/")]
        self.faults += [f"{folder} was named {target} before its own names were on the disk" for folder in folders]
        self.renames.append((source, target))
        self.unsynced_folders.add(os.path.dirname(target))


def _folders(paths: list[str]) -> list[str]:
    return paths if len(paths) == 2 else ["", ""]


def _joined(folder: str, name: str) -> str:
    return os.path.normpath(os.path.join(folder, name))


def traced(folder: Path, *arguments: str | Path) -> list[tuple[str, str]]:
    """Run a command to its end and return its successful system calls, in order, with descriptors as paths."""
    if shutil.which("strace") is None:
        pytest.skip("NOT TESTED: strace (Debian package strace) is not installed")
    log = folder / "trace"
    command = ["strace", "-f", "-y", "-s", "4096", "-e", f"trace={CALLS}", "-o", str(log), *COMMAND]
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, timeout=120, cwd=folder, check=False
    )
    if "PTRACE" in done.stderr:
        pytest.skip(f"NOT TESTED: processes cannot be traced here: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    begun: dict[tuple[str, str], str] = {}
    calls = []
    for each in log.read_text(errors="replace").splitlines():
        line = each
        if (part := _UNFINISHED.match(line)) is not None:
            begun[part[1], part[2]] = part[3]
            continue
        if (part := _RESUMED.match(line)) is not None:
            line = f"{part[1]} {part[2]}({begun.pop((part[1], part[2]), '')}{part[3]}"
        if (call := _LINE.match(line)) is not None and not call[4].startswith("-"):
            calls.append((call[2], call[3]))
    log.unlink()
    return calls


def followed(calls: list[tuple[str, str]], below: Path) -> tuple[Disk, Callable[[str], int]]:
    """Follow the calls that touch what is below a folder; also return when a path was given its name."""
    disk = Disk()
    for call, arguments in calls:
        if call == "syncfs" or str(below) in arguments:
            disk.take(call, arguments)
    named = [target for _, target in disk.renames]

    def when(end: str) -> int:
        found = [number for number, target in enumerate(named) if re.search(end, target)]
        assert found, f"nothing was ever named {end}: {named}"
        return found[-1]

    return disk, when


@pytest.mark.parametrize("files", [3, 70], ids=["few large files", "many small files"])
def test_a_fetch_puts_data_on_the_disk_before_names_and_the_ref_last(
    files: int, tmp_path: Path, hub: Path, figure: Callable[[str, float], None]
) -> None:
    model = make_model(tmp_path / "model", 1_000_000)
    for number in range(files):
        (model / f"part-{number:03}.bin").write_bytes(bytes([number]) * 20_000)
    release = release_of(model)
    with serving_release(release) as magnet:
        calls = traced(tmp_path, "fetch", magnet, "--name", NAME, "--timeout", "60")
    disk, when = followed(calls, hub)
    assert disk.faults == []
    assert sum("/files/" in path for path in disk.written) == sum(e.size > 0 for e in release.manifest.files)
    blobs = {entry.sha256 for entry in release.manifest.files}
    assert {os.path.basename(target) for _, target in disk.renames if "/blobs/" in target} == blobs
    assert (disk.synced_all > 0) is (files >= 64)
    last_blob = when("/blobs/[0-9a-f]{64}$")
    assert when("/record.json$") < last_blob < when("/snapshots/[0-9a-f]{40}$") < when("/refs/main$")
    assert when("/refs/main$") == len(disk.renames) - 1, "the ref comes last"
    assert str(hub) in disk.unsynced_folders | disk.synced_folders, "the repository's own folder is made there"
    left = {folder for folder in disk.unsynced_folders if "/models--" in folder or folder == str(hub)}
    assert left == set(), "every folder that names appeared in is on the disk in the end"
    figure("renames of a fetch held against its syscall trace", len(disk.renames))


def test_folders_are_on_the_disk_in_the_right_order(tmp_path: Path, hub: Path) -> None:
    model = make_model(tmp_path / "model", 300_000)
    with serving_release(release_of(model)) as magnet:
        calls = traced(tmp_path, "fetch", magnet, "--name", NAME, "--timeout", "60")
    repository = hub / "models--org--model"
    order = []
    for call, arguments in calls:
        paths, names = _DESCRIPTOR.findall(arguments), _NAME.findall(arguments)
        if call.startswith("rename") and len(paths) == 2 and paths[1].startswith(f"{repository}/"):
            order.append(f"named in {os.path.basename(paths[1])}")
        elif call == "fsync" and paths[0] in map(str, (repository / part for part in ("blobs", "snapshots", "refs"))):
            order.append(f"synced {os.path.basename(paths[0])}")
        assert names is not None
    steps = [step for number, step in enumerate(order) if number == 0 or step != order[number - 1]]
    wanted = [
        "named in blobs",
        "synced blobs",
        "named in snapshots",
        "synced snapshots",
        "named in refs",
        "synced refs",
    ]
    assert [step for step in steps if step in wanted] == wanted


def test_publishing_puts_each_file_on_the_disk_before_its_name(
    tmp_path: Path, figure: Callable[[str, float], None]
) -> None:
    model = make_model(tmp_path / "model", 300_000)
    output, registry = tmp_path / "out", tmp_path / "registry"
    calls = traced(tmp_path, "publish", model, "--name", NAME, "-o", output, "--add-to", registry)
    disk = Disk()
    for call, arguments in calls:
        if str(output) in arguments or str(registry) in arguments:
            disk.take(call, arguments)
    assert disk.faults == []
    assert len(disk.renames) == 7, disk.renames
    assert not disk.unsynced and not disk.unsynced_folders
    figure("renames of a publication held against its syscall trace", len(disk.renames))


def test_the_judge_of_traces_sees_a_name_that_comes_too_early() -> None:
    disk = Disk()
    disk.take("pwrite64", '5</hub/staged/file>, "x"..., 1, 0')
    disk.take("renameat2", '6</hub/staged>, "file", 7</hub/blobs>, "ab", 0')
    assert disk.faults == ["/hub/staged/file was named /hub/blobs/ab before its data was on the disk"]
    assert disk.unsynced_folders == {"/hub/blobs"}
    disk.take("fsync", "7</hub/blobs>")
    assert disk.unsynced_folders == set()
