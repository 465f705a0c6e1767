"""Manual pages (man(7)) of click's commands: what `--help` says, in roff."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from inspect import cleandoc

import click

from weightswarm.version import __version__

PROGRAM = "weightswarm"
_ROFF = str.maketrans({"\\": r"\e", "-": r"\-", "'": r"\(aq", "^": r"\(ha", "`": r"\(ga", "~": r"\(ti"})
_ENVIRONMENT = (
    "Nearly every option is read from a variable too, named after it: \\fBWEIGHTSWARM_CACHE_DIR\\fR for"
    " \\fB\\-\\-cache\\-dir\\fR. The model cache is where \\fBHF_HUB_CACHE\\fR or \\fBHF_HOME\\fR say."
)
_FOREIGN = re.compile(r"[^\x00-\x7f]")
_CODE = re.compile(r"`([^`\n]+)`")


def all_pages(root: click.Group) -> dict[str, str]:
    """Return every page by its file name: `weightswarm.1`, `weightswarm-fetch.1`, `weightswarm-key-new.1`, …"""
    return {f"{_title(ctx)}.1": _page(ctx) for ctx in _contexts(click.Context(root, info_name=PROGRAM))}


def page_of(root: click.Group, names: Sequence[str]) -> str:
    """Return the page of the command that `names` lead to. Raises `click.UsageError` for one that is not there."""
    ctx = click.Context(root, info_name=PROGRAM)
    for name in names:
        command = ctx.command.get_command(ctx, name) if isinstance(ctx.command, click.Group) else None
        if command is None:
            raise click.UsageError(f"No such command {name!r}.")
        ctx = click.Context(command, info_name=name, parent=ctx)
    return _page(ctx)


def _contexts(ctx: click.Context) -> Iterator[click.Context]:
    yield ctx
    for name, command in _subcommands(ctx):
        yield from _contexts(click.Context(command, info_name=name, parent=ctx))


def _subcommands(ctx: click.Context) -> Iterator[tuple[str, click.Command]]:
    group = ctx.command
    if isinstance(group, click.Group):
        for name in group.list_commands(ctx):
            if (command := group.get_command(ctx, name)) is not None and not command.hidden:
                yield name, command


def _options(ctx: click.Context) -> list[click.Parameter]:
    return [param for param in ctx.command.get_params(ctx) if isinstance(param, click.Option)]


def _title(ctx: click.Context) -> str:
    return ctx.command_path.replace(" ", "-")


def _page(ctx: click.Context) -> str:
    title, command = _title(ctx), ctx.command
    # No date: equal versions give equal pages.
    lines = [f'.TH {_text(title.upper())} 1 "" "{PROGRAM} {__version__}" "{PROGRAM}"']
    lines += [".SH NAME", f"{_text(title)} \\- {_text(_summary(command))}"]
    pieces = " ".join(_text(piece) for piece in command.collect_usage_pieces(ctx))
    lines += [".SH SYNOPSIS", f"\\fB{_text(ctx.command_path)}\\fR {pieces}", ".SH DESCRIPTION"]
    lines += _paragraphs(command.help or "")
    options = [record for param in _options(ctx) if (record := param.get_help_record(ctx)) is not None]
    if options:
        lines.append(".SH OPTIONS")
        for spelled, told in options:
            lines += [".TP", f"\\fB{_text(spelled)}\\fR", _text(told)]
    subcommands = list(_subcommands(ctx))
    if subcommands:
        lines.append(".SH COMMANDS")
        for name, each in subcommands:
            lines += [".TP", f"\\fB{_text(f'{title}-{name}')}\\fR(1)", _text(_summary(each))]
    if ctx.parent is None:
        lines += [".SH ENVIRONMENT", _ENVIRONMENT]
    else:
        lines += [".SH SEE ALSO", f"\\fB{_text(_title(ctx.parent))}\\fR(1)"]
    return "\n".join(lines) + "\n"


def _summary(command: click.Command) -> str:
    return command.get_short_help_str(limit=200).rstrip(".")


def _paragraphs(text: str) -> Iterator[str]:
    r"""Yield a help text's lines; a paragraph after `\b` keeps its own."""
    for number, paragraph in enumerate(cleandoc(text).partition("\f")[0].split("\n\n")):
        if number:
            yield ".PP"
        if paragraph.startswith("\b\n"):
            yield from (".nf", *map(_text, paragraph[2:].splitlines()), ".fi")
        else:
            yield _CODE.sub(r"\\fB\1\\fR", _prose(" ".join(paragraph.split())))


def _prose(text: str) -> str:
    """Escape a text but for the marks around code."""
    return "`".join(map(_text, text.split("`")))


def _text(text: str) -> str:
    """Return text as roff takes it literally."""
    escaped = " ".join(text.split()).translate(_ROFF) if "\n" in text else text.translate(_ROFF)
    # groff reads Latin-1 unless it is told otherwise.
    escaped = _FOREIGN.sub(lambda found: f"\\[u{ord(found[0]):04X}]", escaped)
    return f"\\&{escaped}" if escaped.startswith(".") else escaped
