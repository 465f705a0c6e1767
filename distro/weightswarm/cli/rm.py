"""`weightswarm rm`."""

from __future__ import annotations

import click

from weightswarm.cli.completing import complete_cached
from weightswarm.cli.options import cache_options, confirmed, option
from weightswarm.cli.reporting import size_text
from weightswarm.errors import InvalidInput, NotFound


@click.command("rm")
@click.argument("targets", nargs=-1, required=True, metavar="ORG/MODEL[@REV]...", shell_complete=complete_cached)
@option("-y", "--yes", is_flag=True, help="Do not ask.")
@option("-q", "--quiet", is_flag=True, help="Say nothing; needs --yes.")
@cache_options
def rm_command(targets: tuple[str, ...], yes: bool, quiet: bool, cache_dir: str | None) -> None:
    """Remove models from the cache: all revisions of a name, or the one given. Blobs that others use stay."""
    from weightswarm.cache import ModelCache, cache_root, remove_revision, size_on_disk
    from weightswarm.manifest import parse_reference

    cache = ModelCache(cache_root(cache_dir))
    doomed = []
    for target in targets:
        name, revision = parse_reference(target)
        if revision:
            doomed.append(cache.resolve(name, revision))
        else:
            repository = cache.repository(name)
            if not repository.revisions():
                raise NotFound(f"{name} is not in the model cache at {cache.root}")
            doomed += [(repository, each) for each in repository.revisions()]
    if not yes:
        for repository, revision in doomed:
            size, _ = size_on_disk(repository, revision)
            click.echo(f"{repository.name}@{revision[:8]}  {size_text(size)}", err=True)
        if quiet or not confirmed("Remove?"):
            raise InvalidInput("Nothing was removed", hint="--yes removes without asking")
    freed = sum(remove_revision(repository, revision) for repository, revision in doomed)
    if not quiet:
        click.echo(f"Freed {size_text(freed)}", err=True)
