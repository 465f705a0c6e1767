"""By which name a release may be placed, and on whose word: the user's, a registry's, a pinned key's, or nobody's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from weightswarm.cache import utc_now
from weightswarm.errors import Untrusted
from weightswarm.manifest import Manifest
from weightswarm.progress import Note, Report
from weightswarm.signing import PublicKey, Signature
from weightswarm.trusting import (
    UNSIGNED,
    Leave,
    Pins,
    Signed,
    Standing,
    State,
    TrustStore,
    admit,
    read_signatures,
    standing_of,
)


@dataclass(frozen=True, slots=True)
class Vouched:
    """What was decided. `name` is None when nobody vouches for one; `signature` is what to keep with the release:
    the one that counts, or where none can be judged the first, so that a stranger's does not replace one that is kept.
    """

    name: str | None
    standing: Standing
    signature: bytes | None


class Voucher:
    """Applies the trust rules to one fetch. `key` is the one that the user accepts for this release (`--trust`)."""

    def __init__(self, store: TrustStore, leave: Leave, key: PublicKey | None, report: Report) -> None:
        self._store = store
        self._leave = leave
        self._key = key
        self._report = report
        self._told: Standing | None = None

    def vouch(
        self,
        manifest: Manifest | None,
        given: str | None,
        files: Iterable[bytes | None],
        link_value: str | None,
        *,
        listed: int | None,
        keep: bool,
    ) -> Vouched:
        """Decide. `given` is the name on the user's or a registry's word; `files` and `link_value` are the signatures,
        `listed` the version by which a registry lists it.

        With `keep` the store learns the version, and the key that the user accepted. Raises `Untrusted`, and
        `StorageFailure` for a store that cannot be read.
        """
        if manifest is None and self._key is not None:
            raise Untrusted(f"The torrent carries no manifest that key {self._key.shown_key_id} could have signed")
        signatures = read_signatures(files, link_value)
        name = given or (manifest.name if manifest is not None else None)
        pins = self._store.pins()
        keys = () if name is None else self._keys(name, pins)
        if name is None or not keys:
            standing = UNSIGNED if manifest is None else standing_of(name or manifest.name, manifest, signatures, keys)
            self._tell(standing)
            return Vouched(given, standing, signatures[0].to_bytes() if signatures else None)
        signed = self._admit(name, manifest, signatures, keys, {*keys, *pins.for_name(name)}, listed)
        if keep:
            self._keep(name, signed, signed.key in pins.for_name(name))
        self._tell(signed.standing)
        return Vouched(name, signed.standing, signed.signature.to_bytes())

    def pinned(self, name: str) -> bool:
        """Tell whether a release of this name must be signed."""
        return bool(self._keys(name, self._store.pins()))

    def _keys(self, name: str, pins: Pins) -> tuple[PublicKey, ...]:
        pinned = pins.for_name(name)
        if self._key is None:
            return pinned
        if pinned and self._key not in pinned:
            ids = tuple(key.shown_key_id for key in pinned)
            raise Untrusted(
                f"Key {self._key.shown_key_id} is not one of those pinned for {name}: {', '.join(ids)}",
                key_ids=ids,
                hint="weightswarm trust add, or trust rm, changes what is pinned",
            )
        return (self._key,)

    def _admit(
        self,
        name: str,
        manifest: Manifest | None,
        signatures: tuple[Signature, ...],
        keys: tuple[PublicKey, ...],
        known: Iterable[PublicKey],
        listed: int | None,
    ) -> Signed:
        # The key that the user names now is held to what the others have signed, too.
        highest = self._store.seen().highest(name, known)
        return admit(name, manifest, signatures, keys, highest, now=utc_now(), leave=self._leave, listed=listed)

    def _keep(self, name: str, signed: Signed, pinned: bool) -> None:
        if not pinned:
            self._store.change_pins(lambda pins: pins.adding(name, signed.key))
        version, revision = signed.statement.version, signed.statement.revision
        if version and revision is not None:
            self._store.change_seen(lambda seen: seen.noting(name, signed.key, version, revision))

    def _tell(self, standing: Standing) -> None:
        if standing.state is not State.UNSIGNED and standing != self._told:
            self._report(Note(f"Signed by {standing}."))
        self._told = standing
