"""The library's front: `publish`, `seed`, `fetch`, `verify`, `show`, `search`. Typed results, progress by callback.

Everything here is what the command line calls; it adds options, drawing and exit codes, and nothing else.
"""

from weightswarm.api.getting import export, fetch, plan_fetch, show, verify
from weightswarm.api.giving import Published, find_base, prepare, publish, seed, sign
from weightswarm.api.registries import PathLike, all_registries, index, search

__all__ = [
    "PathLike",
    "Published",
    "all_registries",
    "export",
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
