"""The one error root. Every failure a caller may meet is a `WeightswarmError` with typed fields.

Exit codes are the command line's business (`weightswarm.cli.exit_codes`), not this module's.
"""

from __future__ import annotations

import re

_USER = re.compile(r"(?<=://)[^\s/?#]*@")


def printable(text: str) -> str:
    """Return `text` with everything a terminal would act on escaped (controls, bidi marks, lone surrogates)."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)


def without_passwords(text: str) -> str:
    """Return `text` with user and password of the URLs in it (RFC 3986 section 3.2.1) left out."""
    return _USER.sub("***@", text)


class WeightswarmError(Exception):
    """Root of all errors raised on purpose. `hint`, when set, is one sentence on what the user can do."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(printable(without_passwords(message)))
        self.hint = None if hint is None else printable(without_passwords(hint))


class InvalidInput(WeightswarmError):
    """What the user typed or passed cannot be used: a name, a magnet link, an option's value."""


class InvalidManifest(WeightswarmError):
    """A manifest breaks its format. `entry` names the offending file entry or key, where there is one."""

    def __init__(self, message: str, *, entry: str | None = None) -> None:
        shown = message if entry is None else f"{entry[:200]!r}: {message}"
        super().__init__(f"Invalid manifest: {shown}")
        self.entry = entry


class InvalidMetainfo(WeightswarmError):
    """A torrent's metainfo breaks BEP 3, BEP 52 or this project's bounds on names and sizes."""

    def __init__(self, message: str) -> None:
        super().__init__(f"Invalid torrent: {message}")


class NotPublishable(WeightswarmError):
    """A path cannot be part of a release: a socket, a link out of the folder, an unusable name."""

    def __init__(self, path: str, reason: str, *, hint: str | None = None) -> None:
        super().__init__(f"Cannot publish {path}: {reason}", hint=hint)
        self.path = path
        self.reason = reason


class ContentMismatch(WeightswarmError):
    """Content is not what its manifest says. `paths` are the files concerned, relative to the release."""

    def __init__(self, message: str, *, paths: tuple[str, ...] = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.paths = paths


class SourceChanged(ContentMismatch):
    """A published file changed, shrank or vanished while it was read or seeded."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"{path} {reason} since it was published",
            paths=(path,),
            hint="publish the folder again: other bytes make another release",
        )
        self.reason = reason


class InvalidSignature(WeightswarmError):
    """A signature, key or statement breaks its format."""


class Untrusted(ContentMismatch):
    """A release is not signed as the keys pinned for its name demand. `key_ids` are those that would count."""

    def __init__(self, message: str, *, key_ids: tuple[str, ...] = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.key_ids = key_ids


class NoManifest(WeightswarmError):
    """A torrent carries no manifest and no registry knows it."""


class UnsafeFiles(WeightswarmError):
    """A release has files that may run code when they are loaded, and its user wants none. `paths` names them."""

    def __init__(self, message: str, *, paths: tuple[str, ...], hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.paths = paths


class NotFound(WeightswarmError):
    """A name, revision, path or info-hash is known neither to the model cache nor to a registry."""


class Ambiguous(NotFound):
    """A name or the start of a revision could mean several releases of one registry."""


class RegistryFailure(WeightswarmError):
    """A registry did not answer, or answered what a registry may not. `location` is its URL.

    `after` is set when it was time that ran out, in seconds.
    """

    def __init__(self, location: str, reason: str, *, after: float | None = None) -> None:
        super().__init__(f"Registry {location}: {reason}")
        self.location = location
        self.reason = printable(without_passwords(reason))
        self.after = after


class OutOfSpace(WeightswarmError):
    """The file system cannot hold what would be written. Sizes are in bytes."""

    def __init__(self, path: str, *, needed: int, free: int) -> None:
        super().__init__(
            f"Not enough space in {path}: {needed:,} bytes are needed, {free:,} are free",
            hint="free some space or choose another folder with --cache-dir; the next fetch goes on from here",
        )
        self.needed = needed
        self.free = free


class StorageFailure(WeightswarmError):
    """The file system refused an operation. `path` is what it was about."""

    def __init__(self, path: str, reason: str, *, hint: str | None = None) -> None:
        super().__init__(f"{path}: {reason}", hint=hint)
        self.path = path
        self.reason = reason


class NetworkFailure(WeightswarmError):
    """A server answered wrongly or not at all, or this machine cannot listen where it was told to."""


class SwarmTimeout(WeightswarmError):
    """No peer, metadata or progress within the time allowed (seconds in `after`)."""

    def __init__(self, message: str, *, after: float, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.after = after


class Cancelled(WeightswarmError):
    """The caller asked for the work to stop."""
