"""The trust rules one by one, the store that keeps what they need, and what the commands say."""

from __future__ import annotations

import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from answering import answering, tree
from conftest import make_model
from hostile import NAME, flip_byte, peer_of, place, refused, release_of, serving_release
from running import CommandLine, CommandLineHere, Seeder
from weightswarm.cache import ModelCache, load_record, save_signature
from weightswarm.errors import InvalidInput, StorageFailure, Untrusted
from weightswarm.magnet import parse_magnet
from weightswarm.manifest import FileEntry, Manifest, with_revision
from weightswarm.metainfo import parse_metainfo
from weightswarm.publishing import Signer, sign_release
from weightswarm.registry.index import parse_index
from weightswarm.signing import (
    PublicKey,
    ReleaseStatement,
    SecretKey,
    Signature,
    parse_link_value,
    parse_signature,
    rotate,
)
from weightswarm.trusting import (
    Leave,
    Pins,
    SeenVersion,
    SeenVersions,
    Signed,
    State,
    TrustStore,
    admit,
    read_signatures,
    standing_of,
)

KEY, OTHER = SecretKey.generate(), SecretKey.generate()
MANIFEST = with_revision(Manifest("lab/model", "", (FileEntry("a", 1, "11" * 32, "22" * 32),)), None)
NOW = "2026-06-01T00:00:00Z"


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    """The command, without the start of Python each time."""
    return CommandLineHere(tmp_path)


def signature(
    version: int = 0, expires: str | None = None, *, key: SecretKey = KEY, manifest: Manifest = MANIFEST,
    name: str | None = None, revision: str | None = None,
) -> Signature:  # fmt: skip
    """Sign a manifest, with a comment that may say something else."""
    statement = ReleaseStatement(name or manifest.name, revision or manifest.revision, version, expires)
    return key.sign(manifest.to_bytes(), statement.to_comment())


def judged(
    *signatures: Signature,
    name: str = "lab/model",
    manifest: Manifest | None = MANIFEST,
    keys: tuple[PublicKey, ...] = (KEY.public,),
    highest: SeenVersion | None = None,
    listed: int | None = None,
    leave: Leave = Leave(),  # noqa: B008 (frozen)
) -> Signed:
    """Apply the rules."""
    return admit(name, manifest, signatures, keys, highest, now=NOW, leave=leave, listed=listed)


# --- the rules, by their numbers -------------------------------------------------------------------------------------


def test_rule_2_no_signature_or_no_manifest_is_refused_and_names_the_keys_that_would_count() -> None:
    with pytest.raises(Untrusted, match=f"is not signed, and key {KEY.public.shown_key_id} is pinned") as unsigned:
        judged()
    assert unsigned.value.key_ids == (KEY.public.shown_key_id,)
    with pytest.raises(Untrusted):
        judged(signature(), manifest=None)


def test_rule_3_a_signature_counts_under_any_of_the_keys_and_under_no_other() -> None:
    assert judged(signature(), keys=(OTHER.public, KEY.public)).key == KEY.public
    with pytest.raises(Untrusted, match=OTHER.public.shown_key_id):
        judged(signature(key=OTHER))
    with pytest.raises(Untrusted):
        judged(signature(manifest=replace(MANIFEST, license="other")))
    stuffed = [signature(key=OTHER, version=v) for v in range(5)]
    assert judged(*stuffed, signature(1)).statement.version == 1
    assert judged(replace(signature(1), trusted_comment="x"), signature(1)).statement.version == 1
    with pytest.raises(Untrusted):
        judged(replace(signature(1), trusted_comment=signature(2).trusted_comment))


def test_rule_4_the_manifest_is_for_the_name_it_is_asked_for() -> None:
    with pytest.raises(Untrusted, match="lab/model, not lab/other"):
        judged(signature(), name="lab/other")
    with pytest.raises(Untrusted):
        judged(signature(), name="Lab/model")


