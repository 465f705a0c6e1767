"""One read of files from their first byte to their last, one after the other: `read_files.py FILE…`."""

from __future__ import annotations

import os
import sys

_BUFFER = 8 * 1024 * 1024


def main() -> None:
    """Read and throw away."""
    buffer = bytearray(_BUFFER)
    for path in sys.argv[1:]:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while os.readv(descriptor, [buffer]):
            pass
        os.close(descriptor)


if __name__ == "__main__":
    main()
