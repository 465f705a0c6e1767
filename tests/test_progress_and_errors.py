"""Errors have one root, say what they mean on one line, and cannot act on a terminal; progress is a plain value."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samples import PROPERTY
from weightswarm import errors
from weightswarm.errors import (
    ContentMismatch,
    InvalidManifest,
    InvalidMetainfo,
    NotPublishable,
    OutOfSpace,
    SourceChanged,
    StorageFailure,
    SwarmTimeout,
    WeightswarmError,
    printable,
)
from weightswarm.progress import Note, Phase, Progress, silent


@PROPERTY
@given(st.text(st.characters(), max_size=60))
def test_nothing_a_stranger_wrote_reaches_the_terminal_raw(text: str) -> None:
    assert printable(text).isprintable()
    if text.isprintable():
        assert printable(text) == text
    for error in (
        WeightswarmError(text, hint=text),
        InvalidManifest(text, entry=text),
        InvalidMetainfo(text),
        NotPublishable(text, text),
        SourceChanged(text, text),
        StorageFailure(text, text, hint=text),
    ):
        assert str(error).isprintable()
        assert (error.hint or "").isprintable()


@pytest.mark.parametrize(
    "text", ["\x1b[2J", "\r", "\n", "\x07", "\x9b2J", "\u202e", "\u2066", "\u2028", "\udcff", "\x7f"]
)
def test_what_a_terminal_would_act_on_is_escaped(text: str) -> None:
    assert printable(f"a{text}b").isprintable()
    assert "\\" in printable(text)


def test_every_error_has_the_one_root() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(classes) > 10
    assert all(issubclass(one, WeightswarmError) for one in classes)


def test_errors_carry_what_they_are_about() -> None:
    assert InvalidManifest("bad", entry="a/b").entry == "a/b"
    assert ContentMismatch("bad", paths=("a",)).paths == ("a",)
    changed = SourceChanged("/m/a", "shrank")
    assert (changed.paths, changed.reason, str(changed)) == (("/m/a",), "shrank", "/m/a shrank since it was published")
    full = OutOfSpace("/hub", needed=2000, free=1)
    assert (full.needed, full.free) == (2000, 1)
    assert "2,000" in str(full)
    assert full.hint is not None
    assert SwarmTimeout("late", after=1.5).after == 1.5
    assert NotPublishable("a", "is a socket").reason == "is a socket"


def test_a_very_long_entry_does_not_make_a_very_long_line() -> None:
    assert len(str(InvalidManifest("bad", entry="x" * 100_000))) < 400


def test_progress_is_frozen_and_silence_is_a_callback() -> None:
    progress = Progress(Phase.HASHING, done=1, total=2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        progress.done = 2  # type: ignore[misc]
    silent(progress)
    silent(Note("a sentence"))
