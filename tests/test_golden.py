"""Golden files: what was published once, every later version reads, and publishing the same again gives the same bytes.

They are never made anew. A later format gets files of its own beside them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import weightswarm
from samples import GOLDEN, TINY, write_files
from weightswarm import PublishOptions
from weightswarm.magnet import parse_magnet
from weightswarm.manifest import derived_revision, parse_manifest
from weightswarm.metainfo import TorrentOptions, TorrentVersion, check_agreement, magnet_of, parse_metainfo
from weightswarm.registry import DirectoryRegistry, RegistryEntry
from weightswarm.registry.index import parse_index

FULL = {
    "README.md": b"# Full\n",
    "empty.bin": b"",
    "weights/Gr\u00f6\u00dfe \u6a21\u578b.bin": bytes(range(251)) * 300,
    "weights/model.safetensors": b"\x00\x01" * 20_000,
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
RELEASES = ("tiny-hybrid", "tiny-v1", "tiny-v2", "full-hybrid")

# SHA-256 of the golden files themselves: who changes one is told so.
SEALS = {
    "full-hybrid.magnet": "4c6e6a3054771052c7c2a0c158c6d75bf55e719c0c203dff78ae03ba81a1e7c2",
    "full-hybrid.torrent": "a6b6f1aa1c59280f2dfb8e849fa7ccebf0dc1e60fbc086ee99ae49d3c769292d",
    "full.manifest.json": "7a8aaa299c91709399cbba4f1472bead8d4bbb5836fd7b128fde8ec4fa5ce61c",
    "index.json": "54e3ca0b858b739fa9d2e72025abef5c0dbd0276b5245f6a56a6c52894026016",
    "minisign.key": "7e78ebf127461e70c2f49154203db6819c263daeaa5d0104cee299ee8a943f09",
    "minisign.pub": "3e99f502d063616eab9638e6b544e6bb5fdf0d1ad0d52f7166bd5feb9358a052",
    "tiny-hybrid.magnet": "bb2a61db745a44622fdf0875bc4d65e8dec7511d94f64054be29cd65e26d7f2b",
    "tiny-hybrid.torrent": "14a17bb00380c738df1ffea0750290f66fee88e45457fb2868a6a86384e6e486",
    "tiny-v1.magnet": "594cee0b5f0f16adcb642efe0eb2b4e0343eea36862153d270cd4f5e9349496e",
    "tiny-v1.torrent": "eeea3f8177997a51ae7104e09de10972d0a6cb0fc5c414920c52c42fd3ba9e51",
    "tiny-v2.magnet": "eade0066a7e46923a0ec2f75eb79d64fb263ffc8f0059e54199439d885168692",
    "tiny-v2.torrent": "729fbf56d199a91ec5ad71b5b8d804813b54ad18de4b3896db4ec8150f4f8b7b",
    "tiny.manifest.json": "de54ffd774511d62f8298b2d90456de16c20a546006e72070e491066445244de",
}


def hub_cache(root: Path) -> Path:
    """Write a Hub's cache with one snapshot: large files by their SHA-256, small ones as git blobs."""
    repository = root / "models--test-org--full"
    for path, data in FULL.items():
        large = path.startswith("weights/")
        git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        blob = repository / "blobs" / (hashlib.sha256(data).hexdigest() if large else git)
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        link = repository / "snapshots" / COMMIT / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return root


def published(name: str, folder: Path) -> dict[str, bytes]:
    """Publish a golden release anew, as users do, and return its documents by the golden files' names."""
    if name == "full-hybrid":
        options = PublishOptions(
            piece_length=32 * 1024,
            license="apache-2.0",
            description="Every key that a manifest may have: \u201egr\u00fcn\u201c, \u7eff\n",
            base_revision="f" * 40,
            created="2026-01-31T00:00:00Z",
            torrent=TorrentOptions(
                trackers=("http://tracker.example/announce",), web_seeds=("https://seed.example/",), comment="golden"
            ),
        )
        cache = hub_cache(folder / "hub")
        made = weightswarm.publish("test-org/full", cache_dir=cache, output=folder, options=options)
    else:
        source = write_files(folder / "source", TINY)
        version = TorrentVersion(name.partition("-")[2])
        options = PublishOptions(version=version, piece_length=32 * 1024)
        made = weightswarm.publish(source, name="test-org/tiny", output=folder, options=options)
    return {
        f"{name.partition('-')[0]}.manifest.json": made.manifest_path.read_bytes(),
        f"{name}.torrent": made.torrent_path.read_bytes(),
        f"{name}.magnet": f"{made.magnet}\n".encode(),
    }


def golden_registry(root: Path) -> DirectoryRegistry:
    """Make the registry whose index is golden, of golden documents."""
    registry = DirectoryRegistry(root)
    for number, name in enumerate(("full-hybrid", "tiny-v2")):
        manifest = (GOLDEN / f"{name.partition('-')[0]}.manifest.json").read_bytes()
        magnet = parse_magnet((GOLDEN / f"{name}.magnet").read_text())
        value = parse_manifest(manifest)
        torrent = (GOLDEN / f"{name}.torrent").read_bytes()
        registry.add(RegistryEntry(value.name, value.revision, magnet, manifest, torrent, version=number))
    alone = parse_magnet((GOLDEN / "tiny-v1.magnet").read_text())
    registry.add(RegistryEntry("test-org/magnet-alone", "c" * 40, alone))
    return registry


def test_golden_files_are_those_that_were_published_once() -> None:
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in GOLDEN.iterdir()}
    assert files == SEALS


@pytest.mark.parametrize("name", RELEASES)
def test_publishing_today_reproduces_the_golden_release_byte_for_byte(name: str, tmp_path: Path) -> None:
    made = published(name, tmp_path)
    assert made == {file: (GOLDEN / file).read_bytes() for file in made}


@pytest.mark.parametrize("name", RELEASES)
def test_golden_releases_are_read_and_agree(name: str) -> None:
    data = (GOLDEN / f"{name.partition('-')[0]}.manifest.json").read_bytes()
    manifest = parse_manifest(data)
    metainfo = parse_metainfo((GOLDEN / f"{name}.torrent").read_bytes())
    check_agreement(metainfo, manifest)
    assert metainfo.manifest == manifest.to_bytes() == data
    assert str(magnet_of(metainfo)) == (GOLDEN / f"{name}.magnet").read_text().rstrip("\n")
    contents = FULL if name.startswith("full") else TINY
    assert {file.path: (file.size, file.sha256) for file in manifest.files} == {
        path: (len(content), hashlib.sha256(content).hexdigest()) for path, content in contents.items()
    }
    assert manifest.revision == (COMMIT if contents is FULL else derived_revision(manifest))
    if contents is FULL:
        assert all(file.blob_id for file in manifest.files)
        assert manifest.license and manifest.description and manifest.base_revision and manifest.created


def test_the_golden_index_is_read_and_made_again_byte_for_byte(tmp_path: Path) -> None:
    golden = (GOLDEN / "index.json").read_bytes()
    registry = golden_registry(tmp_path)
    assert (registry.root / "index.json").read_bytes() == golden
    assert parse_index(golden) == registry.releases()
