"""Detached signatures in minisign's format (https://jedisct1.github.io/minisign), and as a magnet link carries them."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from weightswarm.errors import InvalidSignature

MAX_COMMENT_BYTES = 2048
MAX_SIGNATURE_BYTES = 8192
MAX_LINK_VALUE = 4096

_LEGACY, _HASHED = b"Ed", b"ED"
_UNTRUSTED = "untrusted comment: "
_TRUSTED = "trusted comment: "


@dataclass(frozen=True, slots=True)
class Signature:
    """A detached signature. `hashed` tells whether it is over the BLAKE2b-512 of the data (`ED`) or, as old minisign
    made them, over the data itself (`Ed`). `global_signature` covers `signature` and the trusted comment."""

    hashed: bool
    key_id: bytes
    signature: bytes
    trusted_comment: str
    global_signature: bytes

    @property
    def shown_key_id(self) -> str:
        """The key id as minisign prints it: 16 hex digits. It is a label, and proves nothing."""
        return shown_key_id(self.key_id)

    def to_bytes(self) -> bytes:
        """Return the file that minisign reads."""
        lines = (
            f"{_UNTRUSTED}signature by key {self.shown_key_id}",
            _base64(self._head()),
            f"{_TRUSTED}{self.trusted_comment}",
            _base64(self.global_signature),
        )
        return "".join(f"{line}\n" for line in lines).encode()

    def to_link_value(self) -> str:
        """Return the value of a magnet link's `x.sig`: base64url, without padding, of the signature (74 bytes), the
        global signature (64) and the trusted comment."""
        data = self._head() + self.global_signature + self.trusted_comment.encode()
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    def _head(self) -> bytes:
        return (_HASHED if self.hashed else _LEGACY) + self.key_id + self.signature


def shown_key_id(key_id: bytes) -> str:
    """Return a key id as minisign prints it: its eight bytes as a little-endian number, in hex."""
    return f"{int.from_bytes(key_id, 'little'):016X}"


def parse_signature(data: bytes) -> Signature:
    """Read a `.minisig` file. Raises `InvalidSignature`."""
    if len(data) > MAX_SIGNATURE_BYTES:
        raise InvalidSignature(f"Not a minisign signature: it is larger than {MAX_SIGNATURE_BYTES:,} bytes")
    lines = _text(data).removesuffix("\n").split("\n")
    lines = [line.removesuffix("\r") for line in lines]
    if len(lines) != 4 or not lines[0].startswith(_UNTRUSTED) or not lines[2].startswith(_TRUSTED):
        raise InvalidSignature("Not a minisign signature: it has not the four lines of one")
    return _signature(from_base64(lines[1]), from_base64(lines[3]), lines[2].removeprefix(_TRUSTED))


def parse_link_value(value: str) -> Signature:
    """Read a magnet link's `x.sig`. Raises `InvalidSignature`."""
    if len(value) > MAX_LINK_VALUE or not value.isascii():
        raise InvalidSignature("The signature in the magnet link is malformed")
    try:
        data = base64.b64decode(value.encode() + b"=" * (-len(value) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidSignature("The signature in the magnet link is malformed") from None
    return _signature(data[:74], data[74:138], _text(data[138:]))


def from_base64(line: str) -> bytes:
    """Read one line of base64 as minisign writes it. Raises `InvalidSignature`."""
    try:
        return base64.b64decode(line.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError):
        raise InvalidSignature(f"Not base64: {line[:80]}") from None


def _signature(head: bytes, global_signature: bytes, comment: str) -> Signature:
    if len(head) != 74 or len(global_signature) != 64:
        raise InvalidSignature("Not a minisign signature: it has not the length of one")
    if head[:2] not in (_LEGACY, _HASHED):
        raise InvalidSignature(f"Not an Ed25519 signature: its algorithm is {head[:2]!r}")
    return Signature(head[:2] == _HASHED, head[2:10], head[10:], check_comment(comment), global_signature)


def check_comment(comment: str) -> str:
    """Return a trusted comment that a file and a link can hold. Raises `InvalidSignature`."""
    if len(comment.encode("utf-8", "replace")) > MAX_COMMENT_BYTES:
        raise InvalidSignature(f"A trusted comment is longer than {MAX_COMMENT_BYTES:,} bytes")
    if not comment.replace("\t", "").isprintable():
        raise InvalidSignature("A trusted comment holds characters that cannot be printed")
    return comment


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidSignature("Not a minisign signature: it is not UTF-8") from None


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
