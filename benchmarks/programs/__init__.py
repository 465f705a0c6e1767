"""Small programs that are measured as processes of their own, as weightswarm is."""

from pathlib import Path

_FOLDER = Path(__file__).parent
BARE_FETCH = _FOLDER / "bare_fetch.py"
HASH_LIMIT = _FOLDER / "hash_limit.py"
LIBTORRENT_HASH = _FOLDER / "libtorrent_hash.py"
READ_FILES = _FOLDER / "read_files.py"
