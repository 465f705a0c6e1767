"""One torrent in a session: its status as a value, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import libtorrent as lt

from weightswarm.errors import InvalidMetainfo
from weightswarm.lane import lane_port
from weightswarm.magnet import InfoHash, PeerAddress
from weightswarm.metainfo import Metainfo, bencode
from weightswarm.reach import is_near


@dataclass(frozen=True, slots=True)
class TorrentStatus:
    """Where a torrent stands. Sizes in bytes (`done` and `wanted` leave pad files in), rates in bytes a second.

    `seeds` are those of the connected `peers` that have it all. `received` counts payload that came over the network
    in this run, rejected pieces included.
    """

    checking: bool = False
    seeding: bool = False
    progress: float = 0.0
    done: int = 0
    wanted: int = 0
    received: int = 0
    uploaded: int = 0
    download_rate: int = 0
    upload_rate: int = 0
    peers: int = 0
    seeds: int = 0
    known_peers: int = 0


class Torrent:
    """A torrent that a `Swarm` holds. `status` is refreshed by `Swarm.poll`.

    `peer_id` is what peers know this session by: 20 bytes (BEP 3). `given` are the peers that it was told of.
    """

    def __init__(self, handle: lt.torrent_handle, info_hash: InfoHash, peer_id: bytes) -> None:
        self.handle = handle
        self.info_hash = info_hash
        self.peer_id = peer_id
        self.given: set[PeerAddress] = set()
        self.status = TorrentStatus()

    def flush(self) -> None:
        """Ask for a `Flushed` event once all that was received so far is on disk."""
        self.handle.flush_cache()

    def pieces(self) -> set[int]:
        """Return the pieces that libtorrent has, by its own word."""
        have = self.handle.status(lt.torrent_handle.query_pieces).pieces
        return {piece for piece, there in enumerate(have) if there}

    def set_sequential(self, sequential: bool) -> None:
        """Ask for pieces in order, or rarest first."""
        if sequential:
            self.handle.set_flags(lt.torrent_flags.sequential_download)
        else:
            self.handle.unset_flags(lt.torrent_flags.sequential_download)

    def prefer(self, priorities: dict[int, int]) -> None:
        """Ask for wanted pieces by these priorities, from 1 to 7; those that are not named keep theirs."""
        now = self.handle.get_piece_priorities()
        self.handle.prioritize_pieces([priorities.get(piece, old) if old else 0 for piece, old in enumerate(now)])

    def fetchers(self) -> set[bytes]:
        """Return the peer ids of connected peers that lack something."""
        settled = self._settled_peers()
        return {peer.pid.to_bytes() for peer in settled if not peer.flags & lt.peer_info.seed}

    def has_met(self) -> bool:
        """Tell whether any peer is connected, handshake done."""
        return bool(self._settled_peers())

    def lanes(self) -> set[PeerAddress]:
        """Return where connected neighbours say that they have a lane, each at the address that he is connected by."""
        told = [(peer.ip[0], lane_port(peer.client)) for peer in self._settled_peers()]
        return {PeerAddress(host, port) for host, port in told if port is not None and is_near(host)}

    def _settled_peers(self) -> list[lt.peer_info]:
        unsettled = lt.peer_info.connecting | lt.peer_info.handshake
        return [peer for peer in self.handle.get_peer_info() if not peer.flags & unsettled]

    def let_go(self) -> None:
        """Leave all peers, and ask for a `Flushed` event once nothing is on its way to the disk any more."""
        self.handle.pause()
        self.handle.flush_cache()

    def come_back(self) -> None:
        """Go on after all."""
        self.handle.resume()

    def new_pieces(self) -> set[int]:
        """Return the pieces that no connected peer but seeds has."""
        seeds = self.status.seeds
        return {piece for piece, peers in enumerate(self.handle.piece_availability()) if peers <= seeds}

    def connect(self, peer: PeerAddress) -> None:
        """Try a peer given by its literal address."""
        self.given.add(peer)
        self.handle.connect_peer((peer.host, peer.port))

    def search_again(self) -> None:
        """Ask trackers and the DHT for peers before their time, and try those again that were given.

        libtorrent asks a tracker when that said to, mostly after half an hour, and gives a peer up that it failed to
        reach three times.
        """
        self.handle.force_reannounce(0, -1, lt.reannounce_flags_t.ignore_min_interval)
        self.handle.force_dht_announce()
        self.dial_given()

    def dial_given(self) -> None:
        """Try the peers again that were given."""
        for peer in self.given:
            self.handle.connect_peer((peer.host, peer.port))

    def announce_to_dht(self) -> None:
        """Tell the DHT now; of a private torrent libtorrent tells it nothing."""
        self.handle.force_dht_announce()

    def announce_to(self, chosen: Callable[[str], bool]) -> None:
        """Announce to the trackers that are `chosen` by their URL, before their time."""
        for index, tracker in enumerate(self.handle.trackers()):
            if chosen(tracker["url"]):
                self.handle.force_reannounce(0, index, lt.reannounce_flags_t.ignore_min_interval)

    def known_peers(self) -> tuple[PeerAddress, ...]:
        """Return the addresses of connected peers that could be dialled again: those that were dialled."""
        peers = self.handle.get_peer_info()
        return tuple(PeerAddress(*peer.ip) for peer in peers if peer.flags & lt.peer_info.local_connection)

    def refresh_now(self) -> None:
        """Ask libtorrent for the status at once."""
        self.refresh(self.handle.status())

    def refresh(self, status: lt.torrent_status) -> None:
        """Take over what libtorrent reports."""
        states = lt.torrent_status
        self.status = TorrentStatus(
            checking=status.state in (states.checking_files, states.checking_resume_data),
            seeding=status.is_seeding,
            progress=status.progress,
            done=status.total_wanted_done,
            wanted=status.total_wanted,
            received=status.total_payload_download,
            uploaded=status.total_payload_upload,
            download_rate=status.download_payload_rate,
            upload_rate=status.upload_payload_rate,
            peers=status.num_peers,
            seeds=status.num_seeds,
            known_peers=status.list_peers,
        )


def own_files(info: lt.torrent_info | None) -> tuple[int, ...]:
    """Return libtorrent's indices of a torrent's files, pad files left out."""
    if info is None:
        return ()
    storage = info.layout()
    return tuple(i for i in range(storage.num_files()) if not storage.file_flags(i) & lt.file_storage.flag_pad_file)


def lay_out(metainfo: Metainfo, placed: dict[int, Path]) -> tuple[lt.add_torrent_params, tuple[int, ...], int]:
    """Return parameters that put each file of `metainfo` at its own absolute path, libtorrent's indices of those
    files, and how many it counts with pad files.

    libtorrent rewrites names it does not like and collapses some folders; naming every path leaves it no choice.
    Raises `InvalidMetainfo` when its reading of the torrent is not ours.
    """
    if metainfo.total_size == 0:
        raise InvalidMetainfo("its files are all empty: nobody can give anything of it")
    try:
        info = lt.torrent_info(_bare(metainfo))
    except RuntimeError as error:
        raise InvalidMetainfo(str(error)) from None
    storage = info.layout()
    indices = own_files(info)
    sizes = [storage.file_size(i) for i in indices]
    if sizes != [file.size for file in metainfo.files]:
        raise InvalidMetainfo("its file list is ambiguous")
    parameters = lt.add_torrent_params()
    parameters.ti = info
    parameters.renamed_files = {indices[own]: str(path.absolute()) for own, path in placed.items()}
    return parameters, indices, storage.num_files()


def _bare(metainfo: Metainfo) -> bytes:
    """Return the torrent without what stands around its info dict but piece layers: no DHT nodes, nothing to ask."""
    return b"d4:info" + metainfo.info_bytes + b"12:piece layers" + bencode(metainfo.piece_layers) + b"e"
