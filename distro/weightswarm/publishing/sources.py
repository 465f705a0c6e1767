"""What a user means by a source: a folder, a file or a model in the cache, and what the Hub lists to hold it to."""

from __future__ import annotations

from weightswarm.cache import ModelCache
from weightswarm.dialling import Route
from weightswarm.errors import InvalidInput, NotFound
from weightswarm.hub import HubListing, hub_from_environment
from weightswarm.manifest import is_model_name, parse_reference
from weightswarm.progress import Report
from weightswarm.publishing.release import PublishOptions, Release, prepare_cached, prepare_path
from weightswarm.reach import Network
from weightswarm.registry import list_hub_files
from weightswarm.storage import is_file, is_folder, looks_like_path, user_path


def prepare_source(
    source: str,
    *,
    name: str | None,
    cache: ModelCache,
    options: PublishOptions,
    from_hub: str | None,
    network: Network,
    route: Route,
    report: Report,
) -> Release:
    """Make a release of a path, of `org/model=path` or of a cached `org/model[@revision]`; a path wins.

    With `from_hub`, `org/model[@revision]`, the Hub is asked before anything is hashed. Where it names no revision, it
    means `main` for a path, and for a cached model the revision that the cache holds.
    """
    label, equals, rest = source.partition("=")
    if equals and is_model_name(label.partition("@")[0]):
        name, source = label, rest
    hub_name, _, hub_revision = (from_hub or "").partition("@")

    def listed(revision: str) -> HubListing | None:
        if from_hub is None:
            return None
        hub = hub_from_environment()
        return list_hub_files(hub_name, revision, hub=hub, network=network, route=route, report=report)

    path = user_path(source)
    if is_file(path) or is_folder(path) or looks_like_path(source):
        if not is_file(path) and not is_folder(path):
            raise NotFound(f"There is no file or folder {source[:200]}", hint="a model in the cache is named org/model")
        if name is None and from_hub is None:
            raise InvalidInput(f"{path} needs a name", hint="say what it is called: --name org/model")
        return prepare_path(path, name or hub_name, options, report, listed(hub_revision or "main"))
    if not is_model_name(source.partition("@")[0]):
        raise NotFound(f"There is no file or folder {source[:200]}", hint="a model in the cache is named org/model")
    if name is not None:
        raise InvalidInput(f"{source} has its name already", hint="--name is for folders and files")
    own_name, revision = parse_reference(source)
    listing = listed(hub_revision) if hub_revision else None
    if listing is not None and revision is None and own_name == listing.name:
        revision = listing.revision
    repository, found = cache.resolve(own_name, revision)
    return prepare_cached(repository, found, options, report, listing or listed(found))
