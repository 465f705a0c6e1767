"""The Hugging Face Hub as a release's web seed: the folder of the commit that its files mirror."""

from __future__ import annotations

from dataclasses import replace

from weightswarm.errors import InvalidInput
from weightswarm.metainfo import TorrentOptions
from weightswarm.webseed import HUB, with_hub_folder


def name_hub_folder(torrent: TorrentOptions, name: str, revision: str | None) -> TorrentOptions:
    """Return the options with the word `hub` among the web seeds replaced by the Hub's folder of a commit.

    Raises `InvalidInput` where no commit is known.
    """
    if HUB not in torrent.web_seeds:
        return torrent
    if revision is None:
        raise InvalidInput(
            "-w hub needs the Hub's commit that the files mirror",
            hint="give --revision COMMIT, or publish ORG/MODEL out of the Hub's cache",
        )
    return replace(torrent, web_seeds=with_hub_folder(torrent.web_seeds, name, revision))
