"""`SHA256SUMS`, as `sha256sum` writes and checks it."""

from __future__ import annotations

from weightswarm.manifest import Manifest


def sha256sums(manifest: Manifest) -> str:
    """Return a line for each file: digest, two spaces, path below the release's folder.

    No path needs coreutils' escapes: a manifest has none with a backslash or a line break.
    """
    return "".join(f"{entry.sha256}  {entry.path}\n" for entry in manifest.files)
