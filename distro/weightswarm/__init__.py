"""Publish and fetch AI model weights through magnet links, every file checked against a hashed manifest.

    import weightswarm
    result = weightswarm.fetch("magnet:?xt=urn:btih:…", options=weightswarm.FetchOptions(name="org/model"))
    result.path  # the snapshot in the local model cache

Names are loaded on first use, so that `import weightswarm` costs next to nothing.
"""

from __future__ import annotations

from weightswarm.version import __version__ as __version__

TYPE_CHECKING = False  # to load `typing` takes longer than all of this
if TYPE_CHECKING:
    from weightswarm.api import (
        Published,
        fetch,
        find_base,
        index,
        plan_fetch,
        prepare,
        publish,
        search,
        seed,
        show,
        sign,
        verify,
    )
    from weightswarm.checking import Verification, VerifyOptions
    from weightswarm.errors import WeightswarmError
    from weightswarm.fetching import FetchOptions, FetchPlan, FetchResult
    from weightswarm.magnet import MagnetLink, PeerAddress
    from weightswarm.manifest import FileEntry, Manifest
    from weightswarm.progress import Note, Phase, Progress
    from weightswarm.publishing import PublishOptions, Release, Signer
    from weightswarm.seeding import SeededRelease, SeedOptions
    from weightswarm.swarm import Network, NetworkOptions

_HOMES = {
    "api": (
        "Published",
        "fetch",
        "find_base",
        "index",
        "plan_fetch",
        "prepare",
        "publish",
        "search",
        "seed",
        "show",
        "sign",
        "verify",
    ),
    "errors": ("WeightswarmError",),
    "fetching": ("FetchOptions", "FetchPlan", "FetchResult"),
    "magnet": ("MagnetLink", "PeerAddress"),
    "manifest": ("FileEntry", "Manifest"),
    "progress": ("Note", "Phase", "Progress"),
    "publishing": ("PublishOptions", "Release", "Signer"),
    "checking": ("Verification", "VerifyOptions"),
    "seeding": ("SeedOptions", "SeededRelease"),
    "swarm": ("Network", "NetworkOptions"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "FetchOptions",
    "FetchPlan",
    "FetchResult",
    "FileEntry",
    "MagnetLink",
    "Manifest",
    "Network",
    "NetworkOptions",
    "Note",
    "PeerAddress",
    "Phase",
    "Progress",
    "PublishOptions",
    "Published",
    "Release",
    "SeedOptions",
    "SeededRelease",
    "Signer",
    "Verification",
    "VerifyOptions",
    "WeightswarmError",
    "fetch",
    "find_base",
    "index",
    "plan_fetch",
    "prepare",
    "publish",
    "search",
    "seed",
    "show",
    "sign",
    "verify",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{home}"), name)
