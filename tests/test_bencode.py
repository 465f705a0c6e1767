"""Bencoding: one form out, strict and bounded on the way in."""

from __future__ import annotations

from typing import Any

import libtorrent as lt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samples import PROPERTY
from weightswarm.errors import InvalidMetainfo
from weightswarm.metainfo import bdecode, bencode

values = st.recursive(
    st.binary(max_size=20) | st.integers(-(2**63), 2**63 - 1),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.binary(max_size=8), inner, max_size=5),
    max_leaves=30,
)


@PROPERTY
@given(values)
def test_a_value_survives_its_own_bytes(value: Any) -> None:
    assert bdecode(bencode(value)) == value


@PROPERTY
@given(values)
def test_values_are_written_as_libtorrent_writes_them(value: Any) -> None:
    assert bencode(value) == lt.bencode(value)


@PROPERTY
@given(st.binary(max_size=60) | st.text(st.sampled_from("dlei0123456789:-ax"), max_size=40).map(str.encode))
def test_arbitrary_bytes_are_a_value_or_refused_and_nothing_else(data: bytes) -> None:
    try:
        value = bdecode(data)
    except InvalidMetainfo as error:
        assert str(error).isprintable()
    else:
        assert len(bencode(value)) == len(data)


@PROPERTY
@given(values, st.data())
def test_changed_bytes_are_a_value_or_refused_and_nothing_else(value: Any, data: st.DataObject) -> None:
    changed = bytearray(bencode([value]))
    start = data.draw(st.integers(0, len(changed)))
    changed[start : start + data.draw(st.integers(0, 2))] = data.draw(
        st.sampled_from([b"", b"e", b"d", b"i", b"9", b":"])
    )
    try:
        bdecode(bytes(changed))
    except InvalidMetainfo as error:
        assert str(error).isprintable()


@PROPERTY
@given(values, st.binary(min_size=1, max_size=5))
def test_no_value_is_followed_by_anything(value: Any, tail: bytes) -> None:
    with pytest.raises(InvalidMetainfo):
        bdecode(bencode(value) + tail)


@PROPERTY
@given(values)
def test_no_value_that_is_cut_off_is_read(value: Any) -> None:
    data = bencode([value])
    for end in range(len(data)):
        with pytest.raises(InvalidMetainfo):
            bdecode(data[:end])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"i",
        b"ie",
        b"i-e",
        b"i-0e",
        b"i00e",
        b"i01e",
        b"i-01e",
        b"i+1e",
        b"i1.0e",
        b"i 1e",
        b"i1",
        b"i1_0e",
        b"i0x1e",
        "i٣e".encode(),
        b"i" + b"9" * 100 + b"e",
        b"01:a",
        b"00:",
        b"-1:a",
        b"+1:a",
        b"1 :a",
        b"2:a",
        b"1a",
        b"1",
        b":",
        b"99999999999:a",
        b"9" * 5000 + b":a",
        b"l",
        b"li1e",
        b"d",
        b"d1:a",
        b"d1:ae",
        b"d1:ai1e",
        b"di1e1:ae",
        b"dl1:aei1ee",
        b"d01:ai1ee",
        b"e",
        b"x",
        b"le1:a",
        b"lee",
    ],
)
def test_malformed_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidMetainfo, match="Invalid torrent: "):
        bdecode(data)


@pytest.mark.parametrize("data", [b"d1:ai1e1:ai2ee", b"d1:ai1e1:bi2e1:ai1ee", b"ld1:ai1e1:ai1eee"])
def test_a_key_that_stands_twice_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(InvalidMetainfo, match="'a' stands twice"):
        bdecode(data)


def test_keys_out_of_order_are_read_as_other_clients_read_them() -> None:
    assert bdecode(b"d1:bi1e1:ai2ee") == {b"a": 2, b"b": 1}
    assert bencode({b"b": 1, b"a": 2}) == b"d1:ai2e1:bi1ee"


@pytest.mark.parametrize(("opening", "closing"), [(b"l", b"e"), (b"d1:a", b"e")])
def test_nesting_is_bounded(opening: bytes, closing: bytes) -> None:
    bdecode(opening * 60 + b"i0e" + closing * 60)
    for depth in (70, 1_000, 100_000):
        with pytest.raises(InvalidMetainfo, match="nested"):
            bdecode(opening * depth + b"i0e" + closing * depth)


def test_the_count_of_values_is_bounded() -> None:
    assert len(bdecode(b"l" + b"0:" * 10_000 + b"e")) == 10_000
    with pytest.raises(InvalidMetainfo, match="2,000,000 values"):
        bdecode(b"l" + (b"l" + b"0:" * 200_000 + b"e") * 10 + b"e")
    with pytest.raises(InvalidMetainfo, match="list holds more than 250,000 items"):
        bdecode(b"l" + b"0:" * 250_001 + b"e")
    with pytest.raises(InvalidMetainfo, match="dictionary holds more than 250,000 items"):
        bdecode(b"d" + b"".join(b"6:%06d0:" % number for number in range(250_001)) + b"e")


@pytest.mark.parametrize("value", ["text", None, 1.5, (1,), {"text": 1}, [None]])
def test_only_bencodable_values_are_written(value: Any) -> None:
    with pytest.raises(TypeError, match="not bencodable"):
        bencode(value)
