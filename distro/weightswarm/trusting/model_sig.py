"""Which `model.sig` (OpenSSF Model Signing) a user demands of a release, and the check of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from weightswarm.errors import InvalidSignature, Untrusted
from weightswarm.manifest import Manifest
from weightswarm.signing import MAX_BUNDLE_BYTES, OMS_FILE, SigstoreIdentity, verify_oms
from weightswarm.storage import read_bounded


@dataclass(frozen=True, slots=True)
class ModelSigDemand:
    """By which public key (PEM), certificate authority (PEM) or Sigstore identity a `model.sig` must be signed.

    `signature` is the `model.sig` itself where it comes by another way than in the release.
    """

    key_pem: bytes | None = None
    ca_pem: bytes | None = None
    identity: SigstoreIdentity | None = None
    signature: bytes | None = None

    def check(self, manifest: Manifest, carried: Path | None) -> str:
        """Hold a manifest against the `model.sig`, the file that the release carries unless one was given; return the
        signer.

        Raises `Untrusted` when there is none, or it is malformed, another's or of other files; `StorageFailure`.
        """
        data = self.signature
        if data is None and carried is not None:
            size = next((entry.size for entry in manifest.files if entry.path == OMS_FILE), 0)
            if size > MAX_BUNDLE_BYTES:
                raise Untrusted(f"The {OMS_FILE} of {manifest.name} is larger than {MAX_BUNDLE_BYTES:,} bytes")
            data = read_bounded(carried, MAX_BUNDLE_BYTES)
        if data is None:
            raise Untrusted(
                f"{manifest.name} carries no {OMS_FILE}", hint="nothing was placed; name one with --oms-signature FILE"
            )
        try:
            statement = verify_oms(data, key_pem=self.key_pem, ca_pem=self.ca_pem, identity=self.identity)
        except InvalidSignature as error:
            raise Untrusted(str(error), hint="nothing was placed") from error
        statement.check({entry.path: entry.sha256 for entry in manifest.files})
        return statement.signer
