"""`weightswarm ls`."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from weightswarm.cli.options import cache_options, option
from weightswarm.cli.reporting import size_text
from weightswarm.errors import printable


@click.command("ls")
@option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@cache_options
def ls_command(cache_dir: str | None, as_json: bool) -> None:
    """List the models in the cache: name, revision, size on disk, whether whole, and when they were verified."""
    from weightswarm.cache import ModelCache, cache_root, list_cache

    cache = ModelCache(cache_root(cache_dir))
    releases = list_cache(cache)
    if as_json:
        click.echo(json.dumps([asdict(release) for release in releases], indent=2))
        return
    if not releases:
        click.echo(f"No models in {cache.root}", err=True)
        return
    width = max(len(release.name) for release in releases)
    for release in releases:
        mark = "*" if release.is_main else " "
        verified = (release.verified or "never verified").replace("T", " ").removesuffix("Z")
        click.echo(
            f"{release.name:<{width}}  {release.revision[:8]}{mark}  {size_text(release.size_on_disk):>9}"
            f"  {release.state:<8}  {printable(verified)}"
        )
