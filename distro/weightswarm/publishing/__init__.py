"""From files on disk to a release: scan, hash once, make manifest and torrent."""

from weightswarm.publishing.base import Base, find_base
from weightswarm.publishing.listed import check_listed
from weightswarm.publishing.release import (
    PublishOptions,
    Release,
    check_output,
    sign_release,
    write_release,
)
from weightswarm.publishing.resigning import Resigned, sign_published
from weightswarm.publishing.scanning import Signature, signature_of
from weightswarm.publishing.signed import ModelSigKey, Signer, model_sig_path, signature_path, signed_version
from weightswarm.publishing.sources import prepare_source

__all__ = [
    "Base",
    "ModelSigKey",
    "PublishOptions",
    "Release",
    "Resigned",
    "Signature",
    "Signer",
    "check_listed",
    "check_output",
    "find_base",
    "model_sig_path",
    "prepare_source",
    "sign_published",
    "sign_release",
    "signature_of",
    "signature_path",
    "signed_version",
    "write_release",
]
