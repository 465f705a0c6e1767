"""A torrent without a manifest: its pieces are the only witness, so they are all heard, by our own hashing."""

from __future__ import annotations

import hashlib
from pathlib import Path

from weightswarm.errors import ContentMismatch
from weightswarm.expected import wrong_by_v1
from weightswarm.hashing import V1Layout, choose_piece_length, hash_tree
from weightswarm.manifest import FileEntry, Manifest, path_order, with_revision
from weightswarm.metainfo import Metainfo
from weightswarm.progress import Note, Phase, Progress, Report
from weightswarm.registry import Announcement
from weightswarm.storage import storage_errors


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


def check_published_digests(announcement: Announcement, staged: dict[str, Path], report: Report) -> None:
    """Compare staged files (by path) with the MD5s that were published of them. Raises `ContentMismatch`.

    That is no proof, since MD5 can be forged: it finds what is not the file that everybody else got. A digest that
    names no file, or none of these, is left alone and reported.
    """
    wrong: list[str] = []
    agreeing: list[str] = []
    for digest in announcement.digests:
        named = [path for path in staged if digest.path is not None and f"/{path}".endswith(f"/{digest.path}")]
        if len(named) != 1:
            report(Note(f"The published MD5 {digest.value} is not checked: it is of {digest.path or 'no named file'}."))
            continue
        with storage_errors(staged[named[0]]), open(staged[named[0]], "rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        (agreeing if found == digest.value else wrong).append(named[0])
    if wrong:
        raise ContentMismatch(
            f"What was downloaded does not have the MD5 that was published: {', '.join(wrong[:5])}",
            paths=tuple(wrong),
            hint="nothing was placed; the link, the torrent or what was published is wrong",
        )
    if agreeing:
        report(Note(f"As published, by MD5 (no proof): {', '.join(agreeing[:5])}."))
