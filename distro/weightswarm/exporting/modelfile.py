"""A Modelfile for Ollama, from weights that are on this machine. Ollama's own store is its business."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from weightswarm.errors import InvalidInput, NotFound
from weightswarm.storage import is_file

_SHARD = re.compile(r"-\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)
_FOLDER_WEIGHTS = ("model*.safetensors", "consolidated*.safetensors")
_GLOB = re.compile(r"[\[\]*?\\]")
_SHOWN = 12


def modelfile(place: Path, chosen: Sequence[str] = (), *, reference: str | None = None) -> str:
    """Return the Modelfile for a GGUF file, or a folder that holds GGUF or safetensors files.

    `chosen` are the GGUF files to take, by path or name, one `FROM` line each; `reference` is how the user named a
    cached model, for hints. Ollama's parser takes a path as it stands to the end of the line, spaces and quotes
    included, if it begins with `/`. Raises `InvalidInput`, `NotFound`.
    """
    if is_file(place):
        sources = [place]
    else:
        sources = [place / path for path in _gguf_in(place, chosen)] or [_folder(place, reference)]
    for source in sources:
        if _SHARD.search(source.name):
            raise InvalidInput(
                f"{source.name} is one part of a model, and Ollama takes models in one file",
                hint="join the parts first: llama-gguf-split --merge FIRST-PART joined.gguf, then export joined.gguf",
            )
    return "".join(f"FROM {_written(source)}\n" for source in sources)


def _gguf_in(folder: Path, chosen: Sequence[str]) -> list[str]:
    found = sorted(
        os.path.relpath(os.path.join(parent, name), folder)
        for parent, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(".gguf")
    )
    if chosen:
        return [_one(found, each) for each in chosen]
    if len(found) > 1 and not all(map(_SHARD.search, found)):
        listed = ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else "")
        raise InvalidInput(f"There are {len(found):,} GGUF files: {listed}", hint="say which: --file NAME")
    return found[:1]


def _one(found: list[str], chosen: str) -> str:
    named = [path for path in found if chosen in (path, os.path.basename(path))]
    if len(named) != 1:
        which = f"{len(named)} GGUF files are" if named else "No GGUF file is"
        listed = f"there are: {', '.join(named or found[:_SHOWN])}" if found else "there is none at all"
        raise NotFound(f"{which} named {chosen}", hint=listed)
    return named[0]


def _folder(folder: Path, reference: str | None) -> Path:
    weights = [path for pattern in _FOLDER_WEIGHTS for path in folder.glob(pattern)]
    if not weights:
        raise NotFound(f"{reference or folder} holds neither GGUF nor safetensors files that Ollama reads")
    if any(path.resolve().parent != folder.resolve() for path in weights):
        # Ollama calls what leads out of the folder insecure, as every link of the Hub's cache does.
        raise InvalidInput(
            f"Ollama does not read a folder of links, as {reference or folder} in the model cache is",
            hint=f"weightswarm fetch {reference or 'ORG/MODEL'} --local-dir DIR, then weightswarm export ollama DIR",
        )
    if _GLOB.search(str(folder)):
        raise InvalidInput(f"Ollama does not find files in a folder with one of [ ] * ? \\ in its path: {folder}")
    return folder


def _written(path: Path) -> str:
    text = os.path.abspath(path)
    if not text.isprintable() or text != text.strip():
        # Its parser leaves such characters out, and then looks for another file.
        raise InvalidInput(f"Ollama cannot read a path with invisible characters: {text[:200]}")
    return text
