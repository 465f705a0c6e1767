"""`weightswarm man`."""

from __future__ import annotations

import click

from weightswarm.cli.options import option
from weightswarm.storage import make_real_folder, user_path, write_atomically


@click.command("man")
@option("-o", "--output", envvar=None, metavar="DIR", help="Write the page into this folder, of no command all pages.")
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
    pages = all_pages(weightswarm)
    if command:
        page_of(weightswarm, command)
        name = f"{'-'.join(('weightswarm', *command))}.1"
        pages = {name: pages[name]}
    folder = user_path(output)
    make_real_folder(folder)
    for name, text in pages.items():
        write_atomically(folder / name, text.encode())
    click.echo(f"Wrote {'1 page' if len(pages) == 1 else f'{len(pages)} pages'} into {output}", err=True)
