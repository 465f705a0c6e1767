"""Tab in the real shells: commands, options, files and models, at once, and without a word over the network."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from unittest.mock import patch

import click
import pytest
from click.shell_completion import ShellComplete

from counterparts import require
from hostile import NAME
from running import CommandLine, CommandLineHere
from terminals import Terminal
from weightswarm.cli.main import weightswarm

Figure = Callable[[str, float], None]
SHELLS = ("bash", "zsh", "fish")


@pytest.fixture
def here(tmp_path: Path) -> CommandLine:
    """The command, run in this process."""
    return CommandLineHere(tmp_path)


@pytest.fixture
def cached(tmp_path: Path) -> None:
    """Models in the cache, as their folders say."""
    for name in ("acme--Tiny", "acme--Big-1.5"):
        (tmp_path / "hub" / f"models--{name}" / "snapshots").mkdir(parents=True)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A shell's environment, with the command on its path and no settings of the user's."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "HOME": str(tmp_path), "TERM": "dumb", "LC_ALL": "C.UTF-8"}


def completed(words: str, folder: Path, **environment: str) -> list[tuple[str, str]]:
    """Return what is offered after `words`, as the shells' scripts get it: kinds and values."""
    _, *arguments, incomplete = words.split(" ")
    with chdir(folder), patch.dict(os.environ, environment):
        found = ShellComplete(weightswarm, {}, "weightswarm", "_X").get_completions(arguments, incomplete)
    return [(item.type, item.value) for item in found]


def values(offered: list[tuple[str, str]]) -> set[str]:
    """Return what is offered as it stands."""
    return {value for kind, value in offered if kind == "plain"}


# --- what is offered -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("cached")
def test_each_argument_is_completed_with_what_it_can_be(tmp_path: Path) -> None:
    models = {"acme/Tiny", "acme/Big-1.5"}
    assert {"fetch", "export", "completion"} <= values(completed("weightswarm ", tmp_path))
    assert values(completed("weightswarm f", tmp_path)) == {"fetch"}
    assert values(completed("weightswarm export m", tmp_path)) == {"metalink", "magnet"}
    assert values(completed("weightswarm fetch --local", tmp_path)) == {"--local-dir"}
    assert values(completed("weightswarm fetch --network ", tmp_path)) == {"public", "lan", "loopback"}
    assert completed("weightswarm fetch --local-dir x", tmp_path) == [("dir", "x")]
    assert completed("weightswarm verify --manifest x", tmp_path) == [("file", "x")]
    assert completed("weightswarm export magnet --output x", tmp_path) == [("file", "x")]
    for words in ("fetch", "show", "verify", "seed", "publish", "sign", "export sha256sums", "export ollama"):
        offered = completed(f"weightswarm {words} acme/", tmp_path)
        assert offered[0] == ("file", "acme/"), words
        assert values(offered) == models, words
    assert completed("weightswarm rm a", tmp_path) == [("plain", "acme/Big-1.5"), ("plain", "acme/Tiny")]


def test_registries_in_folders_are_offered_and_the_one_that_ships(here: CommandLine, model: Path) -> None:
    (here.folder / "registry").mkdir()
    here.ok("publish", model, "--name", NAME, "--add-to", "registry")
    offered = values(completed("weightswarm fetch ", here.folder, WEIGHTSWARM_REGISTRY=str(here.folder / "registry")))
    assert {NAME, "mistralai/Mixtral-8x7B-v0.1"} <= offered
    assert NAME in values(completed("weightswarm fetch --registry registry ", here.folder))
    assert NAME not in values(completed("weightswarm fetch ", here.folder))


def test_a_folder_that_is_named_like_a_command_is_not_offered(tmp_path: Path) -> None:
    hostile = ("$(touch pwned)", "`id`", "a;id", "a b", "x\nplain,evil", "\x1b[2J", "-rf", "a'b")
    for name in (*hostile, "fine"):
        (tmp_path / "registry" / "org" / name).mkdir(parents=True)
        (tmp_path / "hub" / f"models--org--{name}" / "snapshots").mkdir(parents=True)
        (tmp_path / "registry" / name / "model").mkdir(parents=True)
    offered = values(completed("weightswarm fetch --registry registry ", tmp_path))
    assert {"org/fine", "fine/model"} <= offered
    assert not any(name in each for each in offered for name in hostile)


def test_a_named_cache_is_looked_into(tmp_path: Path) -> None:
    (tmp_path / "other" / "models--org--elsewhere").mkdir(parents=True)
    assert values(completed("weightswarm rm --cache-dir other ", tmp_path)) == {"org/elsewhere"}


