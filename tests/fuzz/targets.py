"""What is fuzzed: each target takes any bytes, and fails unless the product reads or refuses them as it promises.

Plain Python: `make fuzz` runs the targets under atheris, the tests run them over the committed corpus.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from weightswarm.errors import ContentMismatch, InvalidInput, InvalidManifest, InvalidMetainfo, WeightswarmError
from weightswarm.expected import expected_by_file
from weightswarm.magnet import looks_like_magnet, parse_magnet
from weightswarm.manifest import Manifest, check_path, magnet_model_name, parse_manifest, parse_model_name
from weightswarm.metainfo import (
    Metainfo,
    PieceMap,
    TorrentOptions,
    bdecode,
    bencode,
    check_agreement,
    differences,
    magnet_of,
    parse_info_dict,
    parse_metainfo,
    with_outer_fields,
)

Target = Callable[[bytes], bool]
"""Returns whether the bytes were accepted."""

ROOT = "/srv/no-such-root"
_OUTER = TorrentOptions(trackers=("udp://a.example:1",), web_seeds=("https://w.example/",), comment="é", created=1)


def fuzz_manifest(data: bytes) -> bool:
    """A manifest: accepted bytes are the canonical ones, and every path is inside the root."""
    try:
        manifest = parse_manifest(data)
    except InvalidManifest as error:
        return _refused(error)
    assert manifest.to_bytes() == data
    assert parse_manifest(manifest.to_bytes()) == manifest
    assert parse_model_name(manifest.name) == manifest.name
    _check_paths([entry.path for entry in manifest.files])
    return True


def fuzz_metainfo(data: bytes) -> bool:
    """A `.torrent`, or a bare info dict: its info-hash survives other outer fields, and its parts fit each other."""
    accepted = False
    for parse in (parse_metainfo, parse_info_dict):
        try:
            metainfo = parse(data)
        except InvalidMetainfo as error:
            _refused(error)
        else:
            _check_metainfo(metainfo)
            accepted = True
    return accepted


def fuzz_bencode(data: bytes) -> bool:
    """Any bencoded value: written again it has the same length, and reads the same."""
    try:
        value = bdecode(data)
    except InvalidMetainfo as error:
        return _refused(error)
    written = bencode(value)
    assert len(written) == len(data)
    assert bdecode(written) == value
    return True


def fuzz_magnet(data: bytes) -> bool:
    """A magnet link as a command line hands it over: what was read, formatted and read again is the same."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        link = parse_magnet(text)
    except InvalidInput as error:
        return _refused(error)
    assert looks_like_magnet(text)
    formatted = str(link)
    assert formatted.isascii()
    assert formatted.isprintable()
    # A link within bounds may be longer once every character of a name is quoted.
    assert len(formatted) > len(text) or parse_magnet(formatted) == link
    assert all(url.isprintable() for url in (*link.trackers, *link.web_seeds))
    parse_model_name(magnet_model_name(link.display_name or "", link.info_hash))
    return True


def fuzz_agreement(data: bytes) -> bool:
    """A torrent and its own manifest: agreed means the same paths, sizes and roots; else every path is named."""
    try:
        metainfo = parse_metainfo(data)
        manifest = parse_manifest(metainfo.manifest or b"")
    except (InvalidManifest, InvalidMetainfo) as error:
        return _refused(error)
    found = differences(metainfo, manifest)
    try:
        check_agreement(metainfo, manifest)
    except ContentMismatch as error:
        assert error.paths == tuple(difference.path for difference in found)
        return _refused(error)
    assert not found
    with_roots = metainfo.info_hash.v2 is not None
    assert _listed(manifest, with_roots) == {
        (file.path, file.size, file.pieces_root if with_roots else None) for file in metainfo.files
    }
    return True


def fuzz_expected(data: bytes) -> bool:
    """A file given to `verify --manifest`: a manifest, a torrent or `SHA256SUMS`, told apart by content."""
    file = _scratch() / "sums"
    file.write_bytes(data)
    try:
        expected = expected_by_file(file)
    except (InvalidInput, InvalidManifest, InvalidMetainfo, ContentMismatch) as error:
        return _refused(error)
    assert expected.expectations
    _check_paths([each.path for each in expected.expectations])
    return True


TARGETS: dict[str, Target] = {
    name.removeprefix("fuzz_"): target for name, target in sorted(globals().items()) if name.startswith("fuzz_")
}


def _refused(error: WeightswarmError) -> bool:
    assert str(error).isprintable()
    assert error.hint is None or error.hint.isprintable()
    assert len(str(error)) < 16_000
    return False


def _check_paths(paths: list[str]) -> None:
    assert len({os.path.normcase(path) for path in paths}) == len(paths)
    for path in paths:
        assert check_path(path) is None
        assert os.path.normpath(f"{ROOT}/{path}") == f"{ROOT}/{path}"
        assert "\\" not in path
        assert ":" not in path
        assert path.isprintable() or not path.isascii()


def _check_metainfo(metainfo: Metainfo) -> None:
    _check_paths([file.path for file in metainfo.files])
    assert check_path(metainfo.name) is None
    assert "/" not in metainfo.name
    dressed = with_outer_fields(metainfo, _OUTER)
    assert dressed.info_hash == metainfo.info_hash
    assert dressed.files == metainfo.files
    magnet = magnet_of(metainfo)
    assert parse_magnet(str(magnet)).info_hash == metainfo.info_hash
    pieces = PieceMap(metainfo)
    for file in metainfo.files[:20]:
        held = pieces.pieces_of(file.index)
        assert bool(held) == bool(file.size)
        assert not held or file.index in pieces.files_of(held[0])
        assert not held or file.index in pieces.files_of(held[-1])
        assert pieces.prefix(file.index, ()) == 0


def _listed(manifest: Manifest, with_roots: bool) -> set[tuple[str, int, str | None]]:
    return {(entry.path, entry.size, entry.pieces_root if with_roots else None) for entry in manifest.files}


@cache
def _scratch() -> Path:
    return Path(tempfile.mkdtemp(prefix="weightswarm-fuzz-"))
