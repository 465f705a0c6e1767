"""OpenSSF Model Signing v1.0: a `model.sig` over files' SHA-256s, made by an elliptic curve key and checked.

A sigstore bundle (v0.3) holds a DSSE envelope, and that an in-toto statement that lists the files. As the reference
implementation, it leaves out itself and git's own files.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightswarm.errors import InvalidInput, InvalidSignature, Untrusted
from weightswarm.signing.certificates import certified_key
from weightswarm.signing.identity import SigstoreIdentity

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

OMS_FILE = "model.sig"
MAX_BUNDLE_BYTES = 64 * 1024 * 1024
_MAX_VALUES = 10_000
_IGNORED = (OMS_FILE, ".git", ".gitattributes", ".github", ".gitignore")
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class OmsStatement:
    """What a verified `model.sig` lists: SHA-256 in hex by path, and the paths that it leaves to anybody."""

    signer: str
    files: Mapping[str, str]
    ignored: tuple[str, ...]

    def check(self, files: Mapping[str, str]) -> None:
        """Raise `Untrusted`, naming the paths, unless these are the files that were signed (SHA-256 in hex by path)."""
        extra = {path for path in files.keys() - self.files.keys() if not self._leaves_out(path)}
        other = {path for path, digest in self.files.items() if files.get(path) != digest}
        if wrong := sorted(extra | other):
            raise Untrusted(
                f"The model.sig signed by {self.signer} is not of these files; they differ in {', '.join(wrong[:5])}",
                hint="nothing was placed; the signature is another release's, or the release is not what was signed",
            )

    def _leaves_out(self, path: str) -> bool:
        return any(_is_left_out(path, each) for each in self.ignored)


def _is_left_out(path: str, ignored: str) -> bool:
    # A signature is a file; what stands in a folder of its name is no part of it.
    return path == ignored or (ignored != OMS_FILE and path.startswith(f"{ignored}/"))


def sign_files(files: Iterable[tuple[str, str]], name: str, key_pem: bytes, passphrase: Callable[[], str]) -> bytes:
    """Return the `model.sig` of files (path, SHA-256 in hex), listed in the order of their path components.

    `key_pem` is a private key on P-256, P-384 or P-521, whose `passphrase` is asked for when it has one. Raises
    `InvalidInput` for another key or a wrong passphrase.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        try:
            key = serialization.load_pem_private_key(key_pem, None)
        except TypeError:  # it is encrypted
            key = serialization.load_pem_private_key(key_pem, os.fsencode(passphrase()))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InvalidInput("Not a private key in PEM, or its passphrase is wrong") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InvalidInput("The key for model.sig is on no elliptic curve", hint="make one with openssl: prime256v1")
    listed = [(path, digest) for path, digest in files if not any(_is_left_out(path, each) for each in _IGNORED)]
    statement = {
        "_type": _STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": _root(digest for _, digest in listed)}}],
        "predicateType": _PREDICATE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": list(_IGNORED),
            },
            "resources": [{"name": path, "algorithm": "sha256", "digest": digest} for path, digest in listed],
        },
    }
    payload = json.dumps(statement, ensure_ascii=False).encode()
    public = key.public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    bundle = {
        "mediaType": _BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": hashlib.sha256(pem).hexdigest()}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": _PAYLOAD,
            "signatures": [
                {"sig": base64.b64encode(key.sign(_pae(payload), ec.ECDSA(_hash_of(public)))).decode(), "keyid": ""}
            ],
        },
    }
    return json.dumps(bundle).encode() + b"\n"


def verify_oms(
    data: bytes,
    *,
    key_pem: bytes | None = None,
    ca_pem: bytes | None = None,
    identity: SigstoreIdentity | None = None,
) -> OmsStatement:
    """Check a `model.sig` by a public key, certificates that lead to one of `ca_pem`, or an identity; return its list.

    What names a key in the file is passed over. Raises `InvalidSignature` for a malformed file, `InvalidInput` for a
    key that is none, and `Untrusted` when the signature is not by that key or identity.
    """
    from cryptography.exceptions import InvalidSignature as Forged
    from cryptography.hazmat.primitives.asymmetric import ec

    # The statement is one string in it: what has many values would only cost memory, before anybody vouched for it.
    if sum(data.count(each) for each in (b"{", b"[", b",")) > _MAX_VALUES:
        raise InvalidSignature("Not a model.sig: it holds too many values")
    document = _json(data)
    envelope = _member(document, "dsseEnvelope", dict)
    if document.get("mediaType") != _BUNDLE or envelope.get("payloadType") != _PAYLOAD:
        raise InvalidSignature("Not a model.sig: it is no sigstore bundle v0.3 of an in-toto statement")
    if identity is not None:
        if not isinstance(_member(document, "verificationMaterial", dict).get("certificate"), dict):
            raise Untrusted(
                f"The model.sig is not signed by {identity}: it has no Sigstore certificate",
                hint="nothing was placed; one by a key or an own authority is checked with --oms-key, --oms-ca",
            )
        kind, payload = identity.payload(data)
        # What was verified counts, not what this parser read.
        if kind != _PAYLOAD:
            raise InvalidSignature("Not a model.sig: what was signed is no in-toto statement")
        return _statement(_json(payload), str(identity))
    payload = _base64(_member(envelope, "payload", str))
    signatures = _member(envelope, "signatures", list)
    if len(signatures) != 1 or not isinstance(signatures[0], dict):
        raise InvalidSignature("The model.sig has not one signature")
    key, signer = _key(document, key_pem, ca_pem)
    try:
        key.verify(_base64(_member(signatures[0], "sig", str)), _pae(payload), ec.ECDSA(_hash_of(key)))
    except Forged:
        raise Untrusted(f"The model.sig is not signed by {signer}", hint="nothing was placed") from None
    return _statement(_json(payload), signer)


