"""The local model cache, in the Hugging Face Hub's own layout: loaders need no changes. No network, no torrents."""

from weightswarm.cache.destination import Placement, StagedFile, VerifiedFiles
from weightswarm.cache.folder import LocalFolder
from weightswarm.cache.layout import ModelCache, Repository, cache_root
from weightswarm.cache.listing import CachedRelease, list_cache, size_on_disk
from weightswarm.cache.locks import hold
from weightswarm.cache.placement import CachePlacement
from weightswarm.cache.records import (
    ReleaseRecord,
    find_by_info_hash,
    load_record,
    missing_paths,
    note_verified,
    save_record,
    save_signature,
    utc_now,
)
from weightswarm.cache.removal import prune_staging, remove_revision
from weightswarm.cache.reuse import find_copies, find_older, find_plain, older_revisions
from weightswarm.cache.staging import Staging
from weightswarm.cache.trees import listed_files

__all__ = [
    "CachePlacement",
    "CachedRelease",
    "LocalFolder",
    "ModelCache",
    "Placement",
    "ReleaseRecord",
    "Repository",
    "StagedFile",
    "Staging",
    "VerifiedFiles",
    "cache_root",
    "find_by_info_hash",
    "find_copies",
    "find_older",
    "find_plain",
    "hold",
    "list_cache",
    "listed_files",
    "load_record",
    "missing_paths",
    "note_verified",
    "older_revisions",
    "prune_staging",
    "remove_revision",
    "save_record",
    "save_signature",
    "size_on_disk",
    "utc_now",
]
