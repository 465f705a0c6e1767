"""Repairing what stands in the cache or a folder: only bad pieces come, into a copy."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from weightswarm.cache import Placement, StagedFile, Staging, VerifiedFiles, hold, utc_now
from weightswarm.fetching.code import check_contents
from weightswarm.fetching.plan import check_space, stage_copy
from weightswarm.fetching.transfer import Transfer, staged_files
from weightswarm.manifest import Manifest
from weightswarm.metainfo import Metainfo, check_agreement, magnet_of
from weightswarm.progress import Note, Report
from weightswarm.storage import OpenFolder, clone_or_copy, is_out_of_space, storage_errors
from weightswarm.swarm import NetworkOptions, Swarm
from weightswarm.verifying import Expectation, Fault, Finding, check_file


def repair(
    root: Path,
    metainfo: Metainfo,
    manifest: Manifest,
    placement: Placement,
    findings: Sequence[Finding],
    *,
    signature: bytes | None,
    network: NetworkOptions,
    timeout: float,
    report: Report,
    paths: Collection[str],
    allow_malformed: bool,
) -> tuple[str, ...]:
    """Fetch the bad pieces of the files in `findings` into copies, swap the copies in, and return the files' paths.

    `root` is where the release stands, `signature` the manifest's, to keep with it, `paths` the files of it that were
    wanted there, `timeout` the seconds without progress after which it gives up. A file that was missing must be one
    that a fetch would take, which `allow_malformed` is for. Raises what a transfer and a placement raise.
    """
    check_agreement(metainfo, manifest)
    entries = {entry.path: entry for entry in manifest.files}
    bad = [entries[f.path] for f in findings if f.fault is not Fault.EXTRA and f.path in entries]
    staging = Staging(placement.staging_parent, metainfo.info_hash)
    with hold(staging.lock, on_wait=lambda: report(Note("Another fetch of this release runs; waiting."))):
        staging.prepare(metainfo.data, [entry.path for entry in manifest.files])
        staged: dict[str, StagedFile] = {}
        for entry in bad:
            if entry.size == 0:
                if (empty := stage_copy(entry, [], staging)) is not None:
                    staged[entry.path] = empty
            else:
                _copy_aside(root / entry.path, staging.swarm_file(entry.path), staging.base, entry.size)
        wanted = {entry.path: Expectation.of(entry) for entry in bad if entry.size}
        torrent = metainfo.data
        if wanted:
            check_space(placement, staging, [entry for entry in bad if entry.size])
            with Swarm(network, lambda text: report(Note(text))) as swarm:
                expectations = {f.index: wanted[f.path] for f in metainfo.files if f.path in wanted}
                transfer = Transfer(swarm, metainfo, expectations, staging, timeout=timeout, report=report)
                torrent = transfer.run(magnet_of(metainfo), ())
                staged.update(staged_files(transfer))
                report(Note(f"Repaired with {transfer.received:,} bytes from the swarm."))
        wrong = {finding.path for finding in findings}
        kept = []
        for entry in (entry for entry in manifest.files if entry.path in paths and entry.path not in wrong):
            held = placement.held(entry)
            if held is not None and check_file(held, Expectation.of(entry)) is None:
                kept.append(entry.path)
            elif (copy := stage_copy(entry, [root / entry.path], staging)) is not None:
                # Good, but not where this release keeps it: such as a plain file in a snapshot.
                staged[entry.path] = copy
        missing = {finding.path for finding in findings if finding.fault is Fault.MISSING}
        check_contents(
            {path: file.path for path, file in staged.items() if path in missing},
            only_safe=False,
            allow_malformed=allow_malformed,
            report=report,
        )
        placement.place(
            VerifiedFiles(staged, tuple(kept), torrent, metainfo.info_hash, utc_now(), staging.folder, signature)
        )
        staging.discard({*staged, *(entry.path for entry in bad)})
    return tuple(sorted(staged))


def _copy_aside(source: Path, target: Path, base: Path, size: int) -> None:
    """Put a copy of a damaged file where the swarm will mend it; a missing one is left to come whole."""
    with storage_errors(target), OpenFolder.at(target.parent, base) as folder:
        folder.remove(target.name)
        try:
            original = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return
        try:
            copy = folder.open_file(target.name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            try:
                try:
                    clone_or_copy(original, copy)
                except OSError as error:
                    if is_out_of_space(error):
                        raise
                    # Such as a bad sector: what follows comes from the swarm.
                if os.fstat(copy).st_size > size:
                    # The swarm mends pieces; what follows the last one it would leave.
                    os.ftruncate(copy, size)
            finally:
                os.close(copy)
        finally:
            os.close(original)
