"""Where things stand in the model cache: `models--org--model/{blobs,refs,snapshots}` below one root.

This program adds two folders that the Hub's tools pass over: `.weightswarm/<revision>/` in a repository, with the
release's manifest and torrent, and `.locks/weightswarm/` at the root, with locks and unfinished downloads.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from weightswarm.errors import InvalidInput, NotFound
from weightswarm.manifest import FileEntry, check_path, is_revision, parse_model_name
from weightswarm.storage import is_file, read_regular, user_path


def cache_root(explicit: str | os.PathLike[str] | None = None) -> Path:
    """Return the cache's folder: `explicit`, or where huggingface_hub looks (its environment variables, in order)."""
    if explicit is not None:
        return user_path(explicit)
    environment = os.environ
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environment.get(variable):
            return user_path(environment[variable])
    if environment.get("HF_HOME"):
        return user_path(environment["HF_HOME"]) / "hub"
    return user_path(environment.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface" / "hub"


@dataclass(frozen=True, slots=True)
class Repository:
    """One model's folder in the cache."""

    name: str
    path: Path

    @property
    def blobs(self) -> Path:
        """Files by content, read-only."""
        return self.path / "blobs"

    @property
    def snapshots(self) -> Path:
        """One folder of links a revision."""
        return self.path / "snapshots"

    @property
    def refs(self) -> Path:
        """Names of revisions, `main` above all."""
        return self.path / "refs"

    @property
    def lock(self) -> Path:
        """The lock that whoever changes the repository holds."""
        return self.path.parent / ".locks" / self.path.name / "weightswarm.lock"

    def snapshot(self, revision: str) -> Path:
        """The folder a loader opens."""
        return self.snapshots / revision

    def record(self, revision: str) -> Path:
        """Where this program keeps what it knows of a revision."""
        return self.path / ".weightswarm" / revision

    def own_ref(self, revision: str) -> Path:
        """A name of ours for a revision where `refs/main` names another: `hf cache prune` deletes what no ref names."""
        return self.refs / "weightswarm" / revision

    def blob(self, entry: FileEntry) -> Path:
        """Where a file's content stands: under the Hub's own id for it, or its SHA-256."""
        return Path(self.path, "blobs", entry.blob_name)

    def file(self, entry: FileEntry, revision: str) -> Path | None:
        """Return where a file of a revision stands: its blob, or a plain file in the snapshot, as on file systems
        without links. None when neither is there; whoever relies on it hashes it."""
        # In plain texts: 10,000 files are looked for several times.
        if is_file(blob := f"{self.path}/blobs/{entry.blob_name}"):
            return Path(blob)
        plain = f"{self.path}/snapshots/{revision}/{entry.path}"
        return Path(plain) if is_file(plain) and not os.path.islink(plain) else None

    def shown(self, path: str, revision: str) -> Path | None:
        """Return where a file that a snapshot shows stands: the blob that its link names, or the plain file. A link
        is not followed further than to this repository's blobs. None when there is none."""
        place = self.snapshot(revision) / path
        try:
            file = self.blobs / os.path.basename(os.readlink(place))
        except OSError:
            file = place
        return file if file.is_file() else None

    def revisions(self) -> tuple[str, ...]:
        """The revisions that have a snapshot, sorted."""
        try:
            return tuple(sorted(e.name for e in os.scandir(self.snapshots) if is_revision(e.name) and e.is_dir()))
        except OSError:
            return ()

    def main(self) -> str | None:
        """The revision that `refs/main` names, None when there is none."""
        return self.ref("main")

    def ref(self, name: str) -> str | None:
        """The revision that a branch or tag names, as the Hub's client wrote it down; None when there is none."""
        if check_path(name) is not None:
            return None
        try:
            text = read_regular(self.refs / name, 64).decode("ascii", "replace").strip()
        except OSError:
            return None
        return text if is_revision(text) else None

    def is_named(self, revision: str, *, as_main: bool) -> bool:
        """Whether `refs/main` names a revision, or, unless it has to, a ref of ours beside it."""
        main = self.main()
        return main == revision or (main is not None and not as_main and self.own_ref(revision).is_file())


@dataclass(frozen=True, slots=True)
class ModelCache:
    """The cache below one root folder, which need not exist yet."""

    root: Path

    @property
    def private(self) -> Path:
        """Locks and unfinished downloads. `.locks` is the one folder that the Hub's tools do not list."""
        return self.root / ".locks" / "weightswarm"

    def repository(self, name: str) -> Repository:
        """The folder of a model name."""
        return Repository(name, self.root / f"models--{parse_model_name(name).replace('/', '--')}")

    def repositories(self) -> tuple[Repository, ...]:
        """Every model folder, sorted by name. Folders that no `org/model` could have made are passed over."""
        found = []
        try:
            folders = sorted(e.name for e in os.scandir(self.root) if e.name.startswith("models--") and e.is_dir())
        except OSError:
            return ()
        for folder in folders:
            try:
                name = parse_model_name(folder.removeprefix("models--").replace("--", "/"))
            except InvalidInput:
                continue
            found.append(Repository(name, self.root / folder))
        return tuple(found)

    def resolve(self, name: str, revision: str | None = None) -> tuple[Repository, str]:
        """Return a cached model's folder and revision: the one asked for (or its first digits, or a branch or tag of
        it), `refs/main`, or the only one there is. Raises `NotFound`."""
        repository = self.repository(name)
        revisions = repository.revisions()
        if not revisions:
            raise NotFound(f"{name} is not in the model cache at {self.root}", hint="`weightswarm ls` shows what is")
        if revision is not None:
            matching = [r for r in revisions if r.startswith(revision)] if len(revision) >= 7 else []
            if len(matching) == 1:
                return repository, matching[0]
            if (named := repository.ref(revision)) in revisions:
                return repository, str(named)
            raise NotFound(f"{name} has no revision {revision} in the model cache", hint=_list(revisions))
        main = repository.main()
        if main in revisions:
            return repository, str(main)
        if len(revisions) == 1:
            return repository, revisions[0]
        raise NotFound(f"{name} has several revisions and no refs/main; say which: {name}@REV", hint=_list(revisions))


def _list(revisions: tuple[str, ...]) -> str:
    return "cached revisions: " + ", ".join(revisions[:10])
