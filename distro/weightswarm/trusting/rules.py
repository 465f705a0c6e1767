"""The rules that a release must pass to be placed under a name with pinned keys. No I/O, no clock: all is passed in.

1. Keys and algorithm come from the user's store (or the user's own words), never from what is judged. With none pinned
   for a name, nothing is asked and nothing is vouched for.
2. A release under a pinned name has a signature: one that lost it on its way is refused like one that never had it.
3. One signature verifies under one of the keys, over the manifest's exact bytes and over its trusted comment.
4. The manifest is for the name it is asked for.
5. The trusted comment, where the signer used ours, is about this name and this revision.
6. It has not expired, unless the user takes that on.
7. Its version is not below the highest seen of this model under the keys that are pinned now, nor does it give that
   version's number to another revision; unless the user takes that on.
8. Where a registry lists it by a version, and the signature states one, that is the same: a name asked for as `@v3`
   brings what was signed as version 3.
A release that passes may be called what its manifest says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from weightswarm.errors import InvalidSignature, Untrusted
from weightswarm.manifest import Manifest
from weightswarm.signing import (
    PublicKey,
    ReleaseStatement,
    Signature,
    parse_link_value,
    parse_signature,
    parse_statement,
)
from weightswarm.trusting.seen import SeenVersion

MAX_SIGNATURES = 8
"""Most signatures of one release that are looked at; it can arrive by five ways."""

_NOTHING = "nothing was downloaded or placed"


class State(StrEnum):
    """What a release's signature is worth here."""

    UNSIGNED = "unsigned"
    UNKNOWN_KEY = "unknown key"
    PINNED = "pinned"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Standing:
    """Who signed a release. `key_id` was checked only when the state is `pinned`; else it is the signature's claim."""

    state: State
    key_id: str | None = None
    version: int = 0
    expires: str | None = None

    def __str__(self) -> str:
        if self.state is State.UNSIGNED:
            return "nobody"
        told = {
            State.PINNED: "pinned",
            State.UNKNOWN_KEY: "not pinned, so not checked",
            State.WRONG: "pinned keys did not make this signature",
        }[self.state]
        version = f", version {self.version}" if self.version else ""
        return f"key {self.key_id} ({told}{version}{f', until {self.expires}' if self.expires else ''})"


UNSIGNED = Standing(State.UNSIGNED)


