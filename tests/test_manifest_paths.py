"""A path that a release may hold stays inside its folder and means one file, on every system."""

from __future__ import annotations

import os
import tempfile
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samples import PROPERTY, path_components, release_paths
from weightswarm.manifest import MAX_DEPTH, check_path, check_paths_distinct, is_ignored, paths

_TRICKS = (
    "..",
    ".",
    "",
    "...",
    "~",
    "C:",
    "c$",
    "?",
    "con",
    "NUL.txt",
    " ",
    "a ",
    "a.",
    "..\\..",
    "\u2025",
    "\uff0e\uff0e",
)
hostile_paths = st.lists(
    st.one_of(st.sampled_from(_TRICKS), st.text(st.characters(), max_size=6), path_components()), max_size=6
).flatmap(lambda parts: st.sampled_from(["/", "//", "\\", ":"]).map(lambda separator: separator.join(parts)))


@PROPERTY
@given(hostile_paths | st.text(st.characters(), max_size=40))
def test_no_accepted_path_resolves_outside_its_root(path: str) -> None:
    if check_path(path) is not None:
        return
    root = Path(tempfile.gettempdir()).resolve() / "no-such-root"
    assert os.path.normpath(root / path) == f"{root}/{path}", "no component is dropped, none climbs"
    assert (root / path).resolve().is_relative_to(root)
    assert PurePosixPath(path).parts == tuple(path.split("/"))
    on_windows = PureWindowsPath("C:\\root", path)
    assert on_windows.parts == ("C:\\", "root", *path.split("/"))


@PROPERTY
@given(st.text(st.characters(), max_size=40))
def test_an_accepted_path_is_printable_utf_8(path: str) -> None:
    if check_path(path) is None:
        assert path.encode().decode() == path
        assert not {unicodedata.category(c) for c in path} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@PROPERTY
@given(path_components())
def test_a_name_is_judged_alike_at_every_depth(name: str) -> None:
    assert check_path(f"a/{name}") is None
    assert check_path(f"{name}/a") is None
    assert check_path(f"a/{name}/../b") is not None


@pytest.mark.parametrize(
    "path",
    [
        "config.json",
        "model-00001-of-00163.safetensors",
        "tokenizer/vocab.txt",
        "a b/c (1).bin",
        ".gitattributes",
        ".gitignore",
        "Größe/模型.bin",
        "e\u0301.txt",
        "..a/b..c",
        "console.txt",
        "com10.txt",
        "auxiliary",
        "a" * 255,
        "/".join(["d"] * 32),
    ],
)
def test_ordinary_paths_are_allowed(path: str) -> None:
    assert check_path(path) is None


REFUSED = {
    "": "empty",
    "/": "absolute",
    "/etc/passwd": "absolute",
    "//server/share/x": "absolute",
    "..": "component",
    "../x": "component",
    "a/../../x": "component",
    "a/..": "component",
    ".": "component",
    "./a": "component",
    "a/./b": "component",
    "a//b": "component",
    "a/": "component",
    "a\\b": "backslash",
    "..\\x": "backslash",
    "\\\\server\\share\\x": "backslash",
    "\\\\?\\C:\\x": "backslash",
    "C:": "colon",
    "C:/x": "colon",
    "c:x": "colon",
    "a/b:stream": "colon",
    "con": "device",
    "CON": "device",
    "nul.txt": "device",
    "a/Aux.tar.gz": "device",
    "prn": "device",
    "COM1": "device",
    "com9.bin": "device",
    "lpt1": "device",
    "com¹": "device",
    "LPT³.x": "device",
    "CONIN$": "device",
    "conout$": "device",
    "nul .txt": "device",
    "a.": "dot or a space",
    "a ": "dot or a space",
    "a./b": "dot or a space",
    "a /b": "dot or a space",
    "...": "dot or a space",
    "a\nb": "control",
    "a\x00b": "control",
    "\x1b[2J": "control",
    "a\x7fb": "control",
    "a\x85b": "control",
    "a\x9bb": "control",
    "gpj.\u202eexe": "bidi",
    "a\u2066b": "bidi",
    "a\u200eb": "bidi",
    "a\u061cb": "bidi",
    "a\u200bb": "invisible",
    "a\u200db": "invisible",
    "\ufeffa": "invisible",
    "a\u00adb": "invisible",
    "a\u2028b": "invisible",
    "a\u2029b": "invisible",
    "a\U000e0041b": "invisible",
    "a\ud800b": "invisible",
    ".git": "reserved",
    ".GIT/hooks/post-checkout": "reserved",
    "a/.Git/config": "reserved",
    ".weightswarm/x": "reserved",
    ".pad/16": "reserved",
    "a" * 256: "255 bytes",
    "é" * 128: "255 bytes",
    "/".join(["d" * 200] * 6): "1024 bytes",
    "/".join(["d"] * 33): "32 folders",
    "a" * 100_000: "1024 bytes",
}


