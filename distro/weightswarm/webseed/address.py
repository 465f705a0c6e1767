"""Where a web seed keeps a file: below the torrent's name (BEP 19), or right in the folder, as the Hub does."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, urlsplit, urlunsplit

from weightswarm.hub import hub_from_environment

HUB = "hub"
"""What users write for the release's own folder at the Hugging Face Hub."""

_HUB_PATH = re.compile(r"(?:/[^/]+)*/[^/]+/[^/]+/resolve/[^/]+/?")
_PATH_SAFE = "/%:@!$&'()*+,;=~"


def is_hub_folder(url: str) -> bool:
    """Tell whether a URL is of the shape `…/ORG/MODEL/resolve/REVISION/`: the torrent's name is no folder there."""
    return _HUB_PATH.fullmatch(urlsplit(url).path) is not None


def with_hub_folder(web_seeds: Iterable[str], name: str, revision: str) -> tuple[str, ...]:
    """Return web seeds with `hub` replaced by the folder of `name` at `revision` at the Hub that the environment names.

    Raises `InvalidInput` for an `HF_ENDPOINT` that is no URL.
    """
    return tuple(hub_from_environment().resolve_url(name, revision) if url == HUB else url for url in web_seeds)


def file_url(web_seed: str, torrent_name: str, path: str, *, single_file: bool) -> str:
    """Return the URL of a torrent's file at a web seed. `path` is relative to the torrent's name (BEP 19).

    `single_file` says that the torrent is one file without a folder: a URL without a slash at its end is that file.
    """
    if single_file and not is_hub_folder(web_seed) and not _is_folder(web_seed):
        return in_folder(web_seed, "")
    below = path if single_file or is_hub_folder(web_seed) else f"{torrent_name}/{path}"
    return in_folder(web_seed, f"/{quote(below)}")


def in_folder(web_seed: str, rest: str) -> str:
    """Return a web seed's URL, as servers take it, with `rest` (quoted, from its slash on) appended to its path."""
    parts = urlsplit(web_seed)
    path = quote(parts.path, safe=_PATH_SAFE) or "/"
    if rest:
        path = path.rstrip("/") + rest
    return urlunsplit((parts.scheme, parts.netloc, path, quote(parts.query, safe=f"{_PATH_SAFE}?"), ""))


def _is_folder(url: str) -> bool:
    path = urlsplit(url).path
    return not path or path.endswith("/")
