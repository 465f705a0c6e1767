"""Making a release: manifest, torrent and where each file's bytes stand."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from weightswarm.cache import ReleaseRecord, Repository, load_record, missing_paths
from weightswarm.errors import InvalidInput, InvalidManifest, SourceChanged, StorageFailure
from weightswarm.hashing import FileHashes, TreeHashes, choose_piece_length, hash_tree, parse_piece_length
from weightswarm.hub import HubListing
from weightswarm.magnet import MagnetLink, PeerAddress
from weightswarm.manifest import FileEntry, Manifest, parse_manifest, parse_model_name, parse_revision, with_revision
from weightswarm.metainfo import (
    Metainfo,
    TorrentOptions,
    TorrentVersion,
    build_metainfo,
    check_agreement,
    magnet_of,
    parse_metainfo,
    v1_layout,
    with_outer_fields,
    with_signature,
)
from weightswarm.progress import Note, Phase, Progress, Report, silent
from weightswarm.publishing.at_hub import name_hub_folder
from weightswarm.publishing.mirroring import check_blob_ids, hold_to_cached_listing, hold_to_listing, leave_out
from weightswarm.publishing.remembered import now_ns, recall, remember
from weightswarm.publishing.scanning import Signature, SourceFile, scan, signature_of
from weightswarm.publishing.signed import Signer, signature_path, usable_signature
from weightswarm.publishing.snapshots import located, scan_snapshot
from weightswarm.signing import parse_signature
from weightswarm.storage import (
    OpenFolder,
    drop_signature_of_another,
    make_real_folder,
    storage_errors,
    write_atomically,
)


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """What a publisher may choose. `piece_length` in bytes, None for the choice by size; `rehash` trusts no memory;
    files that match a glob in `leave_out` are no part of the release.

    `revision` names the Hub's commit that the files mirror; without it one is derived from the content. All fields
    but the trackers, web seeds, comment and creation date in `torrent` are under the info-hash.
    """

    version: TorrentVersion = TorrentVersion.HYBRID
    piece_length: int | None = None
    revision: str | None = None
    license: str | None = None
    description: str | None = None
    base_revision: str | None = None
    created: str | None = None
    torrent: TorrentOptions = field(default_factory=TorrentOptions)
    rehash: bool = False
    leave_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Release:
    """A release ready to seed: `places` and `signatures` belong to `metainfo.files`, index by index.

    `signed` is the manifest's minisign signature, by whoever published it.
    """

    manifest: Manifest
    metainfo: Metainfo
    places: tuple[str, ...]
    signatures: tuple[Signature, ...]
    signed: bytes | None = None

    @property
    def locations(self) -> tuple[Path, ...]:
        """The places as paths; who only publishes makes none."""
        return tuple(map(Path, self.places))

    def magnet(self, peers: tuple[PeerAddress, ...] = ()) -> MagnetLink:
        """Return the release's magnet link, with `peers` as addresses to try first."""
        value = None if self.signed is None else parse_signature(self.signed).to_link_value()
        return replace(magnet_of(self.metainfo, peers=peers), signature=value)

    def check_unchanged(self) -> None:
        """Raise `SourceChanged` when a file is not the one that was hashed, by size, times and inode."""
        for location, signature in zip(self.places, self.signatures, strict=True):
            try:
                now = signature_of(location)
            except OSError:
                raise SourceChanged(location, "vanished") from None
            if now.size != signature.size:
                raise SourceChanged(location, "shrank" if now.size < signature.size else "grew")
            if now.mtime_ns != signature.mtime_ns or now.inode != signature.inode:
                raise SourceChanged(location, "changed")


def prepare_path(
    path: Path, name: str, options: PublishOptions, report: Report = silent, listing: HubListing | None = None
) -> Release:
    """Make a release of a folder or file. Raises `NotPublishable`, `NotFound`, `SourceChanged`, `InvalidInput`.

    With `listing` it is the Hub's commit, file by file and hash by hash; `ContentMismatch` names what is not.
    """
    files = leave_out(scan(path), options.leave_out)
    if listing is not None:
        files = hold_to_listing(files, listing, options.leave_out, report)
        options = _at_commit(options, listing)
    return _prepare(files, parse_model_name(name), options, report, listing)


