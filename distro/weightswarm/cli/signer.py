"""Key files and passphrases: the options that say who signs, for every command that can."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from weightswarm.cli.options import option
from weightswarm.errors import InvalidInput
from weightswarm.storage import read_bounded, user_path

if TYPE_CHECKING:
    from weightswarm.publishing import Signer
    from weightswarm.signing import PublicKey, SecretKey, SigstoreIdentity
    from weightswarm.trusting import ModelSigDemand

PASSPHRASE = "WEIGHTSWARM_KEY_PASSPHRASE"  # noqa: S105 (the name of a variable)
_MAX_BYTES = 8192
_MAX_CERTIFICATES = 2 * 1024 * 1024


def signer_options(command: Any) -> Any:
    """`--key` and what is signed with it; `publish`, `seed` and `sign` share them."""
    for decorate in (
        option("--expires", metavar="DATE|DAYSd", help="Until when the signature holds: 2027-01-01, or 90d."),
        option("--release-version", type=click.IntRange(0, 999_999), metavar="N",
               help="Counts a model's releases up: users refuse a signed N below one that they saw; registries find it"
                    " as ORG/MODEL@vN."),
        passphrase_option,
        option("--key", metavar="FILE", help="Sign with this secret key (see weightswarm key new)."),
    ):  # fmt: skip
        command = decorate(command)
    return command


def passphrase_option(command: Any) -> Any:
    """`--key-passphrase-file`."""
    return option(
        "--key-passphrase-file", metavar="FILE",
        help=f"The key's passphrase is this file's first line (or in {PASSPHRASE}; else it is asked for).",
    )(command)  # fmt: skip


def signer_from(options: dict[str, Any], *, listed: bool = False) -> Signer | None:
    """Return who signs, None without `--key`, taking the options out of a command's arguments.

    `listed` says that a registry takes up the version, so that nobody need sign it.
    """
    key, version, expires = options.pop("key"), options.pop("release_version"), options.pop("expires")
    passphrase_file = options.pop("key_passphrase_file")
    if key is None:
        if expires:
            raise click.UsageError("--expires is signed: name a --key FILE")
        if version is not None and not listed:
            raise click.UsageError("--release-version is signed, or for a registry: name a --key FILE, or --add-to DIR")
        return None
    from weightswarm.publishing import Signer
    from weightswarm.signing import parse_expiry

    until = None if expires is None else parse_expiry(expires, time.time())
    return Signer(secret_key(key, passphrase_file), version, until)


def secret_key(path: str, passphrase_file: str | None) -> SecretKey:
    """Read a secret key's file, asking for its passphrase where it has one."""
    from weightswarm.signing import parse_secret_key

    return parse_secret_key(read_small(path).decode("ascii", "replace"), lambda: passphrase(passphrase_file))


def public_key(text: str) -> PublicKey:
    """Read a public key: the line itself, or a file that holds it."""
    from weightswarm.signing import parse_public_key

    if text.startswith("RW") and len(text) == 56:
        return parse_public_key(text)
    if not user_path(text).exists():
        raise InvalidInput(f"{text[:200]} is neither a public key nor a file", hint="a key's line is RW and 54 more")
    return parse_public_key(read_small(text).decode("ascii", "replace"))


def passphrase(file: str | None, *, confirm: bool = False) -> str:
    """Return the passphrase from the file, the environment or the terminal. Raises `InvalidInput` without any."""
    if file is not None:
        return os.fsdecode(read_small(file)).partition("\n")[0].removesuffix("\r")
    if (given := os.environ.get(PASSPHRASE)) is not None:
        return given
    if not sys.stdin.isatty():
        raise InvalidInput("The key has a passphrase, and nobody is here to ask", hint=f"set {PASSPHRASE}")
    answer: str = click.prompt("Passphrase of the key", hide_input=True, confirmation_prompt=confirm, err=True)
    return answer


def read_small(path: str) -> bytes:
    """Read a key, a signature or a statement. Raises `StorageFailure`, also for what is too large to be one."""
    return read_bounded(user_path(path), _MAX_BYTES)


def model_sig_options(command: Any) -> Any:
    """`--oms-key`, `--oms-ca`, `--oms-identity`, …: the OpenSSF signature that a release must have."""
    for decorate in (
        option("--oms-signature", metavar="FILE", help="The model.sig, where the release does not carry it."),
        option("--oms-trust-config", metavar="FILE", help="A private Sigstore's client trust configuration, in JSON."),
        option("--oms-issuer", metavar="URL", help="Whose word stands for that identity (an OpenID Connect provider)."),
        option("--oms-identity", metavar="EMAIL|URI", help="Demand a model.sig by this Sigstore identity."),
        option("--oms-ca", metavar="FILE", help="Demand a model.sig certified by an authority in this PEM file."),
        option("--oms-key", metavar="FILE", help="Demand a model.sig (OpenSSF) by this public key, in PEM."),
    ):
        command = decorate(command)
    return command


def model_sig_from(options: dict[str, Any]) -> ModelSigDemand | None:
    """Return what a `model.sig` must be, None when none is demanded; takes the options out of the arguments."""
    key, authority, signature = options.pop("oms_key"), options.pop("oms_ca"), options.pop("oms_signature")
    identity = _identity_from(options)
    by = sum(each is not None for each in (key, authority, identity))
    if by == 0:
        if signature is not None:
            raise click.UsageError("--oms-signature needs --oms-key, --oms-ca or --oms-identity to be checked by")
        return None
    if by > 1:
        raise click.UsageError("--oms-key, --oms-ca and --oms-identity exclude each other")
    from weightswarm.signing import MAX_BUNDLE_BYTES
    from weightswarm.trusting import ModelSigDemand

    return ModelSigDemand(
        key_pem=None if key is None else read_small(key),
        ca_pem=None if authority is None else read_bounded(user_path(authority), _MAX_CERTIFICATES),
        identity=identity,
        signature=None if signature is None else read_bounded(user_path(signature), MAX_BUNDLE_BYTES),
    )


def _identity_from(options: dict[str, Any]) -> SigstoreIdentity | None:
    identity, issuer, config = (options.pop(f"oms_{each}") for each in ("identity", "issuer", "trust_config"))
    if identity is None and issuer is None:
        if config is not None:
            raise click.UsageError("--oms-trust-config needs --oms-identity and --oms-issuer")
        return None
    if identity is None or issuer is None:
        raise click.UsageError("--oms-identity and --oms-issuer need each other: an identity is an issuer's word")
    from weightswarm.signing import SigstoreIdentity

    return SigstoreIdentity.load(
        identity, issuer, None if config is None else read_bounded(user_path(config), _MAX_CERTIFICATES)
    )
