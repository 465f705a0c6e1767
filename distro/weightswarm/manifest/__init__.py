"""The manifest: which files a release has, and what their bytes hash to. Values and parsing only, no I/O."""

from weightswarm.manifest.document import FileEntry, Manifest, derived_revision, path_order, with_revision
from weightswarm.manifest.names import (
    is_model_name,
    is_revision,
    magnet_model_name,
    parse_model_name,
    parse_reference,
    parse_revision,
)
from weightswarm.manifest.parsing import parse_manifest
from weightswarm.manifest.paths import (
    MAX_DEPTH,
    MAX_PATH_BYTES,
    MAX_PATHS_LENGTH,
    check_path,
    check_paths_distinct,
    is_ignored,
    matches_any,
)

__all__ = [
    "MAX_DEPTH",
    "MAX_PATHS_LENGTH",
    "MAX_PATH_BYTES",
    "FileEntry",
    "Manifest",
    "check_path",
    "check_paths_distinct",
    "derived_revision",
    "is_ignored",
    "is_model_name",
    "is_revision",
    "magnet_model_name",
    "matches_any",
    "parse_manifest",
    "parse_model_name",
    "parse_reference",
    "parse_revision",
    "path_order",
    "with_revision",
]
