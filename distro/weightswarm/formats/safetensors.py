"""The header of safetensors files, by the rules of the format's own reader (the `safetensors` crate) and no laxer.

Stricter in what no writer does: names and metadata keys stand once, the header begins with its `{`, and a tensor has
its three fields and no other. The header is read as bytes by a grammar of its own: a JSON parser would make of 100 MB
some gigabytes of objects before anyone could look at them.
"""

from __future__ import annotations

import codecs
import json
import re
from array import array
from collections.abc import Callable
from itertools import pairwise

from weightswarm.errors import printable
from weightswarm.formats.source import Malformed, Source

MAX_HEADER = 100_000_000
MAX_NAMES = 2**18
_MAX_NAME = 64 * 1024
_CHUNK = 1024 * 1024

_BITS = {
    name.encode(): bits
    for bits, names in {
        4: "F4",
        6: "F6_E2M3 F6_E3M2",
        8: "BOOL U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ",
        16: "I16 U16 F16 BF16",
        32: "I32 U32 F32",
        64: "I64 U64 F64 C64",
    }.items()
    for name in names.split()
}

_S = rb"[ \t\n\r]*+"
_COLON, _COMMA = _S + rb":" + _S, _S + rb"," + _S
_NUMBER = rb"(?:0|[1-9][0-9]{0,19})"
_DTYPE = rb'dtype"' + _COLON + rb'"([A-Z0-9_]{1,16})"'
_SHAPE = rb'shape"' + _COLON + rb"\[%b((?:%b(?:%b%b){0,63})?)%b\]" % (_S, _NUMBER, _COMMA, _NUMBER, _S)
_OFFSETS = rb'data_offsets"' + _COLON + rb"\[%b(%b)%b(%b)%b\]" % (_S, _NUMBER, _COMMA, _NUMBER, _S)
# As every known writer has them; in another order they are taken one by one.
_TENSOR = re.compile(rb'\{%b"%b%b"%b%b"%b%b\}' % (_S, _DTYPE, _COMMA, _SHAPE, _COMMA, _OFFSETS, _S))
_FIELD = re.compile(rb'"(?:%b|%b|%b)%b([,}])%b' % (_DTYPE, _SHAPE, _OFFSETS, _S, _S))
_OPEN = re.compile(_S + rb"\{" + _S)
_BETWEEN = re.compile(_S + rb"([,}])" + _S)
_NAME_END = re.compile(_COLON)
# Surrogates stand in pairs or not at all. A bounded number at a time, for the matcher remembers each.
_CHARACTERS = re.compile(
    rb'(?:[^"\\\x00-\x1f]++|\\["\\/bfnrt]|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4}'
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}){1,4096}+"
)
_U64 = 2**64


def check_safetensors(source: Source) -> None:
    """Raise `Malformed` unless the header is whole and accounts for every byte of the file."""
    prefix = source.read(0, 8)
    if len(prefix) < 8:
        raise Malformed("it is shorter than the 8 bytes that say how long its header is")
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER:
        raise Malformed(f"its header would be {length:,} bytes long, over the format's limit of {MAX_HEADER:,}")
    if 8 + length > source.size:
        raise Malformed(f"its header would be {length:,} bytes long, in a file of {source.size:,}")
    header = source.read(8, length)
    if len(header) < length:
        raise Malformed("its header ends early")
    _check_utf8(header)
    _Header(header, source.size - 8 - length).check()


def _check_utf8(header: bytes) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(header), _CHUNK):
            decoder.decode(header[start : start + _CHUNK])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise Malformed("its header is not UTF-8") from None


