"""Several registries, asked in order: one that is down does not stop the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from weightswarm.errors import NetworkFailure, NotFound, RegistryFailure, SwarmTimeout, WeightswarmError
from weightswarm.magnet import InfoHash
from weightswarm.registry.entry import RegistryEntry
from weightswarm.registry.listing import ListedRelease, matching


class Registry(Protocol):
    """Maps model names and info-hashes to releases. Each method may raise `RegistryFailure`."""

    @property
    def location(self) -> str:
        """Its folder or URL, for messages."""
        ...

    def find(self, name: str, revision: str | None = None) -> RegistryEntry | None:
        """Return a model's release, None when the model is not here.

        Raises `NotFound` when it is and the revision is not, `Ambiguous` when the revision could be several.
        """
        ...

    def find_info_hash(self, info_hash: InfoHash) -> RegistryEntry | None:
        """Return the release that a torrent holds, None when none has its info-hash."""
        ...

    def releases(self) -> Sequence[ListedRelease]:
        """Return the list of what is here."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """A release that a search found, and the location of the registry that lists it."""

    release: ListedRelease
    location: str


def find_name(registries: Sequence[Registry], name: str, revision: str | None) -> RegistryEntry | None:
    """Return the first registry's release of a name, None when all answered and none has it.

    Raises `NotFound` where the name is known and its revision is not, `Ambiguous`, and where nobody has it and somebody
    did not answer, `NetworkFailure` or `SwarmTimeout`: then it is not known to be absent.
    """
    failures: list[RegistryFailure] = []
    missing: NotFound | None = None
    for registry in registries:
        try:
            if (entry := registry.find(name, revision)) is not None:
                return entry
        except RegistryFailure as failure:
            failures.append(failure)
        except NotFound as error:
            if revision is None or type(error) is not NotFound:
                raise
            missing = missing or error
    if failures:
        raise unanswered(f"{name} was not found, and not every registry answered", failures)
    if missing is not None:
        raise missing
    return None


def find_info_hash(registries: Sequence[Registry], info_hash: InfoHash) -> RegistryEntry | None:
    """Return the first registry's release with an info-hash, None when none that answers has it."""
    for registry in registries:
        try:
            if (entry := registry.find_info_hash(info_hash)) is not None:
                return entry
        except RegistryFailure:
            # It has said so itself, and a torrent needs no registry.
            continue
    return None


def search(registries: Sequence[Registry], text: str) -> list[Found]:
    """Return what registries list for `text` (see `matching`), each release under the first registry that has it.

    Raises `NetworkFailure` or `SwarmTimeout` where nothing is found and somebody did not answer.
    """
    failures: list[RegistryFailure] = []
    found: dict[tuple[str, str], Found] = {}
    for registry in registries:
        try:
            releases = registry.releases()
        except RegistryFailure as failure:
            failures.append(failure)
            continue
        for release in releases:
            found.setdefault((release.name, release.place), Found(release, registry.location))
    ordered = matching((each.release for each in found.values()), text)
    if failures and not ordered:
        raise unanswered("Nothing was found, and not every registry answered", failures)
    return [found[release.name, release.place] for release in ordered]


def unanswered(what: str, failures: Sequence[RegistryFailure]) -> WeightswarmError:
    """Return the error that says who was asked in vain: a timeout when time alone was what ran out."""
    tried = "; ".join(f"{failure.location}: {failure.reason}" for failure in failures)
    hint = "try again later, or name another registry with --registry"
    times = [failure.after for failure in failures if failure.after is not None]
    if len(times) == len(failures):
        return SwarmTimeout(f"{what}: {tried}", after=max(times), hint=hint)
    return NetworkFailure(f"{what}: {tried}", hint=hint)
