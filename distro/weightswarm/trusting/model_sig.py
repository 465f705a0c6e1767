"""Which `model.sig` (OpenSSF Model Signing) a user demands of a release, and the check of it."""

from __future__ import annotations

from dataclasses import dataclass

from weightswarm.errors import Untrusted
from weightswarm.manifest import Manifest
from weightswarm.signing import OMS_FILE, SigstoreIdentity, verify_oms


@dataclass(frozen=True, slots=True)
class ModelSigDemand:
    """By which public key (PEM), certificate authority (PEM) or Sigstore identity a `model.sig` must be signed.

    `signature` is the `model.sig` itself where it comes by another way than in the release.
    """

    key_pem: bytes | None = None
    ca_pem: bytes | None = None
    identity: SigstoreIdentity | None = None
    signature: bytes | None = None

    def check(self, manifest: Manifest, carried: bytes | None) -> str:
        """Hold a manifest against the `model.sig`, which the release carries unless one was given; return the signer.

        Raises `Untrusted` when there is none, or it is another's or of other files; `InvalidSignature`.
        """
        data = self.signature if self.signature is not None else carried
        if data is None:
            raise Untrusted(
                f"{manifest.name} carries no {OMS_FILE}", hint="nothing was placed; name one with --oms-signature FILE"
            )
        statement = verify_oms(data, key_pem=self.key_pem, ca_pem=self.ca_pem, identity=self.identity)
        statement.check({entry.path: entry.sha256 for entry in manifest.files})
        return statement.signer
