"""`weightswarm completion`."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def completion_command(shell: str) -> None:
    """Print what makes a shell complete commands, options, files and model names.

    \b
    bash: weightswarm completion bash > ~/.local/share/bash-completion/completions/weightswarm
    zsh:  weightswarm completion zsh > DIR/_weightswarm, where DIR is in $fpath
    fish: weightswarm completion fish > ~/.config/fish/completions/weightswarm.fish
    """
    from click.shell_completion import get_completion_class

    from weightswarm.cli.main import weightswarm

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(weightswarm, {}, "weightswarm", "_WEIGHTSWARM_COMPLETE").source())
