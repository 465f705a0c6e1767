"""The `weightswarm` command: its subcommands, loaded when called, and the one place where errors become exit codes."""

from __future__ import annotations

import sys
from contextlib import nullcontext, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from weightswarm.cli import exit_codes, signals
from weightswarm.errors import WeightswarmError
from weightswarm.settings import load_settings
from weightswarm.version import __version__

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = {
    "publish": "Hash a model, write its manifest and torrent, print the magnet.",
    "seed": "Seed models until stopped; prints their magnets.",
    "fetch": "Fetch a model into the cache, verified; prints its path.",
    "verify": "Compare a model with its manifest, byte by byte.",
    "search": "Look a model up in the registries.",
    "show": "Tell what a magnet, torrent, manifest or name holds.",
    "index": "Make a registry's index again.",
    "sign": "Sign a release, or renew its signature.",
    "key": "Make and show signing keys.",
    "trust": "Pin the keys that must have signed whose models.",
    "ls": "List the models in the cache.",
    "rm": "Remove a model from the cache.",
    "prune": "Remove unfinished downloads from the cache.",
    "export": "Write a release in other programs' formats.",
    "completion": "Print what makes a shell complete commands and names.",
    "man": "Print or write the manual pages.",
    "config": "Show the settings file and what is set.",
    "demo": "Publish, seed, fetch and verify on this machine alone.",
}


def _defaults(command: click.Command, name: str) -> dict[str, Any] | None:
    if (settings := load_settings()).path is None:
        return None
    from weightswarm.cli.configuring import defaults

    return {name: defaults(command, name, settings)}


class _Commands(click.Group):
    """Loads a subcommand's module only when it is run: `--help` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"weightswarm.cli.{cmd_name}"), f"{cmd_name}_command")
        assert isinstance(command, click.Command)
        if cmd_name != "config":
            # What is wrong with the settings the command itself will say, not a Tab.
            with suppress(WeightswarmError) if ctx.resilient_parsing else nullcontext():
                ctx.default_map = _defaults(command, cmd_name)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        # Names need no module of theirs loaded, and somebody waits at a Tab.
        found = [CompletionItem(name, help=told) for name, told in COMMANDS.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="weightswarm")
def weightswarm() -> None:
    """Publish and fetch AI model weights through magnet links.

    Every file is checked against a hashed manifest before it is placed in the model cache.

    Exit codes: 0 done, 1 failure, 2 usage, 3 content does not match its manifest or no pinned key signed it, 4 no peer,
    metadata or progress in the time allowed, 130 interrupted, 143 terminated.
    """


def run() -> int:
    """Run the command line and return its exit code."""
    try:
        outcome = weightswarm.main(prog_name="weightswarm", standalone_mode=False)
        sys.stdout.flush()
    except WeightswarmError as error:
        return _say(error)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        return exit_codes.USAGE
    except click.UsageError as error:
        _say_usage(error)
        return exit_codes.USAGE
    except click.ClickException as error:
        click.echo(f"Error: {error.format_message()}", err=True)
        return exit_codes.FAILURE
    except BrokenPipeError:
        # Whoever read our output has gone; nothing is left to say.
        return exit_codes.FAILURE
    except OSError as error:
        # What no room turned into an error of its own, such as a full disk behind stdout.
        _tell(f"Error: {error.filename or 'output'}: {error.strerror or error}")
        return exit_codes.FAILURE
    except click.Abort:
        # A question met the end of stdin.
        _tell("Interrupted.")
        return exit_codes.INTERRUPTED
    except signals.Stopped as stopped:
        if stopped.words is not None:
            _tell(stopped.words)
        return stopped.code
    return outcome if isinstance(outcome, int) else exit_codes.DONE


def _tell(text: str) -> None:
    # stderr may be a pipe that nobody reads.
    with suppress(OSError):
        click.echo(text, err=True)


def _say(error: WeightswarmError) -> int:
    _tell(f"Error: {error}")
    if error.hint is not None:
        _tell(f"Hint: {error.hint}")
    return exit_codes.exit_code(error)


def _say_usage(error: click.UsageError) -> None:
    # Of a choice click lists one a line.
    click.echo(f"Error: {' '.join(error.format_message().split())}", err=True)
    command = error.ctx.command_path if error.ctx is not None else "weightswarm"
    click.echo(f"Hint: {command} --help lists what it takes.", err=True)
