"""Finding the programs that weightswarm is compared with, and naming the package that brings one that is missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from benchmarks.machine import cores
from benchmarks.measuring import ProgramFailed, Run, run

PACKAGES = {
    "aria2c": "Debian package aria2",
    "curl": "Debian package curl",
    "hf": "huggingface_hub, in the extra `bench`",
    "mktorrent": "Debian package mktorrent",
    "nginx": "Debian package nginx-light",
    "openssl": "Debian package openssl",
}
_VERSION_OPTIONS = {"openssl": "version", "nginx": "-v", "mktorrent": "-h", "aria2c": "--version", "curl": "--version"}
# The large files one by one on every core, the small ones in one process beside them.
_DIGESTS = """
find "$0" -type f -size -1025k -print0 | xargs -0 -r openssl dgst -sha256 &
find "$0" -type f -size +1024k -print0 | xargs -0 -r -P "$1" -n 1 openssl dgst -sha256
wait
"""
_FOLDERS = (str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin")


class MissingProgram(ProgramFailed):
    """A peer is not on this machine."""


def find(program: str) -> Path:
    """Return the path of one of `PACKAGES`; raises `MissingProgram`."""
    found = shutil.which(program, path=os.pathsep.join(_FOLDERS))
    if found is None:
        raise MissingProgram(f"{program} is missing ({PACKAGES[program]})")
    return Path(found)


def openssl_digests(folder: Path, expected: Collection[str], environment: Mapping[str, str]) -> Run:
    """Hash every file below `folder` with OpenSSL on all cores; raises `ProgramFailed` unless they are `expected`."""
    find("openssl")
    done = run(["sh", "-c", _DIGESTS, folder, str(cores())], environment=environment)
    found = sorted(line.rpartition("= ")[2] for line in done.stdout.splitlines())
    if found != sorted(expected):
        raise ProgramFailed(f"openssl dgst: the files in {folder.name} are not those of the data set")
    return done


def versions() -> dict[str, str]:
    """Return the versions of the peers that are programs, or that they are missing."""
    return {name: _version(name) for name in _VERSION_OPTIONS}


def _version(name: str) -> str:
    try:
        program = find(name)
    except MissingProgram as missing:
        return str(missing)
    done = subprocess.run(
        [program, _VERSION_OPTIONS[name]], capture_output=True, text=True, timeout=20, errors="replace", check=False
    )
    found = re.search(r"\d+\.[\w.]+", done.stdout + done.stderr)
    return found[0] if found else "unknown"
