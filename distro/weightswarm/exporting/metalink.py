"""Metalink 4 (RFC 5854): where the files are over HTTP, and what they hash to, for download managers such as aria2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

from weightswarm.errors import InvalidInput
from weightswarm.exporting.filepieces import FilePieces
from weightswarm.manifest import FileEntry, Manifest
from weightswarm.version import __version__
from weightswarm.webseed import file_url

_NAMESPACE = "urn:ietf:params:xml:ns:metalink"
_NOT_IN_XML = str.maketrans("", "", "\ufffe\uffff")


def metalink(
    manifest: Manifest,
    *,
    folder: str | None,
    web_seeds: Sequence[str],
    torrent_urls: Sequence[str] = (),
    pieces: Mapping[str, FilePieces] | None = None,
) -> str:
    """Return the document. `folder` is the torrent's, None for a torrent of a single file; `pieces` go by path.

    Raises `InvalidInput` for a release that nobody serves over HTTP, and for a name that XML cannot hold.
    """
    if not web_seeds and not torrent_urls:
        raise InvalidInput(
            "A Metalink file needs an address for each file, and this release names no web seed",
            hint="give the HTTP folder that holds the release: -w URL",
        )
    head = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<metalink xmlns="{_NAMESPACE}">\n'
        f" <generator>weightswarm/{__version__}</generator>\n"
    )
    parts = [head]
    for entry in manifest.files:
        parts += _file(entry, manifest, folder, web_seeds, torrent_urls, (pieces or {}).get(entry.path))
    return "".join((*parts, "</metalink>\n"))


def web_seed_url(web_seed: str, folder: str | None, path: str) -> str:
    """Return where a web seed has a file, as a fetch asks it: below its folder for several files (BEP 19), itself for a
    single one, right in the folder at the Hub. Raises `InvalidInput` for what is no URL."""
    try:
        return file_url(web_seed, folder or "", path, single_file=folder is None)
    except ValueError:
        raise InvalidInput(f"The web seed {web_seed[:200]} is no URL") from None


def _file(
    entry: FileEntry,
    manifest: Manifest,
    folder: str | None,
    web_seeds: Sequence[str],
    torrent_urls: Sequence[str],
    pieces: FilePieces | None,
) -> Iterator[str]:
    placed = entry.path if folder is None else f"{folder}/{entry.path}"
    if placed.translate(_NOT_IN_XML) != placed:
        raise InvalidInput(f"{entry.path[:200]!r} has a character that XML cannot hold")
    yield f" <file name={quoteattr(placed)}>\n"
    yield f"  <identity>{escape(manifest.name)}</identity>\n  <version>{manifest.revision}</version>\n"
    yield f"  <size>{entry.size}</size>\n"
    yield f'  <hash type="sha-256">{entry.sha256}</hash>\n'
    if pieces is not None and pieces.digests:
        yield f'  <pieces length="{pieces.length}" type="sha-256">\n'
        for digest in pieces.digests:
            yield f"   <hash>{digest.hex()}</hash>\n"
        yield "  </pieces>\n"
    for web_seed in web_seeds:
        yield f"  <url>{escape(web_seed_url(web_seed, folder, entry.path))}</url>\n"
    for url in torrent_urls:
        # aria2 looks the file up under the torrent's folder.
        named = "" if folder is None else f" name={quoteattr(placed)}"
        yield f'  <metaurl mediatype="torrent"{named}>{escape(url)}</metaurl>\n'
    yield " </file>\n"
