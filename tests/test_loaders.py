"""What was fetched is loaded by the real programs: transformers with torch, llama.cpp, and by LM Studio's folders."""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader
from safetensors.numpy import load_file

from gguf_model import write_gguf
from hostile import NAME, contents, place, release_of, serving_release
from loaders import HERE, client, not_tested, python, run
from running import CommandLineHere

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MODEL = "tiny-Q8_0.gguf"

_EMBED = """
import hashlib, json, sys
import torch
from transformers import AutoModel, AutoTokenizer
torch.set_num_threads(1)

def embed(pretrained_model_name_or_path, **pinned):
    model = AutoModel.from_pretrained(pretrained_model_name_or_path, **pinned)
    words = AutoTokenizer.from_pretrained(pretrained_model_name_or_path, **pinned)
    with torch.inference_mode():
        given = words(["weights by magnet", "as one tweets it"], return_tensors="pt", padding=True)
        state = model(**given).last_hidden_state
    return [list(state.shape), hashlib.sha256(state.numpy().tobytes()).hexdigest()]

print(json.dumps([embed(**json.loads(arguments)) for arguments in sys.argv[1:]]))
"""

_GENERATE = """
const [module, ...paths] = process.argv.slice(2);
const {getLlama} = await import(module);
const llama = await getLlama({gpu: false, build: "never", skipDownload: true, progressLogs: false});
const said = [];
for (const modelPath of paths) {
    const model = await llama.loadModel({modelPath});
    const context = await model.createContext({contextSize: 256, threads: 1});
    const tokens = [];
    for await (const token of context.getSequence().evaluate(model.tokenize("weights by magnet"), {temperature: 0})) {
        tokens.push(token);
        if (tokens.length >= 4) break;
    }
    said.push(tokens);
}
console.log(JSON.stringify(said));
await llama.dispose();
"""


@pytest.fixture
def here(tmp_path: Path) -> CommandLineHere:
    """The commands, in this process."""
    return CommandLineHere(tmp_path)


def line_of(stderr: str) -> str:
    """Return the line that a fetch gives its user to copy."""
    (line,) = (each for each in stderr.splitlines() if each.startswith("Load it with: "))
    return line.removeprefix("Load it with: ")


def nobody_asked() -> dict[str, str]:
    """Return an environment in which loaders may go online, and whoever does ends there."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = client("newest", {"HF_ENDPOINT": "http://127.0.0.1:9", "PATH": path})
    del environment["HF_HUB_OFFLINE"]
    return environment


# --- transformers ----------------------------------------------------------------------------------------------------


def test_transformers_gives_the_same_embedding_to_the_bit_and_the_printed_line_works(
    here: CommandLineHere, minilm: Path, tmp_path: Path, figure: Callable[[str, float], None]
) -> None:
    """From the cache by name and pinned revision, and from a folder, beside the folder that was published."""
    if find_spec("transformers") is None or find_spec("torch") is None:
        not_tested("transformers with torch")
    cache, folder = tmp_path / "a cache", tmp_path / "a folder"
    with serving_release(release_of(minilm, name=MINILM)) as magnet:
        cached = here.ok("fetch", magnet, "--name", MINILM, "--cache-dir", cache)
        by_name = here.ok("fetch", magnet, "--name", MINILM, "--cache-dir", cache, "--json").json["load"]
        plain = here.ok("fetch", magnet, "--local-dir", folder, "--json").json["load"]
    for path in (Path(cached.result), folder):
        tensors, published = load_file(path / "model.safetensors"), load_file(minilm / "model.safetensors")
        assert tensors.keys() == published.keys()
        assert all(np.array_equal(tensors[key], published[key]) for key in published)

    run(["sh", "-c", line_of(cached.stderr)], nobody_asked())

    program, option, code = shlex.split(plain["line"])
    assert (program, option, plain["environment"]) == ("python", "-c", {})
    arguments = [by_name["transformers"], plain["transformers"], {"pretrained_model_name_or_path": str(minilm)}]
    environment = {**nobody_asked(), **by_name["environment"]}
    named, local, source = python(f"{code}\n{_EMBED}", environment, *map(json.dumps, arguments))
    assert source[0] == [2, 8, 384]
    assert named == local == source
    figure("embeddings of a fetched model equal to the bit", 2)


# --- llama.cpp -------------------------------------------------------------------------------------------------------


@pytest.fixture
def gguf_folder(tmp_path: Path) -> Path:
    """A model in two files for llama.cpp, and one that describes it."""
    folder = tmp_path / "gguf"
    folder.mkdir()
    write_gguf(folder / MODEL)
    write_gguf(folder / "tiny-F32.gguf", seed=8)
    (folder / "README.md").write_text("tiny\n")
    return folder


def test_llama_cpp_says_the_same_from_the_cache_and_from_a_folder_and_the_printed_line_works(
    here: CommandLineHere, gguf_folder: Path, tmp_path: Path
) -> None:
    """The line's `llama-server` is a stand-in here: it loads its `-m` with the same library and says four tokens."""
    module, node = HERE / "llama" / "node_modules" / "node-llama-cpp" / "dist" / "index.js", shutil.which("node")
    if node is None or not module.is_file():
        not_tested("llama.cpp (node-llama-cpp)")
    assert node is not None
    folder = tmp_path / ".lmstudio" / "models" / "org" / "it's a model"
    with serving_release(release_of(gguf_folder)) as magnet:
        cached = here.ok("fetch", magnet, "--name", NAME)
        plain = here.ok("fetch", magnet, "--local-dir", folder, "--include", "*.gguf", "--json").json
    assert plain["load"]["llama.cpp"] == {"model": str(folder / MODEL)}

    (tmp_path / "generate.mjs").write_text(_GENERATE)
    server = tmp_path / "bin" / "llama-server"
    server.parent.mkdir()
    words = [node, tmp_path / "generate.mjs", module]
    also = [folder / MODEL, gguf_folder / MODEL, gguf_folder / "tiny-F32.gguf"]
    server.write_text(
        f'#!/bin/sh\n[ "$1" = -m ] && exec {shlex.join(map(str, words))} "$2" {shlex.join(map(str, also))}\n'
    )
    server.chmod(0o755)
    environment = {**nobody_asked(), "PATH": f"{server.parent}:{os.environ['PATH']}"}
    said = run(["sh", "-c", line_of(cached.stderr)], environment)
    from_cache, from_folder, source, other = json.loads(said.splitlines()[-1])
    assert len(source) == 4
    assert from_cache == from_folder == source != other