@contextmanager
def deaf_server() -> Iterator[tuple[str, socket.socket]]:
    """A server that accepts nobody, to see whether anybody came."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(8)
        server.setblocking(False)
        yield f"http://127.0.0.1:{server.getsockname()[1]}/registry", server


def test_nobody_is_asked_over_the_network(tmp_path: Path) -> None:
    with deaf_server() as (url, server):
        settings = tmp_path / "user-config" / "weightswarm" / "weightswarm.toml"
        settings.parent.mkdir(parents=True)
        settings.write_text(f'registries = ["{url}"]\n')
        assert values(completed(f"weightswarm fetch --registry {url} mistralai/", tmp_path, WEIGHTSWARM_REGISTRY=url))
        with pytest.raises(BlockingIOError):
            server.accept()


def test_what_takes_long_to_load_is_not_loaded(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "weightswarm"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={
            **os.environ,
            "_WEIGHTSWARM_COMPLETE": "bash_complete",
            "COMP_WORDS": "weightswarm fetch ",
            "COMP_CWORD": "2",
        },
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "weightswarm.cli.completing" in loaded
    assert not loaded & {"libtorrent", "requests", "cryptography", "tqdm", "segno"}


@pytest.mark.parametrize("settings", ["registries = 5", "not toml", 'registries = ["~nobody-of-that-name/x"]'])
def test_broken_settings_and_words_leave_the_files(tmp_path: Path, settings: str) -> None:
    file = tmp_path / "user-config" / "weightswarm" / "weightswarm.toml"
    file.parent.mkdir(parents=True)
    file.write_text(settings)
    assert completed("weightswarm fetch x", tmp_path)[0] == ("file", "x")
    assert completed("weightswarm fetch --cache-dir ~nobody-of-that-name x", tmp_path)[0] == ("file", "x")


# --- in the shells ---------------------------------------------------------------------------------------------------


def interactive(shell: str, folder: Path, environment: dict[str, str]) -> Terminal:
    """Start a shell that has the completion, without the user's own settings."""
    script = folder / "completion"
    commands = {
        "bash": ["bash", "--norc", "--noprofile", "-i"],
        "zsh": ["zsh", "-f", "-i"],
        "fish": ["fish", "--no-config", "-i"],
    }
    terminal = Terminal(commands[shell], folder, {**environment, "PS1": "> "}, columns=200)
    if shell == "zsh":
        terminal.type("autoload -Uz compinit && compinit -D -u\r")
    terminal.type(f". {script}; echo re'ady'\r")
    terminal.wait_for("ready")
    return terminal


@pytest.mark.usefixtures("cached")
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_tab_completes_in_the_real_shell(
    shell: str, here: CommandLine, environment: dict[str, str], figure: Figure
) -> None:
    require(shell, shell)
    (here.folder / "completion").write_text(here.ok("completion", shell).stdout)
    (here.folder / "unlike.torrent").write_bytes(b"")
    terminal = interactive(shell, here.folder, environment)
    try:
        for typed, expected in (
            ("weightswarm fet", "weightswarm fetch"),
            ("weightswarm rm acme/T", "acme/Tiny"),
            ("weightswarm fetch --local-d", "--local-dir"),
            ("weightswarm fetch ./unl", "./unlike.torrent"),
            ("weightswarm fetch mistralai/Pix", "mistralai/Pixtral-12B-2409"),
            ("weightswarm export sha", "sha256sums"),
        ):
            terminal.type(f"{typed}\t")
            terminal.wait_for(expected.removeprefix("weightswarm ").rpartition("/")[2])
            terminal.type("\x15")
            figure("completions seen in real shells", 1)
    finally:
        terminal.close()


@pytest.mark.usefixtures("cached")
def test_tab_completes_in_fish(here: CommandLine, environment: dict[str, str], figure: Figure) -> None:
    require("fish", "fish")
    script = here.folder / "completion"
    script.write_text(here.ok("completion", "fish").stdout)
    (here.folder / "unlike.torrent").write_bytes(b"")
    for typed, expected in (
        ("weightswarm fet", "fetch"),
        ("weightswarm rm acme/T", "acme/Tiny"),
        ("weightswarm fetch --local-d", "--local-dir"),
        ("weightswarm fetch ./unl", "./unlike.torrent"),
        ("weightswarm fetch mistralai/Pix", "mistralai/Pixtral-12B-2409"),
        ("weightswarm export sha", "sha256sums"),
    ):
        done = subprocess.run(
            ["fish", "--no-config", "-c", f"source {script}; complete -C '{typed}'"],
            capture_output=True, text=True, check=True, cwd=here.folder, env=environment, timeout=60,
        )  # fmt: skip
        offered = {line.partition("\t")[0] for line in done.stdout.splitlines()}
        assert expected in offered, (typed, done.stdout)
        figure("completions seen in real shells", 1)


def test_a_shell_that_is_not_known_is_a_usage_error(here: CommandLine) -> None:
    outcome = here("completion", "tcsh")
    assert outcome.code == 2
    assert "'bash', 'zsh', 'fish'" in outcome.stderr


def test_every_argument_that_names_a_model_or_file_is_completed() -> None:
    """A command that is added later must say what its argument is."""
    left: set[str] = set()

    def look(command: click.Command, path: str) -> None:
        if isinstance(command, click.Group):
            ctx = click.Context(command)
            for name in command.list_commands(ctx):
                found = command.get_command(ctx, name)
                assert found is not None
                look(found, f"{path} {name}".strip())
            return
        for parameter in command.params:
            if isinstance(parameter, click.Argument) and not isinstance(parameter.type, click.Choice):
                offered = parameter.shell_complete(click.Context(command), "")
                if not offered and parameter._custom_shell_complete is None:
                    left.add(f"{path} {parameter.name}")

    look(weightswarm, "")
    # What only the user can know.
    assert left == {"search text", "man command"}
