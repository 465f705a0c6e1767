"""A torrent and a manifest that speak of other files are told apart by name, before any payload."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from samples import TINY, make_sample
from weightswarm.errors import ContentMismatch
from weightswarm.manifest import FileEntry, Manifest, parse_manifest
from weightswarm.metainfo import Difference, TorrentVersion, check_agreement, differences

MODEL = "model.safetensors"


def with_entry(manifest: Manifest, path: str, change: Callable[[FileEntry], FileEntry]) -> Manifest:
    return replace(manifest, files=tuple(change(e) if e.path == path else e for e in manifest.files))


def without(manifest: Manifest, *paths: str) -> Manifest:
    return replace(manifest, files=tuple(e for e in manifest.files if e.path not in paths))


@pytest.mark.parametrize("version", TorrentVersion)
def test_a_release_agrees_with_itself(tmp_path: Path, version: TorrentVersion) -> None:
    sample = make_sample(tmp_path, TINY, version)
    assert sample.metainfo.manifest is not None
    assert differences(sample.metainfo, parse_manifest(sample.metainfo.manifest)) == ()
    check_agreement(sample.metainfo, sample.manifest)
    reordered = replace(sample.manifest, files=sample.manifest.files[::-1])
    check_agreement(sample.metainfo, reordered)


CASES: dict[str, tuple[Callable[[Manifest], Manifest], str, str]] = {
    "left out of the manifest": (lambda m: without(m, MODEL), MODEL, "in the torrent but not in the manifest"),
    "added to the manifest": (
        lambda m: replace(m, files=(*m.files, FileEntry("extra.py", 1, "a" * 64, "b" * 64))),
        "extra.py",
        "in the manifest but not in the torrent",
    ),
    "empty and added": (
        lambda m: replace(m, files=(*m.files, FileEntry("extra.py", 0, "a" * 64, None))),
        "extra.py",
        "in the manifest but not in the torrent",
    ),
    "longer in the manifest": (
        lambda m: with_entry(m, MODEL, lambda e: replace(e, size=e.size + 1)),
        MODEL,
        "51,200 bytes in the torrent, 51,201 in the manifest",
    ),
    "empty in the manifest": (
        lambda m: with_entry(m, MODEL, lambda e: replace(e, size=0, pieces_root=None)),
        MODEL,
        "51,200 bytes in the torrent, 0 in the manifest",
    ),
}


@pytest.mark.parametrize("version", TorrentVersion)
@pytest.mark.parametrize("case", CASES)
def test_each_difference_is_named(tmp_path: Path, case: str, version: TorrentVersion) -> None:
    change, path, reason = CASES[case]
    sample = make_sample(tmp_path, TINY, version)
    (difference,) = differences(sample.metainfo, change(sample.manifest))
    assert difference.path == path
    assert reason in difference.reason
    with pytest.raises(ContentMismatch) as caught:
        check_agreement(sample.metainfo, change(sample.manifest))
    assert caught.value.paths == (path,)
    assert f"{path} {difference.reason}" in str(caught.value)
    assert "nothing was downloaded" in (caught.value.hint or "")


def test_a_path_of_another_case_is_two_differences(tmp_path: Path) -> None:
    sample = make_sample(tmp_path, TINY)
    found = differences(
        sample.metainfo, with_entry(sample.manifest, "config.json", lambda e: replace(e, path="Config.json"))
    )
    assert [d.path for d in found] == ["config.json", "Config.json"]


@pytest.mark.parametrize("version", [TorrentVersion.HYBRID, TorrentVersion.V2])
@pytest.mark.parametrize("root", ["0" * 64, None])
def test_another_pieces_root_is_named(tmp_path: Path, version: TorrentVersion, root: str | None) -> None:
    sample = make_sample(tmp_path, TINY, version)
    changed = with_entry(sample.manifest, MODEL, lambda e: replace(e, pieces_root=root))
    assert differences(sample.metainfo, changed) == (
        Difference(MODEL, "has another hash in the torrent than in the manifest"),
    )
    with pytest.raises(ContentMismatch, match="another hash"):
        check_agreement(sample.metainfo, changed)


def test_every_difference_is_in_the_fields_and_the_first_few_in_the_sentence(tmp_path: Path) -> None:
    sample = make_sample(tmp_path, {f"{number:02}": b"x" for number in range(20)})
    with pytest.raises(ContentMismatch) as caught:
        check_agreement(sample.metainfo, without(sample.manifest, *(f"{number:02}" for number in range(12))))
    assert len(caught.value.paths) == 12
    assert "and 7 more" in str(caught.value)


def test_another_release_of_the_same_names_and_sizes_does_not_agree(tmp_path: Path) -> None:
    one = make_sample(tmp_path / "one", {"a": b"1" * 40_000, "b": b"2"})
    other = make_sample(tmp_path / "other", {"a": b"9" * 40_000, "b": b"2"})
    assert [d.path for d in differences(one.metainfo, other.manifest)] == ["a"]
