"""The way of a fetch: source, metadata, agreement, plan, transfer, placement. Each step may only refuse or go on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from weightswarm.cache import (
    CachePlacement,
    LocalFolder,
    ModelCache,
    Placement,
    ReleaseRecord,
    Staging,
    VerifiedFiles,
    find_by_info_hash,
    hold,
    load_record,
    missing_paths,
    save_signature,
    utc_now,
)
from weightswarm.errors import InvalidInput, Untrusted, WeightswarmError
from weightswarm.fetching.agreeing import agreed_manifest
from weightswarm.fetching.changed import Holdings
from weightswarm.fetching.code import announce_code, check_contents
from weightswarm.fetching.metadata import Met, ask_swarm
from weightswarm.fetching.options import NOTHING_REUSED, FetchOptions, FetchResult, Reused
from weightswarm.fetching.over_http import ask_exact_sources, name_hub_folder
from weightswarm.fetching.plan import FetchPlan, check_space, select_entries, selected_globs, sort_out, unhashed
from weightswarm.fetching.source import (
    Wanted,
    kept_metainfo,
    network_for,
    resolve_source,
    with_public_trackers,
    without_public_trackers,
)
from weightswarm.fetching.transfer import staged_files
from weightswarm.fetching.twins import split_twins, stage_twins
from weightswarm.fetching.vouching import Vouched, Voucher
from weightswarm.fetching.ways import Ways
from weightswarm.fetching.witness import check_published_digests, manifest_from_pieces
from weightswarm.magnet import MagnetLink
from weightswarm.manifest import FileEntry, Manifest, magnet_model_name, parse_model_name
from weightswarm.metainfo import Metainfo, TorrentFile
from weightswarm.progress import Note, Report, silent
from weightswarm.registry import Registry
from weightswarm.signing import OMS_FILE
from weightswarm.storage import user_path
from weightswarm.swarm import NetworkOptions, Swarm
from weightswarm.trusting import UNSIGNED, Leave, TrustStore
from weightswarm.verifying import Expectation


def fetch_source(
    source: str,
    *,
    cache: ModelCache,
    registries: Sequence[Registry],
    options: FetchOptions,
    trust_store: TrustStore,
    dry_run: bool = False,
    report: Report = silent,
) -> FetchResult | FetchPlan:
    """Fetch a release, or with `dry_run` return what would be done. Raises `WeightswarmError`s, each step its own."""
    if options.name is not None:
        parse_model_name(options.name)
    if options.local_dir is not None:
        options = replace(options, local_dir=user_path(options.local_dir))
    reach = options.network.network
    wanted = resolve_source(
        source,
        registries=registries,
        cache=cache,
        timeout=options.timeout,
        network=reach,
        route=options.network.route,
        report=report,
    )
    if not options.trackers and not options.http_only:
        wanted = with_public_trackers(wanted, reach, report)
    return _Fetch(wanted, cache, options, trust_store, report).run(dry_run)


class _Fetch:
    def __init__(
        self, wanted: Wanted, cache: ModelCache, options: FetchOptions, store: TrustStore, report: Report
    ) -> None:
        self.wanted = wanted
        self.cache = cache
        self.options = options
        self.report = report
        self.met = Met()
        self._voucher = Voucher(store, Leave(options.allow_expired, options.allow_older), options.trust, report)
        self._vouched: Vouched | None = None
        self._called: str | None = None
        self._swarm: Swarm | None = None
        self._private = False
        self._stack = ExitStack()

    def run(self, dry_run: bool) -> FetchResult | FetchPlan:
        if (known := self.wanted.metainfo) is not None:
            self._select(known)
            record = self._record(known)
            if not dry_run and (there := self._already_there(record, known)) is not None:
                return there
        with self._stack:
            metainfo = self._metainfo()
            self.wanted = without_public_trackers(self.wanted, metainfo)
            self._select(metainfo)
            manifest = agreed_manifest(self.wanted, self.options, metainfo, self.report)
            self.options = name_hub_folder(self.options, manifest)
            self._vouched = self._vouch(manifest, metainfo, keep=not dry_run)
            if manifest is not None and self.options.model_sig is not None and self.options.model_sig.signature:
                # Given from outside, it is known before the first byte of payload.
                self._check_model_sig(manifest, None)
            self._announce_code(metainfo.files if manifest is None else self._selected(manifest))
            if dry_run:
                return self._plan(metainfo, manifest)
            if manifest is None:
                return self._fetch_on_trust(metainfo)
            return self._fetch(metainfo, manifest)

    def _select(self, metainfo: Metainfo) -> None:
        """Take the magnet's own selection of files (BEP 53) for `--include`, where the user gave none."""
        self._private = metainfo.private
        selection = self.wanted.magnet.selection
        if selection is None or self.options.include or self.options.exclude:
            return
        if metainfo.manifest is None and self.wanted.manifest is None and self.wanted.record is None:
            self.report(Note("The link selects files, which needs a manifest: the whole torrent is fetched."))
        elif globs := selected_globs(metainfo, selection):
            self.report(Note(f"The link selects {len(globs):,} of {len(metainfo.files):,} files (so={selection})."))
            self.options = replace(self.options, include=globs)
        else:
            self.report(Note(f"The link selects files that the torrent does not have (so={selection}): all come."))
        self.wanted = replace(self.wanted, magnet=replace(self.wanted.magnet, selection=None))

    def _record(self, known: Metainfo) -> ReleaseRecord | None:
        """Return the torrent's release in the cache under the name that it has, or will have."""
        record = self.wanted.record
        if self._given is not None or record is None:
            return find_by_info_hash(self.cache, known.info_hash, self._name(known))
        if self._voucher.pinned(record.manifest.name):
            return find_by_info_hash(self.cache, known.info_hash, record.manifest.name)
        found = find_by_info_hash(self.cache, known.info_hash, self._name(known))
        if found is None and not self._voucher.pinned(record.repository.name):
            # Nobody says what to call it now, and somebody did before.
            found, self._called = record, record.repository.name
        return found

    def _already_there(self, record: ReleaseRecord | None, metainfo: Metainfo) -> FetchResult | None:
        """Return the release when the cache holds every wanted file of it, by presence and size."""
        if record is None or self.options.local_dir is not None:
            return None
        if self.wanted.revision not in (None, record.manifest.revision):
            return None
        known = self.wanted.metainfo
        expected = (self.wanted.manifest, self.options.manifest, known.manifest if known else None)
        if any(data not in (None, record.manifest.to_bytes()) for data in expected):
            return None
        if self.options.model_sig is not None and self.options.model_sig.signature is None:
            # What the release carries is hashed before it is relied on.
            return None
        entries = self._selected(record.manifest)
        if missing_paths(record, [entry.path for entry in entries]):
            return None
        # A kill between the snapshot and its ref leaves no ref: placing again writes it.
        if not record.repository.is_named(record.manifest.revision, as_main=self.options.set_main):
            return None
        self._vouched = self._vouch(record.manifest, metainfo, keep=True)
        self._check_model_sig(record.manifest, None)
        if self._vouched.signature not in (None, record.signature):
            self._keep_signature(replace(record, signature=self._vouched.signature))
        path = record.repository.snapshot(record.manifest.revision)
        if self.options.only_safe:
            # Who placed it may have had no such wish.
            self._announce_code(entries)
            self._check_contents({entry.path: path / entry.path for entry in entries})
        return self._result(path, record.repository.name, record.manifest, record.complete, verified=record.verified)

    def _keep_signature(self, record: ReleaseRecord) -> None:
        """Put a newer signature with a release that is there; a cache that cannot be written to is no obstacle."""
        try:
            with hold(record.repository.lock):
                save_signature(record)
        except WeightswarmError as error:
            self.report(Note(f"Its newer signature could not be kept: {error}"))

    # --- what it is ----------------------------------------------------------------------------------------------

    def _metainfo(self) -> Metainfo:
        if self.wanted.metainfo is not None:
            return self.wanted.metainfo
        info_hash = self.wanted.magnet.info_hash
        kept = kept_metainfo(Staging(self._staging_parent(), info_hash).load_metainfo(), info_hash)
        if kept is not None:
            return kept
        if self.options.http_only:
            return ask_exact_sources(self.wanted.magnet, self.options.network, self.report)
        metainfo, self.met = ask_swarm(
            self._open_swarm(),
            self._magnet(),
            timeout=self.options.timeout,
            report=self.report,
            advice=self.wanted.advice,
        )
        return metainfo

    def _staging_parent(self) -> Path:
        local = self.options.local_dir
        return self.cache.private if local is None else local / ".weightswarm" / "staging"

    def _magnet(self) -> MagnetLink:
        magnet = self.wanted.magnet
        return replace(
            magnet,
            trackers=tuple(dict.fromkeys((*magnet.trackers, *self.options.trackers))),
            web_seeds=tuple(dict.fromkeys((*magnet.web_seeds, *self.options.web_seeds))),
        )

    @property
    def _network(self) -> NetworkOptions:
        given = self.options
        return network_for(self.wanted, given.network, trackers=given.trackers, web_seeds=given.web_seeds)

    def _open_swarm(self) -> Swarm:
        if self._swarm is None:
            self._swarm = self._stack.enter_context(Swarm(self._network, lambda text: self.report(Note(text))))
        return self._swarm

    @property
    def _given(self) -> str | None:
        """What the user calls it, or else a registry that the user chose."""
        return self.options.name or self.wanted.name

    def _vouch(self, manifest: Manifest | None, metainfo: Metainfo, *, keep: bool) -> Vouched:
        kept = None if self.wanted.record is None else self.wanted.record.signature
        files = (self.options.signature, kept, self.wanted.signature, metainfo.signature)
        link_value, listed = self.wanted.magnet.signature, self.wanted.version
        return self._voucher.vouch(manifest, self._given, files, link_value, listed=listed, keep=keep)

    def _vouch_again(self, manifest: Manifest | None, metainfo: Metainfo) -> None:
        """What is pinned and what was seen may have changed while the files came: judge by what counts now."""
        name = self._name(metainfo)
        self._vouched = self._vouch(manifest, metainfo, keep=True)
        called = self._vouched.name is None and self._called is not None and self._voucher.pinned(self._called)
        if called or self._name(metainfo) != name:
            raise Untrusted(
                f"Whose word counts for {name} changed while it came", hint="nothing was placed; what came is kept"
            )

    def _name(self, metainfo: Metainfo) -> str:
        """Who says what it is called: the user or a registry, a pinned key, whoever placed it before, or nobody."""
        vouched = self._vouched.name if self._vouched is not None else self._given
        return vouched or self._called or magnet_model_name(metainfo.name, metainfo.info_hash)

    def _placement(self, metainfo: Metainfo, manifest: Manifest) -> Placement:
        if self.options.local_dir is not None:
            return LocalFolder(self.options.local_dir, manifest)
        repository = self.cache.repository(self._name(metainfo))
        return CachePlacement(self.cache, repository, manifest, self.options.set_main, on_wait=self._note_wait)

    def _note_wait(self) -> None:
        self.report(Note("Another process changes this model in the cache; waiting."))

    def _selected(self, manifest: Manifest) -> list[FileEntry]:
        return select_entries(manifest, self.options.include, self.options.exclude)

    def _announce_code(self, files: Iterable[FileEntry] | Iterable[TorrentFile]) -> None:
        sizes = [(file.path, file.size) for file in files]
        announce_code(sizes, only_safe=self.options.only_safe, report=self.report)

    def _check_contents(self, files: dict[str, Path]) -> None:
        only_safe, allow_malformed = self.options.only_safe, self.options.allow_malformed
        check_contents(files, only_safe=only_safe, allow_malformed=allow_malformed, report=self.report)

    # --- getting it ----------------------------------------------------------------------------------------------

    def _plan(self, metainfo: Metainfo, manifest: Manifest | None) -> FetchPlan:
        if manifest is None:
            name = self._name(metainfo)
            return FetchPlan(name, "", self.cache.repository(name).snapshots, unhashed(metainfo), UNSIGNED)
        placement = self._placement(metainfo, manifest)
        name, entries = self._name(metainfo), self._selected(manifest)
        files = Holdings(self.cache, name, manifest, metainfo, placement, entries).planned()
        standing = UNSIGNED if self._vouched is None else self._vouched.standing
        return FetchPlan(name, manifest.revision, placement.target, files, standing)

    def _fetch(self, metainfo: Metainfo, manifest: Manifest) -> FetchResult:
        placement = self._placement(metainfo, manifest)
        entries = self._selected(manifest)
        staging = Staging(placement.staging_parent, metainfo.info_hash)
        with hold(staging.lock, on_wait=lambda: self.report(Note("Another fetch of this release runs; waiting."))):
            placement.check_conflicts()
            if isinstance(placement, CachePlacement):
                record = load_record(placement.repository, manifest.revision)
                if (there := self._already_there(record, metainfo)) is not None:
                    return there
            staging.prepare(metainfo.data, [entry.path for entry in manifest.files])
            here = Holdings(self.cache, self._name(metainfo), manifest, metainfo, placement, entries)
            kept, staged, missing = sort_out(entries, placement, here.copies, staging, self.report)
            first, twins = split_twins(missing)
            reused = here.reused(kept, [*staged, *(twin.path for twin in twins)])
            received, by_http, torrent = 0, 0, metainfo.data
            if missing:
                taken = here.take_unchanged(first, twins, staging, self.report)
                check_space(placement, staging, missing)
                ways = self._ways(metainfo, {entry.path: Expectation.of(entry) for entry in first}, staging)
                torrent = ways.run(self._magnet(), self.met)
                staged.update(staged_files(ways))
                staged.update(stage_twins(twins, first, staged, staging))
                received, by_http = ways.received, ways.from_web_seeds
                reused = reused.and_pieces(taken, ways.found)
            held = tuple(entry.path for entry in kept)
            located = {entry.path: file for entry in kept if (file := placement.held(entry)) is not None}
            located |= {path: file.path for path, file in staged.items()}
            self._check_model_sig(manifest, located.get(OMS_FILE))
            self._check_contents(located)
            self._vouch_again(manifest, metainfo)
            whole = placement.place(
                VerifiedFiles(staged, held, torrent, metainfo.info_hash, utc_now(), staging.folder, self._signature)
            )
            staging.discard(entry.path for entry in entries)
            done = self._result(placement.target, here.name, manifest, whole, downloaded=received, reused=reused)
            return replace(done, from_web_seeds=by_http)

    def _ways(self, metainfo: Metainfo, wanted: dict[str, Expectation], staging: Staging) -> Ways:
        expectations = {file.index: wanted[file.path] for file in metainfo.files if file.path in wanted}
        return Ways(self._open_swarm, self._network, metainfo, expectations, staging, self.options, self.report)

    def _fetch_on_trust(self, metainfo: Metainfo) -> FetchResult:
        """Fetch a torrent that has no manifest, check every piece ourselves, and write the manifest it gives."""
        if self.options.include or self.options.exclude:
            raise InvalidInput(
                "--include and --exclude need a manifest, and this torrent has none", hint="fetch the whole torrent"
            )
        staging = Staging(self._staging_parent(), metainfo.info_hash)
        with hold(staging.lock, on_wait=lambda: self.report(Note("Another fetch of this release runs; waiting."))):
            staging.prepare(metainfo.data, [file.path for file in metainfo.files])
            sized = {file.path: Expectation(file.path, file.size, None) for file in metainfo.files}
            unhashed = [FileEntry(f.path, f.size, "", None) for f in metainfo.files]
            placeholder = Manifest(self._name(metainfo), "", tuple(unhashed))
            placement = self._placement(metainfo, placeholder)
            here = Holdings(self.cache, placeholder.name, placeholder, metainfo, placement, unhashed)
            taken = here.take_unchanged(unhashed, [], staging, self.report)
            check_space(placement, staging, unhashed)
            ways = self._ways(metainfo, sized, staging)
            torrent = ways.run(self._magnet(), self.met)
            staged = staged_files(ways)
            located = {path: file.path for path, file in staged.items()}
            manifest = manifest_from_pieces(metainfo, located, self._name(metainfo), self.report)
            if self.wanted.announcement is not None:
                check_published_digests(self.wanted.announcement, located, self.report)
            self._check_model_sig(manifest, located.get(OMS_FILE))
            self._check_contents(located)
            placement = self._placement(metainfo, manifest)
            placement.check_conflicts()
            self._vouch_again(None, metainfo)
            placement.place(VerifiedFiles(staged, (), torrent, metainfo.info_hash, utc_now(), staging.folder))
            staging.discard(file.path for file in metainfo.files)
            reused, received = Reused().and_pieces(taken, ways.found), ways.received
            done = self._result(placement.target, manifest.name, manifest, True, downloaded=received, reused=reused)
            return replace(done, from_web_seeds=ways.from_web_seeds)

    def _check_model_sig(self, manifest: Manifest, carried: Path | None) -> None:
        """Hold the release against the `model.sig` that the user demands; the one it carries has been hashed."""
        if self.options.model_sig is not None:
            self.report(Note(f"Its {OMS_FILE} is signed by {self.options.model_sig.check(manifest, carried)}."))

    @property
    def _signature(self) -> bytes | None:
        return None if self._vouched is None else self._vouched.signature

    def _result(
        self,
        path: Path,
        name: str,
        manifest: Manifest,
        complete: bool,
        *,
        downloaded: int = 0,
        reused: Reused = NOTHING_REUSED,
        verified: str | None = None,
    ) -> FetchResult:
        if not complete:
            self.report(Note(f"{name} is partial: some of its files were left out; a later fetch completes it."))
        size = manifest.total_size
        assert self._vouched is not None
        standing = self._vouched.standing
        trackers = () if self._private else self._magnet().trackers
        return FetchResult(
            path, name, manifest.revision, complete, size, downloaded, reused, manifest, standing, verified, trackers
        )
