"""The user's `weightswarm.toml` as defaults of the command line's options: below what is typed and the environment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from weightswarm.errors import InvalidInput
from weightswarm.settings import Settings, Value

_LEFT_OUT = {"registry"}
"""What the file has another key for."""


def configurable(command: click.Command) -> Iterator[tuple[str, click.Option]]:
    """Yield a command's options that the file may set, by the name that they have there: what the environment sets."""
    for param in command.params:
        if isinstance(param, click.Option) and isinstance(param.envvar, str):
            name = long_name(param)
            if name not in _LEFT_OUT:
                yield name, param


def long_name(param: click.Option) -> str:
    """Return an option's long name without its dashes."""
    return next(each for each in param.opts if each.startswith("--"))[2:]


def commands_of(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """Yield a command, or all commands of a group, by their words."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    for word, inner in command.commands.items():
        yield from commands_of(inner, f"{name} {word}")


def defaults(command: click.Command, name: str, settings: Settings) -> dict[str, Any]:
    """Return click's `default_map` for a command or group. Raises `InvalidInput` for what its options refuse."""
    if isinstance(command, click.Group):
        return {word: defaults(inner, f"{name} {word}", settings) for word, inner in command.commands.items()}
    options = dict(configurable(command))
    if strange := settings.tables.get(name, {}).keys() - options:
        raise InvalidInput(
            f"{settings.path}: unknown setting '[{name.replace(' ', '.')}] {min(strange)}'",
            hint=f"weightswarm {name} --help lists what it takes",
        )
    found = {}
    for option, param in options.items():
        if (said := settings.value(name, option)) is not None:
            value, where = said
            found[str(param.name)] = _checked(command, param, value, f"{settings.path}: {where}")
    return found


def _checked(command: click.Command, param: click.Option, value: Value, what: str) -> Any:
    """Return the value as the option takes it. Raises `InvalidInput` that names file and key."""
    if param.is_flag != isinstance(value, bool):
        raise InvalidInput(f"{what} is {'not true or false' if param.is_flag else 'no flag, and takes a value'}")
    if param.multiple != isinstance(value, list):
        raise InvalidInput(f"{what} {'is not a list of strings' if param.multiple else 'takes one value, no list'}")
    textual = isinstance(param.type, click.types.StringParamType | click.Choice)
    if textual and not isinstance(value, str | list):
        raise InvalidInput(f"{what} is not a string")
    given = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    try:
        param.process_value(click.Context(command), given)
    except click.UsageError as error:
        raise InvalidInput(f"{what}: {error.message}") from None
    return given
