"""A change of keys: the old key signs the new one, for one organisation or model."""

from __future__ import annotations

from dataclasses import dataclass

from weightswarm.errors import InvalidSignature
from weightswarm.signing.keys import PublicKey, SecretKey, parse_public_key
from weightswarm.signing.minisign import MAX_SIGNATURE_BYTES, Signature, parse_signature

_MARK = "weightswarm rotate org="


@dataclass(frozen=True, slots=True)
class Rotation:
    """The new key's line, and the old key's minisign signature over that line with its newline.

    `target` is the organisation or `org/model` that the trusted comment names.
    """

    new: PublicKey
    target: str
    signature: Signature

    def to_bytes(self) -> bytes:
        """Return the statement file: its first line is what was signed, the rest is a `.minisig`."""
        return _covered(self.new) + self.signature.to_bytes()

    def signed_by(self, old: PublicKey) -> bool:
        """Tell whether the old key made this statement."""
        return old.verifies(_covered(self.new), self.signature)


def rotate(old: SecretKey, new: PublicKey, target: str) -> Rotation:
    """State with the old key that `new` takes its place for `target`."""
    return Rotation(new, target, old.sign(_covered(new), f"{_MARK}{target}"))


def parse_rotation(data: bytes) -> Rotation:
    """Read a statement file. Raises `InvalidSignature`."""
    if len(data) > MAX_SIGNATURE_BYTES:
        raise InvalidSignature("Not a rotation statement: it is too large")
    line, _, rest = data.partition(b"\n")
    signature = parse_signature(rest)
    target = signature.trusted_comment.removeprefix(_MARK)
    if target == signature.trusted_comment or not target:
        raise InvalidSignature("Not a rotation statement", hint="weightswarm key rotate makes one")
    return Rotation(parse_public_key(line.decode("ascii", "replace")), target, signature)


def _covered(new: PublicKey) -> bytes:
    return f"{new.line}\n".encode()
