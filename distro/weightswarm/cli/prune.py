"""`weightswarm prune`."""

from __future__ import annotations

import click

from weightswarm.cli.options import cache_options
from weightswarm.cli.reporting import size_text


@click.command("prune")
@cache_options
def prune_command(cache_dir: str | None) -> None:
    """Remove unfinished downloads that no process works on. Models in the cache stay."""
    from weightswarm.cache import ModelCache, cache_root, prune_staging

    count, freed = prune_staging(ModelCache(cache_root(cache_dir)))
    click.echo(f"Removed {count:,} unfinished download{'' if count == 1 else 's'}, {size_text(freed)}", err=True)
