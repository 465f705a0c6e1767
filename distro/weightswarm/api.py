"""The library's front: `publish`, `seed`, `fetch`, `verify`, `show`, `search`. Typed results, progress by callback.

Everything here is what the command line calls; it adds options, drawing and exit codes, and nothing else.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from weightswarm.cache import ModelCache, cache_root
from weightswarm.dialling import DIRECT, Route
from weightswarm.errors import InvalidInput, NotFound
from weightswarm.progress import Note, Report, silent
from weightswarm.reach import Network, check_route
from weightswarm.registry import (
    DirectoryRegistry,
    Found,
    HttpRegistry,
    Registry,
    RegistryEntry,
    bundled_registry,
    is_url,
    may_ask,
)
from weightswarm.registry import search as search_registries
from weightswarm.settings import load_settings
from weightswarm.storage import is_folder, user_path, write_atomically

# Each function loads its own workflow: who publishes or verifies does not wait for the swarm engine.
if TYPE_CHECKING:
    from weightswarm.checking import Verification, VerifyOptions
    from weightswarm.exporting import Exported
    from weightswarm.fetching import Depth, Description, FetchOptions, FetchPlan, FetchResult
    from weightswarm.magnet import MagnetLink
    from weightswarm.publishing import Base, ModelSigKey, PublishOptions, Release, Resigned, Signer
    from weightswarm.seeding import SeededRelease, SeedOptions
    from weightswarm.swarm import NetworkOptions
    from weightswarm.trusting import TrustStore

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Published:
    """A release that was written out: its value, its magnet, and its files."""

    release: Release
    magnet: MagnetLink
    manifest_path: Path
    torrent_path: Path
    model_sig_path: Path | None = None


def publish(
    source: PathLike,
    *,
    name: str | None = None,
    output: PathLike = ".",
    registry: PathLike | None = None,
    release_version: int | None = None,
    sha256sums: PathLike | None = None,
    cache_dir: PathLike | None = None,
    options: PublishOptions | None = None,
    signer: Signer | None = None,
    oms_key: ModelSigKey | None = None,
    from_hub: str | None = None,
    network: Network = Network.PUBLIC,
    route: Route = DIRECT,
    report: Report = silent,
) -> Published:
    """Hash a folder, a file or a cached `org/model[@revision]`; write its manifest and torrent into `output`.

    With `registry`, the release is added to that folder and its index as well, for others to find by name, and by
    `release_version` as `org/model@v3`. With `signer`, a signature stands beside the manifest, in the torrent, in the
    magnet and in the registry, and its version is the release's where no other is given; with `oms_key`, an OpenSSF
    `model.sig` beside the manifest. With `sha256sums`, a file of that name, what it does not list is not published.
    With `from_hub`, `org/model[@revision]`, the release is what the Hub lists there.
    """
    from weightswarm.publishing import check_listed, check_output, model_sig_path, signed_version, write_release

    if signer is not None and release_version is not None:
        if signer.version not in (None, release_version):
            raise InvalidInput(f"The release is version {release_version}, and signed as version {signer.version}")
        signer = replace(signer, version=release_version)
    for folder in (output, registry):
        if folder is not None:
            _check_apart(user_path(folder), source)
            check_output(user_path(folder))
    release = prepare(
        source,
        name=name,
        cache_dir=cache_dir,
        options=options,
        signer=signer,
        from_hub=from_hub,
        network=network,
        route=route,
        report=report,
    )
    if sha256sums is not None:
        check_listed(release, user_path(sha256sums))
    manifest_path, torrent_path = write_release(release, Path(output).expanduser())
    magnet = release.magnet()
    if registry is not None:
        entry = RegistryEntry(
            release.manifest.name,
            release.manifest.revision,
            magnet,
            release.manifest.to_bytes(),
            release.metainfo.data,
            release.signed,
            release_version if release_version is not None else signed_version(release.signed),
        )
        DirectoryRegistry(user_path(registry)).add(entry, report)
    if oms_key is None:
        return Published(release, magnet, manifest_path, torrent_path)
    model_sig = model_sig_path(manifest_path)
    write_atomically(model_sig, oms_key.sign(release.manifest))
    return Published(release, magnet, manifest_path, torrent_path, model_sig)


def prepare(
    source: PathLike,
    *,
    name: str | None = None,
    cache_dir: PathLike | None = None,
    options: PublishOptions | None = None,
    signer: Signer | None = None,
    from_hub: str | None = None,
    network: Network = Network.PUBLIC,
    route: Route = DIRECT,
    report: Report = silent,
) -> Release:
    """Make a release without writing it anywhere. A path wins over a cached model of the same spelling.

    `org/model=path` names a path in one word, for those who prepare several. A cached release keeps the signature
    that it came with, unless `signer` makes another.

    `from_hub`, `org/model[@revision]`, has the Hub asked, as far as `network` reaches and by way of `route`: the
    release then has all files that the Hub lists, with those sizes and hashes, under the Hub's commit, and by default
    under its name. Raises `ContentMismatch` naming those that are not so.
    """
    from weightswarm.publishing import PublishOptions, prepare_source, sign_release

    check_route(route, network)
    release = prepare_source(
        str(source),
        name=name,
        cache=ModelCache(cache_root(cache_dir)),
        options=options or PublishOptions(),
        from_hub=from_hub,
        network=network,
        route=route,
        report=report,
    )
    if release.metainfo.private:
        report(Note("A private torrent: most clients give its metadata to no magnet. Hand on the .torrent."))
    return release if signer is None else sign_release(release, signer)


def find_base(
    base: PathLike, *, name: str | None = None, registry: PathLike | None = None, cache_dir: PathLike | None = None
) -> Base:
    """Return the revision and torrent that a release of `name` is made from, for `PublishOptions.base_revision` and
    `TorrentOptions.similar`: `base` is a torrent file or a revision, known to the registry folders or to the cache."""
    from weightswarm.publishing import find_base as find

    folders = [user_path(each) for each in (registry, *load_settings().registries) if each and not is_url(str(each))]
    registries = [DirectoryRegistry(folder) for folder in folders if is_folder(folder)]
    return find(os.fspath(base), name, ModelCache(cache_root(cache_dir)), [*registries, bundled_registry()])


def seed(
    sources: Sequence[PathLike],
    *,
    name: str | None = None,
    cache_dir: PathLike | None = None,
    publish_options: PublishOptions | None = None,
    options: SeedOptions | None = None,
    signer: Signer | None = None,
    from_hub: str | None = None,
    on_ready: Callable[[list[SeededRelease]], None] = lambda _seeded: None,
    stop: threading.Event | None = None,
    report: Report = silent,
) -> list[SeededRelease]:
    """Prepare each source as `prepare` does, then seed them all in one session until `stop` or a limit in `options`.

    `on_ready` gets the releases with their magnets once peers can connect. Returns what each gave, and what ended it.
    """
    from weightswarm.seeding import SeedOptions, seed_releases

    if name is not None and len(sources) > 1:
        raise InvalidInput("One name cannot serve several sources", hint="seed them one by one, or leave --name out")
    if from_hub is not None and len(sources) > 1:
        raise InvalidInput("One model of the Hub cannot serve several sources", hint="seed them one by one")
    chosen = options or SeedOptions()
    releases = [
        prepare(
            source,
            name=name,
            cache_dir=cache_dir,
            options=publish_options,
            signer=signer,
            from_hub=from_hub,
            network=chosen.network.network,
            route=chosen.network.route,
            report=report,
        )
        for source in sources
    ]
    if len({release.metainfo.info_hash for release in releases}) < len(releases):
        raise InvalidInput("One release is given twice", hint="name each folder or model once")
    if publish_options is not None:
        # What the user lets a release name now, he named himself; what a fetched torrent names, a stranger did.
        trackers = (*chosen.network.trackers, *publish_options.torrent.trackers)
        chosen = replace(chosen, network=replace(chosen.network, trackers=trackers))
    return seed_releases(releases, chosen, on_ready=on_ready, stop=stop, report=report)


def sign(
    source: PathLike, signer: Signer, *, cache_dir: PathLike | None = None, registries: Iterable[PathLike] = ()
) -> Resigned:
    """Sign a manifest file, a torrent file or `org/model[@revision]`, or renew its signature; the info-hash stays."""
    from weightswarm.publishing import sign_published

    # What a URL serves is signed in its folder.
    found = [DirectoryRegistry(user_path(folder)) for folder in registries if not is_url(os.fspath(folder))]
    return sign_published(str(source), signer, cache=ModelCache(cache_root(cache_dir)), registries=found)


def fetch(
    source: str,
    *,
    cache_dir: PathLike | None = None,
    registries: Iterable[PathLike] = (),
    options: FetchOptions | None = None,
    trust_store: PathLike | None = None,
    report: Report = silent,
) -> FetchResult:
    """Fetch a magnet, torrent, info-hash or `org/model[@revision]` into the model cache, every file verified.

    `trust_store` is a file with pinned keys, the user's own unless another is named.
    """
    from weightswarm.fetching import FetchOptions, FetchResult, fetch_source

    result = fetch_source(
        source,
        cache=ModelCache(cache_root(cache_dir)),
        registries=all_registries(registries, _reach(options), report, _route(options)),
        options=options or FetchOptions(),
        trust_store=_store(trust_store),
        report=report,
    )
    assert isinstance(result, FetchResult)
    return result


def plan_fetch(
    source: str,
    *,
    cache_dir: PathLike | None = None,
    registries: Iterable[PathLike] = (),
    options: FetchOptions | None = None,
    trust_store: PathLike | None = None,
    report: Report = silent,
) -> FetchPlan:
    """Return what `fetch` would download, reuse and keep; asks the swarm for metadata only."""
    from weightswarm.fetching import FetchOptions, FetchPlan, fetch_source

    plan = fetch_source(
        source,
        cache=ModelCache(cache_root(cache_dir)),
        registries=all_registries(registries, _reach(options), report, _route(options)),
        options=options or FetchOptions(),
        trust_store=_store(trust_store),
        dry_run=True,
        report=report,
    )
    assert isinstance(plan, FetchPlan)
    return plan


def verify(
    target: PathLike,
    *,
    cache_dir: PathLike | None = None,
    registries: Iterable[PathLike] = (),
    options: VerifyOptions | None = None,
    trust_store: PathLike | None = None,
    report: Report = silent,
) -> Verification:
    """Compare a cached `org/model[@revision]`, a snapshot or a folder with its manifest, hashing every byte."""
    from weightswarm.checking import VerifyOptions, verify_target

    return verify_target(
        str(target),
        cache=ModelCache(cache_root(cache_dir)),
        registries=all_registries(registries, _reach(options), report, _route(options)),
        options=options or VerifyOptions(),
        trust_store=_store(trust_store),
        report=report,
    )


def show(
    source: str,
    *,
    cache_dir: PathLike | None = None,
    registries: Iterable[PathLike] = (),
    network: NetworkOptions | None = None,
    timeout: float = 60.0,
    offline: bool = False,
    trust_store: PathLike | None = None,
    report: Report = silent,
) -> Description:
    """Describe a magnet, torrent, manifest, name or info-hash without downloading payload; `offline`, ask nobody."""
    from weightswarm.fetching import describe_source
    from weightswarm.swarm import NetworkOptions

    chosen = network or NetworkOptions()
    known = all_registries(registries, chosen.network, report, chosen.route)
    if offline:
        for registry in [each for each in known if is_url(each.location)]:
            report(Note(f"Registry {registry.location} is not asked with --offline"))
            known.remove(registry)
    return describe_source(
        source,
        cache=ModelCache(cache_root(cache_dir)),
        registries=known,
        network=chosen,
        timeout=timeout,
        offline=offline,
        trust_store=_store(trust_store),
        report=report,
    )


def export(
    source: str,
    *,
    depth: Depth,
    cache_dir: PathLike | None = None,
    registries: Iterable[PathLike] = (),
    network: NetworkOptions | None = None,
    timeout: float = 60.0,
    trust_store: PathLike | None = None,
    report: Report = silent,
) -> Exported:
    """Look a source of `show` up, to write it in other programs' formats; `depth` says what the swarm is asked for."""
    from weightswarm.exporting import Exported
    from weightswarm.fetching import look_up
    from weightswarm.swarm import NetworkOptions

    chosen, store = network or NetworkOptions(), _store(trust_store)
    looked = look_up(
        source,
        cache=ModelCache(cache_root(cache_dir)),
        registries=all_registries(registries, chosen.network, report, chosen.route),
        network=chosen,
        timeout=timeout,
        trust_store=store,
        depth=depth,
        report=report,
    )
    return Exported(looked, bool(looked.name and store.pins().for_name(looked.name)))


