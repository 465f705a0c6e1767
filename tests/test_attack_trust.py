"""The Update Framework's attacks, each against a user who pinned a lab's key, by the real commands over loopback."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import weightswarm
from answering import answering, tree
from conftest import make_model
from hostile import (
    WEIGHTS,
    contents,
    flip_byte,
    peer_of,
    place,
    refused,
    release_of,
    serving_release,
    visible,
    with_manifest,
)
from running import CommandLine, CommandLineHere
from weightswarm import PublishOptions, Release
from weightswarm.fetching.transfer import Transfer
from weightswarm.magnet import MagnetLink, parse_magnet
from weightswarm.metainfo import magnet_of, with_signature
from weightswarm.publishing import Signer, sign_release
from weightswarm.registry import DirectoryRegistry, RegistryEntry
from weightswarm.signing import SecretKey, parse_signature, rotate
from weightswarm.trusting import default_store

NAME = "lab/model"
PAST, FUTURE = "2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"


@dataclass
class Lab:
    """A publisher with a key, and the user who fetches from it."""

    cli: CommandLine
    folder: Path
    hub: Path
    figure: Callable[[str, float], None]
    key: SecretKey = field(default_factory=SecretKey.generate)

    def release(self, seed: int = 1, name: str = NAME) -> Release:
        """Make an unsigned release whose files `seed` decides."""
        folder = self.folder / f"files-{seed}"
        return release_of(folder if folder.is_dir() else make_model(folder, 20_000, seed), name=name)

    def signed(
        self, version: int = 0, expires: str | None = None, *, seed: int = 1, name: str = NAME,
        key: SecretKey | None = None,
    ) -> Release:  # fmt: skip
        """Make a release and sign it."""
        return sign_release(self.release(seed, name), Signer(key or self.key, version, expires))

    def pin(self, target: str = "lab", key: SecretKey | None = None) -> None:
        """Pin the lab's key, or another."""
        self.cli.ok("trust", "add", target, (key or self.key).public.line)

    def refuses(self, release: Release | str, *words: str, arguments: tuple[str | Path, ...] = ()) -> None:
        """Fetch what must be refused with exit code 3 before any payload, leaving nothing that a loader can see."""
        before = visible(self.hub)
        with offered(release) as source:
            refused(self.cli("fetch", source, "--timeout", "20", *arguments), 3, *words)
        assert visible(self.hub) == before
        assert not [p for p in (self.hub / ".locks" / "weightswarm").glob("*/files/**/*") if p.is_file()]
        self.figure("releases refused for their signature", 1)

    def accepts(self, release: Release | str, *arguments: str | Path) -> Any:
        """Fetch what must be placed, and return what `--json` says."""
        with offered(release) as source:
            return self.cli.ok("fetch", source, "--timeout", "20", "--json", *arguments).json


@contextmanager
def offered(release: Release | str) -> Iterator[str]:
    """Seed a release and yield its magnet, with the signature that the release has; a text is yielded as it is."""
    if isinstance(release, str):
        yield release
        return
    with serving_release(release) as magnet:
        yield str(replace(parse_magnet(magnet), signature=release.magnet().signature))


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    """The command, without the start of Python each time."""
    return CommandLineHere(tmp_path)


@pytest.fixture
def lab(cli: CommandLine, tmp_path: Path, hub: Path, figure: Callable[[str, float], None]) -> Lab:
    """A lab, pinned by nobody yet."""
    return Lab(cli, tmp_path, hub, figure)


def stripped(release: Release) -> Release:
    """The release as somebody hands it on who left the signature out."""
    return replace(release, signed=None)


def with_signature_of(release: Release, other: Release) -> Release:
    """The release with another's signature beside it, everywhere."""
    assert other.signed is not None
    return replace(release, signed=other.signed, metainfo=with_signature(release.metainfo, other.signed))


def registry_of(
    folder: Path,
    release: Release,
    peer: MagnetLink,
    signature: bytes | None,
    name: str = NAME,
    version: int | None = None,
) -> Path:
    """A registry folder that lists a release."""
    entry = RegistryEntry(
        name,
        release.manifest.revision,
        peer,
        release.manifest.to_bytes() if name == release.manifest.name else None,
        release.metainfo.data,
        signature,
        version,
    )
    DirectoryRegistry(folder).add(entry)
    return folder


