"""What one hash worker computes: digests over spans of files, and the state of those that it reads in order.

Hash processes import this module and little else, since each starts anew for a command: no dataclasses, no typing.
A span is `(path, size, offset, length)` in bytes; a `size` of None allows any file that reaches the span's end.
"""

from __future__ import annotations

import os

from weightswarm.hashing.merkle import BLOCK, DIGEST, SHA1, file_root, piece_layer
from weightswarm.hashing.sha import Sha1, Sha256, leaves, map_span, update_two

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Fields = tuple[str, int | None, int, int]
    Inode = tuple[int, int]
    Read = Callable[[Fields, Callable[[memoryview], None]], Inode]
    # The file's number, the span, whether it is the file's last, and its size where its git blob's SHA-1 is wanted.
    Part = tuple[int, Fields, bool, int | None]
    # The file's inode and, after its last part, its SHA-256, git SHA-1 and first bytes.
    Extended = tuple[Inode, bytes | None, bytes | None, bytes]

# Small enough to stay in a core's own cache while it is hashed in two ways, one after the other.
_SLICE = 256 * 1024
_HEAD = 512
_AHEAD = 32 * 1024 * 1024


class Changed(Exception):
    """A file is not as it was when the work began: `path`, `how`."""


class Unreadable(Exception):
    """A file cannot be read: `path`, `why`."""


class _Running:
    """What is kept of a file between its spans."""

    __slots__ = ("git", "head", "sha256")

    def __init__(self, git_blob_size: int | None) -> None:
        self.sha256 = Sha256()
        self.git: Sha1 | None = None
        self.head = b""
        if git_blob_size is not None:
            self.git = Sha1()
            self.git.update(b"blob %d\0" % git_blob_size)

    def update(self, data: memoryview) -> None:
        if self.git is None:
            self.sha256.update(data)
            return
        for start in range(0, len(data), _SLICE):
            with data[start : start + _SLICE] as part:
                self.sha256.update(part)
                self.git.update(part)


