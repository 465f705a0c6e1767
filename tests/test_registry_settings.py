"""The user's settings file, and which registries are asked in which order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from answering import registry_of
from hostile import refused
from running import CommandLine
from weightswarm import Network, Note, Progress, api
from weightswarm.errors import InvalidInput, NotFound, StorageFailure
from weightswarm.registry import bundled_registry
from weightswarm.settings import Settings, load_settings, settings_path

NAME = "org/model"


def write_settings(text: str | bytes) -> Path:
    path = settings_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_registries_are_those_of_the_command_then_of_the_settings_then_the_one_that_ships(tmp_path: Path) -> None:
    assert [each.location for each in api.all_registries([])] == [bundled_registry().location]
    here = registry_of(tmp_path / "here", (NAME, b"one", None)).root
    below = settings_path().parent / "mine"
    below.mkdir(parents=True)
    write_settings(f'registries = ["mine", "{here}", "https://example.invalid/reg", "gone"]')
    notes: list[str] = []

    def report(event: Progress | Note) -> None:
        notes.append(event.text if isinstance(event, Note) else "")

    found = api.all_registries([tmp_path, "http://127.0.0.1:1"], Network.PUBLIC, report)
    expected = [tmp_path, "http://127.0.0.1:1/", below, here, "https://example.invalid/reg/"]
    assert [each.location for each in found] == [*map(str, expected), bundled_registry().location]
    gone = below.with_name("gone")
    assert notes == [f"Registry {gone}, which the settings name, is not there; going on without it"]
    with pytest.raises(NotFound, match="There is no registry folder"):
        api.all_registries([gone])


def test_a_name_is_found_by_way_of_the_settings(cli: CommandLine, tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "here", (NAME, b"one", None))
    write_settings(f'# mine\nregistries = ["{registry.root}"]\n')
    (found,) = cli.ok("search", NAME, "--json").json
    assert found["registry"] == str(registry.root)
    assert cli.ok("show", NAME, "--json").json["vouched_name"] == NAME
    write_settings('registry = "x"')
    refused(cli("search", NAME), 2, str(settings_path()), "unknown setting 'registry'")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("registries = [", "is not TOML"),
        (b"\xff\xfe", "is not TOML"),
        ("a = " + "[" * 20_000, "is not TOML"),
        ("registries = 'x'", "registries is not a list"),
        ("registries = [1]", "registries has 1, which is not a string"),
        ("registries = ['']", "registries has ''"),
        ('registries = ["a\\u0000b"]', "which is not a string"),
        ("registries = [" + "'x'," * 65 + "]", "registries is not a list of at most 64"),
        ("registries = ['" + "x" * 5000 + "']", "which is not a string"),
        ("registres = []", "unknown setting 'registres'"),
        ("#" * 70_000, "is larger than 65,536 bytes"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else None,
)
def test_settings_that_cannot_be_meant_are_refused_by_name(
    text: str | bytes, reason: str, figure: Callable[[str, float], None]
) -> None:
    path = write_settings(text)
    with pytest.raises(InvalidInput) as caught:
        load_settings()
    assert str(caught.value).startswith(str(path))
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 1000
    figure("settings refused", 1)


def test_settings_are_optional_and_must_be_readable(tmp_path: Path) -> None:
    assert load_settings() == load_settings(write_settings("")) == Settings()
    assert load_settings(tmp_path / "none" / "weightswarm.toml") == Settings()
    with pytest.raises(StorageFailure):
        load_settings(tmp_path)
    assert load_settings(write_settings("registries = ['~/a', 'b', 'HTTPS://c', '/d']")).registries == (
        "~/a", str(settings_path().parent / "b"), "HTTPS://c", "/d",
    )  # fmt: skip
