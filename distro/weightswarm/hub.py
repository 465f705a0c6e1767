"""Where the Hugging Face Hub is, as whom it is asked (the environment of its own client), and what it says of files.

`HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HOME` and `HF_HUB_DISABLE_IMPLICIT_TOKEN` mean what they mean there.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from weightswarm.errors import InvalidInput
from weightswarm.storage import user_path

DEFAULT_ENDPOINT = "https://huggingface.co"
MAX_FILE_SIZE = 2**48

_MAX_TOKEN_FILE = 4096
_MAX_PATH = 4096
_GIT_SHA1 = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# `MODEL`, `ORG/MODEL` or `datasets/ORG/NAME` before `/resolve/REVISION/FILE`.
_FILE = re.compile(r"/(?!api/)(?:[^/]+/){1,3}resolve/.+")
_TRUE = {"1", "ON", "YES", "TRUE"}


@dataclass(frozen=True, slots=True)
class Hub:
    """A Hub's URL without a trailing slash, and the token that is sent to its own origin and to nobody else."""

    endpoint: str = DEFAULT_ENDPOINT
    token: str | None = field(default=None, repr=False)

    def resolve_url(self, name: str, revision: str, path: str = "") -> str:
        """Return where a file of `name` at `revision` is served; without a path, the folder of all of them."""
        return f"{self.endpoint}/{name}/resolve/{quote(revision, safe='')}/{quote(path)}"

    def token_for(self, url: str) -> str | None:
        """Return the token for `url` if it has the endpoint's scheme, host and port, and is below its path; else
        none."""
        return self.token if self.owns(url) else None

    def owns(self, url: str) -> bool:
        """Tell whether `url` has the endpoint's scheme, host and port, and is below its path."""
        return _origin(url) == _origin(self.endpoint) and self._below(url) is not None

    def serves(self, url: str) -> bool:
        """Tell whether `url` is a file of a repository there, and nothing else that the Hub does for an account.

        A link or torrent may name any URL, and must not have the Hub asked in the user's name for more than that.
        """
        if not self.owns(url):
            return False
        # As servers may read it: with what is quoted taken for what it stands for.
        path = unquote(self._below(url) or "")
        climbs = not {".", "..", ""}.isdisjoint(path[1:].split("/")) or "\\" in path
        return not climbs and _FILE.fullmatch(path) is not None and not urlsplit(url).query

    def _below(self, url: str) -> str | None:
        own, path = urlsplit(self.endpoint).path.rstrip("/"), urlsplit(url).path
        return path.removeprefix(own) if path.startswith(f"{own}/") else None


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file that the Hub lists. `size` in bytes; `blob_id` is its SHA-256 where it is in LFS, else the SHA-1 of its
    git blob. `path` is a stranger's word: it is compared and shown, and joined to no folder."""

    path: str
    size: int
    blob_id: str

    @classmethod
    def parse(cls, path: object, size: object, oid: object, sha256: object = None) -> HubFile:
        """Return what the Hub's fields say; `sha256` is None for a file that is not in LFS. Raises `ValueError`."""
        if not isinstance(path, str) or not 0 < len(path) <= _MAX_PATH:
            raise ValueError(f"a path is no text of 1 to {_MAX_PATH:,} characters")
        if type(size) is not int or not 0 <= size <= MAX_FILE_SIZE:
            raise ValueError(f"{path[:200]!r} has a size that is no integer from 0 to 2^48")
        digest, shape = (oid, _GIT_SHA1) if sha256 is None else (sha256, _SHA256)
        if not isinstance(digest, str) or not shape.fullmatch(digest):
            raise ValueError(f"{path[:200]!r} has no digest of the right length")
        return cls(path, size, digest)


@dataclass(frozen=True, slots=True)
class HubListing:
    """All files of the model `name` at the commit `revision`, as the Hub lists them."""

    name: str
    revision: str
    files: tuple[HubFile, ...]


def hub_from_environment() -> Hub:
    """Return the Hub that the environment names, with the token for it. Raises `InvalidInput` for a bad endpoint."""
    endpoint = (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")
    if _origin(endpoint) is None or "@" in endpoint or not endpoint.isascii() or not endpoint.isprintable():
        raise InvalidInput(f"HF_ENDPOINT {endpoint[:100]!r} is no http or https URL")
    return Hub(endpoint, _token())


def _origin(url: str) -> tuple[str, str, int] | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80)


def _token() -> str | None:
    environment = os.environ
    if token := _clean(environment.get("HF_TOKEN") or environment.get("HUGGING_FACE_HUB_TOKEN") or ""):
        return token
    if environment.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() in _TRUE:
        return None
    try:
        with open(_token_path(), "rb") as file:
            return _clean(file.read(_MAX_TOKEN_FILE).decode("ascii", "ignore"))
    except OSError:
        return None


def _token_path() -> Path:
    environment = os.environ
    if environment.get("HF_TOKEN_PATH"):
        return user_path(environment["HF_TOKEN_PATH"])
    if environment.get("HF_HOME"):
        return user_path(environment["HF_HOME"]) / "token"
    return user_path(environment.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface" / "token"


def _clean(text: str) -> str | None:
    """A token goes into a header: it is one word of printable ASCII, or none."""
    token = "".join(text.split())
    return token if token and token.isascii() and token.isprintable() else None
