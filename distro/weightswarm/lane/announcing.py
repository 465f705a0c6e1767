"""How a seed says that it has lanes: in the name of its client, in the extended handshake (BEP 10, `v`)."""

from __future__ import annotations

import re

from weightswarm.reach import FIRST_FREE_PORT
from weightswarm.version import __version__

_CLIENT = re.compile(rb"weightswarm/[0-9a-z.+]{1,20} \(http ([1-9][0-9]{3,4})\)")


def client_version(port: int) -> str:
    """Return the client's name with the port of its lanes."""
    return f"weightswarm/{__version__} (http {port})"


def lane_port(client: bytes) -> int | None:
    """Return the port that a peer's client name tells, None where it tells none that may be asked."""
    match = _CLIENT.fullmatch(client)
    port = 0 if match is None else int(match[1])
    return port if FIRST_FREE_PORT <= port < 65536 else None


def lane_path(info_hash: str, peer_id: bytes) -> str:
    """Return the path of a release's lane, by one of its digests, for whom peers know by this id (BEP 3)."""
    return f"/{info_hash}?peer={peer_id.hex()}"
