"""What may be chosen of a fetch, and what came of it. Values only."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path

from weightswarm.manifest import Manifest
from weightswarm.signing import PublicKey
from weightswarm.swarm import NetworkOptions
from weightswarm.trusting import ModelSigDemand, Standing

DEFAULT_TIMEOUT = 300.0


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """What the user may choose. `timeout` is the seconds without any progress after which it gives up.

    `name` is the user's own word for what the release may be called. `manifest` holds a manifest's bytes that the
    torrent must agree with, `signature` a minisign signature of it. `trust_magnet` lets a torrent without a manifest
    through, on its pieces' word. `trust` is a key that the user accepts for this release: its name is then pinned.
    `allow_older` and `allow_expired` take on a version below one seen before, a signature that has expired.
    `http_only` takes payload from web seeds alone, without any session; among `web_seeds` the word `hub` means the
    release's folder at the Hugging Face Hub. `model_sig` is what an OpenSSF signature must be. `only_safe` refuses
    files that may run code when they are loaded; `allow_malformed` takes weights that break their own format.
    """

    name: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    local_dir: Path | None = None
    set_main: bool = False
    trust_magnet: bool = False
    only_safe: bool = False
    allow_malformed: bool = False
    manifest: bytes | None = None
    signature: bytes | None = None
    trust: PublicKey | None = None
    allow_older: bool = False
    allow_expired: bool = False
    model_sig: ModelSigDemand | None = None
    trackers: tuple[str, ...] = ()
    web_seeds: tuple[str, ...] = ()
    http_only: bool = False
    timeout: float = DEFAULT_TIMEOUT
    network: NetworkOptions = field(default_factory=NetworkOptions)


@dataclass(frozen=True, slots=True)
class Reused:
    """What did not have to come: `size` bytes in whole `files`, and in `pieces` of files that did change."""

    size: int = 0
    files: int = 0
    pieces: int = 0

    def and_pieces(self, sizes: dict[int, int], found: Container[int]) -> Reused:
        """Return the same with those pieces, given with their sizes in bytes, that were found right on disk."""
        right = [size for piece, size in sizes.items() if piece in found]
        return Reused(self.size + sum(right), self.files, self.pieces + len(right))


NOTHING_REUSED = Reused()


@dataclass(frozen=True, slots=True)
class FetchResult:
    """Where a release is. `path` is the snapshot (or the local folder); sizes in bytes.

    `complete` is false when only some of the release's files are there. `verified_before` is the UTC time of the last
    verification when everything was there already and nothing was read now. `standing` tells who signed it.
    `trackers` are those that were asked, for whoever seeds it on; none of a private torrent's. `from_web_seeds` are
    those of the `downloaded` bytes that came by HTTP.
    """

    path: Path
    name: str
    revision: str
    complete: bool
    size: int
    downloaded: int
    reuse: Reused
    manifest: Manifest
    standing: Standing
    verified_before: str | None = None
    trackers: tuple[str, ...] = ()
    from_web_seeds: int = 0

    @property
    def reused(self) -> int:
        """Bytes that were copied from other files on this machine."""
        return self.reuse.size
