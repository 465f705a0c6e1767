"""A fetch on libtorrent's word: weightswarm's session and settings, no SHA-256, no wait for the disk, no placement.

`bare_fetch.py MAGNET FOLDER` ends once every piece has come and the session is closed.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from weightswarm.fetching import ask_swarm
from weightswarm.magnet import MagnetLink, parse_magnet
from weightswarm.progress import silent
from weightswarm.swarm import Finished, Network, NetworkOptions, StorageFailed, Swarm, Torrent

_GIVE_UP_SECONDS = 600


def bare_fetch(magnet: MagnetLink, folder: Path) -> None:
    """Download all files of a magnet into `folder`."""
    with Swarm(NetworkOptions(network=Network.LOOPBACK)) as swarm:
        # With the piece layers, as `fetch` asks for them: both then check pieces by v2 hashes alone.
        metainfo, _ = ask_swarm(swarm, magnet, timeout=_GIVE_UP_SECONDS, report=silent)
        files = {file.index: folder / file.path for file in metainfo.files}
        _wait_until_finished(swarm, swarm.add_download(metainfo, files, folder=folder, peers=magnet.peers))


def _wait_until_finished(swarm: Swarm, torrent: Torrent) -> None:
    deadline = time.monotonic() + _GIVE_UP_SECONDS
    while time.monotonic() < deadline:
        for event in swarm.poll(0.1):
            if isinstance(event, StorageFailed):
                sys.exit(f"{event.path}: {event.reason}")
            if isinstance(event, Finished) and event.torrent is torrent:
                return
    sys.exit(f"not finished within {_GIVE_UP_SECONDS} s")


if __name__ == "__main__":
    bare_fetch(parse_magnet(sys.argv[1]), Path(sys.argv[2]))
