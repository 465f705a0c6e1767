"""What files must be, read from whatever says so: a manifest, a `SHA256SUMS`, a torrent, or the cache's blob names."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from weightswarm.errors import InvalidInput
from weightswarm.hashing import V1Layout, choose_piece_length, hash_tree
from weightswarm.manifest import FileEntry, Manifest, check_path, check_paths_distinct, parse_manifest
from weightswarm.metainfo import Metainfo, check_agreement, parse_metainfo
from weightswarm.storage import storage_errors
from weightswarm.verifying import Expectation, Fault, Finding, Report, list_files, verify_pieces, verify_tree

_MAX_BYTES = 128 * 1024 * 1024
_MAX_SUMS_BYTES = 32 * 1024 * 1024
_MAX_LINES = 200_000
_SUM_LINE = re.compile(r"\\?(?P<digest>[0-9a-fA-F]{64}) [ *](?P<path>.+)")
_TAGGED_LINE = re.compile(r"\\?(?:SHA256|SHA2-256) ?\((?P<path>.+)\) ?= (?P<digest>[0-9a-fA-F]{64})")


@dataclass(frozen=True, slots=True)
class Expected:
    """What a tree must hold. `metainfo` is set when a torrent said so, alone where it has no manifest.

    `unknown` are files that belong there and that nothing gives a hash for. `sums` is the `SHA256SUMS` file that says
    it, which may stand in the tree and cannot list itself.
    """

    expectations: tuple[Expectation, ...]
    manifest: Manifest | None = None
    metainfo: Metainfo | None = None
    unknown: tuple[str, ...] = ()
    sums: Path | None = None

    @classmethod
    def of_entries(cls, entries: list[FileEntry]) -> Expected:
        """What a manifest's entries demand."""
        return cls(tuple(Expectation.of(entry) for entry in entries))

    @classmethod
    def of_blob_names(cls, snapshot: Path, blobs: Path) -> Expected:
        """What the Hub's cache says by naming blobs after their content; files that are no links say nothing."""
        expectations, unknown = [], []
        for path in list_files(snapshot):
            file = snapshot / path
            blob = os.path.basename(os.readlink(file)) if file.is_symlink() else ""
            if re.fullmatch(r"[0-9a-f]{64}", blob):
                expectations.append(Expectation(path, None, blob))
            elif re.fullmatch(r"[0-9a-f]{40}", blob):
                expectations.append(Expectation(path, None, None, blob))
            else:
                unknown.append(path)
        if not expectations:
            raise InvalidInput(f"{blobs.parent.name} has no manifest", hint="name one with --manifest")
        return cls(tuple(expectations), unknown=tuple(unknown))

    def size_below(self, root: Path) -> int:
        """Return the bytes to hash; sizes that nothing tells are those on disk."""
        return sum(_size(root / e.path) if e.size is None else e.size for e in self.expectations)

    def verify(self, root: Path, on_bytes: Callable[[int], None]) -> Report:
        """Compare the tree below `root`."""
        report = verify_tree(root, self.expectations, on_bytes=on_bytes)
        if self.unknown:
            known = [f for f in report.findings if f.path not in self.unknown]
            unknown = [Finding(path, Fault.UNKNOWN) for path in self.unknown]
            report = replace(report, findings=tuple(sorted((*known, *unknown), key=lambda f: f.path)))
        if self.sums is not None:
            report = replace(report, findings=tuple(f for f in report.findings if not self._is_the_list(root, f)))
        if self.manifest is not None or self.metainfo is None:
            return report
        faulty = {finding.path for finding in report.findings}
        wrong = [
            Finding(path, Fault.WRONG_HASH, "does not match the torrent's piece hashes")
            for path in _wrong_by_pieces(self.metainfo, root)
            if path not in faulty
        ]
        return replace(report, findings=tuple(sorted((*report.findings, *wrong), key=lambda f: f.path)))

    def _is_the_list(self, root: Path, finding: Finding) -> bool:
        assert self.sums is not None
        try:
            return finding.fault is Fault.EXTRA and (root / finding.path).samefile(self.sums)
        except OSError:  # a link that leads nowhere
            return False