class Computing:
    """Runs jobs one after another. `read` hands the bytes of a span to a function and returns the file's inode,
    its device first."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._running: dict[int, _Running] = {}

    def run(self, parts: Sequence[Part]) -> list[Extended]:
        """Extend files' digests by a span each. Raises `Changed`, `Unreadable`.

        The first bytes come of a file whose size is told: who looks at them need not open it again.
        """
        extended: list[Extended] = []
        while len(extended) < len(parts):
            a, *others = parts[len(extended) : len(extended) + 2]
            if others and a[3] is None and others[0][3] is None and a[0] != others[0][0]:
                extended += self._extend_two(a, others[0])
            else:
                extended.append(self._extend(a))
        return extended

    def pieces(
        self, file: int, span: Fields, piece_length: int, in_order: bool, last: bool, v1: bool, fill: bool
    ) -> tuple[bytes | None, bytes, list[bytes]]:
        """Hash the pieces of a span that starts at a piece's boundary, and with `in_order` extend the file's SHA-256.

        Return that SHA-256 (after the `last` span), the piece roots (or the one root of a file no longer than a
        piece) and with `v1` the SHA-1 pieces, the last of which `fill` fills up with zeros. Raises as `run` does.
        """
        running = self._begin(file, None).sha256 if in_order else None
        blocks: list[bytes] = []
        sha1s: list[bytes] = []

        def hash_pieces(data: memoryview) -> None:
            for start in range(0, len(data), piece_length):
                with data[start : start + piece_length] as piece:
                    sha1 = Sha1() if v1 else None
                    blocks.append(leaves(piece, running, sha1))
                    if sha1 is not None:
                        if fill and len(piece) < piece_length:
                            sha1.update(bytes(piece_length - len(piece)))
                        sha1s.append(sha1.digest())

        self._read(span, hash_pieces)
        sha256 = None
        if running is not None and last:
            sha256 = running.digest()
            del self._running[file]
        _, size, _, length = span
        if size is None or size > piece_length:
            return sha256, piece_layer(b"".join(blocks), piece_length // BLOCK), sha1s
        return sha256, file_root(blocks[0]) if length else b"", sha1s

    def whole(self, files: Sequence[tuple[str, int]], piece_length: int, v1: bool, open_end: int) -> bytes:
        """Hash files of one piece each or less, given by path and size in bytes.

        Return each one's SHA-256, its piece root and with `v1` the SHA-1 of its piece, end to end; of an empty file the
        two last are zeros. Pieces that are not full are filled up with zeros, but for that of file number `open_end`
        here, where there is such a one. Raises as `run` does.
        """
        digests: list[bytes] = []
        number = 0

        def digest(data: memoryview) -> None:
            fill = number != open_end and len(data) < piece_length
            sha256, sha1 = Sha256(), Sha1() if v1 else None
            blocks = leaves(data, sha256, sha1)
            digests.append(sha256.digest())
            digests.append(file_root(blocks) if blocks else bytes(DIGEST))
            if sha1 is not None:
                if fill:
                    sha1.update(bytes(piece_length - len(data)))
                digests.append(sha1.digest() if blocks else bytes(SHA1))

        for path, size in files:
            self._read((path, size, 0, size), digest)
            number += 1
        return b"".join(digests)

    def packed(self, spans: Sequence[Fields], piece_length: int) -> list[bytes]:
        """Return the SHA-1 of each piece of spans laid end to end, starting at a piece's boundary.

        A span without a path is as many zeros: what a pad file stands for (BEP 47).
        """
        pieces: list[bytes] = []
        running, filled = Sha1(), 0

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
                    running, filled = Sha1(), 0

        for span in spans:
            if span[0]:
                self._read(span, cut)
            else:
                for start in range(0, span[3], _SLICE):
                    cut(memoryview(bytes(min(_SLICE, span[3] - start))))
        if filled:
            pieces.append(running.digest())
        return pieces

    def _extend(self, part: Part) -> Extended:
        number, span, *_ = part
        running = self._begin(number, part[3])

        def use(data: memoryview) -> None:
            _keep_head(running, span, data)
            running.update(data)

        return self._extended(part, self._read(span, use))

    def _extend_two(self, a: Part, b: Part) -> list[Extended]:
        """Extend two files at once: in the time of one, where the processor can."""
        first, second = self._begin(a[0], None), self._begin(b[0], None)
        inodes: list[Inode] = []

        def use_first(data: memoryview) -> None:
            def use_second(other: memoryview) -> None:
                _keep_head(first, a[1], data)
                _keep_head(second, b[1], other)
                update_two(first.sha256, data, second.sha256, other)

            inodes.append(self._read(b[1], use_second))

        inodes.append(self._read(a[1], use_first))
        return [self._extended(a, inodes[1]), self._extended(b, inodes[0])]

    def _begin(self, file: int, git_blob_size: int | None) -> _Running:
        if file not in self._running:
            self._running[file] = _Running(git_blob_size)
        return self._running[file]

    def _extended(self, part: Part, inode: Inode) -> Extended:
        number, _, last, _ = part
        if not last:
            return inode, None, None, b""
        done = self._running.pop(number)
        return inode, done.sha256.digest(), None if done.git is None else done.git.digest(), done.head


def _keep_head(running: _Running, span: Fields, data: memoryview) -> None:
    if span[1] is not None and span[2] == 0:
        running.head = bytes(data[:_HEAD])


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
    try:
        # What comes next is on its way from the disk while this is hashed; a short span is not worth that call.
        mapping, device, inode, now = map_span(path, offset, length, 0 if length <= _SLICE else _AHEAD)
    except FileNotFoundError:
        raise Changed(path, "vanished") from None
    except OSError as error:
        raise Unreadable(path, error.strerror or str(error)) from error
    _check_size(span, now)
    if mapping is None:
        # It is empty, or its file system cannot map.
        return copied(span, use)
    with memoryview(mapping) as view:
        use(view)
    return device, inode


def _opened(span: Fields) -> tuple[int, Inode]:
    path = span[0]
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Changed(path, "vanished") from None
    except OSError as error:
        raise Unreadable(path, error.strerror or str(error)) from error
    status = os.fstat(descriptor)
    try:
        _check_size(span, status.st_size)
    except Changed:
        os.close(descriptor)
        raise
    return descriptor, (status.st_dev, status.st_ino)


def _check_size(span: Fields, now: int) -> None:
    path, size, offset, length = span
    if now < offset + length or (size is not None and now != size):
        expected = offset + length if size is None else size
        raise Changed(path, f"changed its size from {expected:,} to {now:,} bytes")
