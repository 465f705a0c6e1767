"""Fetching, verifying and looking at releases, as functions. Each loads its own workflow when it is called."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from weightswarm.api.registries import PathLike, all_registries
from weightswarm.cache import ModelCache, cache_root
from weightswarm.dialling import DIRECT, Route
from weightswarm.progress import Note, Report, silent
from weightswarm.reach import Network
from weightswarm.registry import is_url
from weightswarm.storage import user_path

# Each function loads its own workflow: who publishes or verifies does not wait for the swarm engine.
if TYPE_CHECKING:
    from weightswarm.checking import Verification, VerifyOptions
    from weightswarm.exporting import Exported
    from weightswarm.fetching import Depth, Description, FetchOptions, FetchPlan, FetchResult
    from weightswarm.swarm import NetworkOptions
    from weightswarm.trusting import TrustStore


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
    from weightswarm.fetching import FetchPlan

    result = _fetch(source, cache_dir, registries, options, trust_store, report, dry_run=False)
    assert not isinstance(result, FetchPlan)
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
    from weightswarm.fetching import FetchResult

    plan = _fetch(source, cache_dir, registries, options, trust_store, report, dry_run=True)
    assert not isinstance(plan, FetchResult)
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


def _fetch(
    source: str,
    cache_dir: PathLike | None,
    registries: Iterable[PathLike],
    options: FetchOptions | None,
    trust_store: PathLike | None,
    report: Report,
    *,
    dry_run: bool,
) -> FetchResult | FetchPlan:
    from weightswarm.fetching import FetchOptions, fetch_source

    return fetch_source(
        source,
        cache=ModelCache(cache_root(cache_dir)),
        registries=all_registries(registries, _reach(options), report, _route(options)),
        options=options or FetchOptions(),
        trust_store=_store(trust_store),
        dry_run=dry_run,
        report=report,
    )


def _reach(options: FetchOptions | VerifyOptions | None) -> Network:
    return Network.PUBLIC if options is None else options.network.network


def _route(options: FetchOptions | VerifyOptions | None) -> Route:
    return DIRECT if options is None else options.network.route


def _store(path: PathLike | None) -> TrustStore:
    """Return the trust store in a file, or the user's own."""
    from weightswarm.trusting import TrustStore, default_store

    return default_store() if path is None else TrustStore(user_path(path))
