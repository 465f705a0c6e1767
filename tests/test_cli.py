"""The command line's manners: exit codes, one-line errors, the environment, quiet results, harmless terminals."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from conftest import make_model
from hostile import NAME, NOWHERE, contents, http_folder, listing, place, refused, release_of, serving_release
from running import COMMAND, CommandLine
from weightswarm.cli.main import weightswarm

COMMANDS = (
    "publish", "seed", "fetch", "verify", "search", "show", "index", "sign", "key", "trust", "ls", "rm", "prune",
    "export", "completion", "man", "config", "demo",
)  # fmt: skip


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A model of a few kilobytes."""
    return make_model(tmp_path / "small", 1000)


@pytest.fixture
def magnet(small: Path) -> Iterator[str]:
    """The magnet of the small model, which a plain session seeds during the test."""
    with serving_release(release_of(small)) as served:
        yield served


# --- exit codes ------------------------------------------------------------------------------------------------------

USAGE_ERRORS = [
    ["nonsense"],
    ["fetch"],
    ["fetch", "neither magnet nor name"],
    ["fetch", "magnet:?xt=urn:btih:cutoff"],
    ["fetch", "magnet:?dn=only-a-name"],
    ["fetch", NOWHERE, "--nonsense"],
    ["fetch", NOWHERE, "--name", "a/b/c"],
    ["fetch", NOWHERE, "--name", "../etc"],
    ["fetch", NOWHERE, "--timeout", "0"],
    ["fetch", NOWHERE, "--timeout", "nan"],
    ["fetch", NOWHERE, "--download-limit", "fast"],
    ["fetch", NOWHERE, "--download-limit", "9G"],
    ["fetch", NOWHERE, "--peer", "nowhere"],
    ["fetch", NOWHERE, "--peer", "127.0.0.1:70000"],
    ["fetch", NOWHERE, "--network", "moon"],
    ["fetch", NOWHERE, "--seed", "--local-dir", "x"],
    ["fetch", NOWHERE, "--seed-time", "60"],
    ["fetch", NOWHERE, "--seed", "--seed-ratio", "0"],
    ["seed", "small", "--name", NAME, "--seed-ratio", "-1"],
    ["fetch", "-"],
    ["rm"],
    ["show", "a//b"],
]


@pytest.mark.parametrize("arguments", USAGE_ERRORS, ids=" ".join)
def test_what_cannot_be_meant_is_a_usage_error_with_a_hint(
    cli: CommandLine, small: Path, hub: Path, arguments: list[str]
) -> None:
    outcome = cli(*arguments, timeout=20)
    refused(outcome, 2)
    assert "Hint: " in outcome.stderr
    assert not hub.exists()


def test_a_choice_that_is_missing_is_one_line(cli: CommandLine) -> None:
    error, hint = cli("completion").stderr.splitlines()
    assert error == "Error: Missing argument '{bash|zsh|fish}'. Choose from: bash, zsh, fish"
    assert hint.startswith("Hint: ")


FAILURES = [
    ["fetch", "org/unknown"],
    ["fetch", "ab" * 20, "--timeout", "0.1"],
    ["fetch", NOWHERE, "--registry", "missing"],
    ["fetch", NOWHERE, "--manifest", "missing"],
    ["fetch", "broken.torrent"],
    ["fetch", "http://127.0.0.1:9/x.torrent"],
    ["fetch", "http://example.invalid/x.torrent"],
    ["show", "broken.torrent"],
    ["verify", "org/unknown"],
    ["verify", "small", "--manifest", "missing"],
    ["verify", "small", "--manifest", "broken.torrent"],
    ["seed", "org/unknown"],
    ["rm", "org/unknown", "--yes"],
]


@pytest.mark.parametrize("arguments", FAILURES, ids=" ".join)
def test_what_fails_says_so_in_one_line(cli: CommandLine, small: Path, arguments: list[str]) -> None:
    (cli.folder / "broken.torrent").write_bytes(b"d4:infod4:name1:xee")
    code = 4 if "ab" * 20 in arguments else 1
    refused(cli(*arguments, timeout=20), code)


def test_a_url_that_is_not_there_or_no_torrent_is_a_failure_that_names_it(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<html>")
    with http_folder(tmp_path) as url:
        refused(cli("fetch", f"{url}/missing.torrent"), 1, "404", "missing.torrent")
        refused(cli("fetch", f"{url}/page.html"), 1, "Invalid torrent")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_fetch_that_is_stopped_ends_at_once_and_says_so(cli: CommandLine, number: int, code: int) -> None:
    process = cli.start("fetch", NOWHERE, "-t", "http://127.0.0.1:9/announce")
    assert process.stderr is not None
    assert process.stderr.readline().startswith("Metadata")
    process.send_signal(number)
    started = time.monotonic()
    stdout, stderr = process.communicate(timeout=10)
    assert time.monotonic() - started < 3
    assert process.returncode == code
    assert stdout == ""
    assert stderr.rstrip().endswith("Interrupted." if code == 130 else "Terminated.")
    assert "Traceback" not in stderr


def test_a_reader_who_leaves_early_is_no_crash(cli: CommandLine, small: Path, hub: Path) -> None:
    place(release_of(small), hub)
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*COMMAND, "ls"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False, cwd=cli.folder
        )
    finally:
        os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 1


# --- help ------------------------------------------------------------------------------------------------------------


def test_help_lists_every_command_and_every_command_has_help(cli: CommandLine) -> None:
    text = cli.ok("--help").stdout
    assert tuple(line.split()[0] for line in text.partition("Commands:")[2].splitlines() if line.strip()) == COMMANDS
    for command in COMMANDS:
        done = CliRunner().invoke(weightswarm, [command, "--help"])
        assert done.exit_code == 0
        assert f"weightswarm {command}" in done.stdout
    assert "130" in text, "the exit codes are documented"