def prepare_cached(
    repository: Repository,
    revision: str,
    options: PublishOptions,
    report: Report = silent,
    listing: HubListing | None = None,
) -> Release:
    """Make a release of a cached snapshot, straight from its blobs, under the snapshot's own revision.

    A complete release that was fetched is seeded as the torrent it came by, so that it joins the same swarm. With
    `listing` it is the Hub's commit, as `prepare_path` does it.
    """
    record = load_record(repository, revision)
    as_it_came = listing is None and replace(options, rehash=False, torrent=_outer(options.torrent)) == PublishOptions(
        torrent=_outer(options.torrent)
    )
    as_it_came = as_it_came and not options.rehash and not options.torrent.similar
    if record is not None and record.torrent is not None and as_it_came:
        paths = [entry.path for entry in record.manifest.files]
        if not missing_paths(record, paths):
            return _from_record(repository, record, record.torrent, options)
    files = leave_out(scan_snapshot(repository, revision), options.leave_out)
    if listing is not None:
        files = hold_to_listing(files, listing, options.leave_out, report)
        release = _prepare(files, repository.name, _at_commit(options, listing), report, listing)
    elif record is None:
        files = hold_to_cached_listing(files, repository, revision, options.leave_out, report)
        release = _prepare(files, repository.name, replace(options, revision=options.revision or revision), report)
    else:
        # What the Hub's client has completed since is the release that we began to fetch.
        whole = {(f.path, f.signature.size) for f in files} == {(e.path, e.size) for e in record.manifest.files}
        if as_it_came and not whole:
            shown = f"{repository.name}@{revision[:8]}"
            report(Note(f"{shown} is partial; what is there is published as a release of its own"))
        chosen = revision if as_it_came and whole else None
        release = _prepare(files, record.manifest.name, replace(options, revision=options.revision or chosen), report)
    if record is None or record.torrent is None or release.manifest != record.manifest:
        return release
    joins = as_it_came or release.metainfo.info_hash == record.info_hash
    return _from_record(repository, record, record.torrent, options) if joins else release


def _at_commit(options: PublishOptions, listing: HubListing) -> PublishOptions:
    if options.revision not in (None, listing.revision):
        raise InvalidInput(f"The Hub's commit is {listing.revision}, not {options.revision}"[:200])
    return replace(options, revision=listing.revision)


def sign_release(release: Release, signer: Signer) -> Release:
    """Return the release with a signature of its manifest. Its info-hash stays."""
    signature = signer.sign(release.manifest).to_bytes()
    return replace(release, metainfo=with_signature(release.metainfo, signature), signed=signature)


def _outer(options: TorrentOptions) -> TorrentOptions:
    """What can be said of a torrent that exists without making it another."""
    return TorrentOptions(trackers=options.trackers, web_seeds=options.web_seeds)


