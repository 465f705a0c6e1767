"""Careful file operations: durable and atomic writes, clones, opens that follow no link. Knows no layout."""

from weightswarm.storage.files import (
    FileIdentity,
    allocated_bytes,
    clone_or_copy,
    clone_range,
    copy_range,
    free_bytes,
    is_out_of_space,
    open_regular,
    read_bounded,
    read_regular,
    regular_status,
    storage_errors,
    sync_file_system,
)
from weightswarm.storage.folders import (
    OpenFolder,
    drop_signature_of_another,
    make_real_folder,
    remove_tree,
    write_atomically,
)
from weightswarm.storage.holes import data_spans, first_gap, has_data, shows_holes
from weightswarm.storage.locks import hold_lock, hold_lock_if_free
from weightswarm.storage.paths import is_file, is_folder, looks_like_path, user_path

__all__ = [
    "FileIdentity",
    "OpenFolder",
    "allocated_bytes",
    "clone_or_copy",
    "clone_range",
    "copy_range",
    "data_spans",
    "drop_signature_of_another",
    "first_gap",
    "free_bytes",
    "has_data",
    "hold_lock",
    "hold_lock_if_free",
    "is_file",
    "is_folder",
    "is_out_of_space",
    "looks_like_path",
    "make_real_folder",
    "open_regular",
    "read_bounded",
    "read_regular",
    "regular_status",
    "remove_tree",
    "shows_holes",
    "storage_errors",
    "sync_file_system",
    "user_path",
    "write_atomically",
]
