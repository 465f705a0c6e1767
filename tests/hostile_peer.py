"""Peers that harm: they seed by the protocol until it matters, and then lie, babble or fall silent."""

from __future__ import annotations

import hashlib
import random
import socket
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from old_client import OldClient
from weightswarm.metainfo import Metainfo

_PIECE, _HAVE, _BITFIELD, _HASH_REQUEST, _HASHES, _EXTENDED = 7, 4, 5, 21, 22, 20


class HostilePeer(OldClient):
    """Seeds any kind of torrent, by its v1 info-hash where it has one. `connections` counts who shook hands."""

    def __init__(self, metainfo: Metainfo, locations: Sequence[Path], rate: int = 0) -> None:
        self.connections = 0
        super().__init__(metainfo, locations, rate)

    def _read_payload(self, metainfo: Metainfo, locations: Sequence[Path]) -> bytes:
        if metainfo.v1_spans:
            return super()._read_payload(metainfo, locations)
        length = metainfo.piece_length
        files = [path.read_bytes() for path in locations]
        return b"".join(data + bytes(-len(data) % length) for data in files)

    def _topic(self, metainfo: Metainfo) -> bytes:
        if metainfo.info_hash.v1 is not None:
            return super()._topic(metainfo)
        return hashlib.sha256(metainfo.info_bytes).digest()[:20]

    def _shake_hands(self, connection: socket.socket) -> bool:
        self.connections += 1
        return super()._shake_hands(connection)


class Poisoner(HostilePeer):
    """Sends every block with its first byte flipped."""

    def _block(self, start: int, length: int) -> bytes:
        block = super()._block(start, length)
        return bytes((block[0] ^ 0xFF,)) + block[1:]


class HalfPoisoner(HostilePeer):
    """Sends every fourth block with its first byte flipped."""

    def _block(self, start: int, length: int) -> bytes:
        block = super()._block(start, length)
        return bytes((block[0] ^ 0xFF,)) + block[1:] if start // length % 4 == 3 else block


class Staller(HostilePeer):
    """Has everything, unchokes, and answers no request."""

    def _upload(self, connection: socket.socket, request: bytes) -> None:
        """Say nothing."""


class Dripper(HostilePeer):
    """Sends a block's bytes one at a time, ten a second."""

    def _upload(self, connection: socket.socket, request: bytes) -> None:
        piece, begin, length = struct.unpack(">III", request)
        start = piece * self.metainfo.piece_length + begin
        connection.sendall(struct.pack(">IB", 9 + length, _PIECE) + request[:8])
        for byte in self._block(start, length):
            if not self._lives():
                return
            connection.sendall(bytes((byte,)))
            time.sleep(0.1)


class WithoutMetadata(HostilePeer):
    """Offers metadata, and never sends it."""

    def _send_metadata(self, connection: socket.socket, kind: int, request: dict[bytes, int]) -> None:
        """Say nothing."""


class WrongMetadata(HostilePeer):
    """Sends metadata of the right size and wrong bytes."""

    def _metadata(self) -> bytes:
        return bytes(len(self.metainfo.info_bytes))


class HugeMetadata(HostilePeer):
    """Offers two GiB of metadata."""

    def _metadata_size(self) -> int:
        return 2**31


class Babbler(HostilePeer):
    """Unchokes nobody; each connection gets another piece of nonsense after the handshake."""

    NONSENSE: ClassVar[tuple[str, ...]] = (
        *("have", "bitfield", "unrequested", "oversize", "garbage", "extended", "hashes"),
    )

    def _talk(self, connection: socket.socket) -> None:
        kind = self.NONSENSE[(self.connections - 1) % len(self.NONSENSE)]
        noise = random.Random(self.connections).randbytes
        message = {
            "have": _message(_HAVE, b"\xff\xff\xff\xff"),
            "bitfield": _message(_BITFIELD, b"\xff" * 4096),
            "unrequested": _message(_PIECE, struct.pack(">II", 0, 0) + noise(16 * 1024)) * 8,
            "oversize": struct.pack(">IB", 2**31 - 1, _PIECE) + noise(64 * 1024),
            "garbage": noise(64 * 1024),
            "extended": _message(_EXTENDED, b"\x01d1:x" + b"l" * 5000),
            "hashes": _message(_HASHES, bytes(48) + noise(32 * 1024)),
        }[kind]
        connection.sendall(message)
        with suppress(OSError, EOFError):
            super()._talk(connection)

    def _upload(self, connection: socket.socket, request: bytes) -> None:
        """Say nothing."""


class HashLiar(HostilePeer):
    """Speaks v2, sends right payload, and wrong hashes when it is asked for piece layers (BEP 52)."""

    RESERVED = bytes((0, 0, 0, 0, 0, 0x10, 0, 0x10))
    lies = 0

    def _else(self, connection: socket.socket, kind: int | None, body: bytes) -> None:
        if kind == _HASH_REQUEST:
            self.lies += 1
            _, _, _, length, proofs = struct.unpack(">32sIIII", body)
            connection.sendall(_message(_HASHES, body + random.Random(1).randbytes(32 * (length + proofs))))


def _message(kind: int, body: bytes) -> bytes:
    return struct.pack(">IB", 1 + len(body), kind) + body
