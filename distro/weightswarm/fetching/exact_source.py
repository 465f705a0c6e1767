"""Asking the URLs in a magnet link (`xs`, `as`) for its torrent file while the swarm is asked for the metadata."""

from __future__ import annotations

import queue
import threading

from weightswarm.dialling import Route
from weightswarm.errors import ContentMismatch, WeightswarmError
from weightswarm.magnet import InfoHash, MagnetLink
from weightswarm.metainfo import Metainfo, parse_metainfo
from weightswarm.progress import Note, Report
from weightswarm.reach import Network
from weightswarm.registry import download_metainfo

MOST_URLS = 4
SECONDS = 10.0
"""How long each URL may take. The swarm is asked meanwhile, so that a dead one costs nothing but its thread."""


class ExactSource:
    """Downloads from one URL after another in a thread of its own, until one gives the torrent of `magnet`.

    Each is a stranger's word, whoever lists the link: a registry has the torrent itself to give.
    """

    def __init__(self, magnet: MagnetLink, *, network: Network, route: Route, report: Report) -> None:
        self._urls = torrent_urls(magnet)
        self._info_hash = magnet.info_hash
        self._network = network
        self._route = route
        self._report = report
        self._answers: queue.SimpleQueue[Metainfo | str] = queue.SimpleQueue()
        if self._urls:
            # Nobody waits for it: the process may end while a server still drips.
            threading.Thread(target=self._ask, daemon=True).start()

    def poll(self) -> Metainfo | None:
        """Return the torrent once it is there; report, from the caller's thread, what failed."""
        while True:
            try:
                answer = self._answers.get_nowait()
            except queue.Empty:
                return None
            if isinstance(answer, Metainfo):
                return answer
            self._report(Note(f"{answer}; the swarm is asked."))

    def _ask(self) -> None:
        for url in self._urls:
            try:
                self._answers.put(torrent_at(url, self._info_hash, self._network, self._route))
            except WeightswarmError as error:
                self._answers.put(str(error))
            else:
                return


def torrent_urls(magnet: MagnetLink) -> tuple[str, ...]:
    """Return the URLs by which a link names its torrent, as many as are asked."""
    return tuple(dict.fromkeys((*magnet.exact_sources, *magnet.acceptable_sources)))[:MOST_URLS]


def torrent_at(url: str, info_hash: InfoHash, network: Network, route: Route) -> Metainfo:
    """Return the torrent at a URL that a stranger named. Raises `NetworkFailure`, `InvalidMetainfo`, and
    `ContentMismatch` for another torrent than the one of `info_hash`."""
    metainfo = parse_metainfo(download_metainfo(url, timeout=SECONDS, network=network, named=False, route=route))
    if not _is(metainfo.info_hash, info_hash):
        raise ContentMismatch(f"{url} has another torrent than the magnet's")
    return metainfo


def _is(found: InfoHash, wanted: InfoHash) -> bool:
    """Tell whether a torrent has every digest that the magnet names: a hybrid's second one may not be waved through."""
    return all(digest in found.digests for digest in wanted.digests)
