"""`weightswarm show`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from weightswarm.cli.completing import complete_sources
from weightswarm.cli.options import (
    cache_options,
    network_from,
    network_options,
    option,
    output_options,
    positive,
    registry_options,
    source_text,
)
from weightswarm.cli.qr import qr_option, show_qr
from weightswarm.cli.reporting import reporting, size_text
from weightswarm.errors import printable

if TYPE_CHECKING:
    from weightswarm.fetching import Description
    from weightswarm.magnet import Repair


@click.command("show")
@click.argument("source", metavar="MAGNET|TORRENT|MANIFEST|ORG/MODEL[@REV]", shell_complete=complete_sources)
@option("--timeout", type=float, default=60.0, show_default=True, metavar="SECONDS", callback=positive("seconds"),
        help="Give up after this long without metadata.")  # fmt: skip
@option("--offline", is_flag=True, help="Tell what the link or file itself says, and ask nobody.")
@qr_option
@network_options
@registry_options
@cache_options
@output_options
def show_command(
    source: str,
    timeout: float,
    offline: bool,
    qr: bool,
    registries: tuple[str, ...],
    cache_dir: str | None,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Tell what a magnet, torrent, manifest, info-hash or name holds, without downloading any of its files.

    The source is what `fetch` takes, `-` for stdin included. A text with a magnet link in it will do: what was
    repaired or lost of the link is told.
    """
    from weightswarm import api

    network = network_from(options)
    text = source_text(source)
    with reporting(quiet) as report:
        description = api.show(
            text,
            cache_dir=cache_dir,
            registries=registries,
            network=network,
            timeout=timeout,
            offline=offline,
            report=report,
        )
    if qr and description.magnet is None:
        click.echo("No QR code: a manifest alone names no torrent", err=True)
    elif qr:
        show_qr(str(description.magnet))
    if as_json:
        click.echo(json.dumps(asdict(description), indent=2))
        return
    for label, value in _rows(description):
        if value:
            click.echo(f"{label:<16}{printable(value)}")
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
        ("signed by", str(description.signature)),
        ("torrent", description.torrent_name or ""),
        ("version", description.torrent_version or ""),
        ("info-hash v1", (info_hash.v1 or "") if info_hash else ""),
        ("info-hash v2", (info_hash.v2 or "") if info_hash else ""),
        ("license", description.license or ""),
        ("description", description.description or ""),
        ("piece length", size_text(description.piece_length) if description.piece_length else ""),
        ("manifest", _manifest(description)),
    ]
    rows += [("tracker", f"{url}{_how_it_came(description, url)}") for url in description.trackers]
    rows += [(f"{r.fate.value} {r.part}", f"{r.found} ({r.reason})") for r in _not_in_use(description)]
    rows += [("web seed", url) for url in description.web_seeds]
    rows += [("torrent URL", url) for url in description.torrent_urls]
    rows += [("peer", peer) for peer in description.peers]
    rows.append(("selects files", description.selection or ""))
    if (announced := description.announced) is not None:
        rows.append(("announced by", f"{announced.publisher}, {announced.where}"))
        rows += [("published MD5", f"{d.value}  {d.path or 'of no named file'}") for d in announced.digests]
        rows += [("note", note) for note in announced.notes]
    return [*rows, ("files", _files(description))]


def _manifest(description: Description) -> str:
    if description.revision:
        return ""
    if description.vouched_name:
        return "none: the pieces are the only witness"
    return "not known offline" if description.offline and not description.files else "none: needs --trust-magnet"


def _files(description: Description) -> str:
    size = "" if description.total_size is None else size_text(description.total_size)
    if description.files:
        return f"{len(description.files):,}, {size}"
    return f"not known offline, {size} by the link" if size else "not known offline"


def _how_it_came(description: Description, url: str) -> str:
    return " (repaired)" if any(repair.became == url for repair in description.repairs) else ""


def _not_in_use(description: Description) -> list[Repair]:
    from weightswarm.magnet import Fate

    return [repair for repair in description.repairs if repair.fate is not Fate.REPAIRED]
