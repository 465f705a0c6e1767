"""Harm, and the means to see it: torrents that lie, files that rot, a plain libtorrent session that serves them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, cast

import libtorrent as lt

import weightswarm
from running import CommandLine, Outcome
from weightswarm import FetchOptions, Manifest, Network, NetworkOptions, PeerAddress, PublishOptions, Release
from weightswarm.metainfo import Metainfo, TorrentVersion, bdecode, bencode, magnet_of, parse_metainfo

MANIFEST_KEY = b"weightswarm manifest"
NAME = "org/model"
WEIGHTS = "model.safetensors"
LOOPBACK = NetworkOptions(network=Network.LOOPBACK)
SLOW = 1_000_000
"""Bytes a second that leave time to act while a model comes."""

NOWHERE = f"magnet:?xt=urn:btih:{'ab' * 20}&dn=nobody"


# --- releases --------------------------------------------------------------------------------------------------------


def release_of(folder: Path, version: TorrentVersion = TorrentVersion.HYBRID, name: str = NAME) -> Release:
    """Make an honest release of a folder."""
    return weightswarm.prepare(folder, name=name, options=PublishOptions(version=version))


def edited(manifest: Manifest, path: str, /, **changes: Any) -> bytes:
    """Return the bytes of a manifest that says something else of one file."""
    files = tuple(replace(entry, **changes) if entry.path == path else entry for entry in manifest.files)
    assert files != manifest.files
    return replace(manifest, files=files).to_bytes()


def with_manifest(metainfo: Metainfo, manifest: bytes | None) -> Metainfo:
    """Return the torrent with another manifest inside, or with none; its info-hash is another."""
    document = bdecode(metainfo.data)
    document[b"info"].pop(MANIFEST_KEY)
    if manifest is not None:
        document[b"info"][MANIFEST_KEY] = manifest
    return parse_metainfo(bencode(document))


# --- serving ---------------------------------------------------------------------------------------------------------


@contextmanager
def serving(metainfo: Metainfo, locations: Sequence[Path], rate: int = 0) -> Iterator[str]:
    """Seed a torrent's files from where they stand by a plain libtorrent session on loopback; yield the magnet.

    `rate` is the most bytes a second it gives, 0 for no limit.
    """
    info = lt.torrent_info(metainfo.data)
    storage = info.layout()
    indices = [i for i in range(storage.num_files()) if not storage.file_flags(i) & lt.file_storage.flag_pad_file]
    parameters = lt.add_torrent_params()
    parameters.ti = info
    parameters.save_path = str(locations[0].parent)
    parameters.renamed_files = dict(zip(indices, map(str, locations), strict=True))
    parameters.flags = lt.torrent_flags.seed_mode | lt.torrent_flags.upload_mode
    session = loopback_session()
    handle = session.add_torrent(parameters)
    handle.set_upload_limit(rate)
    try:
        wait_until(lambda: session.listen_port() > 0 and handle.status().is_seeding, "the plain session does not seed")
        yield str(magnet_of(metainfo, peers=(PeerAddress("127.0.0.1", session.listen_port()),)))
    finally:
        session.pause()


@contextmanager
def serving_release(release: Release, rate: int = 0) -> Iterator[str]:
    """As `serving`, for an honest release."""
    with serving(release.metainfo, release.locations, rate) as magnet:
        yield magnet


def loopback_session(**settings: Any) -> lt.session:
    """Return a libtorrent session that speaks to this machine alone and looks for nobody."""
    quiet: dict[str, Any] = {
        "listen_interfaces": "127.0.0.1:0",
        "outgoing_interfaces": "127.0.0.1",
        "enable_dht": False,
        "dht_bootstrap_nodes": "",
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "allow_multiple_connections_per_ip": True,
    }
    session: lt.session = lt.session(cast("Any", {**quiet, **settings}))
    wait_until(lambda: session.listen_port() > 0, "libtorrent does not listen")
    return session


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def http_folder(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP on loopback; yield its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(folder)))
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# --- files -----------------------------------------------------------------------------------------------------------


def flip_byte(file: Path, offset: int = -1000, *, keep_times: bool = False) -> None:
    """Change one byte of a file in place, as a dying disk does; a negative offset counts from the end."""
    status = os.stat(file)
    os.chmod(file, 0o644)
    with open(file, "r+b") as stream:
        stream.seek(offset, os.SEEK_SET if offset >= 0 else os.SEEK_END)
        byte = stream.read(1)
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte[0] ^ 0xFF]))
    os.chmod(file, status.st_mode)
    if keep_times:
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def age(folder: Path, seconds: float = 60) -> None:
    """Date all files back: hashes are remembered only of files that have not just been written."""
    then = time.time_ns() - int(seconds * 1e9)
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, ns=(then, then))


def listing(folder: Path) -> dict[str, tuple[int, int, int, int, str]]:
    """Return everything below a folder with mode, size, mtime, inode and, for links, where they lead."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        status = os.lstat(path)
        link = os.readlink(path) if path.is_symlink() else ""
        found[str(path)] = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ino, link)
    return found


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder that belongs to a release, links followed."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {p: f.read_bytes() for f in files if not (p := f.relative_to(folder).as_posix()).startswith(".weightswarm/")}


def visible(hub: Path) -> list[str]:
    """Return what a model loader could see in a cache: everything outside `.locks`."""
    below = (path.relative_to(hub) for path in hub.rglob("*"))
    return sorted(path.as_posix() for path in below if path.parts[0] not in (".locks", "CACHEDIR.TAG"))


# --- commands --------------------------------------------------------------------------------------------------------


def refused(outcome: Outcome, code: int, *words: str) -> None:
    """Assert that a command failed with `code`, printed no result and said all of `words` in its `Error:` line."""
    assert outcome.code == code, f"exit code {outcome.code}\n{outcome.stderr}"
    assert outcome.stdout == ""
    errors = [line for line in outcome.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, outcome.stderr
    for word in words:
        assert word in errors[0], outcome.stderr


def fetch_json(cli: CommandLine, *arguments: str | Path, **keywords: Any) -> Any:
    """Fetch, which must succeed, and return what `--json` says."""
    return cli.ok("fetch", *arguments, "--json", **keywords).json


def place(release: Release, hub: Path, name: str = NAME) -> Path:
    """Fetch a release into a cache inside this process and return its snapshot."""
    with serving_release(release) as magnet:
        options = FetchOptions(name=name, timeout=30, network=LOOPBACK)
        return weightswarm.fetch(magnet, cache_dir=hub, options=options).path


def staged_weights(hub: Path, wanted: int = 500_000) -> Path | None:
    """Return the unfinished download of the weights in a cache once `wanted` bytes of it are on disk."""
    found = list((hub / ".locks" / "weightswarm").glob(f"*/files/{WEIGHTS}"))
    return found[0] if found and found[0].stat().st_blocks * 512 >= wanted else None


def interrupted_fetch(cli: CommandLine, hub: Path, *arguments: str) -> Path:
    """Fetch from a slow seeder, kill the process once part of the weights is on disk, and return that part."""
    process = cli.start("fetch", *arguments)
    try:
        wait_until(lambda: staged_weights(hub) is not None, "nothing arrived in staging")
    finally:
        process.kill()
        process.communicate()
    staged = staged_weights(hub)
    assert staged is not None
    return staged


def wait_until(true: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Poll until something is so, for a bounded time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def peer_of(magnet: str) -> str:
    """Return the peer address that a magnet names."""
    return magnet.rpartition("x.pe=")[2]