class _Header:
    """One pass over a header. `size` is how many bytes of data follow it."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data = data
        self._size = size
        self._at = 0
        self._names = array("q")
        self._spans: list[int] = []

    def check(self) -> None:
        """Raise `Malformed` for the first thing that is wrong."""
        if not self._data.startswith(b"{"):
            raise Malformed("its header does not begin with {")
        self._members(self._entry, self._names)
        if self._data[self._at :].strip(b" \t\n\r"):
            raise self._wrong("something follows the end of its header")
        self._data = b""
        self._check_spans()

    def _members(self, member: Callable[[bytes], None], names: array[int]) -> None:
        """Read an object, handing over at each value; `names` collects its keys, as hashes."""
        self._take(_OPEN, "no { where one is due")
        if self._data.startswith(b"}", self._at):
            self._at += 1
            return
        while True:
            if len(names) == MAX_NAMES:
                raise Malformed(f"it has more than {MAX_NAMES:,} tensors or words about them")
            name = self._string(_MAX_NAME)
            names.append(hash(name))
            self._take(_NAME_END, "no : after a name")
            member(name)
            if self._take(_BETWEEN, "neither , nor } after a value")[1] == b"}":
                break
        if any(one == other for one, other in pairwise(sorted(names))):
            raise Malformed("a name stands twice in its header")

    def _entry(self, name: bytes) -> None:
        if name == b"__metadata__":
            self._members(self._text, array("q"))
            return
        if match := _TENSOR.match(self._data, self._at):
            self._at = match.end()
            dtype, shape, begin, end = match.groups()
        else:
            dtype, shape, begin, end = self._fields(name)
        self._tensor(name, dtype, shape, int(begin), int(end))

    def _text(self, _name: bytes) -> None:
        self._string(MAX_HEADER)

    def _fields(self, name: bytes) -> tuple[bytes, bytes, bytes, bytes]:
        """Read a tensor's fields in any order."""
        dtype = shape = pair = None
        self._take(_OPEN, "a tensor is no object")
        for after in (b",", b",", b"}"):
            match = self._take(_FIELD, f"{_shown(name)} has other fields than dtype, shape and data_offsets")
            found_dtype, found_shape, begin, end, following = match.groups()
            dtype = found_dtype if dtype is None else dtype
            shape = found_shape if shape is None else shape
            pair = (begin, end) if begin is not None else pair
            if following != after:
                break
        if following != b"}" or dtype is None or shape is None or pair is None:
            raise self._wrong(f"{_shown(name)} has other fields than dtype, shape and data_offsets, once each")
        return dtype, shape, *pair

    def _tensor(self, name: bytes, dtype: bytes, shape: bytes, begin: int, end: int) -> None:
        bits, elements = _BITS.get(dtype), 1
        if bits is None:
            raise Malformed(f"{_shown(name)} is of an unknown dtype, {dtype.decode()}")
        for dimension in map(int, shape.split(b",")) if shape else ():
            elements *= dimension
            if dimension >= _U64 or elements >= _U64:
                raise Malformed(f"{_shown(name)} is larger than a file can be")
        bits *= elements
        if bits % 8:
            raise Malformed(f"{_shown(name)} does not end at a whole byte")
        if not begin <= end <= self._size:
            raise Malformed(f"{_shown(name)} lies at {begin:,} to {end:,} of {self._size:,} bytes of data")
        if end - begin != bits // 8:
            raise Malformed(f"{_shown(name)} takes {bits // 8:,} bytes by its shape, {end - begin:,} by its offsets")
        # One integer for both: a million of them sort fast and take little memory.
        self._spans.append(begin * _U64 + end)

    def _check_spans(self) -> None:
        reached = 0
        self._spans.sort()
        for span in self._spans:
            begin, end = divmod(span, _U64)
            if begin != reached:
                what = "overlap" if begin < reached else "leave a gap"
                raise Malformed(f"its tensors {what} at byte {min(begin, reached):,} of the data")
            reached = end
        if reached != self._size:
            raise Malformed(f"its tensors end at {reached:,} of {self._size:,} bytes of data")

    def _string(self, limit: int) -> bytes:
        """Return a string's characters, escapes undone where it is short enough for a name."""
        if not self._data.startswith(b'"', self._at):
            raise self._wrong("no string where one is due")
        start = self._at = self._at + 1
        while match := _CHARACTERS.match(self._data, self._at):
            self._at = match.end()
        if not self._data.startswith(b'"', self._at):
            raise self._wrong("a string does not end, or holds what no string may")
        self._at += 1
        if limit > _MAX_NAME:
            return b""
        text = self._data[start : self._at - 1]
        if len(text) > limit:
            raise self._wrong(f"a name is longer than {limit:,} bytes")
        return json.loads(b'"%b"' % text).encode() if b"\\" in text else text

    def _take(self, pattern: re.Pattern[bytes], otherwise: str) -> re.Match[bytes]:
        match = pattern.match(self._data, self._at)
        if match is None:
            raise self._wrong(otherwise)
        self._at = match.end()
        return match

    def _wrong(self, what: str) -> Malformed:
        return Malformed(f"{what} (byte {8 + self._at:,})")


def _shown(name: bytes) -> str:
    return f"tensor {printable(name.decode()[:80])!r}"
