"""What a fetch without BitTorrent needs beside payload: the torrent from a URL, and the Hub's folder by its name."""

from __future__ import annotations

from dataclasses import replace

from weightswarm.errors import InvalidInput, NotFound, WeightswarmError
from weightswarm.fetching.exact_source import torrent_at, torrent_urls
from weightswarm.fetching.options import FetchOptions
from weightswarm.magnet import MagnetLink
from weightswarm.manifest import Manifest
from weightswarm.metainfo import Metainfo
from weightswarm.progress import Note, Report
from weightswarm.swarm import NetworkOptions
from weightswarm.webseed import HUB, with_hub_folder


def ask_exact_sources(magnet: MagnetLink, network: NetworkOptions, report: Report) -> Metainfo:
    """Return a magnet's torrent from the URLs that it names itself (`xs`, `as`).

    Raises `NotFound`, which says what else would do: a magnet link has no torrent in it, and no peer is asked.
    """
    urls = torrent_urls(magnet)
    for url in urls:
        try:
            return torrent_at(url, magnet.info_hash, network.network, network.route)
        except WeightswarmError as error:
            report(Note(f"{error}."))
    tried = "none of its xs= and as= URLs gave it" if urls else "the link has no xs= or as= URL of it"
    raise NotFound(
        f"--http-only needs the torrent of {magnet.info_hash.digests[0]}, and {tried}",
        hint="give the .torrent file or its URL, or a --registry that lists it; or fetch without --http-only",
    )


def name_hub_folder(options: FetchOptions, manifest: Manifest | None) -> FetchOptions:
    """Return the options with the word `hub` among the web seeds replaced by the release's folder at the Hub.

    Raises `InvalidInput` for a release that has no name and revision of its own.
    """
    if HUB not in options.web_seeds:
        return options
    if manifest is None:
        raise InvalidInput(
            "`-w hub` needs a manifest, which says what the release is called at the Hub, and this torrent has none",
            hint="give the folder's URL: -w https://huggingface.co/ORG/MODEL/resolve/REVISION/",
        )
    return replace(options, web_seeds=with_hub_folder(options.web_seeds, manifest.name, manifest.revision))
