"""Hashing: one read of the data gives SHA-256, v1 pieces and v2 merkle roots, on all cores."""

from weightswarm.hashing.digests import FileDigests, digest_file, usable_cores
from weightswarm.hashing.merkle import BLOCK, DIGEST, layer_root, piece_layer
from weightswarm.hashing.parts import BATCH_FILES, CALL_BYTES, FilePart, extend_digests, piece_digests, piece_roots
from weightswarm.hashing.pieces import MAX_PIECE_LENGTH, choose_piece_length, parse_piece_length
from weightswarm.hashing.planning import FileHashes, TreeHashes, V1Layout
from weightswarm.hashing.pool import WorkerPool
from weightswarm.hashing.tree import hash_tree
from weightswarm.hashing.workers import Worker

__all__ = [
    "BATCH_FILES",
    "BLOCK",
    "CALL_BYTES",
    "DIGEST",
    "MAX_PIECE_LENGTH",
    "FileDigests",
    "FileHashes",
    "FilePart",
    "TreeHashes",
    "V1Layout",
    "Worker",
    "WorkerPool",
    "choose_piece_length",
    "digest_file",
    "extend_digests",
    "hash_tree",
    "layer_root",
    "parse_piece_length",
    "piece_digests",
    "piece_layer",
    "piece_roots",
    "usable_cores",
]