_FIND = """
import ctypes, json, sys
from pathlib import Path

libraries, symbol, name, refs = sys.argv[1:]
for pattern in ("libggml-base.so*", "libggml.*", "libllama.*"):
    for library in Path(libraries).glob(pattern):
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
common = ctypes.CDLL(str(Path(libraries) / "libllama-common.so"))

class String(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("room", ctypes.c_char * 16)]

class Vector(ctypes.Structure):
    _fields_ = [("begin", ctypes.c_void_p), ("end", ctypes.c_void_p), ("limit", ctypes.c_void_p)]

find = common[symbol]
find.restype, find.argtypes = None, [ctypes.POINTER(Vector), ctypes.POINTER(String)]
FILE = 6 * ctypes.sizeof(String)

def found():
    text = ctypes.create_string_buffer(name.encode())
    files = Vector()
    find(ctypes.byref(files), ctypes.byref(String(ctypes.addressof(text), len(name), b"")))
    starts = range(files.begin or 0, files.end or 0, FILE)
    local = [String.from_address(start + 2 * ctypes.sizeof(String)) for start in starts]
    return sorted(ctypes.string_at(each.data, each.size).decode() for each in local)

main = Path(refs) / "main"
commit, answers = main.read_text(), [found()]
for text in (commit[:39], ""):
    main.write_text(text)
    answers.append(found())
main.write_text(commit)
answers.append(found())
print(json.dumps(answers))
"""


def test_llama_cpps_own_look_into_the_cache_finds_the_files_by_refs_main(
    hub: Path, gguf_folder: Path, tmp_path: Path
) -> None:
    """`hf_cache::get_cached_files`, which `llama-server -hf NAME --offline` calls; it needs 40 hex digits there."""
    libraries = HERE / "llama" / "node_modules" / "@node-llama-cpp" / "linux-x64" / "bins" / "linux-x64"
    if platform.machine() != "x86_64" or not (libraries / "libllama-common.so").is_file():
        not_tested("llama.cpp (libllama-common of node-llama-cpp for x86-64)")
    snapshot = place(release_of(gguf_folder), hub)
    symbol = "_ZN8hf_cache16get_cached_filesERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE"
    environment = client("newest", {"HF_HUB_CACHE": str(hub)})
    whole, short, empty, again = python(_FIND, environment, libraries, symbol, NAME, snapshot.parents[1] / "refs")
    assert whole == again == sorted(str(snapshot / path) for path in contents(gguf_folder))
    assert (short, empty) == ([], [])


# --- plain folders ---------------------------------------------------------------------------------------------------


def test_lm_studios_folders_hold_the_model_and_nothing_else_that_it_lists(
    here: CommandLineHere, gguf_folder: Path, tmp_path: Path
) -> None:
    """LM Studio lists `models/PUBLISHER/MODEL/*.gguf`; what is kept for `verify` is out of sight in a hidden folder."""
    models = tmp_path / ".lmstudio" / "models"
    folder = models / "org" / "model"
    with serving_release(release_of(gguf_folder)) as magnet:
        here.ok("fetch", magnet, "--local-dir", folder, "--include", "*.gguf")
    seen = sorted(path.relative_to(folder).as_posix() for path in models.rglob("*") if not path.is_dir())
    assert [path for path in seen if not path.startswith(".weightswarm/")] == ["tiny-F32.gguf", MODEL]
    assert [path for path in seen if path.endswith(".gguf")] == ["tiny-F32.gguf", MODEL]
    assert not any((folder / path).is_symlink() for path in seen)
    read: Any = GGUFReader(folder / MODEL)
    assert read.fields["general.architecture"].contents() == "llama"
    assert len(read.tensors) == 12
    verified = here.ok("verify", folder)
    assert "partial: the files that were fetched" in verified.stderr
