"""`weightswarm.toml` sets every option, below what is typed and the environment; what it may not say is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import configuration_page as page
from conftest import make_model
from hostile import NAME, NOWHERE, WEIGHTS, flip_byte, refused
from running import CommandLine, CommandLineHere, Seeder
from test_registry_settings import write_settings
from web_origins import origin
from weightswarm.cli.configuring import configurable
from weightswarm.settings import settings_path


def test_the_page_and_the_list_of_options_are_those_of_the_command_line() -> None:
    """`python tests/configuration_page.py` writes both anew."""
    assert page.PAGE.read_text() == page.written_page(page.PAGE.read_text())
    assert page.SETTINGS.read_text() == page.written_settings(page.SETTINGS.read_text())


NO_NETWORK = {"index", "sign", "key new", "key show", "key rotate", "trust add", "trust ls", "trust rm", "ls", "rm",
              "prune", "export ollama", "completion", "man", "demo"}  # fmt: skip
"""Commands that speak to nobody; `demo` starts others, at --network loopback."""


def test_the_files_proxy_holds_for_every_command_that_speaks_to_the_network(tmp_path: Path) -> None:
    for words, command in page.commands().items():
        assert {name for name, _ in configurable(command)} >= {"network", "proxy", "interface"} or (
            words in NO_NETWORK
        ), words
    model = make_model(tmp_path / "model", 1000)
    here = CommandLineHere(tmp_path)
    release = here.ok("publish", "model", "-n", NAME, "-o", "published", "--json").json["torrent"]
    flip_byte(model / WEIGHTS)
    with origin(tmp_path) as direct:
        url = f"{direct.url}a.torrent"
        link = f"{NOWHERE}&xs={url}&ws={direct.url}&tr={direct.url}announce"
        write_settings(f'proxy = "socks5://127.0.0.1:1"\nregistries = ["{direct.url}"]\n')
        asked = {
            "publish": ("model", "--from-hub", NAME),
            "seed": ("model", "--from-hub", NAME),
            "fetch": (link, "--timeout", "1"),
            "verify": ("model", "--manifest", release, "--repair", "--timeout", "1"),
            "search": ("nothing-of-this-name",),
            "show": (link, "--timeout", "1"),
            **{
                f"export {kind}": (url, "-o", "x.png") for kind in ("sha256sums", "metalink", "torrent", "magnet", "qr")
            },
        }
        assert asked.keys() == page.commands().keys() - NO_NETWORK
        for words, arguments in asked.items():
            outcome = here(*words.split(), *arguments, HF_ENDPOINT=direct.url, HF_TOKEN="hf_x")
            assert outcome.code != 0
            assert "the proxy socks5://127.0.0.1:1 cannot be reached" in outcome.stderr, (words, outcome.stderr)
        here("fetch", link, "--http-only")
        assert direct.asked == []


def test_what_is_typed_goes_before_the_environment_that_before_a_table_that_before_the_top(cli: CommandLine) -> None:
    def timeout(*arguments: str, **environment: Any) -> str:
        outcome = cli("fetch", NOWHERE, *arguments, **environment)
        assert outcome.code == 4
        return outcome.stderr.partition("within ")[2].split()[0]

    write_settings("timeout = 1.5\n")
    assert timeout() == "1.5"
    write_settings("timeout = 1.5\n[fetch]\ntimeout = 1.25\n[show]\ntimeout = 9\n")
    assert timeout() == "1.25"
    assert timeout(WEIGHTSWARM_TIMEOUT="1.125") == "1.125"
    assert timeout("--timeout", "1", WEIGHTSWARM_TIMEOUT="1.125") == "1"


def test_flags_lists_and_limits_of_the_file_are_used(cli: CommandLine, seeder: Seeder, tmp_path: Path) -> None:
    seeding = seeder(make_model(tmp_path / "source", size=100_000), "--name", NAME)
    write_settings(
        'name = "org/named"\nlimit-schedule = ["00:00-24:00 down 50M"]\n[fetch]\njson = true\ninclude = ["*.json"]\n'
    )
    fetched = cli.ok("fetch", seeding.magnet)

    assert (fetched.json["name"], fetched.json["complete"]) == ("org/named", False)
    assert "By the schedule: 52,428,800 bytes a second down" in fetched.stderr
    # What is a flag there is turned off by the environment.
    assert cli.ok("fetch", seeding.magnet, WEIGHTSWARM_JSON="0").result == fetched.json["path"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('download-limit = "fast"', "download-limit: 'fast' is no rate"),
        ('download-limit = "2Mb"', "16Mbit for bits"),
        ("download-limit = true", "download-limit is no flag"),
        ('download-limit = ["1M"]', "takes one value, no list"),
        ("upload-limit = -1", "upload-limit: '-1' is no rate"),
        ("upload-limit = {a = 1}", "unknown setting 'upload-limit'"),
        ("name = 5", "name is not a string"),
        ('network = "moon"', "network: 'moon' is not one of"),
        ("max-connections = 0", "max-connections: 0 is not in the range"),
        ('proxy = "socks4://x:1"', "socks4 is not spoken"),
        ('interface = "nowhere0"', "There is no interface nowhere0"),
        ("[fetch]\ntimeout = 0", "[fetch] timeout: seconds must be above 0"),
        ("[fetch]\ntimeout = 2026-01-01", "is no string, number, true, false or list of strings"),
        ('[fetch]\ninclude = "x"', "[fetch] include is not a list of strings"),
        ("[fetch]\nadvertise = ['h:1']", "unknown setting '[fetch] advertise'"),
        ("[fetch]\njson = 1", "[fetch] json is not true or false"),
        ("[fetch.more]\njson = true", "unknown setting '[fetch] more'"),
        ("[fetsh]\njson = true", "unknown setting 'fetsh'"),
        ("[key]\nnew = 1", "unknown setting 'key.new'"),
        ("[key.old]\njson = true", "unknown setting 'key.old'"),
        ("download_limit = 1", "unknown setting 'download_limit'"),
        ('registry = ["x"]', "unknown setting 'registry'"),
        ("help = true", "unknown setting 'help'"),
    ],
)
def test_what_the_file_may_not_say_is_one_line_that_names_file_and_key(text: str, words: str) -> None:
    from click.testing import CliRunner

    from weightswarm.cli.main import weightswarm
    from weightswarm.errors import InvalidInput

    path = write_settings(text)
    result = CliRunner().invoke(weightswarm, ["fetch", NOWHERE])

    assert isinstance(result.exception, InvalidInput)
    assert str(result.exception).startswith(f"{path}: ")
    assert words in str(result.exception)
    assert "\n" not in str(result.exception)


def test_the_variable_that_has_a_wrong_value_is_named(cli: CommandLine) -> None:
    refused(cli("fetch", NOWHERE, WEIGHTSWARM_TIMEOUT="soon"), 2, "'--timeout' (WEIGHTSWARM_TIMEOUT)")
    assert "WEIGHTSWARM" not in cli("fetch", NOWHERE, "--timeout", "soon").stderr


def test_a_wrong_file_is_a_usage_error_with_a_hint(cli: CommandLine) -> None:
    path = write_settings('download_limit = "1M"')
    outcome = cli("ls")
    refused(outcome, 2, str(path), "unknown setting 'download_limit'")
    assert "Hint: did you mean download-limit?" in outcome.stderr
    # Help needs no settings.
    cli.ok("--help")


def test_a_password_that_others_can_read_is_refused_and_none_is_shown(cli: CommandLine) -> None:
    path = write_settings('proxy = "socks5://bob:s3cret@127.0.0.1:1"\n')
    path.chmod(0o640)
    outcome = cli("ls")
    refused(outcome, 2, f"{path} holds a proxy's password, and others can read it")
    assert f"chmod 600 {path}" in outcome.stderr
    path.chmod(0o600)
    cli.ok("ls")
    shown = cli.ok("config")
    assert "fetch --proxy socks5://127.0.0.1:1  (file, proxy)" in shown.stdout
    assert "s3cret" not in outcome.stderr + shown.stdout


def test_a_web_seeds_password_that_others_can_read_is_refused(cli: CommandLine) -> None:
    path = write_settings('[fetch]\nweb-seed = ["http://127.0.0.1:1/", "http://bob:s3cret@127.0.0.1:1/"]\n')
    path.chmod(0o644)
    outcome = cli("ls")
    refused(outcome, 2, f"{path} holds a web-seed's password, and others can read it")
    path.chmod(0o600)
    cli.ok("ls")
    assert "s3cret" not in outcome.stderr + cli.ok("config").stdout


def test_a_file_that_anybody_can_write_to_is_not_taken(cli: CommandLine) -> None:
    path = write_settings('registries = ["/r"]\n')
    path.chmod(0o666)
    outcome = cli("ls")
    refused(outcome, 2, f"{path} can be written by anybody")
    assert f"chmod o-w {path}" in outcome.stderr
    path.chmod(0o664)
    cli.ok("ls")


def test_config_tells_what_holds_and_who_says_so(cli: CommandLine) -> None:
    assert cli.ok("config").stdout.splitlines()[0] == f"{settings_path()} (not there)"
    write_settings(
        'registries = ["/r"]\ndownload-limit = "2M"\n[fetch]\nonly-safe = true\n[key.new]\nno-passphrase = true\n'
    )
    lines = cli.ok("config", WEIGHTSWARM_DOWNLOAD_LIMIT="1M").stdout.splitlines()
    assert lines[:2] == [str(settings_path()), "registries: /r"]
    assert {
        "fetch --only-safe true  (file, [fetch] only-safe)",
        "seed --download-limit 1M  (WEIGHTSWARM_DOWNLOAD_LIMIT)",
        "key new --no-passphrase true  (file, [key.new] no-passphrase)",
    } <= set(lines)
    document = cli.ok("config", "--json").json
    assert document["exists"]
    said = {"command": "verify", "option": "download-limit", "value": "2M", "origin": "file, download-limit"}
    assert said in document["options"]
    write_settings("[seed]\ntimeout = 1\n")
    refused(cli("config"), 2, "unknown setting '[seed] timeout'")
