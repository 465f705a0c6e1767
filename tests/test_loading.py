"""What `fetch` says of loading: for each kind of release the line that opens it, and each loader's own arguments."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest

from hostile import NAME, fetch_json, release_of, serving_release
from running import CommandLine, CommandLineHere
from samples import write_files
from weightswarm.cli.loading import Loading, loading_of
from weightswarm.fetching import FetchResult, Reused
from weightswarm.manifest import FileEntry, Manifest
from weightswarm.trusting import UNSIGNED

REVISION = "0123456789abcdef0123456789abcdef01234567"
CONFIG = b'{"model_type": "bert"}'
BERT = {"config.json": CONFIG, "model.safetensors": b"w"}
PINNED = {"revision": REVISION}


def loading(root: Path, files: Mapping[str, bytes], absent: tuple[str, ...] = (), *, in_cache: bool = True) -> Loading:
    """What is said of a release of `files` and `absent`, which was left out, in a cache at `root` or as its folder."""
    path = root / "models--org--model" / "snapshots" / REVISION if in_cache else root
    path.mkdir(parents=True, exist_ok=True)
    write_files(path, files)
    entries = tuple(FileEntry(each, 1, "ab" * 32, None) for each in sorted({*files, *absent}))
    manifest = Manifest(NAME, REVISION, entries)
    result = FetchResult(path, NAME, REVISION, not absent, 1, 1, Reused(), manifest, UNSIGNED)
    return loading_of(result, in_cache=in_cache)


def test_a_pretrained_model_in_the_cache_is_loaded_by_name_and_pinned_revision(hub: Path) -> None:
    said = loading(hub, BERT)
    assert said.environment == {"HF_HUB_OFFLINE": "1"}
    assert said.arguments == {
        "huggingface_hub": {"repo_id": NAME, **PINNED},
        "transformers": {"pretrained_model_name_or_path": NAME, **PINNED},
        "vllm": {"model": NAME, **PINNED},
    }
    code = f'from transformers import AutoModel; AutoModel.from_pretrained("{NAME}", revision="{REVISION}")'
    assert said.line == f"HF_HUB_OFFLINE=1 python -c '{code}'"


def test_a_cache_that_loaders_would_not_look_in_is_named(tmp_path: Path) -> None:
    said = loading(tmp_path / "other cache's", BERT)
    root = str(tmp_path / "other cache's")
    assert said.environment == {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": root}
    assert said.line is not None
    assert f"HF_HUB_CACHE={root}" in shlex.split(said.line)


def test_a_folder_is_loaded_by_its_path_and_without_the_hub(tmp_path: Path) -> None:
    folder = tmp_path / "it's"
    said = loading(folder, BERT, in_cache=False)
    assert (said.environment, "huggingface_hub" in said.arguments) == ({}, False)
    assert said.arguments["transformers"] == {"pretrained_model_name_or_path": str(folder)}
    assert said.line is not None
    assert shlex.split(said.line)[:2] == ["python", "-c"]
    assert f'AutoModel.from_pretrained("{folder}")' in shlex.split(said.line)[2]


@pytest.mark.parametrize(
    "files",
    [
        {"model.safetensors": b"w"},
        {"config.json": b"{}", "model.safetensors": b"w"},
        {"config.json": b"[" * 100_000, "model.safetensors": b"w"},
        {"config.json": b'{"model_type": 5}', "model.safetensors": b"w"},
        {"config.json": CONFIG + b" " * 2**20, "model.safetensors": b"w"},
        {"config.json": b'{"model_type": "x", "auto_map": {"AutoModel": "m.M"}}', "model.safetensors": b"w"},
        {"config.json": CONFIG, "transformer/model.safetensors": b"w"},
        {"config.json": CONFIG, "consolidated.00.pth": b"w"},
    ],
)
def test_what_transformers_cannot_open_by_itself_is_given_to_the_hubs_client(
    hub: Path, files: Mapping[str, bytes]
) -> None:
    said = loading(hub, files)
    assert [*said.arguments] == ["huggingface_hub"]
    assert said.line is not None
    assert "snapshot_download" in said.line


def test_weights_of_which_a_part_was_left_out_are_not_offered(hub: Path, tmp_path: Path) -> None:
    files = {"config.json": CONFIG, "model-00001-of-00002.safetensors": b"w", "model.safetensors.index.json": b"{}"}
    assert "transformers" not in loading(hub, files, ("model-00002-of-00002.safetensors",)).arguments
    assert "transformers" in loading(tmp_path / "2", files, ("pytorch_model.bin",)).arguments
    assert "transformers" not in loading(tmp_path / "3", {"config.json": CONFIG}, ("model.safetensors",)).arguments
    assert (
        "llama.cpp"
        not in loading(tmp_path / "4", {"m-00001-of-00002.gguf": b"w"}, ("m-00002-of-00002.gguf",)).arguments
    )


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (("model.gguf",), "model.gguf"),
        (("mmproj-model.gguf", "model-f16.gguf"), "model-f16.gguf"),
        (("m-Q8_0.gguf", "m-f16.gguf", "m-q4_k_m.gguf"), "m-q4_k_m.gguf"),
        (("m-F16.gguf", "m-Q8_0.gguf"), "m-Q8_0.gguf"),
        (("b/m-f16.gguf", "c/m-f32.gguf"), "b/m-f16.gguf"),
        (("m-00001-of-00002.gguf", "m-00002-of-00002.gguf"), "m-00001-of-00002.gguf"),
        (("m-00001-of-00003.gguf", "m-00002-of-00003.gguf"), None),
        (("imatrix.gguf", "mmproj-f16.gguf"), None),
    ],
)
def test_the_gguf_model_is_the_one_that_llama_cpp_chooses(
    hub: Path, files: tuple[str, ...], chosen: str | None
) -> None:
    said = loading(hub, dict.fromkeys(files, b"w"))
    snapshot = hub / "models--org--model" / "snapshots" / REVISION
    model = None if chosen is None else str(snapshot / chosen)
    assert said.arguments.get("llama.cpp", {}).get("model") == model
    assert said.line is not None
    if model is not None:
        assert shlex.split(said.line) == ["llama-server", "-m", model]


def test_a_folder_that_no_loader_is_known_for_is_told_by_its_path_alone(tmp_path: Path) -> None:
    said = loading(tmp_path, {"notes.txt": b"n"}, in_cache=False)
    assert (said.arguments, said.line) == ({}, None)


def test_fetch_says_it_on_stderr_and_in_json_also_when_everything_is_there(cli: CommandLine, model: Path) -> None:
    here = CommandLineHere(cli.folder)
    with serving_release(release_of(model)) as magnet:
        first = here.ok("fetch", magnet, "--name", NAME)
        second = here.ok("fetch", magnet, "--name", NAME)
        document = fetch_json(here, magnet, "--name", NAME)
    (line,) = (each for each in first.stderr.splitlines() if each.startswith("Load it with: "))
    assert line in second.stderr.splitlines()
    assert line == f"Load it with: {document['load']['line']}"
    assert document["load"]["transformers"]["revision"] == document["revision"] == Path(first.result).name
    assert document["files"] == ["config.json", "empty.txt", "model.safetensors", "tokenizer/vocab.txt"]
    assert json.dumps(document).isascii()
