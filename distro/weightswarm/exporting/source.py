"""What an export is made from: a source that was looked up, held to what signatures and torrents say of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from weightswarm.errors import InvalidInput, NoManifest, Untrusted
from weightswarm.fetching import Looked
from weightswarm.magnet import MagnetLink
from weightswarm.manifest import Manifest
from weightswarm.metainfo import Metainfo, check_agreement, magnet_of, with_added_sources, with_signature
from weightswarm.reach import WEB_PORTS, split_url
from weightswarm.trusting import State


@dataclass(frozen=True, slots=True)
class Exported:
    """A source, ready to be written in other programs' formats. `pinned` tells that its name has pinned keys."""

    looked: Looked
    pinned: bool

    @property
    def manifest(self) -> Manifest:
        """The manifest. Raises `NoManifest`; `Untrusted` where a key is pinned for its name and did not sign it;
        `ContentMismatch` where the torrent says otherwise."""
        manifest = self.looked.manifest
        if manifest is None:
            raise NoManifest(
                "The torrent carries no manifest, so there is no SHA-256 to export",
                hint="`weightswarm fetch … --trust-magnet` makes one from what it downloads",
            )
        if self.pinned and self.looked.standing.state is not State.PINNED:
            raise Untrusted(
                f"{self.looked.name} is not signed by a key that is pinned for it",
                hint="`weightswarm show` tells who signed it; nothing was exported",
            )
        if self.looked.metainfo is not None:
            check_agreement(self.looked.metainfo, manifest)
        return manifest

    def torrent(self, trackers: Iterable[str] = (), web_seeds: Iterable[str] = ()) -> Metainfo:
        """The torrent, with the link's and the given trackers and web seeds after its own, and the signature if it
        lacks one. Its info-hash stays. Raises `InvalidInput` where only a manifest is known."""
        metainfo = self.looked.metainfo
        if metainfo is None:
            raise _no_torrent()
        link = self._link
        signature = self.looked.signatures[0].to_bytes() if self.looked.signatures else None
        if metainfo.signature is None and signature is not None:
            metainfo = with_signature(metainfo, signature)
        return with_added_sources(
            metainfo, (*(link.trackers if link else ()), *trackers), (*(link.web_seeds if link else ()), *web_seeds)
        )

    def magnet(self, trackers: Iterable[str] = (), web_seeds: Iterable[str] = ()) -> MagnetLink:
        """The magnet link, with all that is known of where to find it, and the given trackers and web seeds.

        Raises `InvalidInput` where only a manifest is known.
        """
        link, metainfo = self._link, self.looked.metainfo
        if link is None:
            raise _no_torrent()
        if metainfo is not None:
            whole = magnet_of(metainfo)
            link = replace(
                link,
                info_hash=whole.info_hash,
                display_name=link.display_name or whole.display_name,
                exact_length=link.exact_length or whole.exact_length,
                trackers=_once(*link.trackers, *whole.trackers),
                web_seeds=_once(*link.web_seeds, *whole.web_seeds),
            )
        if link.signature is None and self.looked.signatures:
            link = replace(link, signature=self.looked.signatures[0].to_link_value())
        return replace(link, trackers=_once(*link.trackers, *trackers), web_seeds=_once(*link.web_seeds, *web_seeds))

    @property
    def web_seeds(self) -> tuple[str, ...]:
        """The HTTP folders that hold the files, as link and torrent name them."""
        carried = self.looked.metainfo.web_seeds if self.looked.metainfo else ()
        named = _once(*(self._link.web_seeds if self._link else ()), *carried)
        return tuple(url for url in named if split_url(url, WEB_PORTS) is not None)

    @property
    def folder(self) -> str | None:
        """The folder in which a BitTorrent client would put the files; None for a torrent of a single file."""
        metainfo, manifest = self.looked.metainfo, self.looked.manifest
        if metainfo is not None:
            return None if metainfo.single_file else metainfo.name
        assert manifest is not None
        return manifest.name.partition("/")[2]

    @property
    def _link(self) -> MagnetLink | None:
        return None if self.looked.wanted is None else self.looked.wanted.magnet


def _once(*values: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _no_torrent() -> InvalidInput:
    return InvalidInput(
        "A manifest alone does not say which torrent it came in",
        hint="name the torrent file that stands beside it, the magnet, or org/model",
    )