def _key(document: dict[str, Any], key_pem: bytes | None, ca_pem: bytes | None) -> tuple[EllipticCurvePublicKey, str]:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    if key_pem is None:
        assert ca_pem is not None
        material = _member(document, "verificationMaterial", dict)
        chain = _member(_member(material, "x509CertificateChain", dict), "certificates", list)
        raw = [_base64(_member(each, "rawBytes", str)) for each in chain[:16] if isinstance(each, dict)]
        certified, subject = certified_key(raw, ca_pem)
        if certified.curve.name not in _CURVES:
            raise InvalidSignature(f"The key of {subject} is on {certified.curve.name}, not on P-256, P-384 or P-521")
        return certified, subject
    try:
        key = serialization.load_pem_public_key(key_pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInput(f"Not a public key in PEM: {error}") from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise InvalidInput("The key for model.sig is on no elliptic curve")
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return key, f"key {hashlib.sha256(pem).hexdigest()[:16]}"


def _statement(statement: dict[str, Any], signer: str) -> OmsStatement:
    if statement.get("_type") != _STATEMENT or statement.get("predicateType") != _PREDICATE:
        raise InvalidSignature("The model.sig states nothing that is known here, only model_signing/signature/v1.0")
    predicate = _member(statement, "predicate", dict)
    serialization = _member(predicate, "serialization", dict)
    if (serialization.get("method"), serialization.get("hash_type")) != ("files", "sha256"):
        raise InvalidSignature(
            "The model.sig lists no SHA-256 of whole files", hint="sign with hashing by file and SHA-256, the default"
        )
    files: dict[str, str] = {}
    for each in _member(predicate, "resources", list):
        path, digest = (each.get("name"), each.get("digest")) if isinstance(each, dict) else (None, None)
        if not isinstance(path, str) or not isinstance(digest, str) or not _SHA256.fullmatch(digest) or path in files:
            raise InvalidSignature("A file in the model.sig is malformed or listed twice")
        if each.get("algorithm") != "sha256":
            raise InvalidSignature("A file in the model.sig has no SHA-256")
        files[path] = digest
    subjects = _member(statement, "subject", list)
    digests = [s.get("digest") for s in subjects if isinstance(s, dict)]
    if digests != [{"sha256": _root(files.values())}]:
        raise InvalidSignature("The model.sig contradicts itself: its root digest is not of its files")
    ignored = serialization.get("ignore_paths", [])
    if not isinstance(ignored, list) or not all(isinstance(path, str) and path for path in ignored):
        raise InvalidSignature("The model.sig's ignored paths are malformed")
    return OmsStatement(signer, files, (OMS_FILE, *ignored))


def _root(digests: Iterable[str]) -> str:
    return hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in digests)).hexdigest()


def _pae(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding (https://github.com/secure-systems-lab/dsse, protocol.md)."""
    return b"DSSEv1 %d %s %d " % (len(_PAYLOAD), _PAYLOAD.encode(), len(payload)) + payload


def _hash_of(key: EllipticCurvePublicKey) -> HashAlgorithm:
    from cryptography.hazmat.primitives import hashes

    known = dict(zip(_CURVES, (hashes.SHA256(), hashes.SHA384(), hashes.SHA512()), strict=True))
    if key.curve.name not in known:
        raise InvalidInput(f"The key for model.sig is on {key.curve.name}", hint="take P-256, P-384 or P-521")
    return known[key.curve.name]


def _json(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_BUNDLE_BYTES:
        raise InvalidSignature(f"Not a model.sig: it is larger than {MAX_BUNDLE_BYTES:,} bytes")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise InvalidSignature("Not a model.sig: it is no JSON object")
    return document


def _member(document: dict[str, Any], key: str, kind: type[Any]) -> Any:
    value = document.get(key)
    if not isinstance(value, kind):
        raise InvalidSignature(f"The model.sig has no usable {key}")
    return value


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise InvalidSignature("The model.sig holds malformed base64") from None
