"""Verifying what stands in the cache or a folder against what it must be, and having it repaired."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from weightswarm.cache import (
    CachePlacement,
    LocalFolder,
    ModelCache,
    Placement,
    ReleaseRecord,
    Repository,
    hold,
    load_record,
    note_verified,
)
from weightswarm.cache.folder import MANIFEST_FILE, SIGNATURE_FILE, TORRENT_FILE, chosen_paths
from weightswarm.errors import (
    ContentMismatch,
    InvalidInput,
    NetworkFailure,
    NotFound,
    SwarmTimeout,
    Untrusted,
    WeightswarmError,
)
from weightswarm.expected import Expected, expected_by_file
from weightswarm.formats import code_notice
from weightswarm.manifest import Manifest, parse_manifest, parse_reference
from weightswarm.metainfo import parse_metainfo
from weightswarm.progress import Note, Phase, Progress, Report, silent
from weightswarm.registry import Registry, find_name
from weightswarm.signing import MAX_SIGNATURE_BYTES, OMS_FILE, PublicKey, Signature
from weightswarm.storage import is_file, is_folder, looks_like_path, read_bounded, user_path
from weightswarm.swarm import NetworkOptions
from weightswarm.trusting import (
    UNSIGNED,
    ModelSigDemand,
    Standing,
    State,
    TrustStore,
    read_signatures,
    standing_of,
)
from weightswarm.verifying import Fault, Finding
from weightswarm.verifying import Report as Verdict

_MAX_TORRENT = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Verification:
    """What was verified and how it stands. `repaired` are the paths that a repair put right.

    `standing` tells who signed its manifest, `key_ids` which keys are pinned for its name. Whether a signature has
    expired or is an older one's is a question for fetching.
    """

    root: Path
    verdict: Verdict
    partial: bool = False
    repaired: tuple[str, ...] = ()
    standing: Standing = UNSIGNED
    key_ids: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether all is as the manifest says, and the manifest as the pinned keys say, where any are."""
        return self.verdict.ok and (not self.key_ids or self.standing.state is State.PINNED)


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """`manifest` is a file to compare with: a manifest, a `SHA256SUMS` or a torrent. `timeout` in seconds.

    `allow_malformed` finds no fault with weights that break their own format. `model_sig` is what an OpenSSF signature
    of the files must be.
    """

    manifest: Path | None = None
    repair: bool = False
    timeout: float = 300.0
    network: NetworkOptions = field(default_factory=NetworkOptions)
    allow_malformed: bool = False
    model_sig: ModelSigDemand | None = None


@dataclass(frozen=True, slots=True)
class _Subject:
    """A tree to verify: what its files must be, and for a repair the torrent and where better files would go.
    `paths` are the files that were chosen where others were left out."""

    root: Path
    expected: Expected
    manifest: Manifest | None = None
    torrent: bytes | None = None
    placement: Placement | None = None
    record: ReleaseRecord | None = None
    name: str | None = None
    signatures: tuple[Signature, ...] = ()
    paths: tuple[str, ...] | None = None

    def standing(self, keys: Sequence[PublicKey]) -> Standing:
        """Return what its manifest's signatures are worth where `keys` are pinned for its name."""
        return self._standing(self.signatures, keys)

    def signature(self, keys: Sequence[PublicKey]) -> bytes | None:
        """Return the signature to keep: the newest that counts, or where none can be judged the first."""
        judged = [(self._standing([each], keys), each) for each in self.signatures]
        pinned = [(standing, each) for standing, each in judged if standing.state is State.PINNED]
        pinned.sort(key=lambda item: (item[0].version, item[0].expires or "9"), reverse=True)
        return next((each.to_bytes() for _, each in pinned or judged), None)

    def _standing(self, signatures: Sequence[Signature], keys: Sequence[PublicKey]) -> Standing:
        if self.manifest is None:
            return UNSIGNED
        return standing_of(self.name or self.manifest.name, self.manifest, signatures, keys)


