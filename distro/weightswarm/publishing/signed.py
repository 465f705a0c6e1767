"""Signatures of what is published: whose key, which version, until when, and the files that carry them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from weightswarm.errors import InvalidSignature
from weightswarm.manifest import Manifest
from weightswarm.registry import MAX_VERSION
from weightswarm.signing import (
    OMS_FILE,
    ReleaseStatement,
    SecretKey,
    Signature,
    parse_signature,
    parse_statement,
    sign_files,
)


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs, and what is said with it: `version` counts a model's releases up, 0 for none; `expires` is UTC."""

    key: SecretKey
    version: int = 0
    expires: str | None = None

    def sign(self, manifest: Manifest) -> Signature:
        """Sign a manifest's exact bytes, with its name and revision in the trusted comment."""
        statement = ReleaseStatement(manifest.name, manifest.revision, self.version, self.expires)
        return self.key.sign(manifest.to_bytes(), statement.to_comment())


def signature_path(manifest: Path) -> Path:
    """Return where the signature of a manifest file stands."""
    return manifest.with_name(f"{manifest.name}.minisig")


def signed_version(data: bytes | None) -> int | None:
    """Return the version that a signature states, None where it states none that a registry can list."""
    try:
        version = 0 if data is None else parse_statement(parse_signature(data).trusted_comment).version
    except InvalidSignature:
        return None
    return version if 0 < version <= MAX_VERSION else None


@dataclass(frozen=True, slots=True)
class ModelSigKey:
    """A private key in PEM for a `model.sig`; `passphrase` is asked for when it is encrypted."""

    pem: bytes
    passphrase: Callable[[], str]

    def sign(self, manifest: Manifest) -> bytes:
        """Return the `model.sig` of a release (OpenSSF Model Signing v1.0)."""
        files = ((entry.path, entry.sha256) for entry in manifest.files)
        return sign_files(files, manifest.name.partition("/")[2], self.pem, self.passphrase)


def model_sig_path(manifest: Path) -> Path:
    """Return where the `model.sig` of a release stands, beside its manifest file."""
    return manifest.with_name(f"{manifest.name.removesuffix('.manifest.json')}.{OMS_FILE}")


def usable_signature(data: bytes | None) -> bytes | None:
    """Return a kept signature if it can be passed on; a damaged one is left behind."""
    try:
        return None if data is None else parse_signature(data).to_bytes()
    except InvalidSignature:
        return None
