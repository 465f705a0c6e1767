"""Progress on stderr: tqdm bars on a terminal, a line every few seconds elsewhere, nothing with `-q`."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn, Protocol

import click

from weightswarm.errors import printable
from weightswarm.progress import Note, Phase, Progress, Report, silent

if TYPE_CHECKING:
    from tqdm import tqdm

_LINE_SECONDS = 5.0
_BAR = "{desc:<12}{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
_TITLES = {
    Phase.HASHING: "Hashing",
    Phase.METADATA: "Metadata",
    Phase.REUSING: "Reusing",
    Phase.COMPARING: "Comparing",
    Phase.CHECKING: "Checking",
    Phase.DOWNLOADING: "Downloading",
    Phase.VERIFYING: "Verifying",
    Phase.SEEDING: "Seeding",
}


class _Reporter(Protocol):
    def __call__(self, event: Progress | Note) -> None: ...

    def close(self) -> None: ...


@contextmanager
def reporting(quiet: bool) -> Iterator[Report]:
    """Yield the callback that draws progress as this stderr can show it."""
    if quiet:
        yield silent
        return
    reporter: _Reporter = _Bars() if sys.stderr.isatty() else _Lines()
    lock = threading.Lock()

    def report(event: Progress | Note) -> None:
        # Hashing threads report too.
        with lock:
            reporter(event)

    try:
        yield report
    finally:
        reporter.close()


def size_text(size: float) -> str:
    """Return a size or rate in bytes as people read it, in units of 1024."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1000 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}" if size < 100 else f"{size:.0f} {unit}"


class _Bars:
    """One bar a phase, in the order the phases begin."""

    def __init__(self) -> None:
        self._bars: dict[Phase, tqdm[NoReturn]] = {}

    def __call__(self, event: Progress | Note) -> None:
        if isinstance(event, Note):
            from tqdm import tqdm

            tqdm.write(printable(event.text), file=sys.stderr)
            return
        bar = self._bars.get(event.phase)
        if bar is None:
            for passing in (Phase.METADATA, Phase.CHECKING):
                if event.phase is not passing:
                    self._drop(passing)
            bar = self._bars[event.phase] = self._bar(event)
        if event.phase in (Phase.METADATA, Phase.SEEDING):
            bar.set_description_str(_sentence(event), refresh=True)
            return
        if event.total:
            bar.total = event.total
        if event.phase is Phase.DOWNLOADING:
            bar.set_postfix_str(event.note or _peers(event.peers), refresh=False)
        bar.update(event.done - bar.n)
        if event.done >= event.total:
            bar.refresh()

    def _bar(self, event: Progress) -> tqdm[NoReturn]:
        # Only who sees bars waits for them to load.
        from tqdm import tqdm

        wordy = event.phase in (Phase.METADATA, Phase.SEEDING)
        bar: tqdm[NoReturn] = tqdm(
            total=event.total,
            desc=_TITLES[event.phase],
            unit="iB",
            unit_scale=True,
            unit_divisor=1024,
            file=sys.stderr,
            dynamic_ncols=True,
            # What is here already is no speed.
            initial=0 if wordy else event.done,
            leave=not wordy and event.phase is not Phase.CHECKING,
            bar_format="{desc}" if wordy else _BAR,
            mininterval=0.1,
        )
        return bar

    def _drop(self, phase: Phase) -> None:
        if (bar := self._bars.pop(phase, None)) is not None:
            bar.close()

    def close(self) -> None:
        for phase in list(self._bars):
            self._drop(phase)


class _Lines:
    """Plain lines for logs: the first and the last word of each phase, and one every few seconds between."""

    def __init__(self) -> None:
        self._last: dict[Phase, float] = {}
        self._ended: set[Phase] = set()

    def __call__(self, event: Progress | Note) -> None:
        if isinstance(event, Note):
            click.echo(printable(event.text), err=True)
            return
        now = time.monotonic()
        ends = bool(event.total) and event.done >= event.total
        due = now - self._last.get(event.phase, -_LINE_SECONDS) >= _LINE_SECONDS
        if event.phase in self._ended or not (due or ends):
            return
        self._last[event.phase] = now
        if ends:
            self._ended.add(event.phase)
        click.echo(_sentence(event), err=True)

    def close(self) -> None:
        """Nothing is left open."""


def _sentence(event: Progress) -> str:
    title = _TITLES[event.phase]
    if event.phase is Phase.METADATA:
        return f"{title}: {printable(event.note)}"
    if event.phase is Phase.SEEDING:
        ratio = event.uploaded / event.total if event.total else 0.0
        count = f"{event.note}, " if event.note else ""
        return (
            f"{title}: {count}{_peers(event.peers)}, {size_text(event.upload_rate)}/s up,"
            f" {size_text(event.uploaded)} given, ratio {ratio:.2f}"
        )
    text = f"{title}: {size_text(event.done)} of {size_text(event.total)}"
    if event.phase is Phase.DOWNLOADING:
        text += f", {size_text(event.download_rate)}/s, {event.note or _peers(event.peers)}"
    return text


def _peers(count: int) -> str:
    return "1 peer" if count == 1 else f"{count:,} peers"