# --- arbitrary software ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signed", ["not at all", "by a key of the attacker's own", "by a key that copies the id"])
def test_arbitrary_software_under_a_pinned_name_is_refused_by_magnet_and_by_name(lab: Lab, signed: str) -> None:
    lab.pin()
    evil = lab.release(seed=66)
    if signed != "not at all":
        copied = SecretKey.from_seed(lab.key.public.key_id, b"\1" * 32)
        evil = lab.signed(9, seed=66, key=copied if "copies" in signed else SecretKey.generate())
    lab.refuses(evil, NAME, lab.key.public.shown_key_id)
    if signed == "not at all":
        lab.refuses(evil, NAME, lab.key.public.shown_key_id, arguments=("--name", NAME))


def test_arbitrary_software_is_refused_from_a_registry_and_where_the_name_was_placed_before(
    lab: Lab, tmp_path: Path
) -> None:
    evil = lab.release(seed=66)
    place(evil, lab.hub, NAME)
    lab.pin()
    lab.refuses(NAME, NAME, lab.key.public.shown_key_id)
    with serving_release(evil) as magnet:
        folder = registry_of(tmp_path / "registry", evil, parse_magnet(magnet), b"no signature at all")
        lab.refuses(NAME, NAME, lab.key.public.shown_key_id, arguments=("--registry", folder))
    outcome = lab.cli("verify", NAME)
    assert (outcome.code, outcome.stdout) == (3, "")
    assert f"Signed by nobody; pinned: {lab.key.public.shown_key_id}" in outcome.stderr


def test_arbitrary_software_without_any_manifest_is_refused_under_a_pinned_name(lab: Lab) -> None:
    lab.pin(NAME)
    release = lab.release()
    bare = replace(release, metainfo=with_manifest(release.metainfo, None))
    lab.refuses(bare, "not signed", arguments=("--name", NAME, "--trust-magnet"))


def test_arbitrary_software_is_not_what_a_repair_brings_and_the_signed_release_keeps_its_signature(
    lab: Lab, tmp_path: Path
) -> None:
    lab.pin()
    good = lab.signed(1)
    lab.accepts(good)
    revision = good.manifest.revision
    snapshot = lab.hub / "models--lab--model" / "snapshots" / revision
    shutil.rmtree(lab.hub / "models--lab--model" / ".weightswarm")
    flip_byte((snapshot / WEIGHTS).resolve())
    damaged = contents(snapshot)
    lab.release(seed=66)
    evil = weightswarm.prepare(tmp_path / "files-66", name=NAME, options=PublishOptions(revision=revision))
    (tmp_path / "evil.torrent").write_bytes(evil.metainfo.data)
    repair = ("verify", NAME, "--repair", "--timeout", "20")
    with serving_release(evil) as magnet:
        folder = registry_of(tmp_path / "evil", evil, parse_magnet(magnet), None)
        key_id, peer = lab.key.public.shown_key_id, peer_of(magnet)
        refused(lab.cli(*repair, "--registry", folder), 3, "lab/model is not repaired", key_id)
        refused(lab.cli(*repair, "--manifest", "evil.torrent", "--peer", peer), 3, "lab/model is not repaired", key_id)
        other = registry_of(tmp_path / "other", lab.signed(2, seed=66), parse_magnet(magnet), None)
        os.rename(next(other.glob("lab/model/[0-9a-f]*")), other / "lab" / "model" / revision)
        refused(lab.cli(*repair, "--registry", other), 3, f"{NAME}@{revision[:8]} is for {NAME}@")
    assert contents(snapshot) == damaged
    with serving_release(good) as magnet:
        folder = registry_of(tmp_path / "good", good, parse_magnet(magnet), good.signed)
        lab.cli.ok(*repair, "--registry", folder, "--peer", peer_of(magnet))
    told = lab.accepts(NAME)
    assert (told["signature"]["state"], told["signature"]["version"]) == ("pinned", 1)


def test_arbitrary_software_that_was_placed_under_a_name_before_its_pin_is_not_taken_up_again_by_its_magnet(
    lab: Lab,
) -> None:
    """The stranger's manifest is for a name of his own; the user once placed it under what is the lab's now."""
    evil = lab.release(seed=66, name="evil/model")
    place(evil, lab.hub, NAME)
    lab.pin()
    main = lab.hub / "models--lab--model" / "refs" / "main"
    main.unlink()
    told = lab.accepts(evil)
    assert told["name"].startswith("magnet/")
    assert not main.exists()


