"""Registries map model names and info-hashes to manifests and magnets. The only room that speaks HTTP itself."""

from weightswarm.registry.announcement import Announcement, PublishedDigest
from weightswarm.registry.directory import DirectoryRegistry, bundled_registry
from weightswarm.registry.download import download_metainfo
from weightswarm.registry.entry import RegistryEntry
from weightswarm.registry.hub import list_hub_files
from weightswarm.registry.listing import MAX_VERSION, ListedRelease
from weightswarm.registry.registries import Found, Registry, find_info_hash, find_name, search
from weightswarm.registry.remote import HttpRegistry, is_url, may_ask

__all__ = [
    "MAX_VERSION",
    "Announcement",
    "DirectoryRegistry",
    "Found",
    "HttpRegistry",
    "ListedRelease",
    "PublishedDigest",
    "Registry",
    "RegistryEntry",
    "bundled_registry",
    "download_metainfo",
    "find_info_hash",
    "find_name",
    "is_url",
    "list_hub_files",
    "may_ask",
    "search",
]
