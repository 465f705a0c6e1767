"""Which keys the user pinned for which organisation or model. Values only, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from weightswarm.errors import InvalidInput, InvalidSignature, Untrusted
from weightswarm.manifest import parse_model_name
from weightswarm.signing import PublicKey, Rotation, parse_public_key

MAX_PINS = 10_000


def parse_target(text: str) -> str:
    """Return `text` when it is an organisation or `org/model`. Raises `InvalidInput`."""
    try:
        parse_model_name(text if "/" in text else f"{text}/any")
    except InvalidInput:
        raise InvalidInput(
            f"Not an organisation or model: {text[:120]}", hint="a key is pinned for org, or for org/model"
        ) from None
    return text


@dataclass(frozen=True, slots=True)
class Pins:
    """Keys by target. Names that differ in case alone share their pins, so that no spelling gets around them."""

    keys: Mapping[str, tuple[PublicKey, ...]] = field(default_factory=dict)

    def for_name(self, name: str) -> tuple[PublicKey, ...]:
        """Return the keys that count for `org/model`: its own, else its organisation's, else none."""
        return self.of(name) or self.of(name.partition("/")[0])

    def of(self, target: str) -> tuple[PublicKey, ...]:
        """Return the keys pinned for exactly this organisation or model."""
        folded = target.casefold()
        return tuple(key for known, keys in self.keys.items() if known.casefold() == folded for key in keys)

    def below(self, target: str) -> dict[str, tuple[PublicKey, ...]]:
        """Return the keys pinned for this organisation or model and, of an organisation, for its models by name."""
        return {known: keys for known, keys in self.keys.items() if _covers(target, known)}

    def adding(self, target: str, key: PublicKey) -> Pins:
        """Return these pins and one more. Raises `InvalidInput` when there are too many."""
        if key in self.of(target):
            return self
        if sum(map(len, self.keys.values())) >= MAX_PINS:
            raise InvalidInput(f"The trust store holds {MAX_PINS:,} keys already")
        return Pins({**self.keys, target: (*self.keys.get(target, ()), key)})

    def without(self, target: str, key: PublicKey | None = None) -> Pins:
        """Return these pins less one key of a target, or less all that are pinned for it.

        An organisation's key goes from the pins of its models, too: nothing it signed counts under that name any more.
        """
        gone = self.of(target) if key is None else (key,)
        left = {
            known: tuple(k for k in keys if k not in gone) if _covers(target, known) else keys
            for known, keys in self.keys.items()
        }
        return Pins({known: keys for known, keys in left.items() if keys})

    def rotated(self, target: str, rotation: Rotation) -> tuple[Pins, PublicKey]:
        """Return these pins with the new key in the place of the pinned one that signed `rotation`, and the old key.

        An organisation's rotation counts for its models as well, wherever the old key is pinned. Raises `Untrusted`
        when no key pinned for `target` made the statement, or it was made for another.
        """
        covered = self.below(target)
        pinned = tuple(dict.fromkeys(key for keys in covered.values() for key in keys))
        old = next((key for key in pinned if rotation.signed_by(key)), None)
        if old is None:
            ids = tuple(key.shown_key_id for key in pinned)
            raise Untrusted(
                f"No key pinned for {target} made this rotation statement: it says key"
                f" {rotation.signature.shown_key_id}, pinned is {', '.join(ids) or 'none'}",
                key_ids=ids,
                hint="nothing was changed; ask the publisher by another way which key is right",
            )
        if rotation.target.casefold() != target.casefold():
            raise Untrusted(f"The rotation statement is for {rotation.target}, not for {target}")
        changed = {
            known: tuple(dict.fromkeys((*(key for key in keys if key != old), rotation.new)))
            for known, keys in covered.items()
            if old in keys
        }
        return Pins({**self.keys, **changed}), old

    def to_document(self) -> dict[str, list[str]]:
        """Return what a store keeps."""
        return {target: [key.line for key in keys] for target, keys in sorted(self.keys.items())}

    @classmethod
    def of_document(cls, document: object) -> Pins:
        """Read what a store kept. Raises `InvalidSignature`, `InvalidInput`."""
        if not isinstance(document, dict):
            raise InvalidSignature("Its pins are not an object")
        keys = {}
        for target, lines in document.items():
            if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
                raise InvalidSignature(f"The keys of {str(target)[:80]} are not a list of lines")
            parsed = tuple(map(parse_public_key, lines))
            if [key.line for key in parsed] != lines:
                raise InvalidSignature(f"A key of {str(target)[:80]} is not in the one form that this program writes")
            keys[parse_target(str(target))] = parsed
        return cls(keys)


def _covers(target: str, known: str) -> bool:
    folded = target.casefold()
    return known.casefold() == folded or known.casefold().startswith(f"{folded}/")
