"""Telling pickles by their content, whatever they are called: bare, compressed, in an archive, in a numpy array.

A pickle is a program for a small stack machine. Its first instructions are walked here, never run: bytes that are none
fall off within a few steps. https://docs.python.org/3/library/pickletools.html names the instructions.
"""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from collections.abc import Callable
from typing import Protocol

from weightswarm.formats.archives import may_be_tar, tar_members, zip_members
from weightswarm.formats.names import Code, code_by_name
from weightswarm.formats.source import Source, Unpacked

HEAD = 512
"""Bytes that tell most files from pickles."""
_STEPS = 1000
_LINE = 64 * 1024
_UNPACKED = 64 * 1024

# Instruction: bytes of its argument.
_FIXED = dict(zip(b"KMJGhqjr\x95\x80\x82\x83\x84", (1, 2, 4, 8, 1, 1, 4, 4, 8, 1, 1, 2, 4), strict=True))
# Instruction: bytes of the length that stands before its argument.
_COUNTED = dict(zip(b"UCT\x8cBX\x8b\x8a\x8d\x8e\x96", (1, 1, 4, 1, 4, 4, 4, 1, 8, 8, 8), strict=True))
_MODULE = rb"[A-Za-z_][\w.]*\n[A-Za-z_][\w.]*\n"
_LINES = {
    ord(name): re.compile(pattern)
    for name, pattern in {
        "I": rb"\s*[-+]?\d+\n", "L": rb"\s*[-+]?\d+L?\n", "F": rb"[-+.\deEinfa]+\n", "S": rb"(?:'[^\n]*'|\"[^\n]*\")\n",
        "V": rb"[^\n]*\n", "P": rb"[^\n]*\n", "g": rb"\d+\n", "p": rb"\d+\n", "c": _MODULE, "i": _MODULE,
    }.items()
}  # fmt: skip
# Instruction: how many values it takes off the stack, and how many it puts there.
_EFFECTS = {
    **dict.fromkeys(b"N])}\x88\x89\x8fKMJGTUXVSILFPBCcgjh\x82\x83\x84\x8a\x8b\x8c\x8d\x8e\x96\x97", (0, 1)),
    **dict.fromkeys(b"\x95\x80", (0, 0)),
    **dict.fromkeys(b"pqr\x94\x98Q\x85", (1, 1)),
    **dict.fromkeys(b"aR\x81\x86\x93b", (2, 1)),
    **dict.fromkeys(b"s\x87\x92", (3, 1)),
    ord("2"): (1, 2),
    ord("0"): (1, 0),
}
# Instructions that take everything down to the last mark, how many values they need below it, and what they put there.
_TO_MARK = {
    **dict.fromkeys(b"tldoi\x91", (0, 1)),
    **dict.fromkeys(b"eu\x90", (1, 0)),
    ord("1"): (0, 0),
}
# Numbers of registered names (\x82 to \x84) are not among them: nobody has registered any.
_NAMES = b"c\x93"
_CALLS = b"Rob\x81\x92"
_PROTOCOL, _STOP, _MARK, _POP, _INSTANCE = 0x80, ord("."), ord("("), ord("0"), ord("i")
_VERSIONS = [bytes([version]) for version in range(6)]

_OBJECT_ARRAY = re.compile(rb"'descr'\s*:\s*(?:'[|<>=]?O\d*'|\[.*'[|<>=]?O\d*')", re.DOTALL)


class _Decompressor(Protocol):
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


_COMPRESSED: tuple[tuple[re.Pattern[bytes], Callable[[], _Decompressor]], ...] = (
    (re.compile(rb"\x1f\x8b\x08"), lambda: zlib.decompressobj(31)),
    (re.compile(rb"\x78[\x01\x5e\x9c\xda]"), zlib.decompressobj),
    (re.compile(rb"BZh[1-9]"), bz2.BZ2Decompressor),
    (re.compile(rb"\xfd7zXZ\0|\x5d\0\0"), lambda: lzma.LZMADecompressor(memlimit=128 * 1024 * 1024)),
)
# What needs nothing on the stack may come first; and what numpy and the archives begin with.
_BEGINNINGS = {*b"(PBx\x1f\xfd\x5d\x93", *(code for code, (popped, _) in _EFFECTS.items() if not popped)}


