"""Progress as frozen values: workflows report, whoever called them draws (or does not)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class Phase(Enum):
    """The parts of a workflow that a person may have to wait for."""

    HASHING = "hashing"
    METADATA = "metadata"
    REUSING = "reusing"
    COMPARING = "comparing"
    CHECKING = "checking"
    DOWNLOADING = "downloading"
    VERIFYING = "verifying"
    SEEDING = "seeding"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where one phase stands. Sizes are bytes, rates bytes a second; `total` is 0 where none is known.

    `note` is a short sentence for phases that have no byte count, such as waiting for metadata; of a download it says
    who gives, when those are not peers alone.
    """

    phase: Phase
    done: int = 0
    total: int = 0
    download_rate: int = 0
    upload_rate: int = 0
    uploaded: int = 0
    peers: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """One sentence the user should see once: a peer-less magnet, a pinned revision, a file left out."""

    text: str


Report = Callable[[Progress | Note], None]


def silent(_event: Progress | Note) -> None:
    """The callback that shows nothing."""
