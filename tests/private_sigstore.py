"""A Sigstore of the test's own, without servers: an authority with Fulcio's extensions, a CT log and a Rekor log."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

IDENTITY = "release@lab.example"
ISSUER = "https://accounts.lab.example"
_LOG = "rekor.lab.example"
_ISSUER_V1 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_SCT_LIST = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_MINUTES = timedelta(minutes=10)
"""How long Fulcio's certificates hold."""


class PrivateSigstore:
    """Vouches for bundles that `key` signed. A test may swap its `fulcio`, `ct` and `rekor` keys for a liar's."""

    def __init__(self) -> None:
        self.fulcio, self.ct, self.rekor, self.key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(4))
        self.signed_at = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)
        self.root = self._root()
        self.trust_config = self._trust_config()

    @property
    def key_pem(self) -> bytes:
        """The signer's key of the moment, to make the bundle with."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def vouch(
        self, bundle: bytes, *, late: timedelta = timedelta(0), scts: int = 1, code_signing: bool = True
    ) -> bytes:
        """Return a bundle with the signer's certificate and log entry in the place of its key; `late` after signing."""
        document = json.loads(bundle)
        certificate = self._certificate(scts, code_signing)
        document["verificationMaterial"] = {
            "certificate": {"rawBytes": _text(certificate.public_bytes(serialization.Encoding.DER))},
            "tlogEntries": [self._entry(document["dsseEnvelope"], certificate, self.signed_at + late)],
        }
        return json.dumps(document).encode()

    def _root(self) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fulcio.lab.example")])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        public = self.fulcio.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.signed_at - timedelta(days=1))
            .not_valid_after(self.signed_at + timedelta(days=365))
            .add_extension(x509.BasicConstraints(True, 0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self.fulcio, hashes.SHA256())
        )

    def _certificate(self, scts: int, code_signing: bool) -> x509.Certificate:
        use = ExtendedKeyUsageOID.CODE_SIGNING if code_signing else ExtendedKeyUsageOID.EMAIL_PROTECTION
        usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.root.public_key())  # type: ignore[arg-type]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.root.subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.signed_at - timedelta(seconds=5))
            .not_valid_after(self.signed_at + _MINUTES)
            .add_extension(usage, critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(authority, critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(IDENTITY)]), critical=True)
            .add_extension(x509.UnrecognizedExtension(_ISSUER_V1, ISSUER.encode()), critical=False)
        )
        if scts:
            # RFC 6962, 3.2: the log signs the certificate as it is without this extension.
            listed = self._sct(builder.sign(self.fulcio, hashes.SHA256()).tbs_certificate_bytes) * scts
            data = struct.pack("!H", len(listed)) + listed
            extension = x509.UnrecognizedExtension(_SCT_LIST, _octet_string(data))
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.fulcio, hashes.SHA256())

    def _sct(self, tbs: bytes) -> bytes:
        stamp = struct.pack("!Q", int(self.signed_at.timestamp() * 1000))
        issuer = hashlib.sha256(_der(self.root.public_key())).digest()
        entry = struct.pack("!H", 1) + issuer + struct.pack("!I", len(tbs))[1:] + tbs
        signature = _sign(self.ct, b"\0\0" + stamp + entry + b"\0\0")
        sct = b"\0" + _key_id(self.ct) + stamp + b"\0\0\x04\x03" + struct.pack("!H", len(signature)) + signature
        return struct.pack("!H", len(sct)) + sct

    def _entry(self, envelope: dict[str, Any], certificate: x509.Certificate, at: datetime) -> dict[str, Any]:
        """An entry of Rekor v1: the second of two in its log."""
        payload = base64.b64decode(envelope["payload"])
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        spec = {
            "envelopeHash": {"algorithm": "sha256", "value": hashlib.sha256(_canonical(envelope)).hexdigest()},
            "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
            "signatures": [{"signature": envelope["signatures"][0]["sig"], "verifier": _text(pem)}],
        }
        body = _canonical({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec})
        first = hashlib.sha256(b"\0another's entry").digest()
        root = hashlib.sha256(b"\1" + first + hashlib.sha256(b"\0" + body).digest()).digest()
        note = f"{_LOG} - 1\n2\n{_text(root)}\n"
        signed_note = _text(_key_id(self.rekor)[:4] + _sign(self.rekor, note.encode()))
        integrated = int(at.timestamp())
        promise = {
            "body": _text(body), "integratedTime": integrated, "logID": _key_id(self.rekor).hex(), "logIndex": 1,
        }  # fmt: skip
        return {
            "logIndex": "1",
            "logId": {"keyId": _text(_key_id(self.rekor))},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(integrated),
            "inclusionPromise": {"signedEntryTimestamp": _text(_sign(self.rekor, _canonical(promise)))},
            "inclusionProof": {
                "logIndex": "1",
                "rootHash": _text(root),
                "treeSize": "2",
                "hashes": [_text(first)],
                "checkpoint": {"envelope": f"{note}\n\u2014 {_LOG} {signed_note}\n"},
            },
            "canonicalizedBody": _text(body),
        }

    def _trust_config(self) -> bytes:
        valid = {"start": (self.signed_at - timedelta(days=1)).isoformat().replace("+00:00", "Z")}

        def log(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
            public = {"rawBytes": _text(_der(key.public_key())), "keyDetails": "PKIX_ECDSA_P256_SHA_256"}
            return {
                "baseUrl": "https://log.lab.example",
                "hashAlgorithm": "SHA2_256",
                "publicKey": {**public, "validFor": valid},
                "logId": {"keyId": _text(_key_id(key))},
            }

        root = {"rawBytes": _text(self.root.public_bytes(serialization.Encoding.DER))}
        authority = {
            "subject": {"organization": "lab", "commonName": "fulcio.lab.example"},
            "uri": "https://fulcio.lab.example",
            "certChain": {"certificates": [root]},
            "validFor": valid,
        }
        return json.dumps(
            {
                "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
                "trustedRoot": {
                    "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                    "tlogs": [log(self.rekor)],
                    "certificateAuthorities": [authority],
                    "ctlogs": [log(self.ct)],
                    "timestampAuthorities": [],
                },
                "signingConfig": {"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json"},
            }
        ).encode()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _canonical(document: dict[str, Any]) -> bytes:
    """RFC 8785, of what has no numbers but small ones and no keys but in ASCII."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _octet_string(data: bytes) -> bytes:
    """In DER, of less than 256 bytes."""
    return (bytes((4, len(data))) if len(data) < 128 else bytes((4, 0x81, len(data)))) + data


def _der(key: Any) -> bytes:
    der: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return der


def _key_id(key: ec.EllipticCurvePrivateKey) -> bytes:
    return hashlib.sha256(_der(key.public_key())).digest()


def _sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    return key.sign(data, ec.ECDSA(hashes.SHA256()))