def verify_target(
    target: str,
    *,
    cache: ModelCache,
    registries: Sequence[Registry],
    options: VerifyOptions,
    trust_store: TrustStore,
    report: Report = silent,
) -> Verification:
    """Verify a cached `org/model[@revision]`, a snapshot, or a folder; repair what is wrong when asked to.

    Raises `NotFound` for an unknown target or one without a manifest, `ContentMismatch` for another release's manifest
    from a registry, what a transfer raises while repairing, and `Untrusted` before it for what no pinned key signed.
    """
    pins = trust_store.pins()
    subject = _subject(target, cache, registries, options)
    keys = pins.for_name(subject.name) if subject.name is not None else ()
    standing = subject.standing(keys)
    key_ids = tuple(key.shown_key_id for key in keys)
    verdict = _verify(subject, options, report)
    repaired: tuple[str, ...] = ()
    # A malformed file has the right bytes: nothing better would come.
    mendable = tuple(f for f in verdict.findings if f.fault is not Fault.MALFORMED)
    if options.repair and any(finding.fault is not Fault.EXTRA for finding in mendable):
        if keys and standing.state is not State.PINNED:
            raise Untrusted(
                f"{subject.name} is not repaired: what it would become is signed by {standing}, and pinned is"
                f" {', '.join(key_ids)}",
                key_ids=key_ids,
                hint="nothing was replaced; fetch it again from its publisher",
            )
        repaired = _repair(subject, mendable, options, subject.signature(keys), report)
        verdict = _verify(subject, options, report)
    if verdict.code:
        report(Note(code_notice(verdict.code)))
    if verdict.ok and options.model_sig is not None:
        _check_model_sig(subject, options.model_sig, report)
    if verdict.ok and subject.record is not None:
        _note_verified(subject.record, report)
    partial = subject.paths is not None
    return Verification(subject.root, verdict, partial, repaired, standing, key_ids)


def _check_model_sig(subject: _Subject, demand: ModelSigDemand, report: Report) -> None:
    """Hold files that were just hashed against the `model.sig` that the user demands."""
    if subject.manifest is None:
        raise InvalidInput("A model.sig is held against a manifest, and there is none", hint="name it with --manifest")
    carried = subject.root / OMS_FILE
    listed = any(entry.path == OMS_FILE for entry in subject.manifest.files)
    file = carried if listed and is_file(carried) else None
    report(Note(f"Its {OMS_FILE} is signed by {demand.check(subject.manifest, file)}."))


def _repair(
    subject: _Subject,
    findings: tuple[Finding, ...],
    options: VerifyOptions,
    signature: bytes | None,
    report: Report,
) -> tuple[str, ...]:
    # Who only verifies does not wait for the swarm engine to load.
    from weightswarm.repairing import repair

    metainfo = subject.expected.metainfo
    if metainfo is None and subject.torrent is not None:
        metainfo = parse_metainfo(subject.torrent)
    manifest, placement = subject.manifest, subject.placement
    if metainfo is None or manifest is None or placement is None:
        raise NotFound(
            f"{subject.root} cannot be repaired: no torrent of this release is kept here",
            hint="pass its .torrent with --manifest, or fetch it again",
        )
    network, timeout = options.network, options.timeout
    return repair(
        subject.root,
        metainfo,
        manifest,
        placement,
        findings,
        signature=signature,
        network=network,
        timeout=timeout,
        report=report,
        # What the user left out is not added.
        paths=[entry.path for entry in manifest.files] if subject.paths is None else subject.paths,
        allow_malformed=options.allow_malformed,
    )


def _note_verified(record: ReleaseRecord, report: Report) -> None:
    """Write down that a release was verified, if it still is what was looked at."""
    try:
        with hold(record.repository.lock):
            note_verified(record)
    except WeightswarmError as error:
        report(Note(f"The time of this verification could not be noted: {error}"))


def _verify(subject: _Subject, options: VerifyOptions, report: Report) -> Verdict:
    total = subject.expected.size_below(subject.root)
    done = 0
    lock = threading.Lock()

    def count(size: int) -> None:
        nonlocal done
        with lock:
            done += size
            report(Progress(Phase.VERIFYING, min(done, total), total))

    verdict = subject.expected.verify(subject.root, count)
    if options.allow_malformed:
        verdict = replace(verdict, findings=tuple(f for f in verdict.findings if f.fault is not Fault.MALFORMED))
    return verdict


# --- finding what to verify ------------------------------------------------------------------------------------------


def _subject(target: str, cache: ModelCache, registries: Sequence[Registry], options: VerifyOptions) -> _Subject:
    path = user_path(target)
    if is_folder(path):
        cached = _as_snapshot(path, cache)
        return _folder(path, options) if cached is None else _snapshot(*cached, cache, registries, options)
    if is_file(path):
        raise InvalidInput(f"{target} is a file", hint="verify the folder that it belongs to")
    if looks_like_path(target) or "/" not in target:
        raise NotFound(f"There is no folder {target[:200]}", hint="a model in the cache is named org/model")
    repository, found = cache.resolve(*parse_reference(target))
    return _snapshot(repository, found, cache, registries, options)