def wrong_by_v1(metainfo: Metainfo, located: dict[str, Path]) -> list[str]:
    """Return the files that touch a v1 piece whose hash is wrong. `located` maps paths to where files stand."""
    # A pad file has no place on disk, and a missing file counts as zeros: just what it stands for (BEP 47).
    spans = [
        (Path("/dev/null") if index is None else located[metainfo.files[index].path], size)
        for index, size in metainfo.v1_spans
    ]
    bad = verify_pieces(spans, metainfo.v1_pieces, metainfo.piece_length)
    indices = {metainfo.v1_spans[number][0] for number in bad}
    return [file.path for file in metainfo.files if file.index in indices]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def expected_by_file(path: Path) -> Expected:
    """Read a manifest, a torrent or a `SHA256SUMS` file, told apart by content.

    Raises `InvalidInput`, `InvalidManifest`, `InvalidMetainfo`, `StorageFailure`.
    """
    with storage_errors(path), open(path, "rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if data[:1] == b"{":
        manifest = parse_manifest(data)
        return Expected(tuple(map(Expectation.of, manifest.files)), manifest)
    if data[:1] == b"d":
        metainfo = parse_metainfo(data)
        if metainfo.manifest is not None:
            manifest = parse_manifest(metainfo.manifest)
            check_agreement(metainfo, manifest)
            return Expected(tuple(map(Expectation.of, manifest.files)), manifest, metainfo)
        return Expected(tuple(Expectation(f.path, f.size, None) for f in metainfo.files), None, metainfo)
    return Expected(_sums(data, path), sums=path)


def _sums(data: bytes, path: Path) -> tuple[Expectation, ...]:
    """Read `sha256sum`'s lines: digest, space, space or `*`, path. And BSD's and OpenSSL's: `SHA256 (path) = digest`.

    A line that begins with a backslash has escapes in its path for what no release may have in one.
    """
    if len(data) > _MAX_SUMS_BYTES or data.count(b"\n") > _MAX_LINES:
        raise InvalidInput(
            f"{path} is no SHA256SUMS file: it is over {_MAX_SUMS_BYTES:,} bytes or {_MAX_LINES:,} lines"
        )
    expectations = []
    for number, raw in enumerate(data.splitlines(), 1):
        line = raw.decode("utf-8", "replace")
        if not line.strip() or line.startswith("#"):
            continue
        match = _SUM_LINE.fullmatch(line) or _TAGGED_LINE.fullmatch(line)
        if match is None:
            raise InvalidInput(
                f"{path}, line {number}: neither a manifest, a torrent nor a SHA256SUMS line", hint="see sha256sum(1)"
            )
        name = match["path"].removeprefix("./")
        if reason := check_path(name):
            raise InvalidInput(f"{path}, line {number}: {name[:200]!r}: {reason}")
        expectations.append(Expectation(name, None, match["digest"].lower()))
    if not expectations:
        raise InvalidInput(f"{path} lists no files")
    if collision := check_paths_distinct(e.path for e in expectations):
        raise InvalidInput(f"{path}: {collision[0][:200]!r} {collision[1]}")
    return tuple(expectations)


def _wrong_by_pieces(metainfo: Metainfo, root: Path) -> list[str]:
    """Return the files whose bytes are not the torrent's: by `pieces_root` where it has them, else by v1 pieces."""
    located = {file.path: root / file.path for file in metainfo.files}
    if metainfo.info_hash.v2 is None:
        return wrong_by_v1(metainfo, located)
    readable = (f for f in metainfo.files if os.access(located[f.path], os.R_OK))
    present = [f for f in readable if located[f.path].is_file() and _size(located[f.path]) == f.size]
    hashes = hash_tree(
        [(located[f.path], f.size) for f in present],
        piece_length=choose_piece_length([f.size for f in metainfo.files]),
        v1_layout=V1Layout.NONE,
    ).files
    return [
        f.path
        for f, h in zip(present, hashes, strict=True)
        if f.pieces_root != (h.pieces_root.hex() if h.pieces_root else None)
    ]