def test_rule_5_the_comment_is_about_this_release_or_about_none() -> None:
    for crossed in (signature(name="lab/other"), signature(revision="00" * 20)):
        with pytest.raises(Untrusted, match="The signature is for"):
            judged(crossed)
    plain = KEY.sign(MANIFEST.to_bytes(), "timestamp:1\tfile:manifest.json\thashed")
    assert judged(plain).statement == ReleaseStatement()
    malformed = KEY.sign(MANIFEST.to_bytes(), "weightswarm version=9")
    with pytest.raises(Untrusted, match="malformed"):
        judged(malformed)
    assert judged(malformed, signature(2)).statement.version == 2, "a malformed one does not stand in the way"


def test_rule_6_an_expired_signature_counts_only_when_the_user_takes_that_on() -> None:
    assert judged(signature(1, "2026-06-01T00:00:01Z"))
    for expired in (NOW, "2026-05-31T23:59:59Z"):
        with pytest.raises(Untrusted, match=f"expired at {expired}"):
            judged(signature(1, expired))
        assert judged(signature(1, expired), leave=Leave(expired=True))
    renewed = judged(signature(1, NOW), signature(1, "2027-01-01T00:00:00Z"))
    assert renewed.statement.expires == "2027-01-01T00:00:00Z"
    assert judged(signature(2, NOW), signature(1)).statement.version == 1, "an expired one does not stand in the way"


def test_rule_7_a_version_is_not_below_the_highest_and_means_one_revision() -> None:
    seen = SeenVersion(3, MANIFEST.revision)
    assert judged(signature(3), highest=seen)
    assert judged(signature(4), highest=seen)
    for older in (2, 0):
        with pytest.raises(Untrusted, match=f"is version {older}, and version 3 was seen"):
            judged(signature(older), highest=seen)
        assert judged(signature(older), highest=seen, leave=Leave(older=True))
    with pytest.raises(Untrusted, match="was revision"):
        judged(signature(3), highest=SeenVersion(3, "00" * 20))


def test_rule_8_a_registry_lists_it_by_the_version_that_was_signed() -> None:
    assert judged(signature(3), listed=3)
    assert judged(signature(), listed=3).statement.version == 0, "nothing was signed of a version"
    with pytest.raises(Untrusted, match="lists lab/model as version 3, and it is signed as version 2"):
        judged(signature(2), listed=3)
    assert judged(signature(4), signature(3), listed=3).statement.version == 3


def test_what_is_shown_is_worth_no_more_than_the_rules_say() -> None:
    def state(*signatures: Signature, keys: tuple[PublicKey, ...] = (KEY.public,), name: str = MANIFEST.name) -> str:
        return standing_of(name, MANIFEST, signatures, keys).state.value

    assert state() == "unsigned"
    assert state(signature(1)) == "pinned"
    assert state(signature(1), keys=()) == "unknown key"
    assert state(signature(9, key=OTHER)) == "wrong"
    assert state(signature(1), name="lab/other") == "wrong"
    assert state(signature(1), name="else/other", keys=()) == "unknown key"
    assert state(signature(1, name="lab/other")) == "wrong"
    assert state(KEY.sign(MANIFEST.to_bytes(), "weightswarm version=9")) == "wrong"
    both = standing_of(MANIFEST.name, MANIFEST, [signature(9, key=OTHER), signature(1)], (KEY.public,))
    assert (both.state, both.key_id, both.version) == (State.PINNED, KEY.public.shown_key_id, 1)


def test_malformed_signatures_count_as_absent_and_many_are_not_looked_at() -> None:
    good = signature(1)
    many = [signature(v).to_bytes() for v in range(50)]
    assert read_signatures([None, b"junk", good.to_bytes(), good.to_bytes()], "junk") == (good,)
    assert len(read_signatures(many)) == 8


# --- pins and what was seen ------------------------------------------------------------------------------------------


