"""Releases in other programs' formats, and what those programs themselves make of them."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import libtorrent as lt
import pytest

from conftest import make_model
from counterparts import ARIA2_OPTIONS, Counterparts, Nginx, require
from hostile import (
    NAME,
    NOWHERE,
    WEIGHTS,
    contents,
    edited,
    flip_byte,
    place,
    refused,
    release_of,
    serving_release,
    with_manifest,
)
from running import CommandLine, CommandLineHere
from weightswarm import Release
from weightswarm.errors import InvalidInput
from weightswarm.magnet import parse_magnet
from weightswarm.manifest import parse_manifest
from weightswarm.metainfo import TorrentOptions, TorrentVersion, bdecode, bencode, parse_metainfo, with_outer_fields

Figure = Callable[[str, float], None]

ODD_NAMES = (
    "a b & c's.txt",
    "-n",
    "%41+plus#hash;semi.txt",
    "Größe 模型.bin",
    "[brackets] (1).json",
    " leading space",
    "sub/$HOME `x`",
)
TRACKER = "udp://tracker.example.org:1337/announce"
SEED = "https://mirror.example.org/files"
SCHEMA = Path(__file__).parent / "metalink4.rng"
METALINK = "{urn:ietf:params:xml:ns:metalink}"


@pytest.fixture
def here(tmp_path: Path) -> CommandLine:
    """The command, run in this process."""
    return CommandLineHere(tmp_path)


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A small model with names that shells, XML and URLs have other plans for."""
    folder = make_model(tmp_path / "odd", 5000)
    for number, name in enumerate(ODD_NAMES):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(bytes([number]) * (number + 1))
    return folder


@pytest.fixture
def counterparts(tmp_path: Path) -> Iterator[Counterparts]:
    """Starts other programs and ends them with the test."""
    starter = Counterparts(tmp_path / "counterparts")
    yield starter
    starter.stop_all()


def published(here: CommandLine, folder: Path, *options: str) -> tuple[Path, Path, str]:
    """Publish a folder; return manifest, torrent and magnet."""
    told = here.ok("publish", folder, "--name", NAME, "-o", "published", "--json", *options).json
    return here.folder / told["manifest"], here.folder / told["torrent"], told["magnet"]


def sha256sum_check(sums: str, folder: Path) -> int:
    """Return the exit code of `sha256sum -c`, strictly."""
    return subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "-"], input=sums, text=True, cwd=folder, check=False
    ).returncode


# --- SHA256SUMS ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["manifest", "torrent", "name", "info-hash", "magnet"])
def test_sha256sum_agrees_with_the_sums_of_every_kind_of_source(here: CommandLine, odd: Path, source: str) -> None:
    manifest, torrent, magnet = published(here, odd)
    if source in ("name", "info-hash", "magnet"):
        place(release_of(odd), here.folder / "hub")
    info_hash = magnet.partition("btih:")[2][:40]
    given: dict[str, str | Path] = {
        "manifest": manifest,
        "torrent": torrent,
        "name": NAME,
        "info-hash": info_hash,
        "magnet": magnet,
    }
    outcome = here.ok("export", "sha256sums", given[source], "-q")
    assert outcome.stderr == ""
    assert len(outcome.stdout.splitlines()) == len(contents(odd))
    assert sha256sum_check(outcome.stdout, odd) == 0
    flip_byte(odd / WEIGHTS)
    assert sha256sum_check(outcome.stdout, odd) != 0


def test_a_magnet_that_is_nowhere_known_is_asked_of_the_swarm(here: CommandLine, model: Path) -> None:
    with serving_release(release_of(model)) as magnet:
        sums = here.ok("export", "sha256sums", magnet).stdout
    assert sha256sum_check(sums, model) == 0


@pytest.mark.parametrize(
    "command", [("sha256sum",), ("sha256sum", "--tag"), ("sha256sum", "-b"), ("openssl", "dgst", "-sha256")]
)
def test_sums_as_other_programs_write_them_are_read(here: CommandLine, odd: Path, command: tuple[str, ...]) -> None:
    require(command[0], command[0])
    names = sorted(contents(odd).keys() - {"-n"})  # which openssl takes for an option
    written = subprocess.run([*command, *names], cwd=odd, capture_output=True, text=True, check=True).stdout
    (odd / "-n").unlink()
    (here.folder / "SUMS").write_text(written)
    here.ok("verify", odd, "--manifest", "SUMS")
    flip_byte(odd / WEIGHTS)
    refused_as_wrong = here("verify", odd, "--manifest", "SUMS")
    assert refused_as_wrong.code == 3
    assert refused_as_wrong.stdout.startswith(f"wrong hash: {WEIGHTS}")