@dataclass(frozen=True, slots=True)
class Leave:
    """What the user takes on: a signature that has expired, a version below the highest seen."""

    expired: bool = False
    older: bool = False


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature that verified, the key that made it, and what it states."""

    key: PublicKey
    signature: Signature
    statement: ReleaseStatement

    @property
    def standing(self) -> Standing:
        """What to tell of it."""
        return Standing(State.PINNED, self.key.shown_key_id, self.statement.version, self.statement.expires)


def read_signatures(files: Iterable[bytes | None], link_value: str | None = None) -> tuple[Signature, ...]:
    """Read what came with a release, each signature once; what is malformed counts as absent."""
    found: list[Signature] = []
    for data in files:
        with suppress(InvalidSignature):
            if data is not None:
                found.append(parse_signature(data))
    with suppress(InvalidSignature):
        if link_value is not None:
            found.append(parse_link_value(link_value))
    return tuple(dict.fromkeys(found))[:MAX_SIGNATURES]


def admit(
    name: str,
    manifest: Manifest | None,
    signatures: Sequence[Signature],
    keys: Sequence[PublicKey],
    highest: SeenVersion | None,
    *,
    now: str,
    leave: Leave,
    listed: int | None = None,
) -> Signed:
    """Return the signature by which a release may stand under the pinned `name`. Raises `Untrusted`, saying why not.

    `now` is UTC, `2026-01-31T00:00:00Z`; `manifest` is None for a torrent without one; `listed` is the version by which
    a registry lists it. Where several signatures
    verify, the newest that passes counts.
    """
    ids = tuple(key.shown_key_id for key in keys)
    pinned = f"key{'s' if len(ids) != 1 else ''} {', '.join(ids)}"
    if manifest is None or not signatures:
        raise Untrusted(
            f"{name} is not signed, and {pinned} is pinned for it"
            if len(ids) == 1
            else f"{name} is not signed, and one of {pinned} must have signed it",
            key_ids=ids,
            hint=f"{_NOTHING}; get the signed magnet or the .minisig from the publisher",
        )
    data = manifest.to_bytes()
    made = [(key, signature) for signature in signatures for key in keys if key.verifies(data, signature)]
    if not made:
        claimed = ", ".join(dict.fromkeys(signature.shown_key_id for signature in signatures))
        raise Untrusted(
            f"{name} is not signed by {pinned}, pinned for it: a signature that names key {claimed} came instead",
            key_ids=ids,
            hint=f"{_NOTHING}; if the publisher changed keys, see: weightswarm trust add --rotation",
        )
    if manifest.name != name:
        raise Untrusted(f"What was signed is {manifest.name}, not {name}", key_ids=ids, hint=_NOTHING)
    signed: list[Signed] = []
    refusal: Untrusted | None = None
    for key, signature in made:
        try:
            signed.append(Signed(key, signature, _statement(signature, ids)))
        except Untrusted as error:
            refusal = refusal or error
    signed.sort(key=lambda s: (s.statement.version, s.statement.expires or "9"), reverse=True)
    for each in signed:
        try:
            _check_subject(each, manifest, ids)
            _check_expiry(each, name, ids, now, leave)
            _check_version(each, manifest, ids, highest, leave)
            _check_listed(each, name, ids, listed)
        except Untrusted as error:
            refusal = refusal or error
        else:
            return each
    assert refusal is not None
    raise refusal


def standing_of(name: str, manifest: Manifest, signatures: Sequence[Signature], keys: Sequence[PublicKey]) -> Standing:
    """Return what a release's signature is worth under `name`, for showing it.

    Nothing is refused here; expiry and version are told.
    """
    data = manifest.to_bytes()
    worth = [(s, State.PINNED) for s in signatures if any(key.verifies(data, s) for key in keys)]
    if not worth:
        worth = [(s, State.WRONG if keys else State.UNKNOWN_KEY) for s in signatures]
    if manifest.name != name and keys:
        worth = [(signature, State.WRONG) for signature, _ in worth]
    told = [_standing(signature, state, manifest) for signature, state in worth]
    return max(told, key=lambda s: (s.version, s.expires or "9"), default=UNSIGNED)


def _standing(signature: Signature, state: State, manifest: Manifest) -> Standing:
    try:
        statement = parse_statement(signature.trusted_comment)
    except InvalidSignature:
        return Standing(State.WRONG, signature.shown_key_id)
    if statement.name is not None and (statement.name, statement.revision) != (manifest.name, manifest.revision):
        state = State.WRONG
    return Standing(state, signature.shown_key_id, statement.version, statement.expires)


def _statement(signature: Signature, ids: tuple[str, ...]) -> ReleaseStatement:
    try:
        return parse_statement(signature.trusted_comment)
    except InvalidSignature as error:
        raise Untrusted(str(error), key_ids=ids, hint=_NOTHING) from error


def _check_subject(signed: Signed, manifest: Manifest, ids: tuple[str, ...]) -> None:
    statement = signed.statement
    if statement.name is not None and (statement.name, statement.revision) != (manifest.name, manifest.revision):
        raise Untrusted(
            f"The signature is for {statement.name}@{str(statement.revision)[:8]},"
            f" the manifest for {manifest.name}@{manifest.revision[:8]}",
            key_ids=ids,
            hint=_NOTHING,
        )


def _check_expiry(signed: Signed, name: str, ids: tuple[str, ...], now: str, leave: Leave) -> None:
    expires = signed.statement.expires
    if expires is not None and expires <= now and not leave.expired:
        raise Untrusted(
            f"The signature of {name} by key {signed.key.shown_key_id} expired at {expires}",
            key_ids=ids,
            hint=f"{_NOTHING}; somebody may hold back a newer release: ask the publisher for the current magnet,"
            " or take it on with --allow-expired",
        )


def _check_version(
    signed: Signed, manifest: Manifest, ids: tuple[str, ...], highest: SeenVersion | None, leave: Leave
) -> None:
    version = signed.statement.version
    if highest is None or leave.older:
        return
    if version < highest.version:
        raise Untrusted(
            f"{manifest.name}@{manifest.revision[:8]} is version {version}, and version {highest.version} was seen",
            key_ids=ids,
            hint=f"{_NOTHING}; somebody may be serving an old release: --allow-older takes it all the same",
        )
    if version == highest.version > 0 and manifest.revision != highest.revision:
        raise Untrusted(
            f"{manifest.name}@{manifest.revision[:8]} is signed as version {version}, which was revision"
            f" {highest.revision[:8]} before",
            key_ids=ids,
            hint=f"{_NOTHING}; ask the publisher which is right: --allow-older takes it all the same",
        )


def _check_listed(signed: Signed, name: str, ids: tuple[str, ...], listed: int | None) -> None:
    version = signed.statement.version
    if listed is not None and version not in (0, listed):
        raise Untrusted(
            f"The registry lists {name} as version {listed}, and it is signed as version {version}",
            key_ids=ids,
            hint=f"{_NOTHING}; somebody may be serving another release than was asked for",
        )
