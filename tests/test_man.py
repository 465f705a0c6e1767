"""Manual pages: one a command, made of what `--help` says, and clean to the programs that read them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from counterparts import require
from hostile import refused
from running import CommandLine, CommandLineHere
from weightswarm.cli.main import weightswarm
from weightswarm.cli.pages import all_pages, page_of

Figure = Callable[[str, float], None]


@pytest.fixture
def here(tmp_path: Path) -> CommandLine:
    """The command, run in this process."""
    return CommandLineHere(tmp_path)


@pytest.fixture
def pages(here: CommandLine) -> list[Path]:
    """All pages, written."""
    here.ok("man", "-o", "man1")
    return sorted((here.folder / "man1").iterdir())


def leaves(command: click.Command, name: str) -> dict[str, click.Command]:
    """Return a command and all below it, by the names of their pages."""
    found = {f"{name}.1": command}
    if isinstance(command, click.Group):
        ctx = click.Context(command)
        for each in command.list_commands(ctx):
            below = command.get_command(ctx, each)
            assert below is not None
            found |= leaves(below, f"{name}-{each}")
    return found


def test_every_command_has_a_page_that_names_each_of_its_options(pages: list[Path]) -> None:
    commands = leaves(weightswarm, "weightswarm")
    assert {page.name for page in pages} == commands.keys()
    assert "weightswarm-export-sha256sums.1" in commands
    for page in pages:
        text = page.read_text().replace(r"\-", "-")
        for option in commands[page.name].params:
            if isinstance(option, click.Option):
                assert all(spelled in text for spelled in option.opts), (page.name, option.opts)


def test_groff_and_mandoc_have_nothing_to_say(pages: list[Path], figure: Figure) -> None:
    groff, mandoc = require("groff", "groff-base"), require("mandoc", "mandoc")
    done = subprocess.run([groff, "-man", "-Tutf8", "-ww", *pages], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    told = subprocess.run([mandoc, "-T", "lint", "-W", "warning", *pages], capture_output=True, text=True, check=False)
    # A date would make another page of each build.
    assert [line for line in told.stdout.splitlines() if "missing date" not in line] == []
    figure("manual pages that groff and mandoc read without a warning", len(pages))


def test_man_shows_the_page_as_it_was_meant(here: CommandLine, pages: list[Path]) -> None:
    man = require("man", "man-db")
    page = next(page for page in pages if page.name == "weightswarm-fetch.1")
    shown = subprocess.run(
        [man, "--warnings", "-l", page],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "MANWIDTH": "80", "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": ""},
    )
    assert shown.stderr == ""
    for words in ("weightswarm fetch [OPTIONS] MAGNET|TORRENT|ORG/MODEL[@REV]", "-n, --name ORG/MODEL", "SEE ALSO"):
        assert words in shown.stdout
    assert here.ok("man", "fetch").stdout == page.read_text()


@click.group()
def hostile() -> None:
    r"""Help that roff would act on.

    .so /etc/passwd

    'ig begins like a request; \fBback\slash\fR and `.code` stay.

    \b
    .TH kept
    'as it \n stands
    """


@hostile.command()
@click.option("--dot", help=".B is no macro here, 'tis text, ^~`")
def command(dot: str) -> None:
    """.ex is how it starts."""


def test_help_that_looks_like_roff_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    require("mandoc", "mandoc")
    for name, text in all_pages(hostile).items():
        (tmp_path / name).write_text(text)
    shown = ""
    for name in ("weightswarm.1", "weightswarm-command.1"):
        done = subprocess.run(
            ["mandoc", "-T", "utf8", tmp_path / name], capture_output=True, text=True, check=True, cwd=tmp_path
        )
        shown += "\n".join(line.strip() for line in done.stdout.replace("_\b", "").splitlines())
    for words in (
        ".so /etc/passwd",
        "'ig begins like a request",
        r"\fBback\slash\fR",
        ".TH kept",
        r"'as it \n stands",
        ".B is no macro here, 'tis text, ^~`",
        ".ex is how it starts",
    ):
        assert words in shown, words
    assert page_of(hostile, ["command"]) == (tmp_path / "weightswarm-command.1").read_text()


def test_a_page_of_no_command_is_a_usage_error(here: CommandLine) -> None:
    refused(here("man", "nonsense"), 2, "nonsense")
    refused(here("man", "fetch", "more"), 2, "more")
    refused(here("man", "nonsense", "-o", "x"), 2, "nonsense")


def test_a_folder_for_releases_in_the_environment_is_none_for_pages(here: CommandLine) -> None:
    assert here.ok("man", "fetch", WEIGHTSWARM_OUTPUT="out").stdout.startswith(".TH")


def test_one_page_is_written_where_one_is_named(here: CommandLine) -> None:
    here.ok("man", "export", "qr", "-o", "one")
    (page,) = (here.folder / "one").iterdir()
    assert page.name == "weightswarm-export-qr.1"
    assert page.read_text() == here.ok("man", "export", "qr").stdout
