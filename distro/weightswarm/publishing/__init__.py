"""From files on disk to a release: scan, hash once, make manifest and torrent."""

from weightswarm.publishing.release import (
    PublishOptions,
    Release,
    check_output,
    prepare_cached,
    prepare_path,
    write_release,
)
from weightswarm.publishing.scanning import Signature, signature_of

__all__ = [
    "PublishOptions",
    "Release",
    "Signature",
    "check_output",
    "prepare_cached",
    "prepare_path",
    "signature_of",
    "write_release",
]
