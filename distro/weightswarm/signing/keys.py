"""Ed25519 keys in minisign's format: public ones in one line, secret ones encrypted by a passphrase (scrypt)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from weightswarm.errors import InvalidInput, InvalidSignature
from weightswarm.signing.minisign import Signature, check_comment, from_base64, shown_key_id

MAX_KEY_BYTES = 4096
_ALGORITHM = b"Ed"
_SCRYPT, _NO_KDF = b"Sc", b"\0\0"
_BLAKE2B = b"B2"
_SEALED = 104
"""Bytes of the encrypted part: key id, seed, public key, checksum."""

_WORK_EXPONENT = 17
"""scrypt's N is 2^17 with r = 8, p = 1: 128 MiB and half a second. minisign's own keys take eight times that."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An Ed25519 public key. `key_id` is a label that the key's maker chose; keys are told apart by both."""

    key_id: bytes
    raw: bytes

    @property
    def line(self) -> str:
        """The key in one line, 56 characters of base64."""
        return base64.b64encode(_ALGORITHM + self.key_id + self.raw).decode()

    @property
    def shown_key_id(self) -> str:
        """The key id as minisign prints it."""
        return shown_key_id(self.key_id)

    def to_bytes(self) -> bytes:
        """Return the file that minisign reads."""
        return f"untrusted comment: minisign public key {self.shown_key_id}\n{self.line}\n".encode()

    def verifies(self, data: bytes, signature: Signature) -> bool:
        """Tell whether `signature` is this key's, over `data`, with its trusted comment."""
        message = hashlib.blake2b(data).digest() if signature.hashed else data
        comment = signature.signature + signature.trusted_comment.encode()
        return (
            signature.key_id == self.key_id
            and self._verifies(message, signature.signature)
            and self._verifies(comment, signature.global_signature)
        )

    def _verifies(self, message: bytes, signature: bytes) -> bool:
        # Costs some milliseconds to load, and few commands meet a signature.
        from cryptography.exceptions import InvalidSignature as Forged
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except (Forged, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class SecretKey:
    """An Ed25519 key that signs. `seed` is its 32 secret bytes."""

    public: PublicKey
    seed: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> SecretKey:
        """Make a new key from the system's randomness."""
        return cls.from_seed(os.urandom(8), os.urandom(32))

    @classmethod
    def from_seed(cls, key_id: bytes, seed: bytes) -> SecretKey:
        """Return the key that 32 secret bytes make."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(PublicKey(key_id, Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()), seed)

    def sign(self, data: bytes, trusted_comment: str) -> Signature:
        """Sign `data` and the comment, as minisign does: Ed25519 over the data's BLAKE2b-512."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        key = Ed25519PrivateKey.from_private_bytes(self.seed)
        signature = key.sign(hashlib.blake2b(data).digest())
        comment = check_comment(trusted_comment)
        return Signature(True, self.public.key_id, signature, comment, key.sign(signature + comment.encode()))

    def to_bytes(self, passphrase: str | None) -> bytes:
        """Return the file that minisign reads, encrypted unless `passphrase` is None."""
        sealed = self.public.key_id + self.seed + self.public.raw + self._checksum()
        head = _ALGORITHM + (_NO_KDF if passphrase is None else _SCRYPT) + _BLAKE2B
        salt, operations, memory = bytes(32), 0, 0
        if passphrase is not None:
            salt = os.urandom(32)
            # As libsodium counts: 4·N·r·p operations, 128·N·r bytes.
            operations, memory = 32 << _WORK_EXPONENT, 1024 << _WORK_EXPONENT
            sealed = _xor(sealed, _stream(passphrase, salt, operations, memory))
        data = head + salt + operations.to_bytes(8, "little") + memory.to_bytes(8, "little") + sealed
        kind = "unencrypted" if passphrase is None else "encrypted"
        return f"untrusted comment: minisign {kind} secret key\n{base64.b64encode(data).decode()}\n".encode()

    def _checksum(self) -> bytes:
        covered = _ALGORITHM + self.public.key_id + self.seed + self.public.raw
        return hashlib.blake2b(covered, digest_size=32).digest()


def parse_public_key(text: str) -> PublicKey:
    """Read a public key: its one line, or a file of a comment and that line. Raises `InvalidSignature`."""
    data = from_base64(_last_line(text, "public key"))
    if len(data) != 42 or data[:2] != _ALGORITHM:
        raise InvalidSignature(
            "Not a minisign public key", hint="it is one line of 56 characters that begins with RW; KEY.pub holds it"
        )
    return PublicKey(data[2:10], data[10:])


def parse_secret_key(text: str, passphrase: Callable[[], str]) -> SecretKey:
    """Read a secret key, asking for the passphrase only when it is encrypted.

    Raises `InvalidSignature` for what is no key, `InvalidInput` for a wrong passphrase.
    """
    data = from_base64(_last_line(text, "secret key"))
    if len(data) != 54 + _SEALED or data[:2] != _ALGORITHM or data[4:6] != _BLAKE2B:
        raise InvalidSignature("Not a minisign secret key", hint="weightswarm key new makes one")
    sealed = data[54:]
    if data[2:4] == _SCRYPT:
        operations, memory = int.from_bytes(data[38:46], "little"), int.from_bytes(data[46:54], "little")
        sealed = _xor(sealed, _stream(passphrase(), data[6:38], operations, memory))
    elif data[2:4] != _NO_KDF:
        raise InvalidSignature("The secret key is encrypted in a way that is not known here, only scrypt")
    key = SecretKey(PublicKey(sealed[:8], sealed[40:72]), sealed[8:40])
    # minisign leaves the checksum of an unencrypted key at zero.
    unchecked = data[2:4] == _NO_KDF and sealed[72:] == bytes(32)
    if not unchecked and not hmac.compare_digest(key._checksum(), sealed[72:]):
        raise InvalidInput("The passphrase is wrong, or the secret key is damaged")
    if SecretKey.from_seed(key.public.key_id, key.seed) != key:
        raise InvalidSignature("The secret key is damaged: its two halves do not belong together")
    return key


def _last_line(text: str, what: str) -> str:
    lines = text[:MAX_KEY_BYTES].strip().splitlines()
    if len(lines) not in (1, 2) or (len(lines) == 2 and not lines[0].startswith("untrusted comment:")):
        raise InvalidSignature(f"Not a minisign {what}")
    return lines[-1].strip()


def _stream(passphrase: str, salt: bytes, operations: int, memory: int) -> bytes:
    """Return the bytes that seal a key: scrypt with the parameters that libsodium picks for these limits."""
    operations = max(operations, 32768)
    r = 8
    if operations < memory // 32:
        n, p = _power_above(operations // (r * 4) // 2), 1
    else:
        n = _power_above(memory // (r * 128) // 2)
        p = min(operations // 4 // n, 0x3FFFFFFF) // r
    if not (2 <= n <= 2**20 and 1 <= p <= 16):
        raise InvalidSignature("The secret key asks for more memory or work than the 1 GiB that minisign uses")
    need = 128 * r * (n + p + 2)
    return hashlib.scrypt(os.fsencode(passphrase), salt=salt, n=n, r=r, p=p, maxmem=need + 2**20, dklen=_SEALED)


def _power_above(bound: int) -> int:
    return 1 << max(1, bound.bit_length())


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
