"""A signing certificate's key, when its chain leads to a certificate authority that the user named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightswarm.errors import InvalidInput, InvalidSignature, Untrusted

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.x509 import Certificate

_MAX_DEPTH = 8


def certified_key(chain: list[bytes], ca_pem: bytes) -> tuple[EllipticCurvePublicKey, str]:
    """Return the elliptic curve key of the first certificate (DER), and whose it is.

    Each issuer is sought among the rest and the authorities in `ca_pem`, and must end at one of these. Validity is
    that at the signing certificate's first second, as OpenSSF Model Signing has it: no time stamp says when a
    `model.sig` was made. Raises `InvalidInput`, `InvalidSignature`, `Untrusted`.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        authorities = x509.load_pem_x509_certificates(ca_pem)
    except _malformed() as error:
        raise InvalidInput(f"Not certificates in PEM: {error}") from None
    try:
        leaf, *others = [x509.load_der_x509_certificate(der) for der in chain]
        key, subject = leaf.public_key(), leaf.subject.rfc4514_string()
        usable, at = _may_sign(leaf), leaf.not_valid_before_utc
    except _malformed():
        raise InvalidSignature("The certificates in the model.sig are malformed") from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise InvalidSignature("The certificate in the model.sig has no elliptic curve key")
    if not usable:
        raise Untrusted(f"The certificate of {subject} is not for signing")
    current = leaf
    for depth in range(_MAX_DEPTH):
        if root := next((ca for ca in authorities if _issued(ca, current, at, depth)), None):
            return key, f"{subject}, certified by {root.subject.rfc4514_string()}"
        issuer = next((other for other in others if other != current and _issued(other, current, at, depth)), None)
        if issuer is None:
            break
        current = issuer
    raise Untrusted(f"The certificate of {subject} leads to none of the authorities given", hint="nothing was placed")


def _malformed() -> tuple[type[Exception], ...]:
    """What `cryptography` raises for certificates that break their format; most of it is no `ValueError`."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    return (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.InvalidVersion,
        x509.UnsupportedGeneralNameType,
    )


def _may_sign(leaf: Certificate) -> bool:
    from cryptography import x509

    known = (x509.KeyUsage, x509.ExtendedKeyUsage, x509.BasicConstraints)
    if any(e.critical and not isinstance(e.value, known) for e in leaf.extensions):
        return False
    usage = [e.value for e in leaf.extensions if isinstance(e.value, x509.KeyUsage)]
    extended = [e.value for e in leaf.extensions if isinstance(e.value, x509.ExtendedKeyUsage)]
    return any(u.digital_signature for u in usage) or any(
        x509.oid.ExtendedKeyUsageOID.CODE_SIGNING in e for e in extended
    )


def _issued(issuer: Certificate, subject: Certificate, at: datetime, depth: int) -> bool:
    """Tell whether `issuer`, an authority that may have `depth` others below it, issued `subject`."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature as Forged

    try:
        subject.verify_directly_issued_by(issuer)
        extensions = list(issuer.extensions)
    except Forged:
        return False
    except _malformed():
        return False
    constraints = [e.value for e in extensions if isinstance(e.value, x509.BasicConstraints)]
    usage = [e.value for e in extensions if isinstance(e.value, x509.KeyUsage)]
    # An extension that narrows what an authority may do, and that is not known here, must not be passed over.
    narrowed = any(e.critical and not isinstance(e.value, (x509.BasicConstraints, x509.KeyUsage)) for e in extensions)
    return (
        not narrowed
        and any(c.ca and (c.path_length is None or c.path_length >= depth) for c in constraints)
        and all(u.key_cert_sign for u in usage)
        and issuer.not_valid_before_utc <= at <= issuer.not_valid_after_utc
    )
