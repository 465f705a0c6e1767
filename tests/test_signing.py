"""Keys and signatures are minisign's own: each verifies the other's, and what is malformed is refused."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterparts import require
from hostile import refused
from running import CommandLine
from samples import GOLDEN as KEPT
from samples import PROPERTY
from weightswarm.errors import InvalidInput, InvalidSignature
from weightswarm.signing import (
    MAX_SIGNATURE_BYTES,
    ReleaseStatement,
    SecretKey,
    Signature,
    parse_expiry,
    parse_link_value,
    parse_public_key,
    parse_rotation,
    parse_secret_key,
    parse_signature,
    parse_statement,
    rotate,
)

KEY = SecretKey.from_seed(b"\1\2\3\4\5\6\7\x08", hashlib.sha256(b"a key for tests").digest())
NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


def never() -> str:
    """The passphrase of a key that has none."""
    raise AssertionError("nobody asked for a passphrase")


# --- with the real minisign ------------------------------------------------------------------------------------------


@pytest.fixture
def minisign(tmp_path: Path) -> Callable[..., str]:
    """The real `minisign`; a passphrase, when it asks for one, is "secret"."""
    program = require("minisign", "minisign")

    def run(*arguments: str | Path, fails: bool = False) -> str:
        done = subprocess.run(
            [program, *arguments], input="secret\nsecret\n", capture_output=True, text=True, cwd=tmp_path, check=False
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.counterpart
def test_minisign_verifies_our_signatures_and_signs_with_our_keys(
    minisign: Callable[..., str], cli: CommandLine, tmp_path: Path
) -> None:
    line = cli.ok("key", "new", "lab.key", WEIGHTSWARM_KEY_PASSPHRASE="secret").result
    key = parse_secret_key((tmp_path / "lab.key").read_text(), lambda: "secret")
    assert key.public.line == line
    (tmp_path / "data").write_bytes(b"bytes of a manifest")
    (tmp_path / "data.minisig").write_bytes(key.sign(b"bytes of a manifest", "weightswarm says so").to_bytes())
    told = minisign("-V", "-m", "data", "-p", "lab.key.pub")
    assert "Trusted comment: weightswarm says so" in told
    assert "weightswarm says so" in minisign("-V", "-m", "data", "-P", line)
    (tmp_path / "data").write_bytes(b"bytes of a manifesT")
    minisign("-V", "-m", "data", "-P", line, fails=True)
    minisign("-S", "-s", "lab.key", "-m", "data", "-t", "by minisign")
    signature = parse_signature((tmp_path / "data.minisig").read_bytes())
    assert signature.trusted_comment == "by minisign"
    assert signature.shown_key_id == key.public.shown_key_id
    assert key.public.verifies(b"bytes of a manifesT", signature)


@pytest.mark.counterpart
def test_we_verify_minisigns_signatures_the_old_kind_too(minisign: Callable[..., str], tmp_path: Path) -> None:
    minisign("-G", "-W", "-p", "its.pub", "-s", "its.key")
    (tmp_path / "data").write_bytes(b"bytes")
    public = parse_public_key((tmp_path / "its.pub").read_text())
    assert parse_secret_key((tmp_path / "its.key").read_text(), never).public == public
    for legacy in (False, True):
        minisign("-S", "-s", "its.key", "-m", "data", *(["-l"] if legacy else []))
        signature = parse_signature((tmp_path / "data.minisig").read_bytes())
        assert signature.hashed is not legacy
        assert public.verifies(b"bytes", signature)
        assert not public.verifies(b"bytez", signature)
        assert parse_link_value(signature.to_link_value()) == signature
        assert parse_statement(signature.trusted_comment) == ReleaseStatement()


def test_we_open_a_secret_key_that_minisign_encrypted(cli: CommandLine) -> None:
    """Made by minisign 0.11 with the passphrase "secret", and kept, since each scrypt of its takes 1 GiB."""
    public = parse_public_key((KEPT / "minisign.pub").read_text())
    shown = cli.ok("key", "show", KEPT / "minisign.key", "--json", WEIGHTSWARM_KEY_PASSPHRASE="secret").json
    assert shown == {"key_id": public.shown_key_id, "public_key": public.line}
    assert f"minisign public key {public.shown_key_id}" in (KEPT / "minisign.pub").read_text()
    assert cli.ok("key", "show", KEPT / "minisign.pub").result == public.line


@pytest.mark.counterpart
def test_a_rotation_statement_is_a_line_that_minisign_verifies(minisign: Callable[..., str], tmp_path: Path) -> None:
    new = SecretKey.generate()
    statement = rotate(KEY, new.public, "lab").to_bytes()
    line, _, signature = statement.partition(b"\n")
    (tmp_path / "line").write_bytes(line + b"\n")
    (tmp_path / "line.minisig").write_bytes(signature)
    assert "weightswarm rotate org=lab" in minisign("-V", "-m", "line", "-P", KEY.public.line)
    read = parse_rotation(statement)
    assert (read.new, read.target, read.signed_by(KEY.public)) == (new.public, "lab", True)
    assert not read.signed_by(new.public)


# --- keys ------------------------------------------------------------------------------------------------------------


def test_a_new_key_is_readable_by_its_owner_alone_and_overwrites_nothing(cli: CommandLine, tmp_path: Path) -> None:
    made = cli.ok("key", "new", "--no-passphrase")
    path = tmp_path / "user-config" / "weightswarm" / "signing.key"
    assert path.stat().st_mode & 0o777 == 0o600
    key = parse_secret_key(path.read_text(), never)
    assert made.result == key.public.line
    assert key.public.shown_key_id in made.stderr
    assert base64.b64encode(key.seed).decode()[:20] not in made.stdout + made.stderr + repr(key)
    before = path.read_bytes()
    refused(cli("key", "new", "--no-passphrase"), 2, "is there already")
    assert path.read_bytes() == before
    refused(cli("key", "new", "other"), 2, "nobody is here to ask")
    refused(cli("key", "new", "other", WEIGHTSWARM_KEY_PASSPHRASE=""), 2, "empty")
    (tmp_path / "phrase").write_text("from a file\n")
    cli.ok("key", "new", "other", "--key-passphrase-file", "phrase")
    assert not os.path.lexists(tmp_path / "other.key")
    wrong = cli("key", "show", "other", WEIGHTSWARM_KEY_PASSPHRASE="wrong")
    refused(wrong, 2, "passphrase is wrong")


def test_a_damaged_secret_key_is_refused_at_every_byte(figure: Callable[[str, float], None]) -> None:
    whole = base64.b64decode(KEY.to_bytes(None).splitlines()[1])
    assert parse_secret_key(KEY.to_bytes(None).decode(), never) == KEY
    unread = range(6, 54)  # salt and limits, of no use without a passphrase
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        line = base64.b64encode(damaged).decode()
        if position in unread:
            assert parse_secret_key(line, never) == KEY
            continue
        with pytest.raises((InvalidSignature, InvalidInput)):
            parse_secret_key(line, never)
    figure("bytes of a secret key flipped", len(whole))


@pytest.mark.parametrize("limits", [(2**63, 2**63), (2**26, 2**40), (2**40, 2**20), (2**64 - 1, 0)])
def test_a_secret_key_that_asks_for_endless_work_is_refused_before_any(limits: tuple[int, int]) -> None:
    data = bytearray(base64.b64decode(KEY.to_bytes(None).splitlines()[1]))
    data[2:4] = b"Sc"
    data[38:54] = limits[0].to_bytes(8, "little") + limits[1].to_bytes(8, "little")
    with pytest.raises(InvalidSignature, match="more memory or work"):
        parse_secret_key(base64.b64encode(data).decode(), lambda: "secret")


@pytest.mark.parametrize(
    "text",
    ["", "RW", "RW" + "A" * 53, "RW" + "A" * 55, "RX" + "A" * 54, "AA" + "A" * 54, "é" * 56, "\0" * 56,
     "untrusted comment: x\n", "untrusted comment: x\nRW\n" + KEY.public.line, "a comment\n" + KEY.public.line],
)  # fmt: skip
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidSignature):
        parse_public_key(text)
    with pytest.raises(InvalidSignature):
        parse_secret_key(text, never)


def test_a_key_is_its_bytes_and_not_its_id() -> None:
    copied = SecretKey.from_seed(KEY.public.key_id, b"\2" * 32)
    signature = copied.sign(b"data", "comment")
    assert signature.shown_key_id == KEY.public.shown_key_id == "0807060504030201"
    assert not KEY.public.verifies(b"data", signature)
    renamed = SecretKey.from_seed(b"\0" * 8, KEY.seed).sign(b"data", "comment")
    assert not KEY.public.verifies(b"data", renamed), "as minisign, which looks for the key by its id"


# --- signatures ------------------------------------------------------------------------------------------------------


def test_the_signature_of_equal_bytes_is_equal_and_was_so_when_it_was_first_released() -> None:
    """What users pinned and kept must verify for ever: a change here is a change of format."""
    signature = KEY.sign(b"golden", COMMENT)
    assert signature.to_bytes().decode() == GOLDEN
    assert KEY.public.verifies(b"golden", parse_signature(GOLDEN.encode()))
    assert parse_statement(COMMENT) == ReleaseStatement("org/model", "ab" * 20, 3, "2027-01-01T00:00:00Z")


COMMENT = f"weightswarm name=org/model revision={'ab' * 20} version=3 expires=2027-01-01T00:00:00Z"
GOLDEN = f"""\
untrusted comment: signature by key 0807060504030201
RUQBAgMEBQYHCGYa7KYyaVuYNmwDpAT4n7s1kchnAdayAhcht17QAwsKde32iJGelLN/NJf4zjFS1+3s6EtR9uQPAGyH7UNnkwc=
trusted comment: {COMMENT}
jS4ls5xSiBCeMydjbY9Ox55V5KS7H6E9ULgsTCDQm0zWkNKoZ8csg/eBX1YFoIDJv5WCLfKlyr+bFvolJcotDQ==
"""


def test_no_flipped_bit_of_a_signature_verifies(figure: Callable[[str, float], None]) -> None:
    signature = KEY.sign(b"data", "weightswarm name=org/model revision=00 version=1")
    link = base64.urlsafe_b64decode(signature.to_link_value() + "==")
    assert parse_link_value(signature.to_link_value()) == signature
    assert KEY.public.verifies(b"data", signature)
    assert not KEY.public.verifies(b"datA", signature)
    tried = 0
    for position in range(len(link)):
        for bit in (0, 3, 7):
            flipped = bytearray(link)
            flipped[position] ^= 1 << bit
            tried += 1
            try:
                read = parse_link_value(base64.urlsafe_b64encode(flipped).rstrip(b"=").decode())
            except InvalidSignature:
                continue
            assert not KEY.public.verifies(b"data", read)
    figure("bits of a signature flipped", tried)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff" * 300, b"untrusted comment: x\n" * 4,
     GOLDEN.encode() + b"more\n", GOLDEN.encode().replace(b"\n", b""),
     GOLDEN.encode().replace(b"trusted comment: w", b"Trusted comment: w"), GOLDEN.encode() * 2,
     GOLDEN.encode().replace(b"version=3", b"version=\x1b[2J"), b"x" * (MAX_SIGNATURE_BYTES + 1),
     GOLDEN.encode().replace(b"version=3", b"v" * 2100), GOLDEN.encode().replace(b"version=3", "\u202e".encode())],
)  # fmt: skip
def test_what_is_no_signature_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidSignature):
        parse_signature(data)
    with pytest.raises(InvalidSignature):
        parse_rotation(data)


@PROPERTY
@given(st.binary(max_size=400))
def test_any_bytes_are_a_signature_or_refused(data: bytes) -> None:
    text = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    for parse in (lambda: parse_signature(data), lambda: parse_link_value(text), lambda: parse_rotation(data)):
        try:
            found = parse()
        except InvalidSignature:
            continue
        if isinstance(found, Signature):
            assert parse_signature(found.to_bytes()) == found
            assert parse_link_value(found.to_link_value()) == found


@PROPERTY
@given(st.binary(max_size=100), st.text(st.characters(exclude_categories=["C", "Z"]), max_size=200))
def test_every_signature_survives_its_file_and_its_link(data: bytes, comment: str) -> None:
    signature = KEY.sign(data, comment)
    for read in (parse_signature(signature.to_bytes()), parse_link_value(signature.to_link_value())):
        assert read == signature
        assert KEY.public.verifies(data, read)


# --- statements ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "comment",
    ["weightswarm ", "weightswarm name=a/b", "weightswarm revision=00", "weightswarm name=a/b revision=00 name=c/d",
     "weightswarm name=a/b revision=00 version=-1", "weightswarm name=a/b revision=00 version=1e3",
     "weightswarm name=a/b revision=00 version=\u0663", f"weightswarm name=a/b revision=00 version={2**53}",
     "weightswarm name=a/b revision=00 version=" + "9" * 400, "weightswarm name=a/b  revision=00",
     "weightswarm name=a/b revision=00 expires=tomorrow",
     "weightswarm name=a/b revision=00 expires=2027-02-30T00:00:00Z",
     "weightswarm rotate org=a"],
)  # fmt: skip
def test_a_malformed_statement_is_refused_and_not_taken_for_none(comment: str) -> None:
    with pytest.raises(InvalidSignature):
        parse_statement(comment)


def test_a_statement_reads_as_it_was_written() -> None:
    for statement in (
        ReleaseStatement("a/b", "00"),
        ReleaseStatement("a/b", "00", 2**53 - 1),
        ReleaseStatement("a/b", "00", 3, "2027-01-01T00:00:00Z"),
    ):
        assert parse_statement(statement.to_comment()) == statement
    assert parse_statement("weightswarm name=a/b revision=00 later=known").version == 0
    assert parse_statement("timestamp:1635443258\tfile:test\thashed") == ReleaseStatement()


def test_expiry_is_a_date_a_time_or_a_number_of_days() -> None:
    assert parse_expiry("2028-01-01", NOW) == "2028-01-01T00:00:00Z"
    assert parse_expiry("2028-01-01T12:00:00Z", NOW) == "2028-01-01T12:00:00Z"
    assert parse_expiry("90d", NOW) == "2027-04-15T08:00:00Z"
    for wrong in ("", "0d", "90", "2027-01-01", "2028-13-01", "2028-1-1", "99999999d", "\u0663d"):
        with pytest.raises(InvalidInput):
            parse_expiry(wrong, NOW)
