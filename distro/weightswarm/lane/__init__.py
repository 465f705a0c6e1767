"""The lane: a seed gives a release to one neighbour by HTTP, file after file, at the speed of sendfile(2).

`seeding` offers lanes, `fetching` takes them; what is agreed between the two stands here.
"""

from weightswarm.lane.admission import GivenFile, Lane
from weightswarm.lane.announcing import client_version, lane_path, lane_port
from weightswarm.lane.layout import Layout
from weightswarm.lane.serving import MAX_CONNECTIONS, LaneServer

__all__ = [
    "MAX_CONNECTIONS",
    "GivenFile",
    "Lane",
    "LaneServer",
    "Layout",
    "client_version",
    "lane_path",
    "lane_port",
]
