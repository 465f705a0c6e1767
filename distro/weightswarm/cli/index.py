"""`weightswarm index`."""

from __future__ import annotations

import click

from weightswarm.cli import exit_codes
from weightswarm.cli.completing import complete_files
from weightswarm.cli.options import option
from weightswarm.cli.reporting import reporting


@click.command("index")
@click.argument("registry", metavar="DIR", shell_complete=complete_files)
@option("-q", "--quiet", is_flag=True, help="Print the result alone.")
def index_command(registry: str, quiet: bool) -> int:
    """Make the index.json of the registry folder DIR again, which who asks over HTTP reads, and print its path.

    What is damaged is left out and named; exit code 1 if there is any.
    """
    from weightswarm import api

    with reporting(quiet) as report:
        path, whole = api.index(registry, report=report)
    click.echo(str(path))
    return exit_codes.DONE if whole else exit_codes.FAILURE
