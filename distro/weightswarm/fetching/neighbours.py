"""Which neighbours' lanes a fetch tries, and how often: each a few times at most, and none that sent wrong bytes."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable

from weightswarm.fetching.lane_lines import Neighbour, lane_upstream, limits_to
from weightswarm.magnet import PeerAddress
from weightswarm.metainfo import Metainfo
from weightswarm.reach import Network
from weightswarm.webseed import Failed, Misbehaved

MAX_AT_ONCE = 4
_MAX_TRIES = 3
_MAX_KNOWN = 16
_PAUSE_SECONDS = 10.0
_PROBE_SECONDS = 2.5


class Neighbours:
    """Call it from one thread. `wanted` may be asked often, `open_lanes` asks them, for at most some seconds."""

    def __init__(self, metainfo: Metainfo, network: Network, peer_id: bytes) -> None:
        self._metainfo = metainfo
        self._network = network
        self._peer_id = peer_id
        self._tries: Counter[PeerAddress] = Counter()
        self._not_before: dict[PeerAddress, float] = {}

    def wanted(self, found: Iterable[PeerAddress]) -> list[PeerAddress]:
        """Return those of the lanes found that may be tried now."""
        now = time.monotonic()
        known = self._tries
        due = [each for each in sorted(found, key=str) if self._not_before.get(each, now) <= now]
        due = [each for each in due if known[each] < _MAX_TRIES and (each in known or len(known) < _MAX_KNOWN)]
        return due[:MAX_AT_ONCE]

    def open_lanes(self, wanted: Iterable[PeerAddress]) -> list[PeerAddress]:
        """Ask for a byte of each, and return those that gave it.

        Who does not say that he may give later is tried no more: what a firewall swallows is waited for once.
        """
        wanted = list(wanted)
        answered: list[PeerAddress] = []
        later: list[PeerAddress] = []
        threads = []
        for each in wanted:
            self._tries[each] += 1
            self._not_before[each] = time.monotonic() + _PAUSE_SECONDS
            threads.append(
                threading.Thread(target=self._probe, args=(each, answered, later), name="probe", daemon=True)
            )
            threads[-1].start()
        until = time.monotonic() + _PROBE_SECONDS
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        given = [*answered]
        self.distrust(each for each in wanted if each not in (*given, *later))
        return given

    def distrust(self, lanes: Iterable[PeerAddress]) -> None:
        """Try these no more."""
        self._tries.update(dict.fromkeys(lanes, _MAX_TRIES))

    def _probe(self, address: PeerAddress, answered: list[PeerAddress], later: list[PeerAddress]) -> None:
        upstream = lane_upstream(limits_to([address], self._network))
        try:
            url = Neighbour.at(0, address, self._metainfo, self._peer_id).url
            with upstream.open(url, 0, 0) as body:
                if body.read_into(memoryview(bytearray(1))) == 1:
                    answered.append(address)
        except Failed as error:
            if error.wait is not None:
                later.append(address)
        except Misbehaved:
            return
        finally:
            upstream.close()
