"""What each piece of a file must hash to: by v2 piece layers where they are known, else by v1 digests."""

from __future__ import annotations

from dataclasses import dataclass

from weightswarm.hashing import BLOCK
from weightswarm.metainfo.pieces import PieceMap
from weightswarm.metainfo.read import Metainfo

_SHA1, _SHA256 = 20, 32


@dataclass(frozen=True, slots=True)
class HashedPieces:
    """The pieces that hold bytes of one file alone, `numbers` as the torrent counts them.

    `offset` is where the first of them begins in the file, which has `size` bytes. `digests` are theirs end to end: v2
    roots or, without `v2`, SHA-1. `padded` says that zeros fill the last one up to a whole piece before it is hashed;
    `length` is that of a whole piece, and of a v2 file within one piece the bytes that its tree is wide.
    """

    numbers: range
    offset: int
    size: int
    length: int
    digests: bytes
    v2: bool
    padded: bool

    def span(self, numbers: range) -> tuple[int, int]:
        """Return the offset and length, in bytes of the file, of pieces that follow each other."""
        begin = self.offset + (numbers.start - self.numbers.start) * self.length
        return begin, min(len(numbers) * self.length, self.size - begin)

    def digest(self, number: int) -> bytes:
        """Return what a piece must hash to."""
        width = _SHA256 if self.v2 else _SHA1
        start = (number - self.numbers.start) * width
        return self.digests[start : start + width]


def hashed_pieces(metainfo: Metainfo, wanted: set[int]) -> dict[int, HashedPieces]:
    """Return the pieces of files, given by their index in `metainfo.files`; none of a file whose hashes are unknown."""
    pieces = PieceMap(metainfo)
    padded = _padded(metainfo)
    found: dict[int, HashedPieces | None] = {}
    for index in wanted:
        found[index] = _by_layer(metainfo, pieces, index) or _by_v1(metainfo, pieces, index, padded.get(index))
    return {index: each for index, each in found.items() if each is not None and each.numbers}


def _by_layer(metainfo: Metainfo, pieces: PieceMap, index: int) -> HashedPieces | None:
    file, length = metainfo.files[index], metainfo.piece_length
    if file.pieces_root is None:
        return None
    digests = root = bytes.fromhex(file.pieces_root)
    if file.size > length:
        digests = metainfo.piece_layers.get(root, b"")
    else:
        length = max(BLOCK, 1 << (file.size - 1).bit_length())
    numbers = pieces.pieces_of(index)
    if len(digests) != len(numbers) * _SHA256:
        return None
    return HashedPieces(numbers, 0, file.size, length, digests, v2=True, padded=False)


def _by_v1(metainfo: Metainfo, pieces: PieceMap, index: int, padding: int | None) -> HashedPieces | None:
    """`padding` is how many zeros follow the file, None where another file does."""
    if not metainfo.v1_pieces:
        return None
    length, size = metainfo.piece_length, metainfo.files[index].size
    begin = pieces.offset_of(index)
    first, end = -(-begin // length), begin + size
    # The last piece is the file's own where nothing else follows in it; the torrent's last one may be shorter.
    past, over = divmod(end, length)
    whole = padding is not None and (padding == 0 or over + padding == length)
    numbers = range(first, past + bool(over and whole))
    digests = metainfo.v1_pieces[numbers.start * _SHA1 : numbers.stop * _SHA1]
    return HashedPieces(numbers, first * length - begin, size, length, digests, v2=False, padded=bool(padding))


def _padded(metainfo: Metainfo) -> dict[int, int]:
    """Return how many bytes of pad files follow those files that no other file follows at once; 0 for the last."""
    found: dict[int, int] = {}
    last: int | None = None
    for index, size in metainfo.v1_spans:
        if not size:
            continue
        if index is None:
            if last is not None:
                found[last] = size
            last = None
        else:
            last = index
    if last is not None:
        found[last] = 0
    return found
