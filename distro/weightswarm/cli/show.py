"""`weightswarm show`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from weightswarm.cli.options import (
    cache_options,
    network_from,
    network_options,
    option,
    output_options,
    positive,
    registry_options,
)
from weightswarm.cli.reporting import reporting, size_text
from weightswarm.errors import printable

if TYPE_CHECKING:
    from weightswarm.fetching import Description


@click.command("show")
@click.argument("source", metavar="MAGNET|TORRENT|MANIFEST|ORG/MODEL[@REV]")
@option("--timeout", type=float, default=60.0, show_default=True, metavar="SECONDS", callback=positive("seconds"),
        help="Give up after this long without metadata.")  # fmt: skip
@network_options
@registry_options
@cache_options
@output_options
def show_command(
    source: str,
    timeout: float,
    registries: tuple[str, ...],
    cache_dir: str | None,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Tell what a magnet, torrent, manifest, info-hash or name holds, without downloading any of its files."""
    from weightswarm import api

    network = network_from(options)
    with reporting(quiet) as report:
        description = api.show(
            source, cache_dir=cache_dir, registries=registries, network=network, timeout=timeout, report=report
        )
    if as_json:
        click.echo(json.dumps(asdict(description), indent=2))
        return
    for label, value in _rows(description):
        if value:
            click.echo(f"{label:<14}{printable(value)}")
    for file in description.files:
        code = "" if file.code is None else f"  [{file.code}]"
        click.echo(f"  {size_text(file.size):>9}  {(file.sha256 or '')[:16]:<16}  {printable(file.path)}{code}")
    for difference in description.disagreements:
        click.echo(f"disagreement: {printable(difference.path)} {difference.reason}")


def _rows(description: Description) -> list[tuple[str, str]]:
    info_hash = description.info_hash
    vouched = description.vouched_name
    claimed = description.name or ""
    rows = [
        ("name", f"{vouched} (known to a registry)" if vouched else f"{claimed} (its own claim)" if claimed else ""),
        ("revision", description.revision or ""),
        ("torrent", description.torrent_name or ""),
        ("info-hash v1", (info_hash.v1 or "") if info_hash else ""),
        ("info-hash v2", (info_hash.v2 or "") if info_hash else ""),
        ("license", description.license or ""),
        ("description", description.description or ""),
        ("piece length", size_text(description.piece_length) if description.piece_length else ""),
        ("manifest", "" if description.revision else "none: needs --trust-magnet"),
    ]
    rows += [("tracker", url) for url in description.trackers]
    rows += [("web seed", url) for url in description.web_seeds]
    return [*rows, ("files", f"{len(description.files):,}, {size_text(description.total_size)}")]
