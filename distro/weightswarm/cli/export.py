"""`weightswarm export`."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from weightswarm.cli.completing import complete_sources
from weightswarm.cli.options import (
    TRACKER_SCHEMES,
    WEB_SEED_SCHEMES,
    cache_options,
    check_published,
    network_from,
    network_options,
    option,
    positive,
    registry_options,
    source_text,
    urls,
)
from weightswarm.cli.qr import qr_option, show_qr
from weightswarm.cli.reporting import reporting
from weightswarm.errors import InvalidInput
from weightswarm.storage import is_file, is_folder, user_path, write_atomically

if TYPE_CHECKING:
    from weightswarm.exporting import Exported, FilePieces
    from weightswarm.fetching import Depth
    from weightswarm.manifest import Manifest
    from weightswarm.progress import Report

F = TypeVar("F", bound=Callable[..., Any])

_METAVAR = "MAGNET|TORRENT|MANIFEST|ORG/MODEL[@REV]"
_FILE = "Write it into this file instead of to stdout."

# `publish --output` is a folder: one variable cannot be both.
_output = option("-o", "--output", envvar=None, metavar="FILE", help=_FILE)
_trackers = option("-t", "--tracker", "trackers", multiple=True, metavar="URL", help="Add a tracker.")
_web_seeds = option(
    "-w", "--web-seed", "web_seeds", multiple=True, metavar="URL", help="Add an HTTP folder with the files."
)


def _source_options(command: F) -> F:
    """The source, and how it is looked up."""
    for decorate in (
        option("-q", "--quiet", is_flag=True, help="Print the result alone."),
        cache_options,
        registry_options,
        network_options,
        option("--timeout", type=float, default=60.0, show_default=True, metavar="SECONDS",
               callback=positive("seconds"), help="Give up after this long without metadata."),
        click.argument("source", metavar=_METAVAR, shell_complete=complete_sources),
    ):  # fmt: skip
        command = decorate(command)
    return command


@click.group("export")
def export_command() -> None:
    """Write a release in the formats of other programs.

    The source is what `show` takes: a magnet, a torrent, a manifest file, an info-hash or a name.
    """


@export_command.command("sha256sums", short_help="Write the list that `sha256sum -c` reads.")
@_output
@_source_options
def sha256sums_command(source: str, output: str | None, **options: Any) -> None:
    """Write SHA256SUMS, which `sha256sum -c` in the folder of the files agrees with."""
    from weightswarm.exporting import sha256sums
    from weightswarm.fetching import Depth

    quiet = options["quiet"]
    exported = _look_up(source, Depth.FILES, options)
    _write(sha256sums(exported.manifest).encode(), output, quiet)


@export_command.command("metalink", short_help="Write a Metalink 4 file, for aria2 and its like.")
@option("--pieces", metavar="DIR|ORG/MODEL[@REV]",
        help="Where the files stand: they are read, and hashes of their pieces are written too.")  # fmt: skip
@option("--torrent-url", "torrent_urls", multiple=True, metavar="URL",
        help="Where the .torrent is: aria2 then checks its pieces, no SHA-256, and 1.36 hangs on hybrids.")  # fmt: skip
@_web_seeds
@_output
@_source_options
def metalink_command(
    source: str,
    pieces: str | None,
    torrent_urls: tuple[str, ...],
    web_seeds: tuple[str, ...],
    output: str | None,
    **options: Any,
) -> None:
    """Write a Metalink 4 file (RFC 5854): each file's URLs at the web seeds, its size and SHA-256.

    Download managers such as `aria2c -M FILE` fetch by it and refuse what differs. With --pieces they know a bad
    piece by itself, and may take it from another web seed.
    """
    from weightswarm.exporting import metalink
    from weightswarm.fetching import Depth

    given = _web_seed_urls(web_seeds)
    torrents = urls("--torrent-url", torrent_urls, WEB_SEED_SCHEMES)
    quiet, cache_dir = options["quiet"], options["cache_dir"]
    exported = _look_up(source, Depth.FILES, options)
    manifest = exported.manifest
    with reporting(quiet) as report:
        hashed = None if pieces is None else _pieces(manifest, pieces, cache_dir, report)
    document = metalink(
        manifest,
        folder=exported.folder,
        web_seeds=tuple(dict.fromkeys((*exported.web_seeds, *given))),
        torrent_urls=torrents,
        pieces=hashed,
    )
    _write(document.encode(), output, quiet)


@export_command.command("torrent", short_help="Write the .torrent, trackers and web seeds added.")
@_trackers
@_web_seeds
@_output
@_source_options
def torrent_command(
    source: str, trackers: tuple[str, ...], web_seeds: tuple[str, ...], output: str | None, **options: Any
) -> None:
    """Write the .torrent file, with trackers and web seeds added; its info-hash stays."""
    from weightswarm.fetching import Depth

    if output is None and sys.stdout.isatty():
        raise click.UsageError("a torrent is no text for a terminal: name a file with -o")
    added = urls("--tracker", trackers, TRACKER_SCHEMES), _web_seed_urls(web_seeds)
    quiet = options["quiet"]
    metainfo = _look_up(source, Depth.TORRENT, options).torrent(*added)
    if metainfo.info_hash.v2 is not None and not metainfo.has_piece_layers and not quiet:
        click.echo("No peer knew the piece layers: some clients do not open a v2 torrent without them.", err=True)
    _write(metainfo.data, output, quiet)


@export_command.command("magnet", short_help="Print the magnet, trackers and web seeds added.")
@_trackers
@_web_seeds
@qr_option
@_output
@_source_options
def magnet_command(
    source: str,
    trackers: tuple[str, ...],
    web_seeds: tuple[str, ...],
    qr: bool,
    output: str | None,
    **options: Any,
) -> None:
    """Print the magnet link, with trackers and web seeds added; its info-hash stays. A link's swarm is not asked."""
    quiet = options["quiet"]
    magnet = _magnet(source, trackers, web_seeds, options)
    if qr:
        show_qr(magnet)
    _write(f"{magnet}\n".encode(), output, quiet)


