"""What a signer says of a release in the trusted comment: its name, revision, version, and until when that holds."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from weightswarm.errors import InvalidInput, InvalidSignature

_MARK = "weightswarm "
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
MAX_VERSION = 2**53 - 1


@dataclass(frozen=True, slots=True)
class ReleaseStatement:
    """A signer's word. `version` counts a model's releases up, 0 where it was not given; `expires` is UTC,
    `2027-01-01T00:00:00Z`. `name` and `revision` are None in a signature that plain minisign made."""

    name: str | None = None
    revision: str | None = None
    version: int = 0
    expires: str | None = None

    def to_comment(self) -> str:
        """Return the trusted comment."""
        text = f"{_MARK}name={self.name} revision={self.revision}"
        text += f" version={self.version}" if self.version else ""
        return text + (f" expires={self.expires}" if self.expires else "")


def parse_statement(comment: str) -> ReleaseStatement:
    """Read a trusted comment; one that is not ours says nothing. Raises `InvalidSignature` for a malformed one."""
    if not comment.startswith(_MARK):
        return ReleaseStatement()
    fields: dict[str, str] = {}
    for word in comment.removeprefix(_MARK).split(" "):
        key, equals, value = word.partition("=")
        if not equals or not value or key in fields:
            raise InvalidSignature(f"The trusted comment is malformed: {comment[:200]}")
        fields[key] = value
    version = fields.get("version", "0")
    if "name" not in fields or "revision" not in fields or not (version.isascii() and version.isdigit()):
        raise InvalidSignature(f"The trusted comment is malformed: {comment[:200]}")
    if len(version) > 16 or int(version) > MAX_VERSION:
        raise InvalidSignature(f"The trusted comment's version is above {MAX_VERSION}")
    expires = fields.get("expires")
    if expires is not None and not _is_time(expires):
        raise InvalidSignature(f"The trusted comment's expiry is no time: {expires[:40]}")
    return ReleaseStatement(fields["name"], fields["revision"], int(version), expires)


def parse_expiry(text: str, now: float) -> str:
    """Read `2027-01-01`, `2027-01-01T12:00:00Z`, or `90d` counted from `now` (seconds since 1970) → the UTC time.

    Raises `InvalidInput`, also for a time that has passed.
    """
    days = re.fullmatch(r"(\d{1,5})d", text, re.ASCII)
    expires = time.strftime(_FORMAT, time.gmtime(now + 86400 * int(days[1]))) if days else text
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
        expires = f"{text}T00:00:00Z"
    if not _is_time(expires):
        raise InvalidInput(f"Not a date to expire at: {text[:40]}", hint="write it like 2027-01-01 or 90d")
    if expires <= time.strftime(_FORMAT, time.gmtime(now)):
        raise InvalidInput(f"{text[:40]} has passed already", hint="an expiry lies in the future: 2027-01-01 or 90d")
    return expires


def _is_time(text: str) -> bool:
    try:
        return _TIME.fullmatch(text) is not None and bool(time.strptime(text, _FORMAT))
    except ValueError:
        return False
