"""A torrent without a manifest: its pieces are the only witness, so they are all heard, by our own hashing."""

from __future__ import annotations

from pathlib import Path

from weightswarm.errors import ContentMismatch
from weightswarm.expected import wrong_by_v1
from weightswarm.hashing import V1Layout, choose_piece_length, hash_tree
from weightswarm.manifest import FileEntry, Manifest, path_order, with_revision
from weightswarm.metainfo import Metainfo
from weightswarm.progress import Phase, Progress, Report


def manifest_from_pieces(metainfo: Metainfo, staged: dict[str, Path], name: str, report: Report) -> Manifest:
    """Return the manifest of `staged` files (by path) after checking them against the torrent's own hashes.

    v2 torrents by each file's `pieces_root`, v1 by every piece. Raises `ContentMismatch`, naming the files.
    """
    total = metainfo.total_size
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        report(Progress(Phase.VERIFYING, min(done, total), total))

    files = [(staged[file.path], file.size) for file in metainfo.files]
    piece_length = choose_piece_length([file.size for file in metainfo.files])
    hashes = hash_tree(files, piece_length=piece_length, v1_layout=V1Layout.NONE, on_bytes=count).files
    entries = tuple(
        FileEntry(file.path, file.size, h.sha256.hex(), h.pieces_root.hex() if h.pieces_root else None)
        for file, h in zip(metainfo.files, hashes, strict=True)
    )
    if metainfo.info_hash.v2 is not None:
        wrong = [f.path for f, e in zip(metainfo.files, entries, strict=True) if f.pieces_root != e.pieces_root]
    else:
        wrong = wrong_by_v1(metainfo, staged)
    if wrong:
        raise ContentMismatch(
            f"What was downloaded does not match the torrent's hashes: {', '.join(wrong[:5])}", paths=tuple(wrong)
        )
    return with_revision(Manifest(name, "", tuple(sorted(entries, key=path_order))), None)
