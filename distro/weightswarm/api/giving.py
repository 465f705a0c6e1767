"""Publishing, seeding and signing, as functions. Each loads its own workflow when it is called."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from weightswarm.api.registries import PathLike
from weightswarm.cache import ModelCache, cache_root
from weightswarm.dialling import DIRECT, Route
from weightswarm.errors import InvalidInput
from weightswarm.progress import Note, Report, silent
from weightswarm.reach import Network, check_route
from weightswarm.registry import (
    DirectoryRegistry,
    RegistryEntry,
    bundled_registry,
    is_url,
)
from weightswarm.settings import load_settings
from weightswarm.storage import is_folder, user_path, write_atomically

# Each function loads its own workflow: who publishes or verifies does not wait for the swarm engine.
if TYPE_CHECKING:
    from weightswarm.magnet import MagnetLink
    from weightswarm.publishing import Base, ModelSigKey, PublishOptions, Release, Resigned, Signer
    from weightswarm.seeding import SeededRelease, SeedOptions


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


def _check_apart(output: Path, source: PathLike) -> None:
    """Refuse to write what is published into the folder that is published: it would be another release next time."""
    folder = user_path(str(source).partition("=")[2] or source)
    if is_folder(folder) and (output == folder or folder in output.parents):
        raise InvalidInput(f"{output} is in the folder that is published", hint="choose another with --output DIR")
