"""Clients of the Hub, old and new, each in a process of its own, and the other packages that tests load models with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(sys.prefix) / "loaders"
"""Where `tests/install_loaders` puts what does not fit into one environment with the rest."""

OLD_CLIENTS = ("0.20.3", "0.36.2", "1.0.1")
NEWEST = "newest"
CLIENTS = (*OLD_CLIENTS, NEWEST)


def not_tested(what: str) -> None:
    """Skip a test loudly."""
    pytest.skip(f"NOT TESTED: {what} is not here: `make loaders` installs it where it can")


def client(version: str, environment: dict[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a process that imports `huggingface_hub` of a version."""
    changed = {**os.environ, **(environment or {})}
    if version != NEWEST:
        folder = HERE / f"huggingface_hub-{version}"
        if not folder.is_dir():
            not_tested(f"huggingface_hub {version}")
        changed["PYTHONPATH"] = str(folder)
    return changed


def run(command: list[str | Path], environment: dict[str, str], timeout: float = 120) -> str:
    """Run a program that must succeed; return what it says."""
    done = subprocess.run(
        [str(word) for word in command], env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def python(code: str, environment: dict[str, str], *arguments: str | Path) -> Any:
    """Run Python code that must succeed; return what it prints, as JSON, on its last line."""
    said = run([sys.executable, "-W", "error::UserWarning", "-c", code, *arguments], environment)
    return json.loads([line for line in said.splitlines() if line.startswith(("{", "["))][-1])


def hf(environment: dict[str, str], *arguments: str | Path) -> str:
    """Run the newest `hf`, which must succeed; return what it says."""
    return run([Path(sys.executable).with_name("hf"), *arguments], environment)