def test_no_command_at_all_shows_the_help_as_a_usage_error(cli: CommandLine) -> None:
    outcome = cli()
    assert outcome.code == 2
    assert outcome.stdout == ""
    assert "Commands:" in outcome.stderr


def test_the_version_is_told(cli: CommandLine) -> None:
    from weightswarm.version import __version__

    assert cli.ok("--version").result.endswith(__version__)


# --- environment -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_reads_the_variable_of_its_own_name(name: str) -> None:
    command = weightswarm.get_command(click.Context(weightswarm), name)
    assert command is not None
    wrong = {}
    for option in command.params:
        if isinstance(option, click.Option):
            spelled = max(option.opts, key=len).removeprefix("--").replace("-", "_").upper()
            if (name, spelled) == ("publish", "OMS_KEY"):
                spelled = "OMS_SIGNING_KEY"  # a private key, and a public one for those that check
            if (name, spelled) == ("man", "OUTPUT"):
                continue  # the folder for releases that `publish` reads is none for pages
            if option.envvar != f"WEIGHTSWARM_{spelled}":
                wrong[spelled] = option.envvar
    assert wrong == {}


def test_the_environment_stands_in_for_options(cli: CommandLine, magnet: str, small: Path, tmp_path: Path) -> None:
    fetched = cli.ok(
        "fetch",
        magnet,
        WEIGHTSWARM_NAME="org/by-environment",
        WEIGHTSWARM_JSON="1",
        WEIGHTSWARM_CACHE_DIR=str(tmp_path / "other"),
        WEIGHTSWARM_EXCLUDE="*.json",
    ).json
    assert fetched["name"] == "org/by-environment"
    assert fetched["path"].startswith(str(tmp_path / "other"))
    assert contents(Path(fetched["path"])).keys() == contents(small).keys() - {"config.json"}
    refused(cli("fetch", NOWHERE, WEIGHTSWARM_TIMEOUT="soon"), 2, "soon")
    refused(cli("fetch", NOWHERE, WEIGHTSWARM_TIMEOUT="0.5"), 4, "within 0.5 seconds")


def test_a_registry_to_look_names_up_in_is_not_one_to_publish_to(cli: CommandLine, small: Path, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    before = listing(tmp_path / "shared")
    cli.ok("publish", small, "--name", NAME, WEIGHTSWARM_REGISTRY=str(tmp_path / "shared"))
    assert listing(tmp_path / "shared") == before


# --- what is printed -------------------------------------------------------------------------------------------------


def test_quiet_prints_the_result_alone(cli: CommandLine, magnet: str, small: Path) -> None:
    published = cli.ok("publish", small, "--name", NAME, "-q")
    assert (published.stderr, published.stdout.count("\n")) == ("", 1)
    fetched = cli.ok("fetch", magnet, "--name", NAME, "-q")
    assert (fetched.stderr, fetched.stdout.count("\n")) == ("", 1)
    verified = cli.ok("verify", NAME, "-q")
    assert (verified.stderr, verified.stdout) == ("", "")


def test_only_results_go_to_stdout(cli: CommandLine, magnet: str) -> None:
    outcome = cli.ok("fetch", magnet, "--name", NAME)
    assert Path(outcome.stdout.removesuffix("\n")).is_dir()
    assert f'from_pretrained("{NAME}"' in outcome.stderr


EVIL = "\x1b]0;owned\x07\x1b[2J\u202eevil"


def harmless(text: str) -> bool:
    """Tell whether a terminal would just print it."""
    return text.replace("\n", "").isprintable()


def test_what_would_act_on_a_terminal_is_shown_escaped(cli: CommandLine, magnet: str, small: Path) -> None:
    cli.ok("fetch", magnet, "--name", NAME, "--local-dir", "plain")
    (cli.folder / "plain" / EVIL).write_text("x")
    found = cli("verify", "plain")
    assert found.stdout.startswith(r"extra: \x1b]0;owned\x07\x1b[2J")
    outcomes = [
        found,
        cli("verify", "plain", "--json"),
        cli("fetch", EVIL),
        cli("fetch", f"magnet:?xt=urn:btih:{EVIL}"),
        cli("verify", EVIL),
        cli("publish", EVIL, "--name", NAME),
        cli("fetch", magnet, "--include", EVIL),
        cli("publish", small, "--name", NAME, "--tracker", f"udp://{EVIL}"),
        cli("show", EVIL),
        cli("fetch", NOWHERE, "--peer", EVIL),
        cli(EVIL),
    ]
    for outcome in outcomes:
        assert outcome.code in (1, 2, 3)
        assert harmless(outcome.stdout)
        assert harmless(outcome.stderr), outcome.stderr


# --- what shells and users do ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_closed_standard_stream_is_no_traceback(closed: str, small: Path, tmp_path: Path) -> None:
    command = f"exec {' '.join(COMMAND)} publish '{small}' --name {NAME} -o out {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").is_dir()


@pytest.mark.parametrize("command", ["fetch", "show"])
def test_noise_on_stdin_is_one_line(command: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, command, "-"],
        input=b"\xff\xfe\x80 noise",
        capture_output=True,
        timeout=60,
        cwd=tmp_path,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
    )
    assert b"Traceback" not in done.stderr
    assert done.returncode in (1, 2), done.stderr


def test_the_demo_of_a_user_that_does_not_exist_is_one_line(cli: CommandLine) -> None:
    refused(cli("demo", "~nobody-of-that-name/model"), 2, "no such user")
