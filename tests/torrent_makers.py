"""Other people's makers of torrents, each as its users run it, and a maker by hand for what none of them writes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import libtorrent as lt
import pytest

from weightswarm.metainfo import bencode

KIB = 1024
MIB = 1024 * KIB
TRACKER = "http://127.0.0.1:9/announce"
"""Port 9 discards, where anybody listens at all: some tools make no torrent without a tracker."""

NPM = Path(sys.prefix) / "npm"
"""Where the Makefile installs packages from npm, beside those from PyPI."""


@dataclass(frozen=True, slots=True)
class Maker:
    """A tool with the options of one kind of torrent.

    `run` is called with source, output, piece length in bytes (None for the tool's own choice) and private flag.
    `leaves_out` says which files of a folder never get into its torrents. `folders_only`: its torrents of one file
    contradict themselves.
    """

    name: str
    run: Callable[[Path, Path, int | None, bool], None]
    piece_lengths: tuple[int | None, ...]
    leaves_out: Callable[[str, bytes], bool] = field(default=lambda _path, _data: False)
    folders_only: bool = False

    @property
    def tool(self) -> str:
        """The program, whatever its options."""
        return self.name.partition(" ")[0]

    def make(self, source: Path, output: Path, piece_length: int | None = None, *, private: bool = False) -> bytes:
        """Make a torrent of a file or folder; skip the test, loudly, where the tool is missing."""
        self.run(source, output, piece_length, private)
        return output.read_bytes()


def needed(program: str, package: str) -> str:
    """Return the path of a program, or skip the test and say what brings it."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"NOT TESTED: {program} is not here: install the Debian package {package}")
    return found


def _run(*command: str | Path) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{command[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}"


def _empty(_path: str, data: bytes) -> bool:
    return not data


def _hidden(path: str, _data: bytes) -> bool:
    return Path(path).name.startswith(".")


def _empty_or_hidden(path: str, data: bytes) -> bool:
    return _empty(path, data) or _hidden(path, data)


# --- programs ---------------------------------------------------------------------------------------------------------


def _mktorrent(source: Path, output: Path, piece_length: int | None, private: bool) -> None:
    power = [] if piece_length is None else ["-l", str(piece_length.bit_length() - 1)]
    flags = ["-p"] if private else []
    _run(needed("mktorrent", "mktorrent"), "-t", "1", "-a", TRACKER, *power, *flags, "-o", output, source)


def _transmission(source: Path, output: Path, piece_length: int | None, private: bool) -> None:
    size = [] if piece_length is None else ["--piecesize", str(piece_length // KIB)]
    flags = ["--private", "--tracker", TRACKER] if private else []
    _run(needed("transmission-create", "transmission-cli"), *size, *flags, "--outfile", output, source)


def _buildtorrent(source: Path, output: Path, piece_length: int | None, private: bool) -> None:
    size = [] if piece_length is None else ["-l", str(piece_length)]
    options = ["-q", "--md5sum", "-a", TRACKER, "-p", str(int(private)), *size]
    _run(needed("buildtorrent", "buildtorrent"), *options, source, output)


def _ctorrent(source: Path, output: Path, piece_length: int | None, private: bool) -> None:
    size = [] if piece_length is None else ["-l", str(piece_length)]
    flags = ["-p"] if private else []
    _run(needed("ctorrent", "ctorrent"), "-t", "-u", TRACKER, *size, *flags, "-s", output, source)


def _create_torrent(source: Path, output: Path, piece_length: int | None, private: bool) -> None:
    node = needed("node", "nodejs")
    command = NPM / "node_modules" / "create-torrent" / "bin" / "cmd.js"
    if not command.is_file():
        pytest.skip("NOT TESTED: create-torrent is not here: `make packages` installs it where there is npm")
    size = [] if piece_length is None else ["--pieceLength", str(piece_length)]
    flags = ["--private"] if private else []
    _run(node, command, source, "-o", output, "--announce", TRACKER, *size, *flags)


def _py3createtorrent(source: Path, output: Path, piece_length: int | None, private: bool) -> None:
    program = Path(sys.executable).with_name("py3createtorrent")
    size = [] if piece_length is None else ["-p", str(piece_length // KIB)]
    flags = ["-P"] if private else []
    _run(
        program, source, "-q", "-f", "--md5", "--source", "lab", "--node", "127.0.0.1,9", "--webseed",
        "http://127.0.0.1:9/", "--threads", "1", "-t", TRACKER, *size, *flags, "-o", output,
    )  # fmt: skip


# --- Python packages --------------------------------------------------------------------------------------------------


def _torf(source: Path, output: Path, piece_length: int | None, private: bool) -> None:
    import torf

    torrent = torf.Torrent(path=str(source), trackers=[TRACKER], private=private, source="lab", httpseeds=[TRACKER])
    if piece_length is not None:
        torrent.piece_size_min, torrent.piece_size_max = min(piece_length, 16 * KIB), max(piece_length, 64 * MIB)
        torrent.piece_size = piece_length
    torrent.generate(threads=1)
    torrent.write(str(output))


def _torrentool(source: Path, output: Path, piece_length: int | None, private: bool) -> None:
    from torrentool.api import Torrent

    assert piece_length is None, "it chooses by itself"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torrent = Torrent.create_from(source)
        torrent.private = private
        torrent.announce_urls = [TRACKER]
        torrent.to_file(str(output))


def by_torrentfile(kind: str, **more: Any) -> Callable[[Path, Path, int | None, bool], None]:
    """Return what makes torrents of a kind with torrentfile, with more of its options."""

    def run(source: Path, output: Path, piece_length: int | None, private: bool) -> None:
        from torrentfile import torrent

        makers = {"v1": torrent.TorrentFile, "v2": torrent.TorrentFileV2, "hybrid": torrent.TorrentFileHybrid}
        options = {"piece_length": piece_length, "private": private, "progress": 0, "httpseeds": [TRACKER], **more}
        with warnings.catch_warnings():
            # It leaves files open.
            warnings.simplefilter("ignore", ResourceWarning)
            makers[kind](path=str(source), **options).write(str(output))

    return run


# --- libtorrent, as qBittorrent, Deluge and others call it ------------------------------------------------------------

_FLAGS = lt.create_torrent
LIBTORRENT_FLAGS = {
    "hybrid": 0,  # qBittorrent's, with pad files and one at the end
    "v1": _FLAGS.v1_only,
    "v2": _FLAGS.v2_only,
    "v1-canonical": _FLAGS.v1_only | _FLAGS.canonical_files,
    "hybrid-no-tail": _FLAGS.canonical_files_no_tail_padding,
    "hybrid-mtime": _FLAGS.modification_time,
    "v2-canonical": _FLAGS.v2_only | _FLAGS.canonical_files,
}


def _libtorrent(flags: int) -> Callable[[Path, Path, int | None, bool], None]:
    def run(source: Path, output: Path, piece_length: int | None, private: bool) -> None:
        by_libtorrent(source, output, piece_length or 0, flags, private=private)

    return run


def by_libtorrent(source: Path, output: Path, piece_length: int, flags: int, *, private: bool = False) -> None:
    """Make a torrent as qBittorrent does: its files in its own natural order, a creator, the private flag."""
    files = [path for path in source.rglob("*") if path.is_file()] if source.is_dir() else [source]
    natural = sorted(files, key=lambda path: (str(path.parent).casefold(), path.name.casefold()))
    entries = [lt.create_file_entry(str(path.relative_to(source.parent)), path.stat().st_size) for path in natural]
    if flags & (_FLAGS.modification_time | _FLAGS.symlinks):
        entries = lt.list_files(str(source), flags=flags)
    creator = lt.create_torrent(entries, piece_length, flags=flags)
    creator.add_tracker(TRACKER)
    creator.set_creator("qBittorrent v5.1.2")
    creator.set_priv(private)
    lt.set_piece_hashes(creator, str(source.parent), lambda _piece: None)
    output.write_bytes(lt.bencode(creator.generate()))


_POWERS: tuple[int | None, ...] = (None, 16 * KIB, 64 * MIB)
_ANY: tuple[int | None, ...] = (None, 16 * KIB, 3 * MIB, 64 * MIB)

MAKERS = (
    # mktorrent takes 2^15 to 2^28, and drops no file.
    Maker("mktorrent", _mktorrent, (None, 32 * KIB, 64 * MIB)),
    Maker("transmission-create", _transmission, _POWERS, _empty_or_hidden),
    Maker("buildtorrent", _buildtorrent, _ANY),
    Maker("ctorrent", _ctorrent, (None, 64 * KIB)),
    Maker("create-torrent", _create_torrent, (None, 16 * KIB, 3 * MIB), _hidden),
    Maker("py3createtorrent", _py3createtorrent, (None, 16 * KIB, 3 * MIB)),
    Maker("torf", _torf, _ANY, _hidden),
    Maker("torrentool", _torrentool, (None,), _empty),
    Maker("torrentfile v1", by_torrentfile("v1"), (None, 16 * KIB)),
    Maker("torrentfile v2", by_torrentfile("v2"), (None, 16 * KIB), folders_only=True),
    Maker("torrentfile hybrid", by_torrentfile("hybrid"), (None, 16 * KIB), folders_only=True),
    *(
        # Hybrids hash the zeros of their pad files, too.
        Maker(f"libtorrent {kind}", _libtorrent(flags), (None, 16 * KIB, MIB) if "hybrid" in kind else _POWERS)
        for kind, flags in LIBTORRENT_FLAGS.items()
    ),
)


# --- by hand ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class V1File:
    """An entry of a v1 list: `path` as it stands there, what it holds, and more keys. Pad files hold zeros."""

    path: Sequence[bytes] | None
    data: bytes
    keys: Mapping[bytes, Any] = field(default_factory=dict)

    @property
    def entry(self) -> dict[bytes, Any]:
        """The dictionary in the list."""
        path = {} if self.path is None else {b"path": list(self.path)}
        return {b"length": len(self.data), **path, **self.keys}


def v1_torrent(
    files: Sequence[V1File],
    *,
    piece_length: int = 16 * KIB,
    info: Mapping[bytes, Any] | None = None,
    around: Mapping[bytes, Any] | None = None,
) -> bytes:
    """Return a v1 torrent of many files, with more keys in its info dict and around it."""
    data = b"".join(file.data for file in files)
    pieces = (data[i : i + piece_length] for i in range(0, len(data), piece_length))
    hashes = b"".join(hashlib.sha1(piece, usedforsecurity=False).digest() for piece in pieces)
    own = {b"name": b"model", b"piece length": piece_length, b"pieces": hashes, b"files": [f.entry for f in files]}
    return bencode({b"info": own | dict(info or {}), **(around or {})})


def link_folder(folder: Path) -> Path:
    """Write a folder with a file and a symbolic link to it."""
    folder.mkdir(parents=True)
    (folder / "blob.bin").write_bytes(os.urandom(20_000))
    (folder / "model.bin").symlink_to("blob.bin")
    return folder
