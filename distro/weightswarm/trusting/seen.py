"""The highest version seen of each model under each key, so that an older one is known as such. Values only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from weightswarm.errors import InvalidSignature
from weightswarm.signing import PublicKey


@dataclass(frozen=True, slots=True)
class SeenVersion:
    """A version that was accepted, and the revision that it meant."""

    version: int
    revision: str


@dataclass(frozen=True, slots=True)
class SeenVersions:
    """By model name (case folded), then by public key line: a key that is not pinned any more does not count."""

    versions: Mapping[str, Mapping[str, SeenVersion]] = field(default_factory=dict)

    def highest(self, name: str, keys: Iterable[PublicKey]) -> SeenVersion | None:
        """Return the highest version of a model seen under any of `keys`."""
        of_name = self.versions.get(name.casefold(), {})
        known = [of_name[key.line] for key in keys if key.line in of_name]
        return max(known, key=lambda seen: seen.version, default=None)

    def noting(self, name: str, key: PublicKey, version: int, revision: str) -> SeenVersions:
        """Return these and one more; what was seen stays when it is higher, or as high."""
        of_name = self.versions.get(name.casefold(), {})
        before = of_name.get(key.line)
        if before is not None and before.version >= version:
            return self
        return SeenVersions({**self.versions, name.casefold(): {**of_name, key.line: SeenVersion(version, revision)}})

    def rotated(self, target: str, old: PublicKey, new: PublicKey) -> SeenVersions:
        """Return these with what was seen of a target's models under `old` standing under `new` as well."""
        prefix = target.casefold()
        moved = self
        for name, of_name in self.versions.items():
            if (name == prefix or name.startswith(f"{prefix}/")) and old.line in of_name:
                seen = of_name[old.line]
                moved = moved.noting(name, new, seen.version, seen.revision)
        return moved

    def to_document(self) -> dict[str, dict[str, list[int | str]]]:
        """Return what a store keeps."""
        return {
            name: {line: [seen.version, seen.revision] for line, seen in sorted(of_name.items())}
            for name, of_name in sorted(self.versions.items())
        }

    @classmethod
    def of_document(cls, document: object) -> SeenVersions:
        """Read what a store kept. Raises `InvalidSignature`."""
        try:
            assert isinstance(document, dict)
            return cls(
                {
                    str(name): {str(line): SeenVersion(int(v), str(r)) for line, (v, r) in of_name.items()}
                    for name, of_name in document.items()
                }
            )
        except (AssertionError, AttributeError, TypeError, ValueError):
            raise InvalidSignature("Its versions are malformed") from None
