"""Signatures of what is published: whose key, which version, until when, and the files that carry them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from weightswarm.errors import InvalidInput, InvalidSignature
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
    """Who signs, and what is said with it: `version` counts a model's releases up, 0 for none; `expires` is UTC.

    Without a `version` a release that is signed again keeps the one it has.
    """

    key: SecretKey
    version: int | None = None
    expires: str | None = None

    def sign(self, manifest: Manifest) -> Signature:
        """Sign a manifest's exact bytes, with its name and revision in the trusted comment."""
        statement = ReleaseStatement(manifest.name, manifest.revision, self.version or 0, self.expires)
        return self.key.sign(manifest.to_bytes(), statement.to_comment())

    def sign_again(self, manifest: Manifest, before: Iterable[bytes | None], listed: int | None = None) -> Signature:
        """Sign a manifest that may be signed: without a version of its own, by that of the signatures `before`, else
        by the one that a registry lists.

        Raises `InvalidInput` when another key states a version: a stranger may have written it, however high.
        """
        if self.version is not None:
            return self.sign(manifest)
        stated = [(each, version) for each in before if (version := _version_of(manifest, each)) is not None]
        mine = [version for each, version in stated if self._made(manifest, each)]
        if stated and not mine:
            raise InvalidInput(
                f"{manifest.name} is signed as version {stated[0][1]} by another key",
                hint="say as which version to sign it: --release-version N, 0 for none",
            )
        return replace(self, version=max(mine, default=listed or 0)).sign(manifest)

    def _made(self, manifest: Manifest, data: bytes | None) -> bool:
        return data is not None and self.key.public.verifies(manifest.to_bytes(), parse_signature(data))


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


def _version_of(manifest: Manifest, data: bytes | None) -> int | None:
    """Return the version that a signature states of this very manifest, None where it states none."""
    try:
        statement = parse_statement(parse_signature(data or b"").trusted_comment)
    except InvalidSignature:
        return None
    same = (statement.name, statement.revision) == (manifest.name, manifest.revision)
    return statement.version if same and statement.version else None


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
