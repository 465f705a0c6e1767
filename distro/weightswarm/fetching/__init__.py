"""From a magnet, torrent or name to verified files in the cache or a folder."""

from weightswarm.fetching.fetch import fetch_source
from weightswarm.fetching.inspect import Depth, Description, Looked, describe_source, look_up
from weightswarm.fetching.metadata import ask_swarm
from weightswarm.fetching.options import FetchOptions, FetchResult, Reused
from weightswarm.fetching.plan import FetchPlan, PlannedFile, select_entries
from weightswarm.fetching.source import Wanted, is_url, resolve_source
from weightswarm.fetching.transfer import Transfer

__all__ = [
    "Depth",
    "Description",
    "FetchOptions",
    "FetchPlan",
    "FetchResult",
    "Looked",
    "PlannedFile",
    "Reused",
    "Transfer",
    "Wanted",
    "ask_swarm",
    "describe_source",
    "fetch_source",
    "is_url",
    "look_up",
    "resolve_source",
    "select_entries",
]
