"""What the shell completes after Tab: files, cached models, and the models of registries that are folders here.

Nobody is asked over the network, and what takes time to load is left alone: a user waits for this at every Tab.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from weightswarm.errors import WeightswarmError

_MOST = 500
_FILE_METAVARS = ("FILE", "PATH", "KEY")
_FOLDER_METAVARS = ("DIR",)


def complete_sources(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What may be fetched, shown or exported: files, what is cached, what registries in folders list."""
    return _files_and(incomplete, {*_cached(ctx), *_listed(ctx)})


def complete_places(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What is on this machine: files, folders and cached models."""
    return _files_and(incomplete, _cached(ctx))


def complete_cached(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Cached models alone."""
    return [CompletionItem(name) for name in _matching(incomplete, _cached(ctx))]


def complete_files(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Files and folders alone."""
    return [CompletionItem(incomplete, type="file")]


def complete_by_metavar(metavar: str | None, incomplete: str) -> list[CompletionItem]:
    """What an option takes by the name of its value: a file, a folder, or nothing that is known here."""
    words = (metavar or "").split("|")
    if any(word in _FILE_METAVARS for word in words):
        return [CompletionItem(incomplete, type="file")]
    return [CompletionItem(incomplete, type="dir")] if any(word in _FOLDER_METAVARS for word in words) else []


def _files_and(incomplete: str, names: Iterable[str]) -> list[CompletionItem]:
    files = CompletionItem(incomplete, type="file")
    # First, since what shells make of it takes the place of what came before.
    return [files, *(CompletionItem(name) for name in _matching(incomplete, names))]


def _matching(incomplete: str, names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))[:_MOST]


def _cached(ctx: click.Context) -> set[str]:
    from weightswarm.cache.layout import ModelCache, cache_root

    with suppress(WeightswarmError):  # whatever is wrong with the user's words or settings, the command itself will say
        return {repository.name for repository in ModelCache(cache_root(ctx.params.get("cache_dir"))).repositories()}
    return set()


def _listed(ctx: click.Context) -> set[str]:
    from weightswarm.registry.directory import bundled_registry
    from weightswarm.settings import load_settings
    from weightswarm.storage import user_path

    roots = [bundled_registry().root]
    with suppress(WeightswarmError):
        named = (*(ctx.params.get("registries") or ()), *load_settings().registries)
        # A URL is no folder here, and nobody asks it.
        roots += [user_path(location) for location in named]
    return {name for root in roots for name in _models_in(root)}


def _models_in(root: Path) -> set[str]:
    from weightswarm.manifest import is_model_name

    try:
        organisations = [entry for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith(".")]
        found = {
            f"{organisation.name}/{model.name}"
            for organisation in organisations[:_MOST]
            for model in os.scandir(organisation.path)
            if model.is_dir()
        }
    except OSError:
        return set()
    # Shells put some of what they are given on the command line as it is, `$(…)` and line breaks included.
    return {name for name in found if is_model_name(name)}
