"""The highest version seen of each model under each key, so that an older one is known as such. Values only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from weightswarm.errors import InvalidSignature
from weightswarm.signing import MAX_VERSION, PublicKey, parse_public_key


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
        if not isinstance(document, dict) or not all(isinstance(of_name, dict) for of_name in document.values()):
            raise InvalidSignature("Its versions are malformed")
        return cls(
            {
                _folded(name): {_line(line): _seen(value) for line, value in of_name.items()}
                for name, of_name in document.items()
            }
        )


def _folded(name: str) -> str:
    if name != name.casefold():
        raise InvalidSignature(f"Its versions of {name[:80]} would not be found again")
    return name


def _line(text: str) -> str:
    if parse_public_key(text).line != text:
        raise InvalidSignature("A key in it is not in the one form that this program writes")
    return text


def _seen(value: object) -> SeenVersion:
    version, revision = value if isinstance(value, list) and len(value) == 2 else (None, None)
    # A bool is an int to Python.
    if type(version) is not int or not 0 < version <= MAX_VERSION or not isinstance(revision, str):
        raise InvalidSignature(f"A version in it is malformed: {str(value)[:80]}")
    return SeenVersion(version, revision)
