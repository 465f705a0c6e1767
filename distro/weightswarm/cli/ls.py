"""`weightswarm ls`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from weightswarm.cli.options import cache_options, option
from weightswarm.cli.reporting import size_text
from weightswarm.errors import printable

if TYPE_CHECKING:
    from weightswarm.trusting import Standing


@click.command("ls")
@option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@cache_options
def ls_command(cache_dir: str | None, as_json: bool) -> None:
    """List the models in the cache: name, revision, size on disk, whether whole, when verified, who signed."""
    from weightswarm.cache import ModelCache, cache_root, list_cache, load_record
    from weightswarm.trusting import default_store, read_signatures, standing_of

    cache = ModelCache(cache_root(cache_dir))
    releases = list_cache(cache)
    pins = default_store().pins()
    signers: list[Standing | None] = []
    for release in releases:
        record = load_record(cache.repository(release.name), release.revision)
        if record is None:
            signers.append(None)
            continue
        keys = pins.for_name(release.name)
        signers.append(standing_of(release.name, record.manifest, read_signatures([record.signature]), keys))
    if as_json:
        listed = zip(releases, signers, strict=True)
        click.echo(json.dumps([{**asdict(r), "signature": s and asdict(s)} for r, s in listed], indent=2))
        return
    if not releases:
        click.echo(f"No models in {cache.root}", err=True)
        return
    width = max(len(release.name) for release in releases)
    for release, signer in zip(releases, signers, strict=True):
        mark = "*" if release.is_main else " "
        verified = (release.verified or "never verified").replace("T", " ").removesuffix("Z")
        click.echo(
            f"{release.name:<{width}}  {release.revision[:8]}{mark}  {size_text(release.size_on_disk):>9}"
            f"  {release.state:<8}  {printable(verified)}{_signed(signer, bool(pins.for_name(release.name)))}"
        )


def _signed(signer: Standing | None, pinned: bool) -> str:
    if signer is not None and signer.key_id is not None:
        return f"  {signer.state}: {signer.key_id}"
    return "  unsigned, and a key is pinned" if pinned else ""
