"""From a magnet, torrent or name to verified files in the cache or a folder."""

from weightswarm.fetching.fetch import fetch_source
from weightswarm.fetching.inspect import Description, describe_source
from weightswarm.fetching.metadata import ask_swarm
from weightswarm.fetching.options import FetchOptions, FetchResult
from weightswarm.fetching.plan import FetchPlan, PlannedFile, select_entries
from weightswarm.fetching.source import Wanted, resolve_source
from weightswarm.fetching.transfer import Transfer

__all__ = [
    "Description",
    "FetchOptions",
    "FetchPlan",
    "FetchResult",
    "PlannedFile",
    "Transfer",
    "Wanted",
    "ask_swarm",
    "describe_source",
    "fetch_source",
    "resolve_source",
    "select_entries",
]
