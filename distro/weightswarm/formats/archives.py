"""The first members of zip and tar archives, as far as telling pickles needs them: names, and where bytes stand."""

from __future__ import annotations

import struct
import zlib

from weightswarm.formats.source import Source, Unpacked

_MEMBERS = 1024
_LOOKED_INTO = 64
_HEAD = 4096
_DIRECTORY = 256 * 1024
_END = struct.Struct("<4s4H2LH")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_STORED, _DEFLATED = 0, 8


def zip_members(source: Source) -> list[tuple[str, Source]]:
    """Return names and first bytes of a zip archive's members; none for what is no archive after all.

    Up to 1,024 names, and of the first 64 members the bytes.
    """
    tail_at = max(0, source.size - 65_557)
    tail = source.read(tail_at, 65_557)
    found = tail.rfind(b"PK\x05\x06")
    if found < 0 or len(tail) - found < _END.size:
        return []
    _, _, _, _, _, size, offset, _ = _END.unpack_from(tail, found)
    # Large archives have the true numbers in a record before this one (zip64).
    if 0xFFFFFFFF in (size, offset):
        found = tail.rfind(b"PK\x06\x06", 0, found)
        if found < 0 or len(tail) - found < 56:
            return []
        size, offset = struct.unpack_from("<2Q", tail, found + 40)
    # The directory ends where its end is told; what stands before an archive moves all its offsets.
    start = tail_at + found - size
    if start < 0:
        return []
    moved = start - offset
    directory = source.read(start, min(size, _DIRECTORY))
    members: list[tuple[str, Source]] = []
    at = 0
    while len(members) < _MEMBERS and len(directory) - at >= _ENTRY.size and directory.startswith(b"PK\x01\x02", at):
        fields = _ENTRY.unpack_from(directory, at)
        method, packed, lengths, offset = fields[4], fields[8], fields[10:13], fields[16]
        name = directory[at + _ENTRY.size : at + _ENTRY.size + lengths[0]].decode("utf-8", "replace")
        looked = len(members) < _LOOKED_INTO
        members.append((name, _zip_head(source, max(0, offset + moved), method, packed) if looked else Unpacked(b"")))
        at += _ENTRY.size + sum(lengths)
    return members


def _zip_head(source: Source, start: int, method: int, packed: int) -> Source:
    header = source.read(start, 30)
    if len(header) < 30 or not header.startswith(b"PK\x03\x04"):
        return Unpacked(b"")
    name, extra = struct.unpack_from("<2H", header, 26)
    data = source.read(start + 30 + name + extra, min(packed, _HEAD))
    if method == _DEFLATED:
        try:
            return Unpacked(zlib.decompressobj(-15).decompress(data, _HEAD))
        except zlib.error:
            return Unpacked(b"")
    return Unpacked(data if method == _STORED else b"")


def tar_members(source: Source) -> list[tuple[str, Source]]:
    """Return names and first bytes of a tar archive's first 64 members; none for what is no archive after all."""
    members: list[tuple[str, Source]] = []
    at = 0
    while len(members) < _LOOKED_INTO and (size := _tar_size(header := source.read(at, 512))) is not None:
        name = header[:100].partition(b"\0")[0].decode("utf-8", "replace")
        members.append((name, Unpacked(source.read(at + 512, min(size, _HEAD)))))
        at += 512 + -(-size // 512) * 512
    return members


def may_be_tar(header: bytes) -> bool:
    """Tell at little cost whether a block has digits where a tar archive's header has its sum."""
    return header[148:156].strip(b" \0").isdigit()


def _tar_size(header: bytes) -> int | None:
    """Return a member's size in bytes from its header; None for a block that is no header."""
    try:
        told = int(header[148:156].strip(b" \0") or b"-1", 8)
        size = int(header[124:136].strip(b" \0") or b"0", 8)
    except ValueError:
        return None
    # The sum is taken as if it were spaces itself.
    return size if sum(header) - sum(header[148:156]) + 8 * 32 == told and size >= 0 else None
