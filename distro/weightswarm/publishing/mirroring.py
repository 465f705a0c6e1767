"""Holding the files of a release to what the Hub says of them: which there are, their sizes, their blobs' ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from weightswarm.cache import Repository, listed_files
from weightswarm.errors import ContentMismatch, InvalidInput, NotPublishable, SourceChanged
from weightswarm.hashing import FileHashes, digest_file
from weightswarm.hub import HubFile, HubListing
from weightswarm.manifest import is_ignored, matches_any
from weightswarm.progress import Note, Report
from weightswarm.publishing.scanning import SourceFile
from weightswarm.publishing.snapshots import unfinished_blobs
from weightswarm.storage import storage_errors

_SHOWN = 10


def leave_out(files: list[SourceFile], globs: Sequence[str]) -> list[SourceFile]:
    """Return the files that no glob matches. Raises `InvalidInput` when no bytes are left."""
    left = [file for file in files if not matches_any(file.path, globs)]
    if not any(file.signature.size for file in left):
        raise InvalidInput(f"Nothing is left to publish without {', '.join(globs)[:200]}")
    return left


def hold_to_listing(
    files: list[SourceFile], listing: HubListing, globs: Sequence[str], report: Report
) -> list[SourceFile]:
    """Return the files under the Hub's ids of their blobs, once they are all that the Hub lists, and nothing else.

    Files that a glob matches are left out on both sides. Raises `ContentMismatch` that names every file which is only
    on one side or has another size; `check_blob_ids` does the same for hashes.
    """
    wanted = {file.path: file for file in listing.files if _is_mirrored(file.path)}
    chosen = {path: file for path, file in wanted.items() if not matches_any(path, globs)}
    here = {file.path: file for file in files}
    wrong = dict.fromkeys(chosen.keys() - here.keys(), "not here")
    wrong |= dict.fromkeys(here.keys() - chosen.keys(), "not at the Hub")
    for path in here.keys() & chosen.keys():
        size = here[path].signature.size
        if size != chosen[path].size:
            wrong[path] = f"{size:,} bytes, not {chosen[path].size:,}"
    if wrong:
        raise _differs(listing, wrong, "name what the release shall be without with --leave-out; nothing was published")
    if without := sorted(wanted.keys() - chosen.keys()):
        told = f"{len(chosen):,} of the Hub's {len(wanted):,} files: another release than that of all of them"
        report(Note(f"{told} (without {_named(without)})"))
    return [replace(file, blob_id=chosen[file.path].blob_id) for file in files]


def hold_to_cached_listing(
    files: list[SourceFile], repository: Repository, revision: str, globs: Sequence[str], report: Report
) -> list[SourceFile]:
    """Say whether the cache holds all that the Hub had when its client downloaded the revision, as far as is known.

    Plain files, as on file systems without links, get the ids of their blobs, so that they make the same release.
    Raises `NotPublishable` when a download was broken off.
    """
    shown = f"{repository.name}@{revision[:8]}"
    unfinished = unfinished_blobs(repository)
    listed = listed_files(repository, revision)
    if listed is None:
        beside = "; a download of this model is unfinished" if unfinished else ""
        report(
            Note(f"{shown} is published as it lies in the cache, {len(files):,} files; --from-hub asks for all{beside}")
        )
        return files
    wanted = {file.path: file for file in listed if _is_mirrored(file.path)}
    here = {file.path for file in files}
    missing = sorted(wanted.keys() - here)
    broken_off = [p for p in missing if wanted[p].blob_id in unfinished and not matches_any(p, globs)]
    if broken_off:
        raise NotPublishable(
            shown,
            f"its download was broken off: {_named(broken_off)}",
            hint=f"hf download {repository.name} --revision {revision}, or leave it out with --leave-out",
        )
    more = here - wanted.keys()
    if missing or more:
        told = f"{shown}: {len(here) - len(more):,} of the Hub's {len(wanted):,} files"
        told += f" and {len(more):,} that it has not" if more else ""
        without = f" (without {_named(missing)})" if missing else ""
        report(Note(f"{told}: another release than that of all of them{without}"))
    return [
        file if file.blob_id or file.path not in wanted else _under_its_id(file, wanted[file.path]) for file in files
    ]


def check_blob_ids(files: list[SourceFile], hashes: Sequence[FileHashes], listing: HubListing | None) -> None:
    """Hold every hash to the id of the file's blob: a SHA-256, or a git blob's SHA-1. Raises `ContentMismatch`."""
    wrong = {}
    for file, hashed in zip(files, hashes, strict=True):
        if file.blob_id is not None and (found := _blob_id(file, hashed)) != file.blob_id:
            wrong[file.path] = (file.blob_id, found)
    if not wrong:
        return
    if listing is not None:
        raise _differs(
            listing,
            {path: f"hashes to {found}, not {blob_id}" for path, (blob_id, found) in wrong.items()},
            "download these files again; nothing was published",
        )
    told = _named([f"{path}: blob {blob_id} hashes to {found}" for path, (blob_id, found) in wrong.items()], "; ")
    raise ContentMismatch(
        f"The model cache is damaged: {told}",
        paths=tuple(wrong),
        hint="download these files again; nothing was published",
    )


def _blob_id(file: SourceFile, hashed: FileHashes) -> str:
    sha256 = hashed.sha256.hex()
    if file.blob_id is None or len(file.blob_id) != 40:
        return sha256
    with storage_errors(file.location), open(file.location, "rb") as stream:
        digests = digest_file(stream.fileno(), git_blob=True)
    if digests is None or digests.sha256 != sha256:
        raise SourceChanged(file.location, "was written to while it was hashed,")
    return digests.git_sha1 or ""


def _under_its_id(file: SourceFile, listed: HubFile) -> SourceFile:
    return replace(file, blob_id=listed.blob_id) if file.signature.size == listed.size else file


def _is_mirrored(path: str) -> bool:
    """Tell whether a file that the Hub lists is one that scanning does not pass over."""
    parts = path.split("/")
    return not any(is_ignored("/".join(parts[:count])) for count in range(1, len(parts) + 1))


def _differs(listing: HubListing, wrong: dict[str, str], hint: str) -> ContentMismatch:
    paths = sorted(wrong)
    count = "1 file is" if len(paths) == 1 else f"{len(paths):,} files are"
    told = _named([f"{path[:200]} ({wrong[path]})" for path in paths])
    return ContentMismatch(
        f"{count} not as the Hub lists {listing.name}@{listing.revision[:8]}: {told}", paths=tuple(paths), hint=hint
    )


def _named(items: Sequence[str], separator: str = ", ") -> str:
    more = f" and {len(items) - _SHOWN:,} more" if len(items) > _SHOWN else ""
    return separator.join(item[:400] for item in items[:_SHOWN]) + more
