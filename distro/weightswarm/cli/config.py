"""`weightswarm config`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module

import click

from weightswarm.cli.configuring import commands_of, configurable, defaults
from weightswarm.cli.main import COMMANDS
from weightswarm.cli.options import option
from weightswarm.errors import InvalidInput, printable, without_passwords
from weightswarm.settings import REGISTRIES, Settings, load_settings, settings_path


@dataclass(frozen=True, slots=True)
class _Choice:
    """What holds for one option of one command, and who says so."""

    command: str
    option: str
    value: str
    origin: str


@click.command("config")
@option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def config_command(as_json: bool) -> None:
    """Print where the settings file is looked for, and every option that it or the environment sets.

    What is typed counts before the environment, that before the file's table of a command, that before the file's top.
    """
    settings = load_settings()
    choices = [each for name in COMMANDS for each in _choices(name, settings) if name != "config"]
    if as_json:
        document = {
            "path": str(settings_path()),
            "exists": settings.path is not None,
            REGISTRIES: [without_passwords(each) for each in settings.registries],
            "options": [asdict(each) for each in choices],
        }
        click.echo(json.dumps(document, indent=2))
        return
    click.echo(f"{settings_path()}{'' if settings.path else ' (not there)'}")
    for registry in settings.registries:
        click.echo(printable(f"{REGISTRIES}: {without_passwords(registry)}"))
    for each in choices:
        click.echo(printable(f"{each.command} --{each.option} {each.value}  ({each.origin})"))


def _choices(name: str, settings: Settings) -> Iterator[_Choice]:
    command = getattr(import_module(f"weightswarm.cli.{name}"), f"{name}_command")
    # Every table is held against its command, whichever is run.
    defaults(command, name, settings)
    for words, inner in commands_of(command, name):
        for long, param in configurable(inner):
            said = settings.value(words, long)
            if given := os.environ.get(str(param.envvar)):
                yield _Choice(words, long, _shown(long, given), str(param.envvar))
            elif said is not None:
                value = said[0]
                shown = value if isinstance(value, str) else json.dumps(value)
                yield _Choice(words, long, _shown(long, shown), f"file, {said[1]}")


def _shown(name: str, value: str) -> str:
    """Return a value without what is secret in it."""
    if name != "proxy":
        return without_passwords(value)
    from weightswarm.dialling import Proxy

    try:
        return str(Proxy.parse(value))
    except InvalidInput:
        return "(not a proxy)"
