"""`weightswarm search`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from weightswarm.cli.options import option, output_options, reach_option, registry_options, route_options
from weightswarm.cli.reporting import reporting, size_text
from weightswarm.errors import printable

if TYPE_CHECKING:
    from weightswarm.dialling import Interface, Proxy
    from weightswarm.registry import Found

_MAX_TEXT = 200
_MAX_SHOWN = 60


@click.command("search")
@click.argument("text", nargs=-1, required=True, metavar="TEXT")
@option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Most releases to print.")
@reach_option
@route_options
@registry_options
@output_options
def search_command(
    text: tuple[str, ...],
    limit: int,
    network_choice: str,
    proxy: Proxy | None,
    interface: Interface | None,
    registries: tuple[str, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """List the releases in all registries whose name or description has every word of TEXT.

    A `*` marks the revision that the bare name means. `weightswarm fetch ORG/MODEL[@REV]` fetches what is listed; of
    a torrent that was published without a manifest, REV is its info-hash.
    """
    from weightswarm import api
    from weightswarm.dialling import Route
    from weightswarm.reach import Network

    words = " ".join(text)
    if len(words) > _MAX_TEXT:
        raise click.UsageError(f"TEXT is longer than {_MAX_TEXT} characters")
    with reporting(quiet) as report:
        route = Route(proxy, interface)
        found = api.search(words, registries=registries, network=Network(network_choice), route=route, report=report)
    shown = found[:limit]
    if as_json:
        click.echo(json.dumps([_document(each) for each in shown], indent=2))
    else:
        for line in _lines(shown):
            click.echo(line)
    if quiet:
        return
    if not found:
        click.echo("No release matches.", err=True)
    elif len(found) > limit:
        click.echo(f"{len(found) - limit:,} more match: say more words, or --limit", err=True)


def _document(found: Found) -> dict[str, object]:
    release = found.release
    return {
        "name": release.name,
        "revision": release.revision,
        "version": release.version,
        "main": release.is_main,
        "info_hash_v1": release.info_hash.v1,
        "info_hash_v2": release.info_hash.v2,
        "size": release.size,
        "files": release.files,
        "license": release.license,
        "description": release.description,
        "created": release.created,
        "manifest": "manifest.json" in release.documents,
        "registry": found.location,
    }


def _lines(found: list[Found]) -> list[str]:
    rows = [
        (
            each.release.name,
            f"{(each.release.revision or each.release.info_hash.short)[:8]}{'*' if each.release.is_main else ' '}",
            "" if each.release.version is None else f"v{each.release.version}",
            "" if each.release.size is None else size_text(each.release.size),
            _short(each.release.license),
            "no manifest" if each.release.revision is None else _short(each.release.description),
        )
        for each in found
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(5)] if rows else []
    return ["  ".join([*(f"{row[i]:<{widths[i]}}" for i in range(5)), row[5]]).rstrip() for row in rows]


def _short(text: str | None) -> str:
    shown = printable(" ".join((text or "").split()))
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[: _MAX_SHOWN - 1]}…"
