"""What a wheel installs: one import name, typed, with the registry that ships with it, and never a `distro` package."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from conftest import make_model
from hostile import release_of
from weightswarm.registry import DirectoryRegistry, RegistryEntry

ROOT = Path(__file__).parents[1]
NAME = "test-org/Shipped-Model"


def setuptools_is_new_enough() -> bool:
    try:
        return int(version("setuptools").partition(".")[0]) >= 77
    except PackageNotFoundError:
        return False


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of what a wheel is made from, with one more entry in its registry, so that there is always one."""
    copy = tmp_path / "source"
    shutil.copytree(
        ROOT / "distro", copy / "distro", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__", "*.so")
    )
    shutil.copytree(ROOT / "manifests", copy / "manifests")
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    release = release_of(make_model(tmp_path / "shipped", 1000), name=NAME)
    DirectoryRegistry(copy / "manifests").add(
        RegistryEntry(
            NAME, release.manifest.revision, release.magnet(), release.manifest.to_bytes(), release.metainfo.data
        )
    )
    return copy


def wheel_of(source: Path, folder: Path, **environment: str) -> Path:
    isolation = ["--no-build-isolation"] if setuptools_is_new_enough() else []
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--disable-pip-version-check", "--timeout", "10",
         "--retries", "1", *isolation, "--wheel-dir", folder, source],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
    if built.returncode and not isolation and "No matching distribution found for setuptools" in built.stderr:
        pytest.skip("no setuptools >= 77 is here, and no package index answers")
    assert built.returncode == 0, built.stdout + built.stderr
    return next(folder.glob("weightswarm-*.whl"))


def test_without_a_compiler_the_wheel_lacks_the_kernel_and_nothing_else(source: Path, tmp_path: Path) -> None:
    wheel = wheel_of(source, tmp_path / "wheels", CC="/bin/false")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "weightswarm/hashing/portable.py" in names
    assert not [name for name in names if name.endswith(".so")]


def test_the_wheel_holds_one_typed_package_and_the_registry_that_is_found_when_installed(
    source: Path, tmp_path: Path
) -> None:
    assert not (ROOT / "distro" / "__init__.py").exists()
    wheel = wheel_of(source, tmp_path / "wheels")

    target = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        archive.extractall(target)
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"weightswarm"}
    assert "weightswarm/py.typed" in names
    if platform.machine() == "x86_64" and (shutil.which("gcc") or shutil.which("cc")):
        assert "-cp311-abi3-" in wheel.name
        assert "weightswarm/hashing/_sha.abi3.so" in names
    sources = {p.relative_to(source / "distro").as_posix() for p in (source / "distro").rglob("*.py")}
    assert sources <= set(names)
    files = [path for path in (source / "manifests").rglob("*/*/*/*") if path.is_file()]
    entries = {f"weightswarm/{path.relative_to(source).as_posix()}" for path in files}
    assert len(entries) >= 3
    assert entries <= set(names)

    code = (
        "import weightswarm.registry as r; print(r.__file__);"
        "print(*(entry.name for entry in r.bundled_registry().entries()))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(target)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert told[0].startswith(str(target))
    assert NAME in told[1].split()
    assert told[1].split() == [entry.name for entry in DirectoryRegistry(source / "manifests").entries()]


def test_the_registry_in_the_repository_is_readable_whole() -> None:
    """Every folder that looks like a release is one, and its manifest says the same name and revision."""
    from weightswarm.manifest import parse_manifest

    registry = DirectoryRegistry(ROOT / "manifests")
    entries = list(registry.entries())
    folders = [path.parent for path in (ROOT / "manifests").rglob("magnet.txt")]
    assert len(entries) == len(folders)
    for entry in entries:
        if entry.manifest is not None:
            manifest = parse_manifest(entry.manifest)
            assert (manifest.name, manifest.revision) == (entry.name, entry.revision)
