"""Web seeds: what a URL means for a file, and ranges of files from servers that may do anything.

`swarm` passes ranges on to libtorrent, `fetching` writes them to disk without it; both meet servers through here alone.
"""

from weightswarm.webseed.address import HUB, file_url, in_folder, is_hub_folder, with_hub_folder
from weightswarm.webseed.standing import MISSING, WebSeed
from weightswarm.webseed.upstream import Body, Limits, Upstream, limits_for
from weightswarm.webseed.waiting import retry_after
from weightswarm.webseed.watched import Failed, Misbehaved, NoRanges, Pace

__all__ = [
    "HUB",
    "MISSING",
    "Body",
    "Failed",
    "Limits",
    "Misbehaved",
    "NoRanges",
    "Pace",
    "Upstream",
    "WebSeed",
    "file_url",
    "in_folder",
    "is_hub_folder",
    "limits_for",
    "retry_after",
    "with_hub_folder",
]
