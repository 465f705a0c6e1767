"""A download that begins anew or gets a piece twice: what was hashed before bytes were replaced never counts."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, cast

import pytest

from test_pieces_of_files import PIECE, torrent
from weightswarm.cache import Staging
from weightswarm.errors import ContentMismatch
from weightswarm.fetching.transfer import Transfer
from weightswarm.metainfo import TorrentVersion
from weightswarm.progress import silent
from weightswarm.swarm import Checked, Event, Flushed, PieceFinished, TorrentFailed, TorrentStatus
from weightswarm.verifying import Expectation

SIZE = 6 * PIECE
PREFIX = {0, 1, 2}
ALL = set(range(6))


class ScriptedSwarm:
    """Stands for a session and its one torrent: the first half of a file comes and is hashed, then other bytes are
    written over its beginning, after a new beginning or as a piece that comes twice."""

    peer_id = b"me"
    status = TorrentStatus()
    from_web_seeds = 0

    def __init__(self, file: Path, *, anew: bool) -> None:
        self.file = file
        self.anew = anew
        self.begun = 0
        self.have: set[int] = set()
        self.events: list[Event] = []
        self.transfer: Transfer | None = None
        self.replaced = False

    def add_download(self, *_arguments: Any, **_options: Any) -> Any:
        """Begin; from the second time on with all pieces on disk."""
        self.begun += 1
        if self.begun == 1:
            self.events = [PieceFinished(cast("Any", self), piece) for piece in PREFIX]
        else:
            self.replace()
            self.have = ALL
            self.events = [Checked(cast("Any", self))]
        return self

    def replace(self) -> None:
        """Write in place."""
        self.replaced = True
        with self.file.open("r+b") as file:
            file.write(b"other bytes")

    def poll(self, _timeout: float) -> list[Event]:
        """Return what is due."""
        assert self.transfer is not None
        if not self.replaced and self.transfer._verification.hashed == len(PREFIX) * PIECE:
            if self.anew:
                return [TorrentFailed(cast("Any", self), "inconsistent", inconsistent=True)]
            self.replace()
            return [PieceFinished(cast("Any", self), piece) for piece in {0} | (ALL - PREFIX)]
        events, self.events = self.events, []
        return events

    def flush(self) -> None:
        """Say so at once."""
        self.events.append(Flushed(cast("Any", self)))

    def pieces(self) -> set[int]:
        """Return what is there."""
        return self.have

    def fetchers(self) -> set[bytes]:
        """Return nobody."""
        return set()

    new_pieces = fetchers

    def take(self, *_arguments: Any) -> None:
        """Do nothing."""

    refresh_now = remove = set_sequential = prefer = take

    def piece_layers(self, *_arguments: Any) -> None:
        """Know none."""


@pytest.mark.parametrize("anew", [True, False], ids=["a new beginning", "a piece that comes twice"])
def test_bytes_replaced_under_a_hashed_prefix_are_found(tmp_path: Path, anew: bool) -> None:
    metainfo = torrent(tmp_path, [SIZE], TorrentVersion.HYBRID)
    staging = Staging(tmp_path / ".locks" / "weightswarm", metainfo.info_hash)
    name = metainfo.files[0].path
    staging.prepare(metainfo.data, [name])
    right = (tmp_path / name).read_bytes()
    staging.swarm_file(name).write_bytes(right)
    swarm = ScriptedSwarm(staging.swarm_file(name), anew=anew)
    expected = Expectation(name, SIZE, hashlib.sha256(right).hexdigest())
    transfer = Transfer(cast("Any", swarm), metainfo, {0: expected}, staging, timeout=20, report=silent)
    swarm.transfer = transfer
    with pytest.raises(ContentMismatch, match=name):
        transfer.run(cast("Any", _Magnet()), ())
    assert swarm.replaced
    assert swarm.begun == 1 + anew


class _Magnet:
    trackers = web_seeds = peers = ()
