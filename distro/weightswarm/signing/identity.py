"""Sigstore identities: whether a `model.sig` was signed by who an OpenID Connect provider says that it is, offline.

All of it is the work of the package `sigstore`, an extra of this one: the certificate of the moment, its place in the
transparency logs and the identity in it. Its trust root came with it, or is the copy that it keeps for this user.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from weightswarm.errors import InvalidInput, StorageFailure, Untrusted, WeightswarmError

if TYPE_CHECKING:
    from sigstore.verify import Verifier

_IDENTITY = re.compile(r"\S{1,2048}")
_ISSUER = re.compile(r"https?://\S{1,2048}")


@dataclass(frozen=True, slots=True)
class SigstoreIdentity:
    """Who must have signed: an e-mail address or URI, by the word of an issuer (an OpenID Connect provider's URL)."""

    identity: str
    issuer: str
    _verifier: Verifier = field(repr=False, compare=False)

    @classmethod
    def load(cls, identity: str, issuer: str, trust_config: bytes | None = None) -> SigstoreIdentity:
        """Return it with the public Sigstore's trust root, or that of a ClientTrustConfig (JSON) of a private one's.

        Nothing is fetched. Raises `InvalidInput`, `StorageFailure` for a cache of `sigstore`'s that cannot be used,
        and `WeightswarmError` where that package is missing.
        """
        # The package asks for no issuer when that is empty.
        if not _IDENTITY.fullmatch(identity) or not _ISSUER.fullmatch(issuer):
            raise InvalidInput(
                f"{identity!r} by {issuer!r} is no identity with its issuer",
                hint="an identity is an e-mail address or URI, its issuer an http(s) URL",
            )
        try:
            from sigstore.errors import Error
            from sigstore.models import ClientTrustConfig
            from sigstore.verify import Verifier
        except ImportError:
            raise WeightswarmError(
                "A Sigstore identity is checked by the package sigstore, and that is not installed",
                hint="pip install 'weightswarm[sigstore]'",
            ) from None
        _keep_quiet()
        if trust_config is not None:
            try:
                config = ClientTrustConfig.from_json(trust_config.decode())
                return cls(identity, issuer, Verifier(trusted_root=config.trusted_root))
            except (Error, ValueError) as error:
                raise InvalidInput(f"Not a Sigstore client trust configuration: {_short(error)}") from None
        try:
            return cls(identity, issuer, Verifier.production(offline=True))
        except (Error, OSError, ValueError) as error:
            raise StorageFailure(
                "Sigstore's trust root", _short(error), hint="sigstore plumbing update-trust-root fetches it anew"
            ) from None

    def __str__(self) -> str:
        return f"{self.identity}, by the word of {self.issuer}"

    def payload(self, bundle: bytes) -> tuple[str, bytes]:
        """Return the type and the bytes of what this identity signed in a sigstore bundle. Raises `Untrusted`."""
        from sigstore.errors import CertValidationError
        from sigstore.models import Bundle
        from sigstore.verify.policy import Identity

        policy = Identity(identity=self.identity, issuer=self.issuer)
        try:
            return self._verifier.verify_dsse(Bundle.from_json(bundle), policy)
        except CertValidationError:
            reason = "its certificate leads to no authority of the trust root, or had expired when it was logged"
        except Exception as error:  # noqa: BLE001 - a stranger's bytes met many parsers, and none of them vouched
            reason = _short(error)
        raise Untrusted(f"The model.sig is not signed by {self}: {reason}", hint="nothing was placed")


def _keep_quiet() -> None:
    """Keep the warning of being offline, which is wanted, from stderr where nobody has set up logging."""
    import logging

    logger = logging.getLogger("sigstore")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