def test_names_that_sha256sum_escapes_are_refused_since_no_release_has_them(here: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("new\nline", "back\\slash"):
        (tmp_path / "folder" / name).write_text("x")
        for tag in ([], ["--tag"]):
            sums = subprocess.run(["sha256sum", *tag, name], cwd=tmp_path / "folder", capture_output=True, check=True)
            (tmp_path / "SUMS").write_bytes(sums.stdout)
            assert sums.stdout.startswith(b"\\")
            refused(here("verify", "folder", "--manifest", "SUMS"), 2, "line 1", "backslash")


def test_a_list_of_sums_in_the_folder_that_it_lists_is_no_extra_file(here: CommandLine, model: Path) -> None:
    sums = here.ok("export", "sha256sums", published(here, model)[0]).stdout
    (model / "SHA256SUMS").write_text(sums)
    here.ok("verify", model, "--manifest", model / "SHA256SUMS")
    (model / "dangling").symlink_to("nowhere")
    (model / "SHA256SUMS.old").write_text(sums)
    outcome = here("verify", model, "--manifest", model / "SHA256SUMS")
    assert outcome.code == 3
    assert outcome.stdout.splitlines() == ["extra: SHA256SUMS.old", "extra: dangling"]


def test_what_an_existing_list_proves_is_published_and_nothing_else(here: CommandLine, model: Path) -> None:
    sums = here.folder / "SHA256SUMS"
    sums.write_text(here.ok("export", "sha256sums", published(here, model)[0]).stdout)
    here.ok("publish", model, "--name", NAME, "--sha256sums", sums, "-o", "right")
    assert len(list((here.folder / "right").iterdir())) == 2

    def refuse(*words: str) -> None:
        refused(here("publish", model, "--name", NAME, "--sha256sums", sums, "-o", "wrong"), 3, *words)
        assert not list((here.folder / "wrong").iterdir())

    (model / "new.txt").write_text("new")
    refuse("new.txt is not listed")
    (model / "new.txt").rename(model / "tokenizer" / "vocab.txt")
    refuse("tokenizer/vocab.txt is not the file")
    (model / "tokenizer" / "vocab.txt").unlink()
    refuse("tokenizer/vocab.txt is listed and not there")


def test_a_list_that_stands_among_the_files_is_published_with_them(here: CommandLine, model: Path) -> None:
    sums = model / "SHA256SUMS"
    sums.write_text(here.ok("export", "sha256sums", published(here, model)[0]).stdout)
    manifest, _, _ = published(here, model, "--sha256sums", str(sums))
    assert "SHA256SUMS" in {entry.path for entry in parse_manifest(manifest.read_bytes()).files}
    flip_byte(model / WEIGHTS)
    refused(here("publish", model, "--name", NAME, "--sha256sums", sums), 3, WEIGHTS)


# --- Metalink --------------------------------------------------------------------------------------------------------


def files_of(document: str) -> dict[str, ElementTree.Element]:
    """Return the `file` elements of a Metalink by name."""
    return {str(each.get("name")): each for each in ElementTree.fromstring(document)}


def check_schema(document: Path) -> None:
    """Hold a Metalink to the RFC's rules, as our schema has them."""
    require("xmllint", "libxml2-utils")
    done = subprocess.run(
        ["xmllint", "--noout", "--relaxng", SCHEMA, document], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_metalink_keeps_to_the_rfc_whatever_files_are_called(here: CommandLine, odd: Path) -> None:
    _, torrent, _ = published(here, odd, "-w", SEED)
    torrent_url = "https://mirror.example.org/a b&c.torrent".replace(" ", "%20")
    output = here.folder / "release.meta4"
    here.ok(
        "export",
        "metalink",
        torrent,
        "--pieces",
        odd,
        "--torrent-url",
        torrent_url,
        "-w",
        "http://b.org/x/",
        "-o",
        output,
    )
    check_schema(output)
    files = files_of(output.read_text())
    files.pop("None")  # the generator
    assert files.keys() == {f"model/{path}" for path in contents(odd)}
    for path, data in contents(odd).items():
        element = files[f"model/{path}"]
        assert element.findtext(f"{METALINK}size") == str(len(data))
        assert element.findtext(f"{METALINK}hash") == hashlib.sha256(data).hexdigest()
        urls = [str(url.text) for url in element.iterfind(f"{METALINK}url")]
        assert [unquote(url) for url in urls] == [f"{SEED}/model/{path}", f"http://b.org/x/model/{path}"]
        assert all(url.isascii() and not set(url) & set(' #?"<>') for url in urls)
        metaurl = element.find(f"{METALINK}metaurl")
        assert metaurl is not None
        assert (metaurl.get("name"), metaurl.text) == (f"model/{path}", torrent_url)


def test_piece_hashes_are_those_of_each_file_by_itself(here: CommandLine, model: Path) -> None:
    _, torrent, _ = published(here, model, "-w", SEED)
    place(release_of(model), here.folder / "hub")
    by_folder = here.ok("export", "metalink", torrent, "--pieces", model).stdout
    by_cache = here.ok("export", "metalink", torrent, "--pieces", NAME).stdout
    assert by_cache == by_folder
    pieces = files_of(by_folder)[f"model/{WEIGHTS}"].find(f"{METALINK}pieces")
    data, mib = (model / WEIGHTS).read_bytes(), 1024 * 1024
    assert pieces is not None
    assert (pieces.get("length"), pieces.get("type")) == (str(mib), "sha-256")
    expected = [hashlib.sha256(data[at : at + mib]).hexdigest() for at in range(0, len(data), mib)]
    assert len(expected) > 1
    assert [each.text for each in pieces] == expected


def test_pieces_of_other_bytes_than_the_manifests_are_not_written(here: CommandLine, model: Path) -> None:
    manifest, _, _ = published(here, model)
    flip_byte(model / WEIGHTS)
    (model / "config.json").unlink()
    refused(here("export", "metalink", manifest, "-w", SEED, "--pieces", model), 1, "config.json")
    (model / "config.json").write_text("shorter")
    refused(here("export", "metalink", manifest, "-w", SEED, "--pieces", model), 3, WEIGHTS, "config.json")


def test_pieces_of_a_release_of_one_file_are_read_from_it(here: CommandLine, model: Path) -> None:
    manifest, _, _ = published(here, model / WEIGHTS)
    by_file, by_folder = (
        here.ok("export", "metalink", manifest, "-w", SEED, "--pieces", place).stdout
        for place in (model / WEIGHTS, model)
    )
    assert by_file == by_folder
    assert "<pieces" in by_file
    refused(here("export", "metalink", manifest, "-w", SEED, "--pieces", "org/unknown"), 1, "org/unknown")


def test_a_metalink_to_nowhere_is_refused(here: CommandLine, model: Path) -> None:
    manifest, torrent, _ = published(here, model)
    for source in (manifest, torrent):
        outcome = here("export", "metalink", source)
        refused(outcome, 2, "no web seed")
        assert "-w URL" in outcome.stderr


def test_a_name_that_xml_cannot_hold_is_refused(here: CommandLine, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "nonchar", 1000)
    (folder / "not\ufffea character").write_text("x")
    refused(here("export", "metalink", published(here, folder)[0], "-w", SEED), 2, "XML")


@pytest.mark.parametrize("options", [(), ("--v1-only",)], ids=["hybrid", "v1"])
def test_a_single_file_is_fetched_from_the_web_seed_that_is_it(
    here: CommandLine, model: Path, options: tuple[str, ...]
) -> None:
    (here.folder / "theirs.bin").write_bytes(b"x" * 100)
    info = {
        b"length": 100,
        b"name": b"theirs.bin",
        b"piece length": 16384,
        b"pieces": hashlib.sha1(b"x" * 100).digest(),
    }
    # Others make torrents of a single file; ours have a folder always.
    theirs = parse_metainfo(bencode({b"info": info, b"url-list": b"https://mirror.example.org/theirs.bin"}))
    assert theirs.single_file
    _, torrent, _ = published(here, model / WEIGHTS, *options, "-w", SEED)
    (element,) = (
        each for name, each in files_of(here.ok("export", "metalink", torrent).stdout).items() if name != "None"
    )
    assert element.get("name") == f"model/{WEIGHTS}"
    assert element.findtext(f"{METALINK}url") == f"{SEED}/model/{WEIGHTS}"
    from weightswarm.exporting import web_seed_url

    assert web_seed_url(theirs.web_seeds[0], None, "theirs.bin") == "https://mirror.example.org/theirs.bin"
    assert web_seed_url("https://mirror.example.org/", None, "a b") == "https://mirror.example.org/a%20b"
    hub = "https://hub.example/org/model/resolve/main/"
    assert web_seed_url(hub, "model", "a b") == f"{hub}a%20b"
    with pytest.raises(InvalidInput, match="no URL"):
        web_seed_url("http://[", "model", "a")


def aria2c(document: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Fetch what a Metalink describes with the real aria2c."""
    executable = require("aria2c", "aria2")
    return subprocess.run(
        [executable, *ARIA2_OPTIONS, "--metalink-file", document, "--dir", folder],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.counterpart
def test_aria2_fetches_by_the_metalink_from_nginx_and_refuses_a_flipped_byte(
    here: CommandLine, odd: Path, counterparts: Counterparts, figure: Figure
) -> None:
    (odd / WEIGHTS).write_bytes((odd / WEIGHTS).read_bytes() + bytes(2_500_000))
    served = here.folder / "served"
    served.mkdir(mode=0o755)
    odd.rename(served / "model")
    nginx: Nginx = counterparts.nginx(served)
    manifest, _, _ = published(here, served / "model")
    kinds: tuple[tuple[str, list[str]], ...] = (("whole", []), ("pieces", ["--pieces", str(served / "model")]))
    for name, pieces in kinds:
        here.ok("export", "metalink", manifest, "-w", nginx.url, *pieces, "-o", f"{name}.meta4")
        fetched = aria2c(here.folder / f"{name}.meta4", here.folder / name)
        assert fetched.returncode == 0, fetched.stdout
        # aria2 1.36 does not read "&amp;" in an attribute.
        arrived = {path.replace("&#38;", "&"): data for path, data in contents(here.folder / name / "model").items()}
        assert arrived == contents(served / "model")
        figure("files that aria2 fetched by a Metalink", len(contents(served / "model")))

    flip_byte(served / "model" / WEIGHTS)
    for name in ("whole", "pieces"):
        refused_by_aria2 = aria2c(here.folder / f"{name}.meta4", here.folder / f"{name}-flipped")
        assert refused_by_aria2.returncode != 0, refused_by_aria2.stdout
        figure("flipped bytes that aria2 refused by a Metalink", 1)


# --- torrents and magnets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", TorrentVersion)
def test_added_trackers_and_web_seeds_leave_the_info_hash_and_all_else(
    here: CommandLine, model: Path, version: TorrentVersion
) -> None:
    release = release_of(model, version)
    options = TorrentOptions(trackers=("http://own.example.org/announce",), comment="kept", created=1_700_000_000)
    original = with_outer_fields(release.metainfo, options)
    (here.folder / "own.torrent").write_bytes(original.data)

    here.ok("export", "torrent", "own.torrent", "-o", "same.torrent")
    assert (here.folder / "same.torrent").read_bytes() == original.data

    here.ok(
        "export", "torrent", "own.torrent", "-t", TRACKER, "-t", options.trackers[0], "-w", SEED, "-o", "more.torrent"
    )
    more = parse_metainfo((here.folder / "more.torrent").read_bytes())
    assert more.info_bytes == original.info_bytes
    assert more.trackers == (*options.trackers, TRACKER)
    assert more.web_seeds == (SEED,)
    before, after = bdecode(original.data), bdecode(more.data)
    changed = {key for key in before | after if before.get(key) != after.get(key)}
    assert changed == {b"announce-list", b"url-list"}
    assert lt.torrent_info(more.data).info_hashes() == lt.torrent_info(original.data).info_hashes()

    magnet = here.ok("export", "magnet", "own.torrent", "-t", TRACKER, "-w", SEED).result
    assert parse_magnet(magnet).info_hash == original.info_hash
    assert parse_magnet(magnet).trackers == (*options.trackers, TRACKER)
    assert parse_magnet(magnet).web_seeds == (SEED,)


def test_a_torrent_made_from_a_magnet_is_whole_and_fetches_the_release(here: CommandLine, model: Path) -> None:
    release = release_of(model)
    with serving_release(release) as magnet:
        here.ok("export", "torrent", magnet, "-o", "got.torrent")
        got = parse_metainfo((here.folder / "got.torrent").read_bytes())
        assert got.info_bytes == release.metainfo.info_bytes
        assert got.piece_layers == release.metainfo.piece_layers
        peer = magnet.rpartition("x.pe=")[2]
        fetched = here.ok("fetch", "got.torrent", "--name", NAME, "--peer", peer)
    assert contents(Path(fetched.result)) == contents(model)


def test_a_magnet_is_told_without_asking_its_swarm_and_a_cached_name_tells_all_it_knows(
    here: CommandLine, model: Path
) -> None:
    assert here.ok("export", "magnet", f"look: {NOWHERE.replace('&', '&amp;')} !", "-t", TRACKER).result.startswith(
        NOWHERE
    )
    _, torrent, magnet = published(here, model)
    place(release_of(model), here.folder / "hub")
    assert here.ok("export", "magnet", NAME).result == magnet
    here.ok("export", "torrent", NAME, "-o", "cached.torrent")
    cached, original = (parse_metainfo(path.read_bytes()) for path in (here.folder / "cached.torrent", torrent))
    assert (cached.info_bytes, cached.piece_layers) == (original.info_bytes, original.piece_layers)


def test_a_signature_goes_along(here: CommandLine, model: Path) -> None:
    here.ok("key", "new", "k", "--no-passphrase")
    _, torrent, magnet = published(here, model, "--key", "k")
    bare = replace_signature(torrent.read_bytes())
    (here.folder / "bare.torrent").write_bytes(bare)
    registry = here.folder / "registry"
    registry.mkdir()
    here.ok("publish", model, "--name", NAME, "--key", "k", "--add-to", registry)
    assert "x.sig=" in magnet
    # What the torrent lost on its way, the registry still has.
    told = here.ok("export", "magnet", "bare.torrent", "--registry", registry).result
    assert "x.sig=" in told
    here.ok("export", "torrent", "bare.torrent", "--registry", registry, "-o", "again.torrent")
    assert b"weightswarm signature" in (here.folder / "again.torrent").read_bytes()
    here.ok("trust", "add", "org", "k.pub")
    here.ok("export", "sha256sums", told, "--registry", registry)


def replace_signature(torrent: bytes) -> bytes:
    """Return a torrent without its signature."""
    document = bdecode(torrent)
    del document[b"weightswarm signature"]
    return bencode(document)


# --- what is not exported --------------------------------------------------------------------------------------------


def test_nothing_is_vouched_for_under_a_pinned_name_that_no_pinned_key_signed(here: CommandLine, model: Path) -> None:
    manifest, torrent, _ = published(here, model, "-w", SEED)
    here.ok("key", "new", "k", "--no-passphrase")
    here.ok("trust", "add", "org", "k.pub")
    for source in (manifest, torrent):
        for kind in ("sha256sums", "metalink"):
            refused(here("export", kind, source), 3, "not signed by a key that is pinned")


def test_a_torrent_that_contradicts_its_manifest_is_not_exported(here: CommandLine, model: Path) -> None:
    release = release_of(model)
    lying = with_manifest(release.metainfo, edited(release.manifest, WEIGHTS, size=1, pieces_root="ab" * 32))
    (here.folder / "lying.torrent").write_bytes(lying.data)
    refused(here("export", "sha256sums", "lying.torrent"), 3, WEIGHTS)


def test_a_torrent_without_a_manifest_has_no_sums_and_says_so(here: CommandLine, model: Path) -> None:
    (here.folder / "bare.torrent").write_bytes(with_manifest(release_of(model).metainfo, None).data)
    for kind in ("sha256sums", "metalink"):
        refused(
            here("export", kind, "bare.torrent", "-w", SEED)
            if kind == "metalink"
            else here("export", kind, "bare.torrent"),
            1,
            "no manifest",
        )
    here.ok("export", "magnet", "bare.torrent")


def test_a_manifest_alone_is_no_torrent(here: CommandLine, model: Path) -> None:
    manifest, _, _ = published(here, model)
    for kind in ("torrent", "magnet", "qr"):
        outcome = here("export", kind, manifest, *(("-o", "x.torrent") if kind == "torrent" else ()))
        refused(outcome, 2, "which torrent")
        assert not (here.folder / "x.torrent").exists()


def test_a_result_that_cannot_be_written_is_one_line(here: CommandLine, model: Path) -> None:
    manifest, torrent, _ = published(here, model)
    (here.folder / "taken").mkdir()
    for kind, source in (("sha256sums", manifest), ("torrent", torrent)):
        refused(here("export", kind, source, "-o", "taken"), 1, "taken")
    refused(here("export", "qr", torrent, "-o", "magnet.gif"), 2, ".png or .svg")


# --- Ollama ----------------------------------------------------------------------------------------------------------


def gguf(path: Path) -> Path:
    """Write what begins like a GGUF file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"GGUF" + bytes(100))
    return path


def modelfile_paths(text: str) -> list[str]:
    """Read a Modelfile as Ollama's parser does: FROM, a blank, and the rest of the line with quotes around it off."""
    found = []
    for line in text.splitlines():
        word, _, value = line.partition(" ")
        assert word == "FROM"
        value = "".join(c for c in value if c.isprintable()).strip()
        found.append(value[1:-1] if value[:1] == value[-1:] == '"' else value)
    return found


@pytest.mark.parametrize("name", ["plain", "a b", 'it\'s "quoted"', "#hash", "ünï"])
def test_a_modelfile_names_the_gguf_file_that_is_there(here: CommandLine, name: str) -> None:
    file = gguf(here.folder / name / "model.gguf")
    for source in (file, file.parent):
        outcome = here.ok("export", "ollama", source, "-o", "Model file")
        assert modelfile_paths((here.folder / "Model file").read_text()) == [str(file)]
        assert "-f 'Model file'" in outcome.stderr
    assert here.ok("export", "ollama", file, "-q").stdout == f"FROM {file}\n"


def test_a_gguf_in_the_cache_is_named_by_its_snapshot(here: CommandLine, model: Path) -> None:
    gguf(model / "tiny-Q4_K_M.gguf")
    release = release_of(model)
    snapshot = place_without_check(here, release)
    for source in (NAME, str(release.magnet()), release.metainfo.info_hash.digests[0]):
        outcome = here.ok("export", "ollama", source)
        assert modelfile_paths(outcome.stdout) == [str(snapshot / "tiny-Q4_K_M.gguf")]
        assert "ollama create model -f Modelfile" in outcome.stderr


def place_without_check(here: CommandLine, release: Release) -> Path:
    """Fetch a release whose GGUF file is none."""
    with serving_release(release) as magnet:
        return Path(here.ok("fetch", magnet, "--name", NAME, "--allow-malformed").result)


def test_of_several_gguf_files_the_user_says_which(here: CommandLine) -> None:
    folder = here.folder / "models"
    for name in ("a-Q4.gguf", "a-Q8.gguf", "sub/mmproj.gguf"):
        gguf(folder / name)
    outcome = here("export", "ollama", folder)
    refused(outcome, 2, "3 GGUF files", "a-Q4.gguf", "sub/mmproj.gguf")
    assert "--file" in outcome.stderr
    both = here.ok("export", "ollama", folder, "--file", "a-Q8.gguf", "--file", "mmproj.gguf").stdout
    assert modelfile_paths(both) == [str(folder / "a-Q8.gguf"), str(folder / "sub/mmproj.gguf")]
    refused(here("export", "ollama", folder, "--file", "a-Q5.gguf"), 1, "No GGUF file is named a-Q5.gguf")


def test_a_model_in_parts_is_to_be_joined_first(here: CommandLine) -> None:
    for number in (1, 2):
        part = gguf(here.folder / "models" / f"m-0000{number}-of-00002.gguf")
    for source in (part, part.parent):
        outcome = here("export", "ollama", source)
        refused(outcome, 2, "one part")
        assert "llama-gguf-split --merge" in outcome.stderr


def test_a_safetensors_folder_is_named_and_a_folder_of_links_is_not(here: CommandLine, model: Path) -> None:
    assert modelfile_paths(here.ok("export", "ollama", model).stdout) == [str(model)]
    place(release_of(model), here.folder / "hub")
    outcome = here("export", "ollama", NAME)
    refused(outcome, 2, "folder of links")
    assert f"fetch {NAME} --local-dir" in outcome.stderr
    here.ok("fetch", NAME, "--local-dir", "plain")
    assert modelfile_paths(here.ok("export", "ollama", "plain").stdout) == [str(here.folder / "plain")]


@pytest.mark.parametrize("name", ["no\u00a0break", "bidi\u202e"])
def test_a_path_that_ollama_would_misread_is_refused(here: CommandLine, name: str) -> None:
    refused(here("export", "ollama", gguf(here.folder / name / "model.gguf")), 2, "invisible")


def test_what_is_not_on_this_machine_has_no_modelfile(here: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(here("export", "ollama", "empty"), 1, "neither GGUF nor safetensors")
    refused(here("export", "ollama", "org/unknown"), 1, "org/unknown")
    refused(here("export", "ollama", NOWHERE), 1, "not in the model cache")
    refused(here("export", "ollama", "http://127.0.0.1:9/x.torrent"), 2, "URL")
