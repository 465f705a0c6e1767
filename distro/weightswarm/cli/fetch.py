"""`weightswarm fetch`."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from weightswarm.cli import exit_codes, signals
from weightswarm.cli.completing import complete_sources
from weightswarm.cli.loading import loading_of
from weightswarm.cli.options import (
    TRACKER_SCHEMES,
    cache_options,
    lane_option,
    network_from,
    network_options,
    option,
    output_options,
    positive,
    registry_options,
    source_text,
    urls,
    web_seed_urls,
)
from weightswarm.cli.reporting import reporting, size_text
from weightswarm.cli.signer import model_sig_from, model_sig_options, public_key, read_small
from weightswarm.errors import StorageFailure, printable
from weightswarm.progress import Note
from weightswarm.storage import read_bounded, user_path

if TYPE_CHECKING:
    from weightswarm.fetching import FetchPlan, FetchResult
    from weightswarm.seeding import SeededRelease

_MAX_MANIFEST = 128 * 1024 * 1024


@click.command("fetch")
@click.argument("source", metavar="MAGNET|TORRENT|ORG/MODEL[@REV]", shell_complete=complete_sources)
@option("-n", "--name", metavar="ORG/MODEL", help="Place it under this name, on your own word.")
@option("--include", multiple=True, metavar="GLOB", help="Only files whose path matches.")
@option("--exclude", multiple=True, metavar="GLOB", help="No files whose path matches.")
@option("--local-dir", metavar="DIR", help="Place plain files here instead of in the cache.")
@option("--dry-run", is_flag=True, help="List what would come, and fetch nothing.")
@option("--seed", "keep_seeding", is_flag=True,
        help="Seed it afterwards, until stopped.")  # fmt: skip
@option("--seed-time", type=float, metavar="SECONDS", callback=positive("seconds"),
        help="With --seed: stop after this long.")  # fmt: skip
@option("--seed-ratio", type=float, metavar="RATIO", callback=positive("the ratio"),
        help="With --seed: stop once it was given this many times over.")  # fmt: skip
@option("--set-main", is_flag=True, help="Point refs/main at this revision even if it names another.")
@option("--trust-magnet", is_flag=True, help="Accept a torrent that carries no manifest.")
@option("--only-safe", is_flag=True, help="Refuse files that may run code when loaded, such as pickles.")
@option("--allow-malformed", is_flag=True, help="Take weights that break their own format.")
@option("--manifest", metavar="FILE", help="A manifest that the torrent must agree with.")
@option("--signature", metavar="FILE", help="A minisign signature of the manifest.")
@option("--trust", metavar="KEY", help="Accept this public key for the model's own name, and pin it.")
@option("--allow-older", is_flag=True, help="Take a version below one that was seen.")
@option("--allow-expired", is_flag=True, help="Take a signature that has expired.")
@option("-t", "--tracker", "trackers", multiple=True, metavar="URL", help="Another tracker to ask.")
@option("-w", "--web-seed", "web_seeds", multiple=True, metavar="URL|hub",
        help="Another HTTP folder with the files; `hub`: the release's own at the Hugging Face Hub.")  # fmt: skip
@option("--http-only", is_flag=True,
        help="From web seeds alone, without BitTorrent: no peers, nothing listens.")  # fmt: skip
@option("--timeout", type=float, default=300.0, show_default=True, metavar="SECONDS", callback=positive("seconds"),
        help="Give up after this long without metadata or progress.")  # fmt: skip
@model_sig_options
@lane_option
@network_options
@registry_options
@cache_options
@output_options
def fetch_command(
    source: str,
    local_dir: str | None,
    dry_run: bool,
    keep_seeding: bool,
    seed_time: float | None,
    seed_ratio: float | None,
    manifest: str | None,
    signature: str | None,
    trust: str | None,
    registries: tuple[str, ...],
    cache_dir: str | None,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Fetch a model into the model cache, every file verified, and print the path a loader opens.

    The source is a magnet link in quotes, or a text with one in it; `-` for stdin, a file that holds one, a .torrent
    file or URL, an info-hash, or ORG/MODEL[@REV] from a registry. Without a registry's, a pinned key's or your own word
    (--name) it is placed as magnet/<torrent>-<hash>. Interrupted, the same command goes on from what is on disk.
    """
    from weightswarm import api
    from weightswarm.fetching import FetchOptions

    network = network_from(options)
    chosen = FetchOptions(
        local_dir=None if local_dir is None else user_path(local_dir),
        manifest=None if manifest is None else read_bounded(user_path(manifest), _MAX_MANIFEST),
        signature=None if signature is None else read_small(signature),
        model_sig=model_sig_from(options),
        trust=None if trust is None else public_key(trust),
        network=network,
        trackers=urls("--tracker", options.pop("trackers"), TRACKER_SCHEMES),
        web_seeds=web_seed_urls(options.pop("web_seeds")),
        **options,
    )
    if keep_seeding and local_dir is not None:
        raise click.UsageError("--seed serves the cache, and --local-dir places nothing there")
    if not keep_seeding:
        _refuse_limits_of_seeding()
    if keep_seeding and chosen.http_only:
        raise click.UsageError("--seed gives to peers by BitTorrent, and --http-only is for where there is none")
    text = source_text(source)
    with reporting(quiet) as report:
        if dry_run:
            plan = api.plan_fetch(text, cache_dir=cache_dir, registries=registries, options=chosen, report=report)
            _show_plan(plan, as_json)
            return exit_codes.DONE
        try:
            result = api.fetch(text, cache_dir=cache_dir, registries=registries, options=chosen, report=report)
        except signals.Stopped as stopped:
            if stopped.words is not None:
                report(Note(f"What came is kept: the same command goes on from there. {stopped.words}"))
            return stopped.code
    _show_result(result, quiet, as_json, in_cache=local_dir is None)
    if keep_seeding:
        # What the user named for the fetch he named for this too.
        network = replace(network, trackers=(*network.trackers, *chosen.trackers))
        _seed(result, cache_dir, network, quiet, seed_time, seed_ratio)
    return exit_codes.DONE


