"""`weightswarm sign`."""

from __future__ import annotations

import json
from typing import Any

import click

from weightswarm.cli.completing import complete_places
from weightswarm.cli.options import cache_options, output_options, registry_options
from weightswarm.cli.signer import signer_from, signer_options


@click.command("sign")
@click.argument("source", shell_complete=complete_places, metavar="MANIFEST|TORRENT|ORG/MODEL[@REV]")
@signer_options
@registry_options
@cache_options
@output_options
def sign_command(
    source: str, registries: tuple[str, ...], cache_dir: str | None, quiet: bool, as_json: bool, **options: Any
) -> None:
    """Sign a release that is published already, or give it a new version or expiry; print its magnet.

    A manifest's signature is written beside it and into its torrents, a name's into the registry (--registry) or the
    cache. Manifest and info-hash stay: the swarm goes on. Without --release-version it keeps the version it has.
    """
    from weightswarm import api

    signer = signer_from(options)
    if signer is None:
        raise click.UsageError("say with which key: --key FILE")
    resigned = api.sign(source, signer, cache_dir=cache_dir, registries=registries)
    manifest = resigned.manifest
    magnet = None if resigned.magnet is None else str(resigned.magnet)
    if as_json:
        document = {
            "name": manifest.name,
            "revision": manifest.revision,
            "key_id": signer.key.public.shown_key_id,
            "trusted_comment": resigned.signature.trusted_comment,
            "written": [str(path) for path in resigned.written],
            "magnet": magnet,
        }
        click.echo(json.dumps(document, indent=2))
        return
    if not quiet:
        click.echo(f"Signed {manifest.name}@{manifest.revision[:8]} by key {signer.key.public.shown_key_id}:"
                   f" {resigned.signature.trusted_comment}", err=True)  # fmt: skip
        click.echo(f"Wrote {', '.join(str(path) for path in resigned.written)}", err=True)
    click.echo(magnet or str(resigned.written[0]))
