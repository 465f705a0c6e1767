"""What a settings file may say, read off the command line itself: the list in `settings.py` and the table in the docs.

`python tests/configuration_page.py` writes both anew; a test holds them against the command line.
"""

from __future__ import annotations

import re
from collections import defaultdict
from importlib import import_module
from pathlib import Path

import click

from weightswarm.cli.configuring import commands_of, configurable
from weightswarm.cli.main import COMMANDS
from weightswarm.cli.options import Rate, Size

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "configuration.md"
SETTINGS = ROOT / "distro" / "weightswarm" / "settings.py"
BEGIN, END = "<!-- options -->\n", "<!-- end of options -->\n"


def commands() -> dict[str, click.Command]:
    """Return every command that a file may have a table for, by its words."""
    found: dict[str, click.Command] = {}
    for name in COMMANDS:
        found |= dict(commands_of(getattr(import_module(f"weightswarm.cli.{name}"), f"{name}_command"), name))
    return {words: command for words, command in found.items() if words != "config"}


def options() -> dict[str, list[tuple[str, click.Option]]]:
    """Return every option that a file may set, with the commands that have it."""
    found: dict[str, list[tuple[str, click.Option]]] = defaultdict(list)
    for words, command in commands().items():
        for name, param in configurable(command):
            found[name].append((words, param))
    return dict(sorted(found.items()))


def kind(param: click.Option) -> str:
    """Return what TOML must have for an option."""
    if param.is_flag:
        return "true, false"
    if param.multiple:
        return "list of strings"
    if isinstance(param.type, click.Choice):
        return " ".join(f'`"{each}"`' for each in param.type.choices)
    if isinstance(param.type, click.types.IntParamType | click.types.FloatParamType):
        return "number"
    return "string or number" if isinstance(param.type, Rate | Size) else "string"


def table() -> str:
    """Return the page's table of options."""
    lines = ["| key | value | commands | what |", "|---|---|---|---|"]
    for name, holders in options().items():
        what = {(param.help or "").replace("|", "\\|"): None for _, param in holders}
        kinds = {kind(param): None for _, param in holders}
        words = ", ".join(f"`{words}`" for words, _ in holders)
        lines.append(f"| `{name}` | {'; '.join(kinds)} | {words} | {' / '.join(what)} |")
    return "\n".join(lines) + "\n"


def written_page(text: str) -> str:
    """Return the page with its table as it must be."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


def written_settings(source: str) -> str:
    """Return the module with its lists as they must be."""
    for name, words in (("COMMANDS", commands()), ("OPTIONS", options())):
        block = f"{name} = (\n" + "".join(f'    "{each}",\n' for each in words) + ")\n"
        source, count = re.subn(rf"^{name} = \(.*?\)\n", block, source, count=1, flags=re.DOTALL | re.MULTILINE)
        assert count == 1, name
    return source


if __name__ == "__main__":
    SETTINGS.write_text(written_settings(SETTINGS.read_text()))
    PAGE.write_text(written_page(PAGE.read_text()))
