"""`weightswarm seed`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from weightswarm.cli import exit_codes, signals
from weightswarm.cli.completing import complete_places
from weightswarm.cli.options import (
    Address,
    cache_options,
    lane_option,
    network_from,
    network_options,
    option,
    output_options,
    positive,
)
from weightswarm.cli.publish import publish_options_from, release_options
from weightswarm.cli.qr import qr_option, show_qr
from weightswarm.cli.reporting import reporting, size_text
from weightswarm.cli.signer import signer_from, signer_options

if TYPE_CHECKING:
    from weightswarm.seeding import SeededRelease


@click.command("seed")
@click.argument(
    "paths", nargs=-1, required=True, metavar="PATH|ORG/MODEL|ORG/MODEL=PATH...", shell_complete=complete_places
)
@option("--seed-time", type=float, metavar="SECONDS", callback=positive("seconds"), help="Stop after this long.")
@option("--seed-ratio", type=float, metavar="RATIO", callback=positive("the ratio"),
        help="Stop a release once it was given this many times over.")  # fmt: skip
@option("--advertise", type=Address(), multiple=True,
        help="An address at which peers reach this machine, put into the magnet.")  # fmt: skip
@qr_option
@signer_options
@release_options
@lane_option
@network_options
@cache_options
@output_options
def seed_command(
    paths: tuple[str, ...],
    seed_time: float | None,
    seed_ratio: float | None,
    advertise: tuple[Any, ...],
    qr: bool,
    from_hub: str | None,
    cache_dir: str | None,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Seed folders, files or models in the cache until stopped; print their magnet links.

    One folder takes its name from --name, several take ORG/MODEL=PATH each. The magnets are the first lines of stdout,
    printed once peers can connect. A model in the cache is seeded straight
    from its blobs. SIGINT or SIGTERM, --seed-ratio or --seed-time end it.
    """
    from weightswarm import api
    from weightswarm.seeding import SeedOptions

    network = network_from(options)
    name = options.pop("name")
    signer = signer_from(options)
    chosen = publish_options_from(options, name, cache_dir)
    seeded: list[SeededRelease] = []

    def ready(releases: list[SeededRelease]) -> None:
        seeded.extend(releases)
        for each in releases:
            click.echo(json.dumps(_described(each)) if as_json else str(each.magnet))
            if qr:
                show_qr(str(each.magnet))

    ended = exit_codes.DONE
    try:
        with reporting(quiet) as report:
            api.seed(
                paths,
                name=name,
                cache_dir=cache_dir,
                publish_options=chosen,
                options=SeedOptions(network, advertise, seed_ratio, seed_time),
                signer=signer,
                from_hub=from_hub,
                on_ready=ready,
                report=report,
            )
    except signals.Stopped as stopped:
        # The usual way to end a seed is no misfortune: the summary below says what there is to say.
        ended = stopped.code
    finally:
        if not quiet:
            for each in seeded:
                label = f"{each.release.manifest.name}@{each.release.manifest.revision[:8]}"
                ratio = each.uploaded / max(1, each.release.manifest.total_size)
                click.echo(f"{label}: {size_text(each.uploaded)} given, ratio {ratio:.2f}", err=True)
    failures = [each.error for each in seeded if each.error is not None]
    for error in failures[:-1]:
        click.echo(f"Error: {error}", err=True)
    if failures:
        raise failures[-1]
    return ended


def _described(seeded: SeededRelease) -> dict[str, Any]:
    manifest, info_hash = seeded.release.manifest, seeded.release.metainfo.info_hash
    return {
        "name": manifest.name,
        "revision": manifest.revision,
        "magnet": str(seeded.magnet),
        "info_hash_v1": info_hash.v1,
        "info_hash_v2": info_hash.v2,
    }