def test_a_models_own_keys_count_instead_of_its_organisations_in_any_case() -> None:
    pins = Pins().adding("lab", KEY.public).adding("Lab/Special", OTHER.public)
    assert pins.for_name("lab/model") == pins.for_name("LAB/other") == (KEY.public,)
    assert pins.for_name("lab/special") == (OTHER.public,)
    assert pins.for_name("labs/model") == pins.for_name("other/lab") == ()
    assert pins.adding("lab", KEY.public) == pins
    assert Pins.of_document(pins.to_document()) == pins
    assert pins.without("LAB").for_name("lab/model") == ()
    assert pins.without("lab/special", OTHER.public).for_name("lab/special") == (KEY.public,)


def test_rotation_replaces_the_key_that_signed_it_alone_and_carries_over_what_was_seen() -> None:
    new = SecretKey.generate()
    pins = Pins().adding("lab", KEY.public).adding("lab", OTHER.public)
    rotated, old = pins.rotated("lab", rotate(KEY, new.public, "lab"))
    assert (rotated.of("lab"), old) == ((OTHER.public, new.public), KEY.public)
    seen = SeenVersions().noting("lab/a", KEY.public, 4, "r").noting("labs/a", KEY.public, 9, "r")
    carried = seen.rotated("lab", KEY.public, new.public)
    assert carried.highest("LAB/a", [new.public]) == SeenVersion(4, "r")
    assert carried.highest("labs/a", [new.public]) is None


def test_seen_versions_only_rise_and_count_under_pinned_keys_alone() -> None:
    seen = SeenVersions().noting("lab/a", KEY.public, 4, "r4").noting("lab/a", KEY.public, 2, "r2")
    assert seen.highest("lab/a", [KEY.public]) == SeenVersion(4, "r4")
    assert seen.noting("lab/a", KEY.public, 4, "another") == seen
    assert seen.highest("lab/a", [OTHER.public]) is None
    assert SeenVersions.of_document(json.loads(json.dumps(seen.to_document()))) == seen


# --- the store -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"{}", b"[" * 100_000, b'{"weightswarm_trust": 2}', b'{"weightswarm_trust": 1, "pins": []}',
     b'{"weightswarm_trust": 1, "pins": {"lab": "RW"}}', b'{"weightswarm_trust": 1, "pins": {"lab": ["RW"]}}',
     b'{"weightswarm_trust": 1, "pins": {"../lab": []}}', b" " * 9_000_000, b'{"weightswarm_trust": 1}',
     b'{"weightswarm_trust": 1, "pins": {"lab": [" %s "]}}' % KEY.public.line.encode(),
     b'{"weightswarm_trust": 1, "pins": {"lab/a": {"%s": [Infinity, "r"]}}}' % KEY.public.line.encode(),
     b'{"weightswarm_trust": 1, "pins": {"lab/a": {"%s": [1.5, "r"]}}}' % KEY.public.line.encode(),
     b'{"weightswarm_trust": 1, "pins": {"lab/a": {"%s": [true, "r"]}}}' % KEY.public.line.encode(),
     b'{"weightswarm_trust": 1, "pins": {"lab/a": {"%s": [1, 2]}}}' % KEY.public.line.encode(),
     b'{"weightswarm_trust": 1, "pins": {"lab/a": {"RW": [1, "r"]}}}'],
)  # fmt: skip
def test_a_damaged_store_is_an_error_and_stays_as_it_is(tmp_path: Path, damage: bytes) -> None:
    store = TrustStore(tmp_path / "trust.json")
    store.path.write_bytes(damage)
    with pytest.raises(StorageFailure, match="damaged"):
        store.pins()
    with pytest.raises(StorageFailure):
        store.change_pins(lambda pins: pins.adding("lab", KEY.public))
    assert store.path.read_bytes() == damage
    store.seen_path.write_bytes(damage.replace(b"pins", b"seen"))
    with pytest.raises(StorageFailure, match="damaged"):
        store.seen()


def test_a_store_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "trust.json").mkdir()
    with pytest.raises(StorageFailure):
        TrustStore(tmp_path / "trust.json").pins()