@pytest.mark.parametrize(("path", "reason"), REFUSED.items(), ids=lambda text: ascii(text[:40]))
def test_hostile_paths_are_refused_with_the_reason(path: str, reason: str) -> None:
    assert reason in (check_path(path) or "allowed")


@PROPERTY
@given(release_paths())
def test_distinct_paths_collide_with_no_case_or_form_of_themselves(paths: list[str]) -> None:
    assert check_paths_distinct(paths) is None
    for form in ("NFC", "NFD"):
        for alias in (unicodedata.normalize(form, paths[-1]), unicodedata.normalize(form, paths[-1].casefold())):
            assert check_paths_distinct([*paths, alias]) is not None


@pytest.mark.parametrize(
    ("paths", "path", "reason"),
    [
        (["a", "b", "a"], "a", "twice"),
        (["Model.bin", "model.bin"], "model.bin", "case"),
        (["é", "e\u0301"], "e\u0301", "Unicode form"),
        (["É/x", "e\u0301/X"], "e\u0301/X", "Unicode form"),
        (["straße", "STRASSE"], "STRASSE", "case"),
        (["ΣΑΣ", "σας"], "σας", "case"),
        (["\u212a", "k"], "k", "case"),
        (["\u1fb7", "\u1fbc\u0342"], "\u1fbc\u0342", "case"),
        (["a", "a/b"], "a", "folder"),
        (["a/b/c", "a"], "a", "folder"),
        (["A", "a/b"], "A", "folder"),
        (["x/e\u0301/y", "X/é"], "X/é", "folder"),
    ],
)
def test_paths_that_mean_one_file_somewhere_collide(paths: list[str], path: str, reason: str) -> None:
    collision = check_paths_distinct(paths)
    assert collision is not None
    assert collision[0] == path
    assert reason in collision[1]


def test_neighbours_do_not_collide() -> None:
    assert check_paths_distinct(["a", "a.b", "a-b/c", "a b", "ab/a", "b/a", "B/c"]) is None


def test_a_desktops_and_a_hub_clients_droppings_are_left_out_of_releases() -> None:
    assert all(map(is_ignored, [".git", "a/.git", ".weightswarm", "a/.DS_Store", ".cache/huggingface"]))
    assert not any(map(is_ignored, [".gitattributes", "git", ".cache", "a/.cache/huggingface", "huggingface"]))


# --- at one look, and closely ---------------------------------------------------------------------------------------

_ODD = ["con", "CON.x", "nul.tar.gz", "com1", "lpt9.", "a.", ".", "..", "-", "a+b", ".git", "x" * 255, "x" * 256, ""]
plain_components = st.sampled_from(_ODD) | st.text("abcnouCOM19._-+ :\u00e9", min_size=1, max_size=6)


@given(st.lists(plain_components, min_size=1, max_size=MAX_DEPTH + 1))
@PROPERTY
def test_what_is_allowed_at_one_look_is_allowed_closely(components: list[str]) -> None:
    path = "/".join(components)
    assert not paths._PLAIN.fullmatch(path) or paths._closely(path) is None


@pytest.mark.parametrize("path", ["model-00001.safetensors", "a/b.c/d_e", "conv.py", "x" * 255, "a/" * 31 + "a"])
def test_ordinary_paths_take_one_look(path: str) -> None:
    assert paths._PLAIN.fullmatch(path)


@given(st.lists(st.text("aAb./\u00e9\n\0", min_size=1, max_size=4), max_size=12))
@PROPERTY
def test_paths_that_are_distinct_at_one_look_are_distinct_closely(listed: list[str]) -> None:
    assert not paths._clearly_distinct(listed) or paths._collision(listed) is None


def test_ordinary_paths_are_distinct_at_one_look() -> None:
    assert paths._clearly_distinct(["a/b", "a/c", "a.c", "a-b", "b"])
    assert not paths._clearly_distinct(["a", "a/b", "a.c"])