@pytest.mark.parametrize("change", ["pinned", "unpinned", "newer"])
def test_arbitrary_software_is_refused_when_what_counts_changes_while_it_comes(
    lab: Lab, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = lab.release() if change == "pinned" else lab.signed(1)
    if change != "pinned":
        lab.pin()
    run = Transfer.run

    def slowly(transfer: Transfer, *arguments: Any) -> bytes:
        done = run(transfer, *arguments)
        if change == "pinned":
            lab.pin()
        elif change == "unpinned":
            lab.cli.ok("trust", "rm", "lab", "--yes")
        else:
            default_store().change_seen(lambda seen: seen.noting(NAME, lab.key.public, 2, "f" * 40))
        return done

    monkeypatch.setattr(Transfer, "run", slowly)
    words = {"pinned": "not signed", "unpinned": "changed while it came", "newer": "version 2 was seen"}
    given = ("--name", NAME) if change == "pinned" else ()
    with offered(release) as source:
        refused(lab.cli("fetch", source, "--timeout", "20", *given), 3, words[change])
    assert visible(lab.hub) == []


def test_wrong_software_under_the_revision_that_was_asked_for_is_refused(lab: Lab, tmp_path: Path) -> None:
    asked, other = lab.release(seed=1), lab.release(seed=2)
    with serving_release(other) as magnet:
        folder = registry_of(tmp_path / "registry", other, parse_magnet(magnet), None)
        os.rename(folder / NAME / other.manifest.revision, folder / NAME / asked.manifest.revision)
        revision = asked.manifest.revision
        lab.refuses(f"{NAME}@{revision}", revision[:8], other.manifest.revision[:8], arguments=("--registry", folder))


def test_arbitrary_software_cannot_take_a_pinned_name_in_another_case(lab: Lab) -> None:
    lab.pin()
    lab.refuses(lab.release(name="LAB/model"), lab.key.public.shown_key_id)
    lab.refuses(lab.signed(1), "not LAB/model", arguments=("--name", "LAB/model"))


# --- stripping -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["magnet", "torrent", "registry", "file"])
def test_stripping_the_signature_is_refused_and_any_one_way_that_brings_it_is_enough(
    lab: Lab, tmp_path: Path, way: str
) -> None:
    lab.pin()
    release = lab.signed(3)
    bare = stripped(release)
    assert release.signed is not None
    with serving_release(bare) as magnet:
        if way == "magnet":
            lab.refuses(magnet, "not signed")
        link = parse_magnet(magnet)
        if way == "magnet":
            told = lab.accepts(str(replace(link, signature=release.magnet().signature)))
        elif way == "file":
            (tmp_path / "sig").write_bytes(release.signed)
            told = lab.accepts(magnet, "--signature", "sig")
        elif way == "torrent":
            (tmp_path / "a.torrent").write_bytes(release.metainfo.data)
            told = lab.accepts("a.torrent", "--peer", magnet.rpartition("x.pe=")[2])
        else:
            folder = registry_of(tmp_path / "registry", bare, link, release.signed)
            told = lab.accepts(NAME, "--registry", folder)
    assert told["name"] == NAME
    assert told["signature"] == {
        "state": "pinned", "key_id": lab.key.public.shown_key_id, "version": 3, "expires": None,
    }  # fmt: skip
    record = next(lab.hub.glob("models--lab--model/.weightswarm/*/manifest.json.minisig"))
    assert parse_signature(record.read_bytes()) == parse_signature(release.signed)


def test_stripping_what_is_kept_here_by_handing_over_another_signature_fails(lab: Lab) -> None:
    """Nobody is pinned yet, so nothing can be judged: a stranger's signature does not replace the one that is kept."""
    release = lab.signed(1)
    lab.accepts(release, "--name", NAME)
    junk = lab.signed(9, key=SecretKey.generate())
    lab.accepts(junk, "--name", NAME)
    lab.accepts(stripped(release), "--name", NAME)
    lab.pin()
    assert lab.accepts(NAME)["signature"]["state"] == "pinned"


def test_stripping_the_manifest_from_what_a_named_key_must_have_signed_is_refused(lab: Lab) -> None:
    release = lab.signed(1)
    bare = replace(release, metainfo=with_manifest(release.metainfo, None))
    lab.refuses(bare, "carries no manifest", arguments=("--trust-magnet", "--trust", lab.key.public.line))


# --- rollback, freeze ------------------------------------------------------------------------------------------------


def test_rollback_to_an_older_release_is_refused_unless_the_user_takes_it_on(lab: Lab) -> None:
    lab.pin()
    old, new = lab.signed(1, seed=1), lab.signed(2, seed=2)
    lab.accepts(old)
    lab.accepts(new)
    lab.refuses(old, "version 1", "version 2 was seen")
    lab.refuses(f"{NAME}@{old.manifest.revision}", "version 2 was seen")
    lab.refuses(lab.signed(seed=3), "version 0", "version 2 was seen")
    assert lab.accepts(old, "--allow-older")["signature"]["version"] == 1
    lab.refuses(old, "version 2 was seen")
    assert lab.accepts(new)["signature"]["version"] == 2


def test_rollback_by_naming_an_older_one_of_two_pinned_keys_is_refused(lab: Lab) -> None:
    newer = SecretKey.generate()
    lab.pin()
    lab.pin(key=newer)
    lab.accepts(lab.signed(5, seed=1, key=newer))
    old = lab.signed(4, seed=2)
    lab.refuses(old, "version 5 was seen")
    lab.refuses(old, "version 5 was seen", arguments=("--trust", lab.key.public.line))


def test_freeze_at_an_expired_release_is_refused_and_a_renewed_signature_serves_the_same_torrent(
    lab: Lab, tmp_path: Path
) -> None:
    lab.pin()
    frozen = lab.signed(1, PAST)
    lab.refuses(frozen, "expired at 2020-01-01", lab.key.public.shown_key_id)
    (tmp_path / "lab.key").write_bytes(lab.key.to_bytes(None))
    (tmp_path / "m.manifest.json").write_bytes(frozen.manifest.to_bytes())
    (tmp_path / "m.torrent").write_bytes(frozen.metainfo.data)
    renewed = lab.cli.ok("sign", "m.manifest.json", "--key", "lab.key", "--release-version", "1", "--expires", "2d")
    link = parse_magnet(renewed.result)
    assert link.info_hash == frozen.metainfo.info_hash
    told = lab.accepts(replace_signature(frozen, link.signature))
    assert told["signature"]["expires"] > "2026"
    assert lab.accepts(frozen)["signature"]["expires"] > "2026", "what is kept here is newer than what was handed over"


def replace_signature(release: Release, value: str | None) -> Release:
    """The release with the signature that a magnet carried."""
    from weightswarm.signing import parse_link_value

    assert value is not None
    return replace(release, signed=parse_link_value(value).to_bytes())


def test_freeze_can_be_taken_on(lab: Lab) -> None:
    lab.pin()
    assert lab.accepts(lab.signed(1, PAST), "--allow-expired")["signature"]["expires"] == PAST
    lab.refuses(NAME, "expired")


def test_stripping_rollback_and_a_false_version_over_http_are_refused(lab: Lab, tmp_path: Path) -> None:
    lab.pin()
    root = tmp_path / "registry"
    bare, old, new = lab.release(seed=1), lab.signed(1, seed=1), lab.signed(2, seed=2)
    with serving_release(bare) as first, serving_release(new) as second, answering(tree(root)) as server:
        asked = ("--registry", server.url)
        link, later = parse_magnet(first), parse_magnet(second)
        registry_of(root, bare, link, None)
        lab.refuses(NAME, "not signed", arguments=asked)
        registry_of(root, bare, link, old.signed, version=2)
        lab.refuses(f"{NAME}@v2", "lists lab/model as version 2", "signed as version 1", arguments=asked)
        registry_of(root, bare, link, old.signed, version=1)
        assert lab.accepts(f"{NAME}@v1", *asked)["signature"]["version"] == 1
        registry_of(root, stripped(new), later, new.signed, version=2)
        assert lab.accepts(NAME, *asked)["revision"] == new.manifest.revision
        registry_of(root, bare, link, old.signed, version=1)
        lab.refuses(NAME, "version 1", "version 2 was seen", arguments=asked)
        lab.refuses(f"{NAME}@v1", "version 2 was seen", arguments=asked)
        assert lab.accepts(f"{NAME}@v2", *asked)["signature"]["version"] == 2


# --- endless data ----------------------------------------------------------------------------------------------------


def test_endless_data_for_a_signature_is_read_no_further_than_its_bound(lab: Lab, tmp_path: Path) -> None:
    lab.pin()
    release = lab.release()
    refused(lab.cli("fetch", str(release.magnet()), "--signature", "/dev/zero"), 1, "/dev/zero", "is larger than")
    refused(lab.cli("trust", "add", "lab", "/dev/zero"), 1, "/dev/zero", "is larger than")
    refused(lab.cli("fetch", str(release.magnet()), "--manifest", "/dev/zero"), 1, "/dev/zero", "is larger than")
    kept = tmp_path / "files-1" / ".weightswarm"
    kept.mkdir()
    (kept / "manifest.json").write_bytes(release.manifest.to_bytes())
    with open(kept / "release.torrent", "wb") as torrent:
        torrent.truncate(2**40)
    refused(lab.cli("verify", tmp_path / "files-1", "--repair"), 1, "release.torrent", "is larger than")
    shutil.rmtree(kept)
    assert parse_magnet(f"{release.magnet()}&x.sig={'A' * 5000}").signature is None
    endless = with_signature(release.metainfo, b"untrusted comment: x\n" * 100_000)
    (tmp_path / "a.torrent").write_bytes(endless.data)
    lab.refuses("a.torrent", "not signed")
    with serving_release(release) as magnet:
        folder = registry_of(tmp_path / "registry", release, parse_magnet(magnet), b"x" * 20_000_000)
        lab.refuses(NAME, "not signed", arguments=("--registry", folder))


# --- mix-and-match, wrong software -----------------------------------------------------------------------------------


def test_mix_and_match_of_one_release_with_anothers_signature_is_refused(lab: Lab) -> None:
    lab.pin()
    first, second = lab.signed(1, seed=1), lab.signed(2, seed=2)
    lab.refuses(with_signature_of(first, second), "not signed by key", lab.key.public.shown_key_id)
    signer = Signer(lab.key, 7)
    claim = replace(second.manifest, name="lab/other")
    comment = parse_signature(second.signed or b"").trusted_comment.replace(NAME, "lab/other")
    crossed = signer.key.sign(first.manifest.to_bytes(), comment).to_bytes()
    assert claim.name in comment
    lab.refuses(replace(lab.release(), signed=crossed), "The signature is for lab/other")


def test_mix_and_match_of_two_releases_under_one_version_is_refused(lab: Lab) -> None:
    lab.pin()
    lab.accepts(lab.signed(4, seed=1))
    lab.refuses(lab.signed(4, seed=2), "version 4", "was revision")


def test_wrong_software_of_the_same_lab_cannot_serve_another_name(lab: Lab, tmp_path: Path) -> None:
    lab.pin()
    other = lab.signed(1, name="lab/other")
    lab.refuses(other, "What was signed is lab/other, not lab/model", arguments=("--name", NAME))
    with serving_release(other) as magnet:
        folder = registry_of(tmp_path / "registry", other, parse_magnet(magnet), other.signed)
        lab.refuses(NAME, "lab/other", arguments=("--registry", folder))
    assert lab.accepts(other)["name"] == "lab/other"


def test_wrong_software_signed_by_a_key_pinned_for_somebody_else_is_nobodys(lab: Lab) -> None:
    """A key counts where it is pinned: an organisation's for no other, a model's for no sibling."""
    lab.pin()
    told = lab.accepts(lab.signed(1, name="other/model"))
    assert told["name"].startswith("magnet/")
    assert told["signature"]["state"] == "unknown key"
    special = SecretKey.generate()
    lab.pin("lab/special", special)
    lab.refuses(lab.signed(1, seed=2, key=special), lab.key.public.shown_key_id)
    lab.refuses(lab.signed(1, seed=3, name="lab/special"), special.public.shown_key_id)


# --- key compromise and rotation -------------------------------------------------------------------------------------


def test_key_compromise_ends_with_the_removal_of_the_key_also_after_a_fast_forward(lab: Lab) -> None:
    lab.pin()
    lab.accepts(lab.signed(2**53 - 1, seed=66))
    new = SecretKey.generate()
    lab.pin(key=new)
    lab.cli.ok("trust", "rm", "lab", lab.key.public.shown_key_id)
    lab.refuses(lab.signed(5, seed=67), new.public.shown_key_id)
    lab.refuses(NAME, new.public.shown_key_id)
    assert lab.accepts(lab.signed(3, seed=2, key=new))["signature"]["key_id"] == new.public.shown_key_id


def test_key_rotation_needs_the_pinned_keys_word_and_what_was_seen_counts_on(lab: Lab, tmp_path: Path) -> None:
    lab.pin()
    new, thief = SecretKey.generate(), SecretKey.generate()
    lab.accepts(lab.signed(5, seed=1))
    for name, statement in (
        ("forged", rotate(thief, thief.public, "lab")),
        ("elsewhere", rotate(lab.key, thief.public, "other")),
        ("swapped", replace(rotate(lab.key, new.public, "lab"), new=thief.public)),
    ):
        (tmp_path / name).write_bytes(statement.to_bytes())
        outcome = lab.cli("trust", "add", "lab", "--rotation", name)
        refused(outcome, 3, "rotation statement")
    (tmp_path / "old.key").write_bytes(lab.key.to_bytes(None))
    lab.cli.ok("key", "rotate", "--old", "old.key", "--new", new.public.line, "--for", "lab", "-o", "statement")
    lab.cli.ok("trust", "add", "lab", "--rotation", "statement")
    assert [row["public_key"] for row in lab.cli.ok("trust", "ls", "--json").json] == [new.public.line]
    lab.refuses(lab.signed(6, seed=2), new.public.shown_key_id)
    lab.refuses(lab.signed(4, seed=3, key=new), "version 5 was seen")
    assert lab.accepts(lab.signed(6, seed=4, key=new))["name"] == NAME
    refused(lab.cli("trust", "add", "lab", "--rotation", "statement"), 3, "No key pinned for lab")


# --- the first time, and the store -----------------------------------------------------------------------------------


def test_an_unknown_publisher_is_unvouched_until_the_user_names_the_key_which_is_then_pinned(lab: Lab) -> None:
    release = lab.signed(1)
    told = lab.accepts(release)
    assert told["name"].startswith("magnet/")
    assert told["signature"]["state"] == "unknown key"
    lab.refuses(release, NAME, arguments=("--trust", SecretKey.generate().public.line))
    lab.refuses(release, "lab/model, not lab/else", arguments=("--trust", lab.key.public.line, "--name", "lab/else"))
    assert lab.cli.ok("trust", "ls").stdout == ""
    assert lab.accepts(release, "--trust", lab.key.public.line)["name"] == NAME
    assert [row["target"] for row in lab.cli.ok("trust", "ls", "--json").json] == [NAME]
    other = SecretKey.generate()
    lab.refuses(lab.signed(2, seed=2, key=other), lab.key.public.shown_key_id, arguments=("--trust", other.public.line))
    lab.refuses(lab.release(seed=2), "not signed")


def test_a_damaged_trust_store_is_an_error_and_never_an_empty_one(lab: Lab, tmp_path: Path) -> None:
    store = tmp_path / "user-config" / "weightswarm" / "trust.json"
    store.parent.mkdir(parents=True)
    store.write_bytes(b'{"weightswarm_trust": 1, "pins": {"lab": ["RW')
    with serving_release(lab.release()) as magnet:
        refused(lab.cli("fetch", magnet, "--name", NAME, "--timeout", "20"), 1, "trust.json", "damaged")
    assert visible(lab.hub) == []


def test_whoever_seeds_a_fetched_release_passes_its_signature_on(lab: Lab, seeder: Any) -> None:
    lab.pin()
    release = lab.signed(1, FUTURE)
    lab.accepts(release)
    magnet = parse_magnet(seeder(NAME).magnet)
    assert magnet.signature == release.magnet().signature
    assert magnet_of(release.metainfo).signature is None
    listed = json.loads(lab.cli.ok("ls", "--json").stdout)
    assert listed[0]["signature"]["state"] == "pinned"
    shown = lab.cli.ok("show", NAME).stdout
    assert f"key {lab.key.public.shown_key_id} (pinned, version 1, until {FUTURE})" in shown
    verified = lab.cli.ok("verify", NAME)
    assert f"Signed by key {lab.key.public.shown_key_id} (pinned" in verified.stderr