def test_processes_that_change_the_store_at_once_lose_nothing(tmp_path: Path) -> None:
    keys = [SecretKey.generate().public for _ in range(8)]

    def pin(key: PublicKey) -> None:
        store = TrustStore(tmp_path / "trust.json")
        store.change_pins(lambda pins: pins.adding("lab", key))
        store.change_seen(lambda seen: seen.noting("lab/model", key, 1, "r"))

    threads = [threading.Thread(target=pin, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = TrustStore(tmp_path / "trust.json")
    assert set(store.pins().of("lab")) == set(keys)
    assert set(store.seen().versions["lab/model"]) == {key.line for key in keys}
    for path in (store.path, store.seen_path):
        assert path.stat().st_mode & 0o777 == 0o600


# --- the commands ----------------------------------------------------------------------------------------------------


def test_keys_are_pinned_listed_and_removed(cli: CommandLine, tmp_path: Path) -> None:
    elsewhere: Any = {"WEIGHTSWARM_TRUST_STORE": str(tmp_path / "deep" / "pins.json")}
    (tmp_path / "lab.pub").write_bytes(KEY.public.to_bytes())
    cli.ok("trust", "add", "lab", "lab.pub", **elsewhere)
    cli.ok("trust", "add", "lab", OTHER.public.line, **elsewhere)
    listed = cli.ok("trust", "ls", **elsewhere).stdout.splitlines()
    assert listed == [f"lab  {k.public.shown_key_id}  {k.public.line}" for k in (KEY, OTHER)]
    assert cli.ok("trust", "ls").stdout == "", "only the store that was named has them"
    cli.ok("trust", "rm", "lab", KEY.public.shown_key_id, **elsewhere)
    assert cli.ok("trust", "ls", "--json", **elsewhere).json == [
        {"target": "lab", "key_id": OTHER.public.shown_key_id, "public_key": OTHER.public.line}
    ]
    refused(cli("trust", "rm", "lab", "lab.pub", **elsewhere), 1, "is not pinned")
    cli.ok("trust", "rm", "lab", "--yes", **elsewhere)
    refused(cli("trust", "rm", "lab", "--yes", **elsewhere), 1, "No key is pinned for lab")
    refused(cli("trust", "add", "lab/model/x", OTHER.public.line), 2, "Not an organisation or model")
    refused(cli("trust", "add", "lab", "RW" + "A" * 10), 2, "neither a public key nor a file")
    refused(cli("trust", "add", "lab"), 2, "KEY or --rotation")


def test_an_organisations_key_is_removed_and_rotated_where_its_models_have_it_too(
    cli: CommandLine, tmp_path: Path
) -> None:
    new, namesake = SecretKey.generate(), SecretKey.from_seed(KEY.public.key_id, b"\1" * 32)
    for target, key in (("lab", KEY), ("lab/a", KEY), ("Lab/b", OTHER), ("labs", KEY)):
        cli.ok("trust", "add", target, key.public.line)

    def pinned() -> dict[str, list[str]]:
        rows = cli.ok("trust", "ls", "--json").json
        return {row["target"]: [r["public_key"] for r in rows if r["target"] == row["target"]] for row in rows}

    (tmp_path / "statement").write_bytes(rotate(KEY, new.public, "lab").to_bytes())
    refused(cli("trust", "add", "lab", WEIGHTSWARM_ROTATION="statement"), 2, "KEY or --rotation")
    told = cli.ok("trust", "add", "lab", "--rotation", "statement").stderr
    assert "for lab in the place" in told and "for lab/a in the place" in told
    lines = {"Lab/b": [OTHER.public.line], "labs": [KEY.public.line]}
    assert pinned() == {"lab": [new.public.line], "lab/a": [new.public.line], **lines}
    told = cli.ok("trust", "rm", "lab", new.public.shown_key_id).stderr
    assert f"Unpinned {new.public.shown_key_id} for lab/a" in told
    assert pinned() == lines
    cli.ok("trust", "rm", "lab", OTHER.public.line)
    assert pinned() == {"labs": [KEY.public.line]}, "a model's own pin is the organisation's to remove"
    cli.ok("trust", "add", "labs", namesake.public.line)
    refused(cli("trust", "rm", "labs", KEY.public.shown_key_id), 2, "2 keys with the id")
    cli.ok("trust", "rm", "labs", KEY.public.line)
    assert pinned() == {"labs": [namesake.public.line]}


def test_publishing_with_a_key_changes_no_hash_and_signing_again_renews_every_place(
    cli: CommandLine, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "lab.key").write_bytes(KEY.to_bytes(None))
    bare = parse_magnet(cli.ok("publish", model, "--name", NAME, "-o", "bare").result)
    made = cli.ok(
        "publish", model, "--name", NAME, "-o", "out", "--add-to", "registry", "--key", "lab.key",
        "--release-version", "3", "--expires", "90d",
    )  # fmt: skip
    magnet = parse_magnet(made.result)
    assert magnet.signature is not None
    assert replace(magnet, signature=None) == bare, "the parameter is all that is added"
    assert f"signed by key {KEY.public.shown_key_id}" in made.stderr
    manifest = next((tmp_path / "out").glob("*.manifest.json"))
    torrent = next((tmp_path / "out").glob("*.torrent"))
    listed = next((tmp_path / "registry").glob("org/model/*"))

    def places() -> list[bytes]:
        found = (manifest.with_name(f"{manifest.name}.minisig"), listed / "manifest.json.minisig")
        inside = [parse_metainfo(path.read_bytes()).signature for path in (torrent, listed / "release.torrent")]
        return [*(path.read_bytes() for path in found), *(each for each in inside if each is not None)]

    def versions() -> list[int | None]:
        index = parse_index((tmp_path / "registry" / "index.json").read_bytes())
        assert all("manifest.json.minisig" in release.documents for release in index)
        return [release.version for release in index]

    assert versions() == [3]
    first = places()
    assert len(first) == 4
    assert len(set(first)) == 1
    assert KEY.public.verifies(manifest.read_bytes(), parse_signature(first[0]))
    assert parse_signature(first[0]).trusted_comment.startswith(f"weightswarm name={NAME} revision=")
    before = torrent.read_bytes()
    again = ("--key", "lab.key", "--release-version", "4", "-q")
    renewed = {cli.ok("sign", source, *again).result for source in (manifest, torrent)}
    renewed.add(cli.ok("sign", NAME, "--registry", "registry", *again).result)
    assert len(renewed) == 1
    assert parse_magnet(renewed.pop()).info_hash == bare.info_hash == parse_metainfo(before).info_hash
    assert len(set(places())) == 1
    assert places()[0] != first[0]
    assert (listed / "magnet.txt").read_text().count("x.sig=") == 1
    assert versions() == [4], "signed as another version, it is listed as that"
    refused(cli("show", f"{NAME}@v3", "--registry", "registry", "--offline"), 1, "has no revision v3")
    with answering(tree(tmp_path / "registry")) as server:
        for place in ("registry", server.url):
            shown = cli.ok("show", f"{NAME}@v4", "--registry", place).stdout
            assert f"key {KEY.public.shown_key_id} (not pinned, so not checked, version 4)" in shown
    cli.ok("trust", "add", "org", KEY.public.line)
    shown_json = cli.ok("show", manifest, "--json").json["signature"]
    assert shown_json == {"state": "pinned", "key_id": KEY.public.shown_key_id, "version": 4, "expires": None}


def test_a_fetched_release_that_is_listed_again_brings_its_signature_and_version_along(
    cli: CommandLine, model: Path, tmp_path: Path
) -> None:
    release = sign_release(release_of(model), Signer(KEY, 5))
    with serving_release(release) as magnet:
        signed = replace(parse_magnet(magnet), signature=release.magnet().signature)
        cli.ok("fetch", str(signed), "--name", NAME, "--timeout", "20")
    cli.ok("publish", NAME, "-o", "out", "--add-to", "registry")
    (listed,) = parse_index((tmp_path / "registry" / "index.json").read_bytes())
    assert (listed.version, "manifest.json.minisig" in listed.documents) == (5, True)


def test_what_is_signed_again_keeps_its_version_and_no_strangers(cli: CommandLine, model: Path, tmp_path: Path) -> None:
    (tmp_path / "lab.key").write_bytes(KEY.to_bytes(None))
    (tmp_path / "new.key").write_bytes(OTHER.to_bytes(None))
    publish = ("publish", model, "--name", NAME, "-o", "out", "--add-to", "registry")
    cli.ok(*publish, "--key", "lab.key", "--release-version", "3")
    manifest, torrent = next((tmp_path / "out").glob("*.manifest.json")), next((tmp_path / "out").glob("*.torrent"))
    places: list[tuple[str | Path, ...]] = [(manifest,), (torrent,), (NAME, "--registry", "registry")]

    def version(place: tuple[str | Path, ...], *arguments: str) -> str:
        return str(cli.ok("sign", *place, "--json", *arguments).json["trusted_comment"].partition(" version=")[2])

    for source in places:
        assert version(source, "--key", "lab.key") == "3"
        refused(cli("sign", *source, "--key", "new.key"), 2, "signed as version 3 by another key")
    assert [version(source, "--key", "new.key", "--release-version", "4") for source in places] == ["4"] * 3
    assert [version(source, "--key", "new.key") for source in places] == ["4"] * 3
    assert [version(source, "--key", "new.key", "--release-version", "0") for source in places] == [""] * 3
    assert version(places[2], "--key", "lab.key") == "4", "what a registry lists it by"
    with serving_release(release_of(model)) as magnet:
        stranger = replace(
            parse_magnet(magnet), signature=sign_release(release_of(model), Signer(OTHER, 9)).magnet().signature
        )
        cli.ok("fetch", str(stranger), "--name", NAME, "--timeout", "20")
    refused(cli("sign", NAME, "--key", "lab.key"), 2, "signed as version 9 by another key")
    assert version((NAME,), "--key", "lab.key", "--release-version", "5") == "5"
    assert version((NAME,), "--key", "lab.key") == "5"
    listed = next((tmp_path / "registry").glob("org/model/[0-9a-f]*"))
    listed.rename(listed.with_name("ab" * 20))
    (listed.parent / "main").write_text("ab" * 20)
    refused(cli("sign", NAME, "--registry", "registry", "--key", "lab.key"), 3, f"as {NAME}@abababab")


def test_what_is_seeded_with_a_key_prints_a_signed_magnet(
    cli: CommandLine, seeder: Seeder, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "lab.key").write_bytes(KEY.to_bytes("secret"))
    seeding = seeder(
        model, "--name", NAME, "--key", "lab.key", "--release-version", "2", WEIGHTSWARM_KEY_PASSPHRASE="secret"
    )
    made = parse_link_value(parse_magnet(seeding.magnet).signature or "")
    assert KEY.public.verifies(release_of(model).manifest.to_bytes(), made)
    assert made.trusted_comment.endswith(" version=2")
    cli.ok("trust", "add", "org", KEY.public.line)
    assert cli.ok("fetch", seeding.magnet, "--timeout", "20", "--dry-run", "--json").json["signature"]["version"] == 2
    assert not (tmp_path / "user-config" / "weightswarm" / "trust.seen.json").exists(), "a dry run learns nothing"


def test_a_signature_beside_what_is_written_over_with_another_manifest_goes(
    cli: CommandLine, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "lab.key").write_bytes(KEY.to_bytes(None))
    publish = ("publish", model, "--name", NAME, "--revision", "ab" * 20, "-o", "out", "--add-to", "registry")
    cli.ok(*publish, "--key", "lab.key")
    cli.ok(*publish)
    assert len(list(tmp_path.glob("*/**/*.minisig"))) == 2, "the same manifest is still signed"
    cli.ok(*publish, "--license", "another")
    assert list(tmp_path.glob("*/**/*.minisig")) == []


def test_a_plain_folder_keeps_the_signature_through_a_repair(cli: CommandLine, model: Path, tmp_path: Path) -> None:
    release = sign_release(release_of(model), Signer(KEY, 2))
    cli.ok("trust", "add", "org", KEY.public.line)
    with serving_release(release) as magnet:
        signed = str(replace(parse_magnet(magnet), signature=release.magnet().signature))
        cli.ok("fetch", signed, "--local-dir", "plain", "--timeout", "20")
        flip_byte(tmp_path / "plain" / "model.safetensors")
        refused_by_name = cli("verify", "plain")
        assert refused_by_name.code == 3
        cli.ok("verify", "plain", "--repair", "--peer", peer_of(magnet), "--timeout", "20")
    assert f"Signed by key {KEY.public.shown_key_id} (pinned, version 2)" in cli.ok("verify", "plain").stderr
    (tmp_path / "plain" / ".weightswarm" / "manifest.json.minisig").unlink()
    assert cli("verify", "plain").code == 3


def test_a_passphrase_is_the_bytes_that_it_is_whatever_their_encoding(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "passphrase").write_bytes(b"caf\xe9\n")
    made = cli.ok("key", "new", "lab.key", "--key-passphrase-file", "passphrase")
    assert cli.ok("key", "show", "lab.key", WEIGHTSWARM_KEY_PASSPHRASE=os.fsdecode(b"caf\xe9")).result == made.result
    refused(cli("key", "show", "lab.key", WEIGHTSWARM_KEY_PASSPHRASE="café"), 2, "passphrase is wrong")


def test_what_is_kept_with_a_release_may_be_damaged_or_gone_by_the_time_it_is_used(
    cli: CommandLine, model: Path, tmp_path: Path, hub: Path
) -> None:
    release = sign_release(release_of(model), Signer(KEY, 2))
    place(release, hub)
    (repository,) = ModelCache(hub).repositories()
    record = load_record(repository, release.manifest.revision)
    assert record is not None and release.signed is not None
    folder = repository.record(release.manifest.revision)
    (folder / "manifest.json.minisig").write_bytes(b"damaged")
    (folder / "release.torrent").write_bytes(release.metainfo.data)
    published = parse_magnet(cli.ok("publish", NAME, "-o", "out").result)
    assert published.signature == release.magnet().signature, "the torrent has it, too"
    other = release_of(make_model(tmp_path / "other", 20_000, seed=5))
    for name, wrong in (("release.torrent", other.metainfo.data), ("manifest.json.minisig", release.signed)):
        (folder / name).write_bytes(wrong)
    refused(cli("publish", NAME, "-o", "out"), 3, "disagree")
    (folder / "manifest.json").write_bytes(other.manifest.to_bytes())
    save_signature(replace(record, signature=b"of another"))
    assert (folder / "manifest.json.minisig").read_bytes() == release.signed
    shutil.rmtree(folder)
    save_signature(replace(record, signature=release.signed))
    assert not folder.exists()


def test_signing_says_what_it_lacks(cli: CommandLine, model: Path, tmp_path: Path) -> None:
    (tmp_path / "lab.key").write_bytes(KEY.to_bytes(None))
    refused(cli("publish", model, "--name", NAME, "--release-version", "3"), 2, "name a --key FILE")
    refused(cli("publish", model, "--name", NAME, "--key", "none.key"), 1, "none.key")
    refused(cli("publish", model, "--name", NAME, "--key", "lab.key", "--expires", "2020-01-01"), 2, "has passed")
    refused(cli("sign", "org/none", "--key", "lab.key"), 1, "org/none")
    refused(cli("sign", "none.json", "--key", "lab.key"), 1, "none.json")


def test_the_store_is_bounded() -> None:
    full = Pins({"lab": tuple(PublicKey(i.to_bytes(8, "big"), bytes(32)) for i in range(10_000))})
    with pytest.raises(InvalidInput, match="10,000 keys"):
        full.adding("lab", KEY.public)
