"""A session: torrents are added, polled for events and removed. One thread, no callbacks, nothing hidden."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

import libtorrent as lt

from weightswarm.errors import NetworkFailure
from weightswarm.lane import client_version
from weightswarm.magnet import InfoHash, MagnetLink, PeerAddress
from weightswarm.metainfo import Metainfo
from weightswarm.swarm.alerts import event_of, local_peer
from weightswarm.swarm.ending import bootstrap_names, ends_at_once, leave, names_in, say_farewell
from weightswarm.swarm.events import Checked, Event
from weightswarm.swarm.filtering import AddressFilter
from weightswarm.swarm.layers import piece_layers
from weightswarm.swarm.network import Network, NetworkOptions, Sieve
from weightswarm.swarm.reaching import Reaching
from weightswarm.swarm.relay import Relay
from weightswarm.swarm.resolving import literal
from weightswarm.swarm.settings import make_session, rate_settings
from weightswarm.swarm.torrent import Torrent, lay_out, own_files

if TYPE_CHECKING:
    from weightswarm.swarm.gateway import Gateway

_REFRESH_SECONDS = 0.25
_UTP_AFTER_SECONDS = 10.0
_ANNOUNCE_SECONDS = 60.0
_WHOLE_PIECE_SECONDS = 3600
# libtorrent's torrent_flags::disable_v1_hashes, which its Python module has no name for.
_V2_HASHES_ALONE = 1 << 25


class Swarm:
    """A libtorrent session as a context manager. Call `poll` regularly from one thread.

    `notice` is told, from `poll` and `add_…`, what a stranger named and was not asked. Raises `NetworkFailure` on entry
    when it cannot listen where it was told to.
    """

    def __init__(self, options: NetworkOptions, notice: Callable[[str], None] = lambda _text: None) -> None:
        self.options = options
        self._notice = notice
        self._sieve = Sieve(options)
        self._relay = Relay(options.network, options.limits())
        self._gateway = _gateway_to(options, self._relay.address)
        self._complaints = [each.complaints for each in (self._relay, self._gateway) if each is not None]
        proxied = self._gateway is not None
        rules = AddressFilter(options.network, self._relay.address, proxied=proxied)
        self._session = make_session(options, rules.rules, self._gateway)
        self._rates = options.rates()
        self._peer_id = self._session.get_settings()["peer_fingerprint"].encode()
        self._torrents: dict[lt.torrent_handle, Torrent] = {}
        self._reaching = Reaching(self._session, options, rules, self._torrents, notice, proxied=proxied)
        self._starting: set[lt.torrent_handle] = set()
        self._events: list[Event] = []
        self._next_refresh = 0.0
        self._next_announce = time.monotonic() + _ANNOUNCE_SECONDS
        self._dht_nodes = 0
        self._names = bootstrap_names(self._session)
        self._lonely_since: float | None = None

    def __enter__(self) -> Self:
        # Through a proxy nobody comes in, and no port is opened.
        deadline = time.monotonic() + (5 if self._gateway is None else 0)
        while not self._session.listen_port() and time.monotonic() < deadline:
            self._session.wait_for_alert(50)
            for alert in self._session.pop_alerts():
                if isinstance(alert, lt.listen_failed_alert) and self.options.listen is not None:
                    self.close()
                    raise NetworkFailure(
                        f"Cannot listen on {self.options.listen}: {alert.error.message()}",
                        hint="choose another --listen HOST:PORT, or leave it out for a free port",
                    )
        if self.options.schedule.windows:
            self._notice(f"By the schedule: {self._rates}.")
        self._reaching.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop every torrent and the session, within about two seconds. Nothing is on the wire after this."""
        self._relay.close()
        say_farewell(self._session)
        for torrent in list(self._torrents.values()):
            self.remove(torrent)
        if not ends_at_once(self._names):
            leave(self._session)
        # The destructor waits for the session's own threads.
        del self._session, self._reaching
        if self._gateway is not None:
            self._gateway.close()

    @property
    def port(self) -> int:
        """The TCP port that peers can reach, 0 when it does not listen."""
        return self._session.listen_port()

    @property
    def from_web_seeds(self) -> int:
        """Bytes that web seeds gave so far, to all torrents."""
        return self._relay.passed

    def name_web_seeds(self, urls: Iterable[str]) -> None:
        """Take note of web seeds that the user himself named, besides those in the options."""
        self.options = replace(self.options, web_seeds=(*self.options.web_seeds, *urls))
        self._sieve.options = self.options
        self._relay.limits = self.options.limits()

    def announce_lanes(self, port: int) -> None:
        """Tell peers from now on that neighbours may ask at this port. Trackers are told the same name as ever."""
        self._session.apply_settings(cast("Any", {"handshake_client_version": client_version(port)}))

    @property
    def peer_id(self) -> bytes:
        """What peers know this session by: 20 bytes (BEP 3)."""
        return self._peer_id

    def dht_nodes(self) -> int:
        """Return how many DHT nodes are known, 0 when the DHT is off."""
        return self._dht_nodes

    # --- torrents ------------------------------------------------------------------------------------------------

    def add_magnet(self, magnet: MagnetLink) -> Torrent:
        """Look for a magnet's metadata only: no payload is asked for, no file made. Ends in `MetadataReceived`."""
        parameters = lt.add_torrent_params()
        parameters.info_hashes = _libtorrent_hashes(magnet.info_hash)
        # Never written to: without metadata there is no file to write, and `default_dont_download` wants none after.
        parameters.save_path = "."
        parameters.flags = (
            lt.torrent_flags.default_dont_download | lt.torrent_flags.upload_mode | lt.torrent_flags.update_subscribe
        )
        return self._add(parameters, magnet.info_hash, magnet.trackers, (), magnet.peers)

    def add_download(
        self,
        metainfo: Metainfo,
        files: Mapping[int, Path],
        *,
        folder: Path,
        trackers: Iterable[str] = (),
        web_seeds: Iterable[str] = (),
        peers: Iterable[PeerAddress] = (),
    ) -> Torrent:
        """Download the files whose indices are in `files`, each to its own absolute path, and seed them meanwhile.

        What stands there already is hashed first (`Checked`) and kept where it is right. Nothing is taken from an
        earlier run's word. Pieces that reach into unwanted files go to a side file in `folder`.
        """
        unwanted = {file.index: folder / "unwanted" / str(file.index) for file in metainfo.files}
        parameters, indices, count = lay_out(metainfo, {**unwanted, **files})
        parameters.save_path = str(folder)
        unwanted_indices = {indices[file.index] for file in metainfo.files if file.index not in files}
        # Pad files share pieces with what precedes them and take no space; libtorrent never writes them.
        parameters.file_priorities = [0 if i in unwanted_indices else 4 for i in range(count)]
        parameters.flags = lt.torrent_flags.update_subscribe
        fresh = not any(path.exists() for path in files.values())
        if metainfo.has_piece_layers:
            parameters.flags |= _V2_HASHES_ALONE
        if fresh:
            # With nothing to check it is ready in a moment, and resuming it then dials its peers at once.
            parameters.flags |= lt.torrent_flags.paused
        torrent = self._add(parameters, metainfo.info_hash, tuple(trackers), tuple(web_seeds), tuple(peers))
        if fresh:
            self._starting.add(torrent.handle)
        return torrent

    def add_seed(
        self,
        metainfo: Metainfo,
        files: Mapping[int, Path],
        *,
        trackers: Iterable[str] = (),
        peers: Iterable[PeerAddress] = (),
    ) -> Torrent:
        """Seed files from where they stand; nothing is written. Each piece is hashed before it is first sent.

        `trackers` are told beside the torrent's own.
        """
        parameters, _, _ = lay_out(metainfo, dict(files))
        parameters.save_path = str(next(iter(files.values())).parent)
        parameters.flags = lt.torrent_flags.seed_mode | lt.torrent_flags.upload_mode | lt.torrent_flags.update_subscribe
        if metainfo.has_piece_layers:
            parameters.flags |= _V2_HASHES_ALONE
        return self._add(parameters, metainfo.info_hash, (*metainfo.trackers, *trackers), (), tuple(peers))

    def remove(self, torrent: Torrent) -> None:
        """Stop a torrent; its files stay."""
        if self._torrents.pop(torrent.handle, None) is not None:
            self._session.remove_torrent(torrent.handle)

    def take_whole_pieces(self) -> None:
        """From now on ask one peer for all of a piece, so that a bad one tells who sent it."""
        self._session.apply_settings({"whole_pieces_threshold": _WHOLE_PIECE_SECONDS})

    def _add(
        self,
        parameters: lt.add_torrent_params,
        info_hash: InfoHash,
        trackers: tuple[str, ...],
        web_seeds: tuple[str, ...],
        peers: tuple[PeerAddress, ...],
    ) -> Torrent:
        parameters.trackers = self._sieve.trackers(trackers)
        parameters.url_seeds = [self._relay.through(url) for url in self._sieve.web_seeds(web_seeds)]
        if self._gateway is None:
            self._names |= names_in(parameters.trackers)
        # What the torrent file itself names must not come in by the side door.
        parameters.flags |= lt.torrent_flags.override_trackers | lt.torrent_flags.override_web_seeds
        parameters.flags |= lt.torrent_flags.apply_ip_filter
        if self.options.network is Network.LOOPBACK:
            parameters.flags |= lt.torrent_flags.disable_lsd
        reachable = self._sieve.peers(peers)
        literals = [address for peer in reachable if (address := literal(peer)) is not None]
        # Peers given at the start are tried at once; later ones wait for the session's next second.
        parameters.peers = [(peer.host, peer.port) for peer in literals]
        if summary := self._sieve.summary():
            self._notice(summary)
        handle = self._session.add_torrent(parameters)
        torrent = Torrent(handle, info_hash, self._peer_id)
        torrent.given.update(literals)
        self._torrents[handle] = torrent
        self._reaching.look_up(torrent, reachable)
        return torrent

    # --- events --------------------------------------------------------------------------------------------------

    def poll(self, timeout: float) -> list[Event]:
        """Wait up to `timeout` seconds for something to happen and return it; statuses are fresh afterwards.

        Raises `NetworkFailure` where the proxy lets nobody in.
        """
        now = time.monotonic()
        if now >= self._next_refresh:
            self._next_refresh = now + _REFRESH_SECONDS
            self._session.post_torrent_updates(0)
            self._session.post_session_stats()
            self._reaching.use_answers()
            self._reach_by_utp(now)
            self._announce_again(now)
            self._keep_to_schedule()
            if self._gateway is not None and self._gateway.refusal is not None:
                raise NetworkFailure(f"No connection: {self._gateway.refusal}", hint="--proxy takes USER:PASSWORD@HOST")
            for complaints in self._complaints:
                for complaint in complaints.take():
                    self._notice(complaint)
        if not self._events:
            self._session.wait_for_alert(int(timeout * 1000))
        for alert in self._session.pop_alerts():
            self._take(alert)
        events, self._events = self._events, []
        return events

    def _take(self, alert: Any) -> None:
        if isinstance(alert, lt.state_update_alert):
            for status in alert.status:
                if (known := self._torrents.get(status.handle)) is not None:
                    known.refresh(status)
        elif isinstance(alert, lt.session_stats_alert):
            joined = self._dht_nodes == 0
            self._dht_nodes = alert.values["dht.dht_nodes"]
            if joined and self._dht_nodes:
                # What was announced before there was anybody to tell would wait for a quarter of an hour.
                for torrent in self._torrents.values():
                    torrent.announce_to_dht()
        elif isinstance(alert, lt.peer_blocked_alert):
            self._reaching.take_blocked(alert)
        elif (found := local_peer(alert)) is not None:
            self._reaching.take_neighbour(found)
        elif (event := event_of(alert, self._torrents)) is not None:
            self._events.append(event)
            if isinstance(event, Checked) and event.torrent.handle in self._starting:
                self._starting.remove(event.torrent.handle)
                event.torrent.handle.resume()

    def _keep_to_schedule(self) -> None:
        if (rates := self.options.rates()) != self._rates:
            self._rates = rates
            self._session.apply_settings(cast("Any", rate_settings(rates)))
            self._notice(f"By the schedule: {rates}.")

    def piece_layers(self, torrent: Torrent, metainfo: Metainfo) -> dict[bytes, bytes] | None:
        """Return a torrent's piece layers by `pieces root`, once peers have sent them; None while one is missing."""
        torrent.handle.save_resume_data(0)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            self._session.wait_for_alert(100)
            trees: Sequence[dict[bytes, Any]] | None = None
            for alert in self._session.pop_alerts():
                if isinstance(alert, lt.save_resume_data_failed_alert) and alert.handle == torrent.handle:
                    trees = ()
                elif isinstance(alert, lt.save_resume_data_alert) and alert.handle == torrent.handle:
                    trees = cast("Any", lt.write_resume_data(alert.params)).get(b"trees", ())
                else:
                    self._take(alert)
            if trees is not None:
                own = own_files(torrent.handle.torrent_file())
                return piece_layers(metainfo, [trees[index] for index in own]) if trees else None
        return None

    def _reach_by_utp(self, now: float) -> None:
        """Allow outgoing uTP when peers are known and TCP has reached none of them for a while."""
        lonely = any(t.status.known_peers and not t.status.peers for t in self._torrents.values())
        if not lonely or self._gateway is not None:
            self._lonely_since = None
        elif self._lonely_since is None:
            self._lonely_since = now
        elif now - self._lonely_since > _UTP_AFTER_SECONDS:
            self._session.apply_settings({"enable_outgoing_utp": True})

    def _announce_again(self, now: float) -> None:
        """Tell this network's own trackers each minute: one that was started again has forgotten everybody.

        libtorrent would wait as long as the tracker said, half an hour by opentracker, and nobody new would find us.
        """
        if now < self._next_announce:
            return
        self._next_announce = now + _ANNOUNCE_SECONDS
        for torrent in self._torrents.values():
            torrent.announce_to(self.options.is_own_tracker)


def _gateway_to(options: NetworkOptions, relay: str) -> Gateway | None:
    if options.proxy is None:
        return None
    # Who has no proxy does not wait for its event loop to load.
    from weightswarm.swarm.gateway import Gateway

    named = options.named_endpoints | {(peer.host, peer.port) for peer in options.named_peers}
    return Gateway(options.route, options.network, named, relay)


def _libtorrent_hashes(info_hash: InfoHash) -> lt.info_hash_t:
    v1 = lt.sha1_hash(bytes.fromhex(info_hash.v1)) if info_hash.v1 is not None else None
    v2 = lt.sha256_hash(bytes.fromhex(info_hash.v2)) if info_hash.v2 is not None else None
    if v1 is not None and v2 is not None:
        return lt.info_hash_t(v1, v2)
    return lt.info_hash_t(cast("Any", v2 if v1 is None else v1))
