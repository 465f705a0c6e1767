"""Weights in the formats that loaders take: valid ones of any size, and headers made by hand."""

from __future__ import annotations

import json
import struct
from random import Random
from typing import Any

SMALLEST = 80
"""The bytes that the smallest file of `safetensors_bytes` takes."""


def safetensors_bytes(size: int, random: Random) -> bytes:
    """Return a valid safetensors file of exactly `size` bytes (at least `SMALLEST`), its one tensor random."""
    assert size >= SMALLEST
    length = 8 * ((SMALLEST + len(f"{size}") * 2) // 8)
    length = min(length, size - 8)
    data = size - 8 - length
    header = b'{"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (data, data)
    return length.to_bytes(8, "little") + header.ljust(length) + random.randbytes(data)


def with_header(header: bytes | dict[str, Any], data: int | bytes = 0, length: int | None = None) -> bytes:
    """Return a safetensors file of a header (which may claim another `length`) and data (or so many zeros)."""
    raw = json.dumps(header).encode() if isinstance(header, dict) else header
    body = bytes(data) if isinstance(data, int) else data
    return struct.pack("<Q", len(raw) if length is None else length) + raw + body


def tensor(begin: int, end: int, dtype: str = "U8", shape: list[int] | None = None) -> dict[str, Any]:
    """Return what a header says of a tensor; by default a row of bytes that its offsets fit."""
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}
