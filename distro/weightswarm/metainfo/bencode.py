"""Bencoding (BEP 3), strict and bounded: sizes, depth and the count of values are limited before they are built."""

from __future__ import annotations

from typing import Any

from weightswarm.errors import InvalidMetainfo

MAX_DEPTH = 64
MAX_VALUES = 2_000_000


def bencode(value: Any) -> bytes:
    """Return the canonical bencoding of dicts with byte-string keys, lists, integers and byte strings."""
    parts: list[bytes] = []
    _encode(value, parts)
    return b"".join(parts)


def _encode(value: Any, parts: list[bytes]) -> None:
    if isinstance(value, bytes):
        parts.append(b"%d:" % len(value))
        parts.append(value)
    elif isinstance(value, int):
        parts.append(b"i%de" % value)
    elif isinstance(value, list):
        parts.append(b"l")
        for item in value:
            _encode(item, parts)
        parts.append(b"e")
    elif isinstance(value, dict):
        parts.append(b"d")
        for key in sorted(value):
            _encode(key, parts)
            _encode(value[key], parts)
        parts.append(b"e")
    else:
        raise TypeError(f"not bencodable: {type(value).__name__}")


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
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.values = 0
        self.info_span: tuple[int, int] | None = None

    def value(self, depth: int) -> Any:
        self.values += 1
        if self.values > MAX_VALUES:
            raise InvalidMetainfo(f"it holds more than {MAX_VALUES:,} values")
        if depth > MAX_DEPTH:
            raise InvalidMetainfo(f"it is nested more than {MAX_DEPTH} deep")
        lead = self.data[self.position : self.position + 1]
        if lead.isdigit():
            return self._string()
        if lead == b"i":
            return self._integer()
        if lead == b"l":
            return self._list(depth)
        if lead == b"d":
            return self._dictionary(depth)
        raise InvalidMetainfo(f"it ends or is malformed at byte {self.position:,}")

    def _string(self) -> bytes:
        colon = self.data.find(b":", self.position, self.position + 12)
        digits = self.data[self.position : colon]
        if colon < 0 or not digits.isdigit() or (digits[:1] == b"0" and len(digits) > 1):
            raise InvalidMetainfo(f"a string's length is malformed at byte {self.position:,}")
        end = colon + 1 + int(digits)
        if end > len(self.data):
            raise InvalidMetainfo(f"a string at byte {self.position:,} is cut off")
        self.position = end
        return self.data[colon + 1 : end]

    def _integer(self) -> int:
        end = self.data.find(b"e", self.position, self.position + 24)
        digits = self.data[self.position + 1 : end]
        magnitude = digits[1:] if digits[:1] == b"-" else digits
        zero_led = magnitude[:1] == b"0" and digits != b"0"
        if end < 0 or not magnitude.isdigit() or zero_led:
            raise InvalidMetainfo(f"an integer is malformed at byte {self.position:,}")
        self.position = end + 1
        return int(digits)

    def _list(self, depth: int) -> list[Any]:
        self.position += 1
        items = []
        while self.data[self.position : self.position + 1] != b"e":
            items.append(self.value(depth + 1))
        self.position += 1
        return items

    def _dictionary(self, depth: int) -> dict[bytes, Any]:
        self.position += 1
        items: dict[bytes, Any] = {}
        while self.data[self.position : self.position + 1] != b"e":
            if not self.data[self.position : self.position + 1].isdigit():
                raise InvalidMetainfo(f"a key is malformed at byte {self.position:,}")
            key = self._string()
            if key in items:
                raise InvalidMetainfo(f"the key {key[:40]!r} stands twice in one dictionary")
            start = self.position
            items[key] = self.value(depth + 1)
            if depth == 0 and key == b"info":
                self.info_span = (start, self.position)
        self.position += 1
        return items
