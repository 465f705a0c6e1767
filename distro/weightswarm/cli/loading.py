"""How loaders open what was fetched: for programs each loader's own arguments, for people one line to copy."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from weightswarm.cache import cache_root
from weightswarm.errors import StorageFailure
from weightswarm.storage import read_bounded

if TYPE_CHECKING:
    from weightswarm.fetching import FetchResult

Arguments = dict[str, str]

_MAX_CONFIG = 1024 * 1024
# What `from_pretrained` looks for in a model's folder.
_PRETRAINED = re.compile(r"(?:model|pytorch_model)(?:-\d{5}-of-\d{5})?\.(safetensors|bin)(?:\.index\.json)?")
_PREFERENCE = ("safetensors", "bin")
# How llama.cpp chooses one of a repository's files (`find_best_model` in its common/download.cpp): never these, ...
_BESIDE_A_MODEL = ("mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-")
_GGUF_PART = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
# ... and of several models the first that is named so, else the first.
_FAVOURITES = (re.compile(r"Q4_K_M[.-]", re.IGNORECASE), re.compile(r"Q8_0[.-]", re.IGNORECASE))


@dataclass(frozen=True, slots=True)
class Loading:
    """What loaders need to open a release offline.

    `files` are the paths that are there. `environment` is what a loader's process must have set. `arguments` are, by
    loader, what that loader calls its own: keywords of `snapshot_download`, of transformers' `from_pretrained` and of
    vLLM's `LLM`, and llama.cpp's `--model`; only loaders that can open it are in it. `line` is for a shell, None where
    nobody but the path is needed.
    """

    files: tuple[str, ...]
    environment: dict[str, str]
    arguments: dict[str, Arguments]
    line: str | None

    def document(self) -> dict[str, object]:
        """Return `load` of `fetch --json`."""
        return {"environment": self.environment, **self.arguments, "line": self.line}


def loading_of(result: FetchResult, *, in_cache: bool) -> Loading:
    """Tell how what was fetched is loaded: by name and pinned revision from the cache, by its path from a folder."""
    listed = [entry.path for entry in result.manifest.files]
    files = listed if result.complete else [path for path in listed if (result.path / path).is_file()]
    arguments: dict[str, Arguments] = {}
    environment = {}
    pinned = {"revision": result.revision} if in_cache else {}
    model = result.name if in_cache else str(result.path)
    if in_cache:
        # Online, a loader would ask the Hub for what a swarm may know better.
        environment["HF_HUB_OFFLINE"] = "1"
        if (root := result.path.parents[2]) != cache_root():
            environment["HF_HUB_CACHE"] = str(root)
        arguments["huggingface_hub"] = {"repo_id": model, **pinned}
    if _is_pretrained(result.path, files, listed):
        arguments["transformers"] = {"pretrained_model_name_or_path": model, **pinned}
        arguments["vllm"] = {"model": model, **pinned}
    if (weights := _gguf_model(files, listed)) is not None:
        arguments["llama.cpp"] = {"model": str(result.path / weights)}
    return Loading(tuple(files), environment, arguments, _line(environment, arguments))


def _is_pretrained(folder: Path, files: list[str], listed: list[str]) -> bool:
    """Tell whether transformers can make a model of it without running code that comes with it."""
    weights = {path: match[1] for path in listed if (match := _PRETRAINED.fullmatch(path))}
    kind = min({weights[path] for path in files if path in weights}, key=_PREFERENCE.index, default=None)
    whole = kind is not None and {path for path in weights if weights[path] == kind} <= {*files}
    if not whole or "config.json" not in files:
        return False
    try:
        config = json.loads(read_bounded(folder / "config.json", _MAX_CONFIG))
    except (StorageFailure, ValueError, RecursionError):
        return False
    return isinstance(config, dict) and isinstance(config.get("model_type"), str) and "auto_map" not in config


def _gguf_model(files: list[str], listed: list[str]) -> str | None:
    """Return the GGUF model that llama.cpp would choose, by its first part where it has several; None without one."""
    models = []
    for path in files:
        name = path.rpartition("/")[2]
        if not name.endswith(".gguf") or any(word in name for word in _BESIDE_A_MODEL):
            continue
        part = _GGUF_PART.fullmatch(path)
        if part is None:
            models.append(path)
        elif int(part["number"]) == 1:
            parts = {p for p in listed if (m := _GGUF_PART.fullmatch(p)) and m["name"] == part["name"]}
            if parts <= {*files} and len(parts) == int(part["count"]):
                models.append(path)
    favourites = (path for pattern in _FAVOURITES for path in models if pattern.search(path))
    return next(favourites, models[0] if models else None)


def _line(environment: dict[str, str], arguments: dict[str, Arguments]) -> str | None:
    before = "".join(f"{name}={shlex.quote(value)} " for name, value in environment.items())
    if (given := arguments.get("transformers")) is not None:
        model, pinned = given["pretrained_model_name_or_path"], _keywords(given)
        code = f"from transformers import AutoModel; AutoModel.from_pretrained({_literal(model)}{pinned})"
    elif (given := arguments.get("llama.cpp")) is not None:
        return f"llama-server -m {shlex.quote(given['model'])}"
    elif (given := arguments.get("huggingface_hub")) is not None:
        call = f"snapshot_download({_literal(given['repo_id'])}{_keywords(given)})"
        code = f"from huggingface_hub import snapshot_download; print({call})"
    else:
        return None
    return f"{before}python -c {shlex.quote(code)}"


def _keywords(given: Arguments) -> str:
    return f", revision={_literal(given['revision'])}" if "revision" in given else ""


def _literal(text: str) -> str:
    """A string as Python reads it, in the quotes that a shell's leave alone."""
    return json.dumps(text, ensure_ascii=False)
