"""The header of GGUF files (version 2 and 3, little-endian), by the rules of ggml's own reader, with bounds.

Values are stepped over, not kept: what is remembered of a header are hashes of its names.
"""

from __future__ import annotations

import struct

from weightswarm.errors import printable
from weightswarm.formats.source import Malformed, Source

MAX_KEYS = 65_536
MAX_TENSORS = 2**18
MAX_STRINGS = 2**22
"""Strings in all arrays together: the vocabularies and merges of the largest tokenizers are a quarter of it."""
_MAX_KEY = 65_535
_MAX_NAME = 64
_MAX_DIMENSIONS = 4
_WINDOW = 1024 * 1024

_STRING, _ARRAY, _U32 = 8, 9, 4
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
# Elements in a block and bytes of a block, by ggml's number for the type.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66),
    17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136),
    24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54),
    35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18),
}  # fmt: skip
_NEWEST_TYPE = max(_BLOCKS)
_LENGTH = struct.Struct("<Q")


def check_gguf(source: Source) -> None:
    """Raise `Malformed` unless the header is whole and every tensor it names lies in the file."""
    reader = _Reader(source)
    if reader.take(4) != b"GGUF":
        raise Malformed("it does not begin with GGUF")
    version = reader.number(4)
    if version & 0xFFFF == 0:
        raise Malformed("it is big-endian, or of no version")
    if version not in (2, 3):
        raise Malformed(f"it is of version {version}; 2 and 3 are known here")
    tensors, keys = reader.number(8), reader.number(8)
    if keys > MAX_KEYS:
        raise Malformed(f"it would have {keys:,} keys; {MAX_KEYS:,} are the most that are looked at")
    if tensors > MAX_TENSORS:
        raise Malformed(f"it would have {tensors:,} tensors; {MAX_TENSORS:,} are the most that are looked at")
    alignment = _read_keys(reader, keys)
    infos = _read_tensors(reader, tensors)
    if tensors:
        _check_offsets(infos, -(-reader.at // alignment) * alignment, alignment, source.size)


def _read_keys(reader: _Reader, count: int) -> int:
    """Step over the keys and their values; return the alignment they ask for, in bytes."""
    names: set[int] = set()
    strings, alignment = 0, 32
    for _ in range(count):
        key = reader.string(_MAX_KEY, "a key")
        if not key:
            raise Malformed("a key has no name")
        if hash(key) in names:
            raise Malformed(f"the key {_shown(key)} stands twice")
        names.add(hash(key))
        kind, items = reader.number(4), None
        if kind == _ARRAY:
            kind, items = reader.number(4), reader.number(8)
        if key == b"general.alignment":
            if kind != _U32 or items is not None:
                raise Malformed("its alignment is no 32-bit number")
            alignment = reader.number(4)
            if alignment == 0 or alignment & (alignment - 1):
                raise Malformed(f"its alignment, {alignment:,}, is no power of two")
        elif kind == _STRING:
            strings += items or 0
            if strings > MAX_STRINGS:
                raise Malformed(f"its arrays would have over {MAX_STRINGS:,} strings")
            reader.skip_strings(1 if items is None else items, key)
        elif kind in _SIZES:
            reader.skip(_SIZES[kind] * (1 if items is None else items), key)
        else:
            what = "an array of arrays" if kind == _ARRAY else f"of an unknown type, {kind}"
            raise Malformed(f"the key {_shown(key)} is {what}")
    return alignment


def _read_tensors(reader: _Reader, count: int) -> list[tuple[bytes, int, int | None]]:
    """Return name, offset and size in bytes of each tensor; the size is None for a type that is not known here."""
    infos: list[tuple[bytes, int, int | None]] = []
    names: set[bytes] = set()
    for _ in range(count):
        name = reader.string(_MAX_NAME - 1, "a tensor's name")
        if name in names:
            raise Malformed(f"tensor {_shown(name)} stands twice")
        names.add(name)
        dimensions = reader.number(4)
        if dimensions > _MAX_DIMENSIONS:
            raise Malformed(f"tensor {_shown(name)} would have {dimensions:,} dimensions")
        row, rows = 1, 1
        for number in range(dimensions):
            size = reader.number(8)
            row, rows = (size, 1) if number == 0 else (row, rows * size)
            if size >= 2**63 or row * rows >= 2**63:
                raise Malformed(f"tensor {_shown(name)} is larger than a file can be")
        kind, offset = reader.number(4), reader.number(8)
        if kind not in _BLOCKS:
            # ggml gains types, and never gives a number that it dropped to another.
            if not _NEWEST_TYPE < kind < 256:
                raise Malformed(f"tensor {_shown(name)} is of an unknown type, {kind}")
            infos.append((name, offset, None))
            continue
        elements, bytes_each = _BLOCKS[kind]
        if row % elements:
            raise Malformed(f"tensor {_shown(name)} has rows of {row:,}, no multiple of its blocks of {elements}")
        infos.append((name, offset, row // elements * bytes_each * rows))
    return infos


def _check_offsets(infos: list[tuple[bytes, int, int | None]], start: int, alignment: int, file_size: int) -> None:
    """Hold tensors to their order without gaps, as far as sizes are known, and to the file's end."""
    due: int | None = 0
    for name, offset, size in infos:
        if offset % alignment or (due is not None and offset != due):
            raise Malformed(f"tensor {_shown(name)} begins at {offset:,}; what is before it ends elsewhere")
        if start + offset + (size or 0) > file_size:
            raise Malformed(f"tensor {_shown(name)} would reach past the end of the file")
        due = None if size is None else offset + -(-size // alignment) * alignment


class _Reader:
    """Reads onwards through a window of the file. Whatever would pass the file's end is malformed."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._window = b""
        self._start = 0
        self.at = 0

    def take(self, length: int) -> bytes:
        begin = self.at - self._start
        if begin + length > len(self._window):
            self._start, begin = self.at, 0
            # The head of a file has been read; a large window costs only who needs it.
            self._window = self._source.read(self.at, max(length, _WINDOW if self.at >= 2048 else 2048))
            if length > len(self._window):
                raise Malformed(f"its header ends early, at byte {self.at + len(self._window):,}")
        self.at += length
        return self._window[begin : begin + length]

    def number(self, length: int) -> int:
        return int.from_bytes(self.take(length), "little")

    def string(self, limit: int, what: str) -> bytes:
        length = self.number(8)
        if length > limit:
            raise Malformed(f"{what} would be {length:,} bytes long, over the limit of {limit:,}")
        return self.take(length)

    def skip(self, length: int, key: bytes) -> None:
        self.at += length
        if self.at > self._source.size:
            raise Malformed(f"the value of the key {_shown(key)} would reach past the end of the file")
        if self.at > self._start + len(self._window):
            self._start, self._window = self.at, b""

    def skip_strings(self, count: int, key: bytes) -> None:
        done = 0
        while done < count:
            done += self._skip_in_window(count - done)
            if done < count:
                # What is next is not whole in the window.
                self.skip(self.number(8), key)
                done += 1

    def _skip_in_window(self, count: int) -> int:
        """Step over up to `count` strings that the window holds whole, and return how many they were."""
        window, read = self._window, _LENGTH.unpack_from
        position, last = self.at - self._start, len(self._window) - 8
        done = 0
        while done < count and position <= last:
            following = position + 8 + read(window, position)[0]
            if following > last + 8:
                break
            position = following
            done += 1
        self.at = self._start + position
        return done


def _shown(name: bytes) -> str:
    return repr(printable(name[:80].decode("utf-8", "replace")))
