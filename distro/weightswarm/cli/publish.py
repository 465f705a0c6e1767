"""`weightswarm publish`."""

from __future__ import annotations

import json
import re
import time
from calendar import timegm
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weightswarm.cli.completing import complete_places
from weightswarm.cli.options import (
    TRACKER_SCHEMES,
    Size,
    cache_options,
    check_published,
    option,
    output_options,
    reach_option,
    route_options,
    urls,
    web_seed_urls,
)
from weightswarm.cli.qr import qr_option, show_qr
from weightswarm.cli.reporting import reporting, size_text
from weightswarm.cli.signer import passphrase, read_small, signer_from, signer_options

if TYPE_CHECKING:
    from weightswarm.dialling import Interface, Proxy
    from weightswarm.publishing import PublishOptions


def release_options(command: Any) -> Any:
    """The options that say what a release is; `publish` and `seed` share them."""
    for decorate in (
        option("--rehash", is_flag=True, help="Hash again even what has not changed since the last time."),
        option("--private", is_flag=True, help="Only the trackers may find peers (BEP 27); another info-hash."),
        option("--comment", metavar="TEXT", help="A comment in the torrent."),
        option("--created", metavar="TIME", help="Release time, 2026-01-31T00:00:00Z; another info-hash."),
        option("--description", metavar="TEXT", help="A description in the manifest."),
        option("--license", metavar="TEXT", help="The weights' license, for the manifest."),
        option("--base", metavar="REV|TORRENT", help="What this was made from: a known release, or its torrent."),
        option("--revision", metavar="REV", help="The Hub's commit that the files mirror (40 hex digits)."),
        option("--piece-length", type=Size(), help="Bytes a piece: a power of two, 16k to 16M (default: by size)."),
        option("--v2-only", is_flag=True, help="A BitTorrent v2 torrent, not a hybrid."),
        option("--v1-only", is_flag=True, help="A BitTorrent v1 torrent, not a hybrid."),
        option(
            "-w",
            "--web-seed",
            "web_seeds",
            multiple=True,
            metavar="URL|hub",
            help="An HTTP folder with the files; `hub`: that of --revision at the Hugging Face Hub.",
        ),
        option("-t", "--tracker", "trackers", multiple=True, metavar="URL", help="A tracker to announce to."),
        option("--leave-out", multiple=True, metavar="GLOB", help="Files that are no part of the release."),
        option(
            "--from-hub", metavar="ORG/MODEL[@REV]", help="Take names, sizes and hashes from the Hub; it must be all."
        ),
        option("-n", "--name", metavar="ORG/MODEL", help="What the model is called."),
    ):
        command = decorate(command)
    return command


def publish_options_from(
    options: dict[str, Any], name: str | None, cache_dir: str | None, registry: str | None = None
) -> PublishOptions:
    """Return the release options, taking them out of a command's arguments."""
    from weightswarm import api
    from weightswarm.metainfo import TorrentOptions, TorrentVersion
    from weightswarm.publishing import PublishOptions

    v1_only, v2_only = options.pop("v1_only"), options.pop("v2_only")
    if v1_only and v2_only:
        raise click.UsageError("--v1-only and --v2-only exclude each other")
    created, base = options.pop("created"), options.pop("base")
    web_seeds = options.pop("web_seeds")
    check_published(web_seeds)
    found = None if base is None else api.find_base(base, name=name, registry=registry, cache_dir=cache_dir)
    return PublishOptions(
        version=TorrentVersion.V1 if v1_only else TorrentVersion.V2 if v2_only else TorrentVersion.HYBRID,
        piece_length=options.pop("piece_length"),
        revision=options.pop("revision"),
        license=options.pop("license"),
        description=options.pop("description"),
        base_revision=None if found is None else found.revision,
        created=created,
        rehash=options.pop("rehash"),
        leave_out=options.pop("leave_out"),
        torrent=TorrentOptions(
            trackers=urls("--tracker", options.pop("trackers"), TRACKER_SCHEMES),
            web_seeds=web_seed_urls(web_seeds),
            private=options.pop("private"),
            comment=options.pop("comment"),
            created=None if created is None else _seconds(created),
            similar=() if found is None else (found.info_hash,),
        ),
    )


