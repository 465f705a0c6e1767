"""Model names and revisions, by the Hugging Face Hub's rules for repository ids."""

from __future__ import annotations

import re

from weightswarm.errors import InvalidInput
from weightswarm.magnet import InfoHash

_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?", re.ASCII)
_REVISION = re.compile(r"[0-9a-f]{40}")
MAX_NAME_LENGTH = 96


def parse_model_name(text: str) -> str:
    """Return `text` when it is a valid `org/model`; raises `InvalidInput` otherwise.

    Letters, digits, `_`, `-` and `.`; neither `--` nor `..`; no `-` or `.` at either end of a part; at most 96
    characters; not ending in `.git` (huggingface_hub `validate_repo_id`).
    """
    hint = "a model name looks like org/model: letters, digits, '_', '-' and '.'"
    parts = text.split("/")
    if len(parts) != 2 or not all(_PART.fullmatch(part) for part in parts):
        raise InvalidInput(f"Not a model name: {text[:120]}", hint=hint)
    if "--" in text or ".." in text or text.endswith(".git") or len(text) > MAX_NAME_LENGTH:
        raise InvalidInput(f"Not a model name the Hub allows: {text[:120]}", hint=f"{hint}, 96 characters at most")
    return text


def is_model_name(text: str) -> bool:
    """Tell whether `text` is a valid `org/model`."""
    try:
        parse_model_name(text)
    except InvalidInput:
        return False
    return True


def parse_reference(text: str) -> tuple[str, str | None]:
    """Read `org/model[@revision]`; the revision is None where there is none, or it is `main`."""
    name, _, revision = text.partition("@")
    return parse_model_name(name), None if revision in ("", "main") else revision


def is_revision(text: str) -> bool:
    """Tell whether `text` is 40 lower-case hex digits."""
    return _REVISION.fullmatch(text) is not None


def parse_revision(text: str) -> str:
    """Return `text` when it is a revision; raises `InvalidInput` otherwise."""
    if not is_revision(text):
        raise InvalidInput(f"Not a revision: {text[:80]}", hint="a revision is 40 lower-case hex digits")
    return text


def magnet_model_name(torrent_name: str, info_hash: InfoHash) -> str:
    """Return the name under which a torrent that nobody vouches for is placed: `magnet/<torrent name>-<8 hex>`.

    The organisation is fixed, so that a stranger's torrent cannot choose whose name it takes.
    """
    cleaned = re.sub(r"[^A-Za-z0-9_]+", lambda m: m[0][0] if m[0][0] in ".-" else "-", torrent_name, flags=re.ASCII)
    kept = cleaned.strip(".-")[: MAX_NAME_LENGTH - len("magnet/-") - 8].strip(".-") or "torrent"
    return parse_model_name(f"magnet/{kept}-{info_hash.short}")