def check_output(folder: Path) -> None:
    """Raise `StorageFailure` unless files can be written into `folder`, which is created where needed."""
    make_real_folder(folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StorageFailure(str(folder), "cannot be written to", hint="choose another folder with --output")


def write_release(release: Release, folder: Path) -> tuple[Path, Path]:
    """Write `<model>-<8 hex>.manifest.json` and `.torrent` into `folder` and return both paths.

    A torrent that is no hybrid says so in its name, `.v1.torrent` or `.v2.torrent`. A signature stands beside the
    manifest, `….manifest.json.minisig`, and in the torrent.
    """
    info_hash = release.metainfo.info_hash
    kind = ".v2" if info_hash.v1 is None else ".v1" if info_hash.v2 is None else ""
    stem = f"{release.manifest.name.partition('/')[2]}-{release.manifest.revision[:8]}"
    manifest, torrent = folder / f"{stem}.manifest.json", folder / f"{stem}{kind}.torrent"
    with storage_errors(folder):
        with OpenFolder.at(folder) as opened:
            drop_signature_of_another(opened, manifest.name, release.manifest.to_bytes())
        write_atomically(manifest, release.manifest.to_bytes())
        if release.signed is not None:
            write_atomically(signature_path(manifest), release.signed)
        write_atomically(torrent, release.metainfo.data)
    return manifest, torrent


def _prepare(
    files: list[SourceFile], name: str, options: PublishOptions, report: Report, listing: HubListing | None = None
) -> Release:
    # What is mistyped is said before hours of hashing, not after.
    revision = None if options.revision is None else parse_revision(options.revision)
    base_revision = None if options.base_revision is None else parse_revision(options.base_revision)
    torrent = name_hub_folder(options.torrent, name, revision)
    sizes = [file.signature.size for file in files]
    total = sum(sizes)
    wanted = choose_piece_length(sizes) if options.piece_length is None else parse_piece_length(options.piece_length)
    hashes = _hash(files, wanted, total, options, report)
    check_blob_ids(files, hashes.files, listing)
    manifest = Manifest(
        name=name,
        revision="",
        files=tuple(_entry(file, hashed) for file, hashed in zip(files, hashes.files, strict=True)),
        license=options.license,
        description=options.description,
        base_revision=base_revision,
        created=options.created,
    )
    manifest = with_revision(manifest, revision)
    try:
        # What is published must be readable: the strict parser is the judge.
        parse_manifest(manifest.to_bytes())
    except InvalidManifest as error:
        raise InvalidManifest(f"this release cannot be described: {error}") from error
    metainfo = build_metainfo(manifest, hashes, options.version, torrent)
    return Release(manifest, metainfo, tuple(file.location for file in files), tuple(file.signature for file in files))


def _hash(
    files: list[SourceFile], piece_length: int, total: int, options: PublishOptions, report: Report
) -> TreeHashes:
    layout = v1_layout(options.version)
    if not options.rehash and (known := recall(files, piece_length, layout)) is not None:
        return known
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        report(Progress(Phase.HASHING, done, total))

    started = now_ns()
    report(Progress(Phase.HASHING, 0, total))
    try:
        hashes = hash_tree(
            [(file.location, file.signature.size) for file in files],
            piece_length=piece_length,
            v1_layout=layout,
            modified=[file.signature.mtime_ns for file in files],
            on_bytes=count,
        )
    except OSError as error:
        raise StorageFailure(str(error.filename or "a file"), error.strerror or str(error)) from error
    remember(files, hashes, layout, started_ns=started)
    return hashes


def _entry(file: SourceFile, hashed: FileHashes) -> FileEntry:
    root = None if hashed.pieces_root is None else hashed.pieces_root.hex()
    return FileEntry(file.path, hashed.size, hashed.sha256.hex(), root, file.blob_id)


def _from_record(repository: Repository, record: ReleaseRecord, torrent: bytes, options: PublishOptions) -> Release:
    metainfo = parse_metainfo(torrent)
    check_agreement(metainfo, record.manifest)
    if options.torrent.trackers or options.torrent.web_seeds:
        named = name_hub_folder(options.torrent, record.manifest.name, record.manifest.revision)
        metainfo = with_outer_fields(metainfo, named)
    entries = {entry.path: entry for entry in record.manifest.files}
    revision = record.manifest.revision
    places = ((repository.file(entries[f.path], revision), repository.blob(entries[f.path])) for f in metainfo.files)
    locations = located(repository, (found or blob for found, blob in places))
    try:
        signatures = tuple(signature_of(location) for location in locations)
    except OSError as error:
        raise StorageFailure(str(error.filename), error.strerror or str(error)) from error
    signed = usable_signature(record.signature) or usable_signature(metainfo.signature)
    return Release(record.manifest, metainfo, tuple(map(str, locations)), signatures, signed)