def search(
    text: str,
    *,
    registries: Iterable[PathLike] = (),
    network: Network = Network.PUBLIC,
    route: Route = DIRECT,
    report: Report = silent,
) -> list[Found]:
    """Return what the registries list for `text`: every word in the name or description, the best first.

    Raises `NetworkFailure` or `SwarmTimeout` where nothing is found and a registry did not answer.
    """
    check_route(route, network)
    return search_registries(all_registries(registries, network, report, route), text)


def index(registry: PathLike, *, report: Report = silent) -> tuple[Path, bool]:
    """Make `index.json` of a registry folder again; return it, and whether everything in the folder is listed."""
    folder = user_path(registry)
    if not is_folder(folder):
        raise NotFound(f"There is no registry folder {folder}")
    return DirectoryRegistry(folder).write_index(report)


def all_registries(
    locations: Iterable[PathLike],
    network: Network = Network.PUBLIC,
    report: Report = silent,
    route: Route = DIRECT,
) -> list[Registry]:
    """Return the registries at `locations`, then those of the user's settings, then the bundled one.

    A location is a folder, or an `http(s)` URL. At loopback registries on other machines are left out, which `report`
    is told, and so it is of a folder in the settings that is not there. Raises `NotFound` for one in `locations`.
    """
    found: list[Registry] = []
    for location in locations:
        if (registry := _registry(os.fspath(location), network, route, report)) is None:
            raise NotFound(f"There is no registry folder {user_path(location)}")
        found.append(registry)
    for location in load_settings().registries:
        if (registry := _registry(location, network, route, report)) is None:
            report(Note(f"Registry {location}, which the settings name, is not there; going on without it"))
            continue
        found.append(registry)
    askable = [registry for registry in found if may_ask(registry.location, network)]
    for left_out in [r.location for r in found if r not in askable]:
        report(Note(f"Registry {left_out} is not asked at --network loopback"))
    return [*askable, bundled_registry()]


def _registry(location: str, network: Network, route: Route, report: Report) -> Registry | None:
    if is_url(location):
        return HttpRegistry(location, network=network, route=route, report=report)
    folder = user_path(location)
    return DirectoryRegistry(folder) if is_folder(folder) else None


def _reach(options: FetchOptions | VerifyOptions | None) -> Network:
    return Network.PUBLIC if options is None else options.network.network


def _route(options: FetchOptions | VerifyOptions | None) -> Route:
    return DIRECT if options is None else options.network.route


def _store(path: PathLike | None) -> TrustStore:
    """Return the trust store in a file, or the user's own."""
    from weightswarm.trusting import TrustStore, default_store

    return default_store() if path is None else TrustStore(user_path(path))


def _check_apart(output: Path, source: PathLike) -> None:
    """Refuse to write what is published into the folder that is published: it would be another release next time."""
    folder = user_path(str(source).partition("=")[2] or source)
    if is_folder(folder) and (output == folder or folder in output.parents):
        raise InvalidInput(f"{output} is in the folder that is published", hint="choose another with --output DIR")
