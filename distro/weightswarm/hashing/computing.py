"""What one hash worker computes: digests over spans of files, and the state of those that it reads in order.

Hash processes import this module and little else, since each starts anew for a command: no dataclasses, no typing.
A span is `(path, size, offset, length)` in bytes; a `size` of None allows any file that reaches the span's end.
"""

from __future__ import annotations

import hashlib
import mmap
import os

from weightswarm.hashing.merkle import BLOCK, merkle_root, piece_layer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Fields = tuple[str, int | None, int, int]
    Inode = tuple[int, int]
    Read = Callable[[Fields, Callable[[memoryview], None]], Inode]

# Small enough to stay in a core's own cache while it is hashed in several ways.
_SLICE = 256 * 1024
_HEAD = 512
_AHEAD = 32 * 1024 * 1024


class Changed(Exception):
    """A file is not as it was when the work began: `path`, `how`."""


class Unreadable(Exception):
    """A file cannot be read: `path`, `why`."""


class Computing:
    """Runs jobs one after another. `read` hands the bytes of a span to a function and returns the file's inode,
    its device first."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._running: dict[int, list[hashlib._Hash]] = {}
        self._heads: dict[int, bytes] = {}

    def run(
        self, file: int, span: Fields, last: bool, git_blob_size: int | None
    ) -> tuple[Inode, bytes | None, bytes | None, bytes]:
        """Extend a file's digests by a span; return its inode and, after the `last` span, its SHA-256 and git SHA-1.

        Of a file whose size is told its first bytes come as well: who looks at them need not open it again.
        `git_blob_size` in bytes asks for the git blob SHA-1. Raises `Changed`, `Unreadable`.
        """
        running = self._begin(file, git_blob_size)

        def update(data: memoryview) -> None:
            if span[1] is not None and span[2] == 0:
                self._heads[file] = bytes(data[:_HEAD])
            for start in range(0, len(data), _SLICE):
                with data[start : start + _SLICE] as part:
                    for digest in running:
                        digest.update(part)

        inode = self._read(span, update)
        if not last:
            return inode, None, None, b""
        digests = [digest.digest() for digest in self._running.pop(file)]
        return inode, digests[0], digests[1] if len(digests) > 1 else None, self._heads.pop(file, b"")

    def pieces(
        self, file: int, span: Fields, piece_length: int, in_order: bool, last: bool, v1: bool, fill: bool
    ) -> tuple[bytes | None, list[bytes], list[bytes]]:
        """Hash the pieces of a span that starts at a piece's boundary, and with `in_order` extend the file's SHA-256.

        Return that SHA-256 (after the `last` span), the piece roots (or the one root of a file no longer than a
        piece) and with `v1` the SHA-1 pieces, the last of which `fill` fills up with zeros. Raises as `run` does.
        """
        running = self._begin(file, None)[0] if in_order else None
        leaves: list[bytes] = []
        sha1s: list[bytes] = []

        def hash_pieces(data: memoryview) -> None:
            for start in range(0, len(data), piece_length):
                with data[start : start + piece_length] as piece:
                    _hash_piece(piece, running, leaves, sha1s if v1 else None, piece_length if fill else 0)

        self._read(span, hash_pieces)
        sha256 = None
        if running is not None and last:
            sha256 = running.digest()
            del self._running[file]
        _, size, _, _ = span
        if size is not None and size <= piece_length:
            # A file within one piece has a tree of just its own blocks (BEP 52).
            return sha256, [merkle_root(leaves, 1 << (len(leaves) - 1).bit_length())] if leaves else [], sha1s
        return sha256, piece_layer(leaves, piece_length // BLOCK), sha1s

    def packed(self, spans: Sequence[Fields], piece_length: int) -> list[bytes]:
        """Return the SHA-1 of each piece of spans laid end to end, starting at a piece's boundary.

        A span without a path is as many zeros: what a pad file stands for (BEP 47).
        """
        pieces: list[bytes] = []
        running, filled = hashlib.sha1(usedforsecurity=False), 0

        def cut(data: memoryview) -> None:
            nonlocal running, filled
            done = 0
            while done < len(data):
                with data[done : done + piece_length - filled] as part:
                    running.update(part)
                    filled += len(part)
                    done += len(part)
                if filled == piece_length:
                    pieces.append(running.digest())
                    running, filled = hashlib.sha1(usedforsecurity=False), 0

        for span in spans:
            if span[0]:
                self._read(span, cut)
            else:
                for start in range(0, span[3], _SLICE):
                    cut(memoryview(bytes(min(_SLICE, span[3] - start))))
        if filled:
            pieces.append(running.digest())
        return pieces

    def _begin(self, file: int, git_blob_size: int | None) -> list[hashlib._Hash]:
        if file not in self._running:
            self._running[file] = [hashlib.sha256()]
            if git_blob_size is not None:
                self._running[file].append(hashlib.sha1(b"blob %d\0" % git_blob_size, usedforsecurity=False))
        return self._running[file]


def _hash_piece(
    piece: memoryview, running: hashlib._Hash | None, leaves: list[bytes], sha1s: list[bytes] | None, fill_to: int
) -> None:
    sha1 = None if sha1s is None else hashlib.sha1(usedforsecurity=False)
    sha256 = hashlib.sha256
    for start in range(0, len(piece), _SLICE):
        with piece[start : start + _SLICE] as part:
            leaves += [sha256(part[i : i + BLOCK]).digest() for i in range(0, len(part), BLOCK)]
            if sha1 is not None:
                sha1.update(part)
            if running is not None:
                running.update(part)
    if sha1 is not None and sha1s is not None:
        if len(piece) < fill_to:
            sha1.update(bytes(fill_to - len(piece)))
        sha1s.append(sha1.digest())


def copied(span: Fields, use: Callable[[memoryview], None]) -> Inode:
    """Read a span into memory. A file that shrinks meanwhile is an error, and no signal."""
    path, _, offset, length = span
    descriptor, inode = _opened(span)
    try:
        with memoryview(bytearray(length)) as view:
            done = 0
            while done < length:
                count = os.preadv(descriptor, [view[done:]], offset + done)
                if count == 0:
                    raise Changed(path, "shrank")
                done += count
            use(view)
    except OSError as error:
        raise Unreadable(path, error.strerror or str(error)) from error
    finally:
        os.close(descriptor)
    return inode


def mapped(span: Fields, use: Callable[[memoryview], None]) -> Inode:
    """Map a span: nothing is copied. A file that shrinks meanwhile kills the process (SIGBUS)."""
    path, _, offset, length = span
    if length == 0:
        return copied(span, use)
    descriptor, inode = _opened(span)
    try:
        # What comes next is on its way from the disk while this is hashed.
        os.posix_fadvise(descriptor, offset, length + _AHEAD, os.POSIX_FADV_WILLNEED)
        skip = offset % mmap.ALLOCATIONGRANULARITY
        try:
            mapping = mmap.mmap(descriptor, length + skip, prot=mmap.PROT_READ, offset=offset - skip)
        except OSError:
            # Some file systems cannot map.
            return copied(span, use)
        with mapping, memoryview(mapping) as whole, whole[skip:] as view:
            use(view)
    except OSError as error:
        raise Unreadable(path, error.strerror or str(error)) from error
    finally:
        os.close(descriptor)
    return inode


def _opened(span: Fields) -> tuple[int, Inode]:
    path, size, offset, length = span
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Changed(path, "vanished") from None
    except OSError as error:
        raise Unreadable(path, error.strerror or str(error)) from error
    status = os.fstat(descriptor)
    if status.st_size < offset + length or (size is not None and status.st_size != size):
        os.close(descriptor)
        expected = offset + length if size is None else size
        raise Changed(path, f"changed its size from {expected:,} to {status.st_size:,} bytes")
    return descriptor, (status.st_dev, status.st_ino)
