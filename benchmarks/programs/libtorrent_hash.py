"""A hybrid torrent as libtorrent itself makes it: `libtorrent_hash.py FOLDER PIECE_LENGTH OUTPUT`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import libtorrent as lt


def main() -> None:
    """Hash the folder with `set_piece_hashes` and write the torrent."""
    folder, piece_length, output = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    storage = lt.file_storage()
    lt.add_files(storage, str(folder))
    torrent = lt.create_torrent(storage, piece_length)
    lt.set_piece_hashes(torrent, str(folder.parent))
    output.write_bytes(lt.bencode(cast("Any", torrent.generate())))


if __name__ == "__main__":
    main()
