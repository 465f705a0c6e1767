"""Releases in other programs' formats: SHA256SUMS, Metalink, torrent, magnet, QR code, Modelfile."""

from weightswarm.exporting.checksums import sha256sums
from weightswarm.exporting.filepieces import FilePieces, hash_pieces
from weightswarm.exporting.metalink import metalink, web_seed_url
from weightswarm.exporting.modelfile import modelfile
from weightswarm.exporting.places import cached_snapshot, is_gguf
from weightswarm.exporting.source import Exported

__all__ = [
    "Exported",
    "FilePieces",
    "cached_snapshot",
    "hash_pieces",
    "is_gguf",
    "metalink",
    "modelfile",
    "sha256sums",
    "web_seed_url",
]