def _as_snapshot(path: Path, cache: ModelCache) -> tuple[Repository, str] | None:
    resolved = path.resolve()
    for repository in cache.repositories():
        if resolved.parent == repository.snapshots.resolve() and resolved.name in repository.revisions():
            return repository, resolved.name
    return None


def _folder(root: Path, options: VerifyOptions) -> _Subject:
    kept = root / MANIFEST_FILE
    if options.manifest is None and not kept.is_file():
        raise NotFound(
            f"{root} holds no manifest to verify it against",
            hint="name one with --manifest: a manifest, a SHA256SUMS file or a .torrent",
        )
    expected = expected_by_file(options.manifest or kept)
    torrent = read_bounded(root / TORRENT_FILE, _MAX_TORRENT) if (root / TORRENT_FILE).is_file() else None
    manifest = expected.manifest
    placement = None if manifest is None else LocalFolder(root, manifest)
    beside = signature_beside(options.manifest) if options.manifest else _bytes(root / SIGNATURE_FILE)
    name = None if manifest is None else manifest.name
    signatures = read_signatures((beside, _carried(expected)))
    paths = None if manifest is None or options.manifest is not None else chosen_paths(root, manifest)
    if manifest is not None and paths is not None:
        chosen = {*paths}
        expected = Expected.of_entries([entry for entry in manifest.files if entry.path in chosen])
    return _Subject(root, expected, manifest, torrent, placement, None, name, signatures, paths)


def signature_beside(manifest: Path) -> bytes | None:
    """Return the signature that stands beside a manifest file, None where there is none."""
    return _bytes(manifest.with_name(f"{manifest.name}.minisig"))


def _carried(expected: Expected) -> bytes | None:
    return None if expected.metainfo is None else expected.metainfo.signature


def _bytes(path: Path) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(MAX_SIGNATURE_BYTES)
    except OSError:
        return None


def _snapshot(
    repository: Repository,
    revision: str,
    cache: ModelCache,
    registries: Sequence[Registry],
    options: VerifyOptions,
) -> _Subject:
    root = repository.snapshot(revision)
    record = load_record(repository, revision)
    if options.manifest is not None:
        expected = expected_by_file(options.manifest)
        manifest, placement = expected.manifest, None
        # Under a name of the user's choice, the record tells what the manifest's own is.
        name = repository.name if record is None else record.manifest.name
        if manifest is not None and (manifest.name, manifest.revision) == (name, revision):
            placement = CachePlacement(cache, repository, manifest, mending=True)
        kept = None if record is None else record.signature
        signatures = read_signatures((kept, signature_beside(options.manifest), _carried(expected)))
        return _Subject(root, expected, manifest, None, placement, None, repository.name, signatures)
    if record is not None:
        manifest, torrent, signature = record.manifest, record.torrent, record.signature
        placed = set(record.paths)
        wanted = [entry for entry in manifest.files if entry.path in placed]
    else:
        entry = _listed(registries, repository.name, revision)
        if entry is None:
            return _Subject(root, Expected.of_blob_names(root, repository.blobs), name=repository.name)
        manifest, torrent, signature = entry
        wanted = list(manifest.files)
    return _Subject(
        root,
        Expected.of_entries(wanted),
        manifest,
        torrent,
        CachePlacement(cache, repository, manifest, mending=True),
        record,
        repository.name,
        read_signatures((signature,)),
        None if record is None or record.complete else record.paths,
    )


_Listed = tuple[Manifest, bytes | None, bytes | None]


def _listed(registries: Sequence[Registry], name: str, revision: str) -> _Listed | None:
    try:
        entry = find_name(registries, name, revision)
    except (NotFound, NetworkFailure, SwarmTimeout):
        return None
    if entry is None or entry.manifest is None:
        return None
    manifest = parse_manifest(entry.manifest)
    if (manifest.name, manifest.revision) != (name, revision):
        raise ContentMismatch(
            f"A registry's manifest of {name}@{revision[:8]} is for {manifest.name}@{manifest.revision[:8]}",
            hint="nothing was replaced; name the right one with --manifest",
        )
    return manifest, entry.torrent, entry.signature
