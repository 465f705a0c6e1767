"""The least time that hashing takes: a buffer in the core's cache, hashed on all cores; no file, no merkle tree.

`hash_limit.py SIZE ALGORITHM…` hashes SIZE bytes once with each algorithm.
"""

from __future__ import annotations

import hashlib
import os
import sys

_BUFFER = 256 * 1024


def hash_bytes(size: int, algorithms: list[str]) -> None:
    """Hash `size` bytes in the calling process."""
    data = os.urandom(_BUFFER)
    running = [hashlib.new(name) for name in algorithms]
    for start in range(0, size, _BUFFER):
        part = data if size - start >= _BUFFER else data[: size - start]
        for each in running:
            each.update(part)


def main() -> None:
    """Share the bytes among a process for each core."""
    size, algorithms = int(sys.argv[1]), sys.argv[2:]
    cores = len(os.sched_getaffinity(0))
    shares = [size // cores + (number < size % cores) for number in range(cores)]
    children = []
    for share in shares[1:]:
        child = os.fork()
        if child == 0:
            hash_bytes(share, algorithms)
            os._exit(0)
        children.append(child)
    hash_bytes(shares[0], algorithms)
    failed = [child for child in children if os.waitpid(child, 0)[1] != 0]
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
