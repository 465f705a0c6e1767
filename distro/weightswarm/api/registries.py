"""Which registries are asked, and what they list."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from weightswarm.dialling import DIRECT, Route
from weightswarm.errors import NotFound
from weightswarm.progress import Note, Report, silent
from weightswarm.reach import Network, check_route
from weightswarm.registry import (
    DirectoryRegistry,
    Found,
    HttpRegistry,
    Registry,
    bundled_registry,
    is_url,
    may_ask,
)
from weightswarm.registry import search as search_registries
from weightswarm.settings import load_settings
from weightswarm.storage import is_folder, user_path

# Each function loads its own workflow: who publishes or verifies does not wait for the swarm engine.
if TYPE_CHECKING:
    pass

PathLike = str | os.PathLike[str]


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
