"""A small client of the years before BitTorrent v2: it seeds a hybrid torrent and has never heard of its v2 hashes.

Sockets and threads on loopback; BEP 3 with the extension protocol (BEP 10) and metadata for magnet links (BEP 9).
"""

from __future__ import annotations

import hashlib
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from weightswarm import PeerAddress
from weightswarm.metainfo import Metainfo, bdecode, bencode, magnet_of

_LIFETIME_SECONDS = 150.0
_SILENCE_SECONDS = 30.0
_TICK_SECONDS = 0.1

_PROTOCOL = b"\x13BitTorrent protocol"
_EXTENSION_PROTOCOL = bytes((0, 0, 0, 0, 0, 0x10, 0, 0))
"""The reserved bytes of a handshake. The last one would hold 0x10 in a client that speaks v2."""

_UNCHOKE, _INTERESTED, _BITFIELD, _REQUEST, _PIECE, _CANCEL, _EXTENDED = 1, 2, 5, 6, 7, 8, 20
_EXTENDED_HANDSHAKE, _UT_METADATA = 0, 1
_METADATA_BLOCK = 16 * 1024
_MAX_REQUEST = 128 * 1024
_MAX_MESSAGE = 1024 * 1024


class OldClient:
    """Seeds `metainfo` by its v1 info-hash, as a context manager. `locations` are its files, in its order, and are
    read once: a byte that was flipped before is served as it is.

    `rate` is the most payload bytes a second it gives, 0 for no limit. `uploaded` counts the payload bytes that it
    sent and `size` is how many there are, both with pad files.
    """

    def __init__(self, metainfo: Metainfo, locations: Sequence[Path], rate: int = 0) -> None:
        self.metainfo = metainfo
        self.rate = rate
        self.uploaded = 0
        self._payload = self._read_payload(metainfo, locations)
        self.size = len(self._payload)
        self._info_hash = self._topic(metainfo)
        self._ends = time.monotonic() + _LIFETIME_SECONDS
        self._closing = False
        self._lock = threading.Lock()
        self._pace = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._accepting.join(_SILENCE_SECONDS)
        with self._lock:
            threads = list(self._connections.values())
        for thread in threads:
            thread.join(_SILENCE_SECONDS)
        self._listener.close()

    @property
    def address(self) -> PeerAddress:
        """Where it listens."""
        return PeerAddress("127.0.0.1", self._listener.getsockname()[1])

    @property
    def magnet(self) -> str:
        """The torrent's magnet, both hashes in it, with this client as the one peer."""
        return str(magnet_of(self.metainfo, peers=(self.address,)))

    # --- what hostile peers do otherwise -------------------------------------------------------------------------

    RESERVED: ClassVar[bytes] = _EXTENSION_PROTOCOL

    def _read_payload(self, metainfo: Metainfo, locations: Sequence[Path]) -> bytes:
        # Pad files hold zeros, and are pieces' content like any other.
        spans = (bytes(n) if index is None else locations[index].read_bytes() for index, n in metainfo.v1_spans)
        payload = b"".join(spans)
        assert len(payload) == sum(size for _, size in metainfo.v1_spans)
        return payload

    def _topic(self, metainfo: Metainfo) -> bytes:
        return hashlib.sha1(metainfo.info_bytes).digest()

    def _block(self, start: int, length: int) -> bytes:
        return self._payload[start : start + length]

    def _metadata(self) -> bytes:
        return self.metainfo.info_bytes

    def _metadata_size(self) -> int:
        return len(self.metainfo.info_bytes)

    def _else(self, connection: socket.socket, kind: int | None, body: bytes) -> None:
        """Pass over what is no word that it knows, requests for v2 hashes (21 to 23) among it."""

    # --- connections ---------------------------------------------------------------------------------------------

    def _lives(self) -> bool:
        return not self._closing and time.monotonic() < self._ends

    def _accept(self) -> None:
        while self._lives():
            if not select.select([self._listener], [], [], _TICK_SECONDS)[0]:
                continue
            connection, _ = self._listener.accept()
            connection.settimeout(_SILENCE_SECONDS)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            with self._lock:
                self._connections[connection] = thread
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, EOFError):
            if self._shake_hands(connection):
                self._talk(connection)
        with self._lock:
            del self._connections[connection]

    def _shake_hands(self, connection: socket.socket) -> bool:
        """Return whether the other side wants this torrent, by its v1 hash and without encryption."""
        if _read(connection, len(_PROTOCOL)) != _PROTOCOL:
            return False
        theirs = _read(connection, 48)
        if theirs[8:28] != self._info_hash:
            return False
        connection.sendall(_PROTOCOL + self.RESERVED + self._info_hash + b"-OC0100-" + bytes(12))
        if theirs[5] & 0x10:
            offer = {b"m": {b"ut_metadata": _UT_METADATA}, b"metadata_size": self._metadata_size()}
            _send(connection, _EXTENDED, bytes((_EXTENDED_HANDSHAKE,)) + bencode({**offer, b"v": b"Old Client 1.0"}))
        pieces = -(-self.size // self.metainfo.piece_length)
        bits = (1 << pieces) - 1 << -pieces % 8
        _send(connection, _BITFIELD, bits.to_bytes(-(-pieces // 8), "big"))
        return True

    def _talk(self, connection: socket.socket) -> None:
        """Answer until the other side leaves. Requests wait in line, where they can be cancelled."""
        waiting: deque[bytes] = deque()
        their_ut_metadata = 0
        while self._lives():
            if not select.select([connection], [], [], 0 if waiting else _TICK_SECONDS)[0]:
                if waiting:
                    self._upload(connection, waiting.popleft())
                continue
            kind, body = _receive(connection)
            if kind == _INTERESTED:
                _send(connection, _UNCHOKE)
            elif kind == _REQUEST:
                waiting.append(body)
            elif kind == _CANCEL and body in waiting:
                waiting.remove(body)
            elif kind == _EXTENDED and body[0] == _EXTENDED_HANDSHAKE:
                their_ut_metadata = bdecode(body[1:])[b"m"].get(b"ut_metadata", 0)
            elif kind == _EXTENDED and body[0] == _UT_METADATA and their_ut_metadata:
                self._send_metadata(connection, their_ut_metadata, bdecode(body[1:]))
            else:
                self._else(connection, kind, body)

    def _upload(self, connection: socket.socket, request: bytes) -> None:
        piece, begin, length = struct.unpack(">III", request)
        start = piece * self.metainfo.piece_length + begin
        if length > _MAX_REQUEST or start + length > self.size:
            raise EOFError("asked for what is not there")
        _send(connection, _PIECE, request[:8] + self._block(start, length))
        with self._lock:
            self.uploaded += length
        if self.rate:
            # One line for all connections, so that the rate is the client's own.
            with self._pace:
                time.sleep(length / self.rate)

    def _send_metadata(self, connection: socket.socket, kind: int, request: dict[bytes, int]) -> None:
        if request[b"msg_type"] != 0:
            return
        number, info = request[b"piece"], self._metadata()
        block = info[number * _METADATA_BLOCK : (number + 1) * _METADATA_BLOCK]
        header = {b"msg_type": 1, b"piece": number, b"total_size": self._metadata_size()}
        _send(connection, _EXTENDED, bytes((kind,)) + bencode(header) + block)


def _read(connection: socket.socket, count: int) -> bytes:
    """Return `count` bytes. Raises `EOFError` when the other side has left."""
    data = b""
    while len(data) < count:
        # The socket's timeout bounds each step, and every step is at least a byte.
        part = connection.recv(count - len(data))
        if not part:
            raise EOFError("the other side has left")
        data += part
    return data


def _receive(connection: socket.socket) -> tuple[int | None, bytes]:
    """Return a message's kind and body; None for a keep-alive."""
    (length,) = struct.unpack(">I", _read(connection, 4))
    if length > _MAX_MESSAGE:
        raise EOFError("no message is as long as that")
    message = _read(connection, length)
    return (message[0] if message else None), message[1:]


def _send(connection: socket.socket, kind: int, body: bytes = b"") -> None:
    connection.sendall(struct.pack(">IB", 1 + len(body), kind) + body)