@export_command.command("qr", short_help="Print or draw the magnet's QR code.")
@_trackers
@_web_seeds
@_output
@_source_options
def qr_command(
    source: str, trackers: tuple[str, ...], web_seeds: tuple[str, ...], output: str | None, **options: Any
) -> None:
    """Print the magnet link's QR code in half blocks; with -o FILE.png or FILE.svg, write it as a picture."""
    from weightswarm.exporting.qr import QrCode

    kind = "" if output is None else Path(output).suffix.lower().removeprefix(".")
    if output is not None and kind not in ("png", "svg"):
        raise click.UsageError(f"--output {output!r} is no .png or .svg")
    quiet = options["quiet"]
    magnet = _magnet(source, trackers, web_seeds, options)
    if output is not None:
        _write(QrCode(magnet).image(kind), output, quiet)
    elif (reason := show_qr(magnet, err=False)) is not None:
        raise InvalidInput(reason, hint="make the terminal wider, or write a picture: -o magnet.png")


@export_command.command("ollama", short_help="Write a Modelfile for weights on this machine.")
@option("--file", "files", multiple=True, metavar="NAME", help="Which GGUF file, where there are several.")
@_output
@cache_options
@option("-q", "--quiet", is_flag=True, help="Print the result alone.")
@click.argument("source", metavar="PATH|ORG/MODEL[@REV]|MAGNET|TORRENT", shell_complete=complete_sources)
def ollama_command(source: str, files: tuple[str, ...], output: str | None, cache_dir: str | None, quiet: bool) -> None:
    """Write a Modelfile for weights on this machine: a GGUF file, a folder, or a model in the cache.

    Nothing is put into Ollama's store: `ollama create NAME -f Modelfile`, which is told on stderr, does that.
    """
    from weightswarm.cache import ModelCache, cache_root
    from weightswarm.exporting import cached_snapshot, is_gguf, modelfile

    text = source_text(source)
    path = user_path(text)
    if is_folder(path) or is_gguf(path):
        place, name = path, path.name if is_folder(path) else path.stem
    else:
        with reporting(quiet) as report:
            place, name = cached_snapshot(text, ModelCache(cache_root(cache_dir)), report)
    _write(modelfile(place, files, reference=shlex.quote(source) if "/" in name else None).encode(), output, quiet)
    if not quiet:
        called = re.sub("[^a-z0-9._-]+", "-", name.rpartition("/")[2].lower()).strip("-._") or "model"
        written = "" if output is not None else "write this into a file (-o Modelfile), then "
        click.echo(f"Next: {written}ollama create {called} -f {shlex.quote(output or 'Modelfile')}", err=True)
        click.echo(f"Then: ollama run {called}", err=True)


def _web_seed_urls(given: tuple[str, ...]) -> tuple[str, ...]:
    check_published(given)
    return urls("--web-seed", given, WEB_SEED_SCHEMES)


def _look_up(source: str, depth: Depth, options: dict[str, Any]) -> Exported:
    from weightswarm import api

    network = network_from(options)
    with reporting(options.pop("quiet")) as report:
        return api.export(source_text(source), depth=depth, network=network, report=report, **options)


def _magnet(source: str, trackers: tuple[str, ...], web_seeds: tuple[str, ...], options: dict[str, Any]) -> str:
    from weightswarm.fetching import Depth

    added = urls("--tracker", trackers, TRACKER_SCHEMES), _web_seed_urls(web_seeds)
    return str(_look_up(source, Depth.LINK, options).magnet(*added))


def _pieces(manifest: Manifest, place: str, cache_dir: str | None, report: Report) -> dict[str, FilePieces]:
    from weightswarm.cache import ModelCache, cache_root
    from weightswarm.exporting import cached_snapshot, hash_pieces
    from weightswarm.progress import Phase, Progress

    folder = user_path(place)
    if not is_folder(folder) and not is_file(folder):
        folder, _ = cached_snapshot(place, ModelCache(cache_root(cache_dir)), report)
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        report(Progress(Phase.HASHING, done, manifest.total_size))

    alone = len(manifest.files) == 1 and is_file(folder)
    return hash_pieces({entry: folder if alone else folder / entry.path for entry in manifest.files}, count)


def _write(data: bytes, output: str | None, quiet: bool) -> None:
    """Write the result where it was wanted, as it is: it is for a program."""
    if output is None:
        click.echo(data, nl=False)
        return
    path = user_path(output)
    write_atomically(path, data)
    if not quiet:
        click.echo(f"Wrote {output}", err=True)
