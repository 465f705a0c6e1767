"""`weightswarm man`."""

from __future__ import annotations

import click

from weightswarm.cli.options import option
from weightswarm.storage import make_real_folder, user_path, write_atomically


@click.command("man")
@option("-o", "--output", envvar=None, metavar="DIR",
        help="Write weightswarm.1 and a page for each command here, as in ~/.local/share/man/man1.")  # fmt: skip
@click.argument("command", nargs=-1)
def man_command(command: tuple[str, ...], output: str | None) -> None:
    """Print the manual page of a command (man -l - reads it), or write all pages into a folder.

    \b
    weightswarm man fetch | man -l -
    weightswarm man -o ~/.local/share/man/man1
    """
    from weightswarm.cli.main import weightswarm
    from weightswarm.cli.pages import all_pages, page_of

    if output is None:
        click.echo(page_of(weightswarm, command), nl=False)
        return
    if command:
        raise click.UsageError("--output writes all pages; name no command")
    folder = user_path(output)
    make_real_folder(folder)
    pages = all_pages(weightswarm)
    for name, text in pages.items():
        write_atomically(folder / name, text.encode())
    click.echo(f"Wrote {len(pages)} pages into {output}", err=True)