@click.command("publish")
@click.argument("path", shell_complete=complete_places)
@option("-o", "--output", metavar="DIR", default=".", show_default=True, help="Where manifest and torrent go.")
@option("--add-to", "registry", metavar="DIR", help="Add the release to this registry folder and its index as well.")
@option("--sha256sums", "sums", metavar="FILE", help="Refuse to publish anything but what this SHA256SUMS file lists.")
@qr_option
@signer_options
# `fetch` and `verify` name a public key by the same option: a variable cannot be both.
@option(
    "--oms-key",
    envvar="WEIGHTSWARM_OMS_SIGNING_KEY",
    metavar="FILE",
    help="Write an OpenSSF model.sig too, by this private key in PEM (P-256).",
)
@release_options
@route_options
@reach_option
@cache_options
@output_options
def publish_command(
    path: str,
    output: str,
    registry: str | None,
    sums: str | None,
    qr: bool,
    oms_key: str | None,
    from_hub: str | None,
    network_choice: str,
    proxy: Proxy | None,
    interface: Interface | None,
    cache_dir: str | None,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Hash PATH (a folder, a file, or ORG/MODEL[@REV] in the cache) and print its magnet link.

    Writes NAME-REV.manifest.json and NAME-REV.torrent. The same files, name and options give the same info-hash on
    any machine, so that all who publish them meet in one swarm. `weightswarm seed` then serves it.
    """
    from weightswarm import api
    from weightswarm.dialling import Route
    from weightswarm.publishing import ModelSigKey
    from weightswarm.reach import Network

    name, release_version = options.pop("name"), options["release_version"]
    model_sig_key = None
    if oms_key is not None:
        file = options["key_passphrase_file"]
        model_sig_key = ModelSigKey(read_small(oms_key), lambda: passphrase(file))
    signer = signer_from(options, listed=registry is not None)
    chosen = publish_options_from(options, name, cache_dir, registry)
    with reporting(quiet) as report:
        published = api.publish(
            path,
            name=name,
            output=output,
            registry=registry,
            sha256sums=sums,
            release_version=release_version,
            cache_dir=cache_dir,
            options=chosen,
            signer=signer,
            oms_key=model_sig_key,
            from_hub=from_hub,
            network=Network(network_choice),
            route=Route(proxy, interface),
            report=report,
        )
    manifest = published.release.manifest
    if as_json:
        info_hash = published.release.metainfo.info_hash
        document = {
            "name": manifest.name,
            "revision": manifest.revision,
            "magnet": str(published.magnet),
            "info_hash_v1": info_hash.v1,
            "info_hash_v2": info_hash.v2,
            "manifest": str(published.manifest_path),
            "torrent": str(published.torrent_path),
            "model_sig": None if published.model_sig_path is None else str(published.model_sig_path),
            "key_id": None if signer is None else signer.key.public.shown_key_id,
            "files": len(manifest.files),
            "size": manifest.total_size,
        }
        click.echo(json.dumps(document, indent=2))
        if qr:
            show_qr(str(published.magnet))
        return
    if not quiet:
        beside = "" if signer is None else " with its .minisig"
        if published.model_sig_path is not None:
            beside += f", {_short(published.model_sig_path)}"
        signed = "" if signer is None else f", signed by key {signer.key.public.shown_key_id}"
        click.echo(
            f"{manifest.name}@{manifest.revision[:8]}: {len(manifest.files):,} files,"
            f" {size_text(manifest.total_size)}{signed}\n"
            f"Wrote {_short(published.manifest_path)}{beside} and {_short(published.torrent_path)}",
            err=True,
        )
    if qr:
        show_qr(str(published.magnet))
    click.echo(str(published.magnet))


def _short(path: Path) -> str:
    return str(path) if str(path.parent) != "." else path.name


def _seconds(created: str) -> int:
    if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", created, re.ASCII):
        try:
            return timegm(time.strptime(created, "%Y-%m-%dT%H:%M:%SZ"))
        except ValueError:
            pass
    raise click.UsageError(f"--created {created!r} is no time like 2026-01-31T00:00:00Z")
