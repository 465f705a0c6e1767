"""Registries map model names and info-hashes to manifests and magnets. The only room that speaks HTTP itself."""

from weightswarm.registry.directory import DirectoryRegistry, bundled_registry, find_info_hash, find_name
from weightswarm.registry.download import download_metainfo
from weightswarm.registry.entry import RegistryEntry

__all__ = [
    "DirectoryRegistry",
    "RegistryEntry",
    "bundled_registry",
    "download_metainfo",
    "find_info_hash",
    "find_name",
]