def _show_plan(plan: FetchPlan, as_json: bool) -> None:
    if as_json:
        files = [
            {"path": f.entry.path, "size": f.entry.size, "source": f.source, "code": f.code}
            | ({"shared": f.shared} if f.source == "partly" else {})
            for f in plan.files
        ]
        document = {
            "name": plan.name,
            "revision": plan.revision or None,
            "target": str(plan.target),
            "download_size": plan.download_size,
            "signature": asdict(plan.standing),
            "files": files,
        }
        click.echo(json.dumps(document, indent=2))
        return
    for file in plan.files:
        code = "" if file.code is None else f"  [{file.code}]"
        click.echo(f"{file.source:<9} {size_text(file.entry.size):>9}  {printable(file.entry.path)}{code}")
    shared = sum(file.shared for file in plan.files)
    less = f"; up to {size_text(shared)} of it may be in older files here" if shared else ""
    click.echo(f"{size_text(plan.download_size)} would be downloaded to {plan.target}{less}", err=True)


def _show_result(result: FetchResult, quiet: bool, as_json: bool, *, in_cache: bool) -> None:
    loading = loading_of(result, in_cache=in_cache)
    if as_json:
        document = {
            "path": str(result.path),
            "name": result.name,
            "revision": result.revision,
            "complete": result.complete,
            "size": result.size,
            "downloaded": result.downloaded,
            "from_web_seeds": result.from_web_seeds,
            "from_peers": result.downloaded - result.from_web_seeds,
            "reused": result.reused,
            "reused_files": result.reuse.files,
            "reused_pieces": result.reuse.pieces,
            "signature": asdict(result.standing),
            "files": loading.files,
            "load": loading.document(),
        }
        click.echo(json.dumps(document, indent=2))
        return
    if not quiet:
        if result.verified_before is not None:
            when = printable(result.verified_before.replace("T", " "))
            click.echo(f"Already here, verified {when}; to verify it now: weightswarm verify {result.name}", err=True)
        else:
            parts = [_count(result.reuse.files, "file"), _count(result.reuse.pieces, "piece")]
            reused = f", {size_text(result.reused)} reused ({', '.join(filter(None, parts))})" if result.reused else ""
            came = f"{size_text(result.downloaded)} downloaded{_ways(result)}{reused}"
            click.echo(f"Verified {result.name}@{result.revision[:8]}: {came}", err=True)
        if loading.line is not None:
            click.echo(f"Load it with: {printable(loading.line)}", err=True)
    click.echo(str(result.path))


def _refuse_limits_of_seeding() -> None:
    """Refuse limits that were typed and limit nothing; the environment's may be meant for `seed`."""
    context = click.get_current_context()
    for name in ("seed_time", "seed_ratio"):
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} needs --seed")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}" if number else ""


def _ways(result: FetchResult) -> str:
    """Say which way the bytes came, where any came from a web seed."""
    web, peers = result.from_web_seeds, result.downloaded - result.from_web_seeds
    if not web:
        return ""
    return f" ({size_text(web)} from web seeds, {size_text(peers)} from peers)" if peers else " from web seeds"


def _seed(
    result: FetchResult,
    cache_dir: str | None,
    network: Any,
    quiet: bool,
    seconds: float | None,
    ratio: float | None,
) -> None:
    from weightswarm import api
    from weightswarm.seeding import SeedOptions

    if not result.complete:
        raise StorageFailure(str(result.path), "is partial; only a whole release can be seeded")

    def ready(releases: list[SeededRelease]) -> None:
        if not quiet:
            click.echo(f"Seeding it: {releases[0].magnet}", err=True)

    with reporting(quiet) as report:
        ended = api.seed(
            [f"{result.name}@{result.revision}"],
            cache_dir=cache_dir,
            options=SeedOptions(network, ratio=ratio, seconds=seconds, trackers=result.trackers),
            on_ready=ready,
            report=report,
        )
    for each in ended:
        if each.error is not None:
            raise each.error
