"""Bencoding (BEP 3), strict and bounded: sizes, depth and the count of values are limited before they are built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from weightswarm.errors import InvalidMetainfo

MAX_DEPTH = 64
MAX_VALUES = 2_000_000
MAX_DICTIONARIES = 600_000
"""A dictionary takes five times the memory of another value; 100,000 files in as many folders have 500,000."""
MAX_ITEMS = 250_000
"""Most items of one list or dictionary: the v1 list of 100,000 files has a pad file after each."""
_ZERO = ord("0")


def bencode(value: Any) -> bytes:
    """Return the canonical bencoding of dicts with byte-string keys, lists, integers and byte strings."""
    parts: list[bytes] = []
    _encode(value, parts)
    return b"".join(parts)


def _encode(value: Any, parts: list[bytes]) -> None:
    kind = type(value)
    if kind is bytes:
        parts.append(b"%d:%b" % (len(value), value))
    elif kind is dict:
        _encode_dictionary(value, parts)
    elif kind is list:
        parts.append(b"l")
        for item in value:
            if type(item) is bytes:
                parts.append(b"%d:%b" % (len(item), item))
            else:
                _encode(item, parts)
        parts.append(b"e")
    elif isinstance(value, int):
        parts.append(b"i%de" % value)
    else:
        raise TypeError(f"not bencodable: {type(value).__name__}")


def _encode_dictionary(value: dict[Any, Any], parts: list[bytes]) -> None:
    parts.append(b"d")
    for key in sorted(value) if len(value) > 1 else value:
        if type(key) is not bytes:
            raise TypeError(f"not bencodable as a key: {type(key).__name__}")
        item = value[key]
        kind = type(item)
        # What most values are, without another call: a release of 10,000 files has 150,000.
        if kind is bytes:
            parts.append(b"%d:%b%d:%b" % (len(key), key, len(item), item))
        elif kind is int:
            parts.append(b"%d:%bi%de" % (len(key), key, item))
        else:
            parts.append(b"%d:%b" % (len(key), key))
            _encode(item, parts)
    parts.append(b"e")


def bdecode(data: bytes) -> Any:
    """Return the value that `data` holds, whole. Raises `InvalidMetainfo`.

    Keys out of order are accepted, as other clients do; a key that stands twice is not.
    """
    decoder = _Decoder(data)
    value = decoder.value(0)
    if decoder.position != len(data):
        raise InvalidMetainfo(f"bytes follow its end at {decoder.position:,}")
    return value


def bdecode_with_info(data: bytes) -> tuple[dict[bytes, Any], bytes]:
    """Return a metainfo dictionary and the exact bytes of its `info` value. Raises `InvalidMetainfo`."""
    decoder = _Decoder(data)
    if data[:1] != b"d":
        raise InvalidMetainfo("it is not a bencoded dictionary")
    document = decoder.value(0)
    if decoder.position != len(data):
        raise InvalidMetainfo(f"bytes follow its end at {decoder.position:,}")
    if decoder.info_span is None:
        raise InvalidMetainfo("it has no info dictionary")
    start, end = decoder.info_span
    return document, data[start:end]


class _Decoder:
    """Reads values one after another; what each needs of the data is looked at once, since torrents hold millions."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.values = 0
        self.dictionaries = 0
        self.info_span: tuple[int, int] | None = None

    def value(self, depth: int) -> Any:
        self.values += 1
        if self.values > MAX_VALUES:
            raise InvalidMetainfo(f"it holds more than {MAX_VALUES:,} values")
        if depth > MAX_DEPTH:
            raise InvalidMetainfo(f"it is nested more than {MAX_DEPTH} deep")
        read = _READERS.get(self.data[self.position : self.position + 1])
        if read is None:
            raise InvalidMetainfo(f"it ends or is malformed at byte {self.position:,}")
        return read(self, depth)

    def string(self, _depth: int = 0) -> bytes:
        data, start = self.data, self.position
        colon = data.find(b":", start, start + 12)
        digits = data[start:colon]
        if colon < 0 or not digits.isdigit() or (digits[0] == _ZERO and len(digits) > 1):
            raise InvalidMetainfo(f"a string's length is malformed at byte {start:,}")
        end = self.position = colon + 1 + int(digits)
        if end > len(data):
            raise InvalidMetainfo(f"a string at byte {start:,} is cut off")
        return data[colon + 1 : end]

    def integer(self, _depth: int) -> int:
        start = self.position
        end = self.data.find(b"e", start, start + 24)
        digits = self.data[start + 1 : end]
        magnitude = digits[1:] if digits[:1] == b"-" else digits
        zero_led = magnitude[:1] == b"0" and digits != b"0"
        if end < 0 or not magnitude.isdigit() or zero_led:
            raise InvalidMetainfo(f"an integer is malformed at byte {start:,}")
        self.position = end + 1
        return int(digits)

    def list(self, depth: int) -> list[Any]:
        self.position += 1
        items = []
        while self.data[self.position : self.position + 1] != b"e":
            items.append(self.value(depth + 1))
            if len(items) > MAX_ITEMS:
                raise InvalidMetainfo(f"a list holds more than {MAX_ITEMS:,} items")
        self.position += 1
        return items

    def dictionary(self, depth: int) -> dict[bytes, Any]:
        self.position += 1
        self.dictionaries += 1
        if self.dictionaries > MAX_DICTIONARIES:
            raise InvalidMetainfo(f"it holds more than {MAX_DICTIONARIES:,} dictionaries")
        items: dict[bytes, Any] = {}
        while (lead := self.data[self.position : self.position + 1]) != b"e":
            if not lead.isdigit():
                raise InvalidMetainfo(f"a key is malformed at byte {self.position:,}")
            key = self.string()
            if key in items:
                raise InvalidMetainfo(f"the key {key[:40]!r} stands twice in one dictionary")
            start = self.position
            items[key] = self.value(depth + 1)
            if len(items) > MAX_ITEMS:
                raise InvalidMetainfo(f"a dictionary holds more than {MAX_ITEMS:,} items")
            if depth == 0 and key == b"info":
                self.info_span = (start, self.position)
        self.position += 1
        return items


_READERS: dict[bytes, Callable[[_Decoder, int], Any]] = {
    **{b"%d" % digit: _Decoder.string for digit in range(10)},
    b"i": _Decoder.integer,
    b"l": _Decoder.list,
    b"d": _Decoder.dictionary,
}
