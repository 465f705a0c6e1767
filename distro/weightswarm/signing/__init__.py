"""Signatures (minisign, OpenSSF Model Signing): parse, make, verify. Values; knows `cryptography` and `sigstore`."""

from weightswarm.signing.identity import SigstoreIdentity
from weightswarm.signing.keys import PublicKey, SecretKey, parse_public_key, parse_secret_key
from weightswarm.signing.minisign import MAX_SIGNATURE_BYTES, Signature, parse_link_value, parse_signature
from weightswarm.signing.oms import MAX_BUNDLE_BYTES, OMS_FILE, OmsStatement, sign_files, verify_oms
from weightswarm.signing.rotation import Rotation, parse_rotation, rotate
from weightswarm.signing.statement import MAX_VERSION, ReleaseStatement, parse_expiry, parse_statement

__all__ = [
    "MAX_BUNDLE_BYTES",
    "MAX_SIGNATURE_BYTES",
    "MAX_VERSION",
    "OMS_FILE",
    "OmsStatement",
    "PublicKey",
    "ReleaseStatement",
    "Rotation",
    "SecretKey",
    "Signature",
    "SigstoreIdentity",
    "parse_expiry",
    "parse_link_value",
    "parse_public_key",
    "parse_rotation",
    "parse_secret_key",
    "parse_signature",
    "parse_statement",
    "rotate",
    "sign_files",
    "verify_oms",
]
