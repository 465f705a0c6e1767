"""What tests of faults share: a source that counts what it gives, and the check that nothing wrong is visible."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import libtorrent as lt

from hostile import contents, loopback_session, wait_until
from weightswarm import PeerAddress, Release
from weightswarm.metainfo import magnet_of

MIB = 2**20


class Source:
    """A plain session that seeds a release, and counts what it gives."""

    def __init__(self, release: Release, rate: int, **settings: Any) -> None:
        parameters = lt.add_torrent_params()
        parameters.ti = lt.torrent_info(release.metainfo.data)
        storage = parameters.ti.layout()
        own = [i for i in range(storage.num_files()) if not storage.file_flags(i) & lt.file_storage.flag_pad_file]
        parameters.renamed_files = dict(zip(own, map(str, release.locations), strict=True))
        parameters.save_path = str(release.locations[0].parent)
        parameters.flags = lt.torrent_flags.seed_mode | lt.torrent_flags.upload_mode
        self.session = loopback_session(**settings)
        self.handle = self.session.add_torrent(parameters)
        self.handle.set_upload_limit(rate)
        wait_until(lambda: self.handle.status().is_seeding, "the source does not seed")
        self.magnet = str(magnet_of(release.metainfo, peers=(PeerAddress("127.0.0.1", self.session.listen_port()),)))

    @property
    def given(self) -> int:
        """Payload bytes sent to anybody."""
        return int(self.handle.status().total_payload_upload)


def all_right(hub: Path, folder: Path) -> bool:
    """Check that everything visible is whole and right; return whether the model is there."""
    repository = hub / "models--org--model"
    for blob in (repository / "blobs").glob("*"):
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    snapshots = list((repository / "snapshots").glob("*"))
    for snapshot in snapshots:
        assert contents(snapshot) == contents(folder)
    main = repository / "refs" / "main"
    if main.exists():
        assert [main.read_text()] == [snapshot.name for snapshot in snapshots]
    return bool(snapshots)