def may_hold_pickle(head: bytes) -> bool:
    """Tell by a file's first `HEAD` bytes, at little cost, whether it is worth a look: most are not."""
    return bool(head) and (head[0] in _BEGINNINGS or may_be_tar(head))


def holds_pickle(source: Source) -> bool:
    """Tell whether a loader that takes pickles would find one in these bytes. Raises `OSError` as reading does."""
    head = source.read(0, HEAD)
    if not may_hold_pickle(head):
        return False
    if _is_unpickled(source):
        return True
    for pattern, opened in _COMPRESSED:
        if pattern.match(head):
            unpacked = _unpacked(source, opened())
            return unpacked is not None and (_is_unpickled(unpacked) or _in_members(tar_members(unpacked)))
    return _in_members(zip_members(source) if head.startswith(b"PK") else tar_members(source))


def _in_members(members: list[tuple[str, Source]]) -> bool:
    """Tell whether a member of an archive is a pickle, by its name or its content."""
    if any(code_by_name(name) is Code.PICKLE or name == "pickle" for name, _ in members):
        return True
    return any(_is_unpickled(member) for _, member in members)


def _is_unpickled(source: Source) -> bool:
    """Tell a bare pickle, and numpy's array with one inside."""
    if source.read(0, 6) == b"\x93NUMPY":
        return _OBJECT_ARRAY.search(source.read(0, 4096)) is not None
    return _is_pickle(source)


def _unpacked(source: Source, decompressor: _Decompressor) -> Source | None:
    try:
        return Unpacked(decompressor.decompress(source.read(0, _UNPACKED), _UNPACKED))
    except (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError):
        return None


def _is_pickle(source: Source) -> bool:
    """Walk instructions until it is clear: a call, the end, or bytes that no pickle has."""
    depths = [0]
    at, said, named = 0, False, False
    for _ in range(_STEPS):
        code = source.read(at, 1)
        if not code or (after := _argument_end(source, at + 1, code[0])) is None:
            return False
        operation = code[0]
        if operation == _STOP:
            # A mark of the protocol says what the bytes are; without one a text might look like it.
            return depths == [1] and (said or at + 1 == source.size)
        if operation == _PROTOCOL:
            said = said or at == 0
            if source.read(at + 1, 1) not in _VERSIONS:
                return False
        named = named or operation in _NAMES
        if not _step(depths, operation):
            return False
        if (said and named) or operation == _INSTANCE or (named and operation in _CALLS):
            return True
        at = after
    # Nothing but a pickle gets so far.
    return True


def _argument_end(source: Source, at: int, operation: int) -> int | None:
    """Return where an instruction's argument ends; None when it cannot be one."""
    if operation in _FIXED:
        return at + _FIXED[operation]
    if operation in _COUNTED:
        width = _COUNTED[operation]
        end = at + width + int.from_bytes(source.read(at, width), "little")
        return end if end <= source.size else None
    if operation in _LINES:
        match = _LINES[operation].match(source.read(at, 256)) or _LINES[operation].match(source.read(at, _LINE))
        return None if match is None else at + match.end()
    return at


def _step(depths: list[int], operation: int) -> bool:
    """Do to the stack's depths, one for each mark, what an instruction does; False when it could not."""
    if operation == _MARK:
        depths.append(0)
        return True
    if operation == _POP and depths[-1] == 0 and len(depths) > 1:
        depths.pop()
        return True
    if operation in _TO_MARK:
        below, pushed = _TO_MARK[operation]
        if len(depths) < 2 or depths[-2] < below:
            return False
        depths.pop()
        depths[-1] += pushed
        return True
    if operation not in _EFFECTS:
        return False
    popped, pushed = _EFFECTS[operation]
    if depths[-1] < popped:
        return False
    depths[-1] += pushed - popped
    return True
