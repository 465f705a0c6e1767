"""What the Hugging Face Hub lists of a model at one commit, asked of its API: bounded, and held to its shape.

`GET /api/models/ID/revision/REV` tells the commit; `GET /api/models/ID/tree/COMMIT?recursive=true` the files, page by
page (`Link: <…>; rel="next"`, RFC 8288).
"""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import quote, urlsplit

from weightswarm.dialling import DIRECT, Route
from weightswarm.errors import InvalidInput, NetworkFailure, NotFound, WeightswarmError
from weightswarm.hub import Hub, HubFile, HubListing
from weightswarm.manifest import MAX_PATHS_LENGTH, is_revision, parse_model_name
from weightswarm.progress import Note, Report, silent
from weightswarm.reach import Network
from weightswarm.registry.http import HttpFailure, get

MAX_FILES = 100_000
MAX_PAGES = 1000
MAX_PAGE_BYTES = 8 * 1024 * 1024
"""Bytes of one reply; the Hub lists 1,000 entries on a page."""

DEFAULT_SECONDS = 60.0
_MAX_ENTRIES = 2 * MAX_FILES
_MAX_REF = 200
_MAX_QUERY = 4096


def list_hub_files(
    name: str,
    revision: str,
    *,
    hub: Hub,
    network: Network = Network.PUBLIC,
    route: Route = DIRECT,
    seconds: float = DEFAULT_SECONDS,
    report: Report = silent,
) -> HubListing:
    """Return every file of the model `name` at `revision`: a commit, a branch or a tag. `seconds` bound all of it.

    The token goes to the Hub's own origin, and to none that it redirects to. At loopback nobody but this machine is
    asked. Raises `InvalidInput`, `NotFound`, `NetworkFailure`.
    """
    asked = _Asked(parse_model_name(name), _parse_ref(revision), hub, network, route, time.monotonic() + seconds)
    commit = asked.commit()
    files = asked.files(commit)
    report(Note(f"The Hub at {hub.endpoint} lists {len(files):,} files of {name}@{commit[:8]}"))
    return HubListing(name, commit, files)


class _Asked:
    """One question to the Hub, and the time until which it may take to answer."""

    def __init__(self, name: str, revision: str, hub: Hub, network: Network, route: Route, deadline: float) -> None:
        self.name = name
        self.revision = revision
        self.hub = hub
        self.network = network
        self.route = route
        self.deadline = deadline

    def commit(self) -> str:
        """Return the commit that the revision names."""
        document, _ = self._get(f"revision/{quote(self.revision, safe='')}")
        if not isinstance(document, dict) or not is_revision(str(document.get("sha"))):
            raise self._wrong("it names no commit")
        if (called := document.get("id")) != self.name:
            raise self._wrong(
                f"it calls this model {str(called)[:120]}", hint="ask for it by the name that the Hub gives it now"
            )
        commit = str(document["sha"])
        if is_revision(self.revision) and commit != self.revision:
            raise self._wrong(f"it answers with another commit, {commit}")
        return commit

    def files(self, commit: str) -> tuple[HubFile, ...]:
        """Return the files of a commit, all pages together."""
        found: dict[str, HubFile] = {}
        entries = length = 0
        query = "recursive=true"
        seen = {query}
        for _ in range(MAX_PAGES):
            page, next_url = self._get(f"tree/{commit}?{query}")
            if not isinstance(page, list):
                raise self._wrong("its list of files is no list")
            entries += len(page)
            if entries > _MAX_ENTRIES:
                raise self._wrong(f"it lists more than {_MAX_ENTRIES:,} entries")
            for entry in page:
                if (file := self._file(entry)) is None:
                    continue
                length += len(file.path)
                if found.setdefault(file.path, file) is not file:
                    raise self._wrong(f"it lists {file.path[:200]!r} twice")
            if length > MAX_PATHS_LENGTH:
                raise self._wrong(f"its paths are longer than {MAX_PATHS_LENGTH:,} characters together")
            if next_url is None:
                break
            query = self._query(next_url)
            if query in seen:
                raise self._wrong("its pages lead in a circle")
            seen.add(query)
        else:
            raise self._wrong(f"it lists its files on more than {MAX_PAGES:,} pages")
        if not found or len(found) > MAX_FILES:
            raise self._wrong(f"it lists {len(found):,} files, not 1 to {MAX_FILES:,}")
        return tuple(sorted(found.values(), key=lambda file: file.path))

    def _file(self, entry: object) -> HubFile | None:
        if not isinstance(entry, dict):
            raise self._wrong("an entry of its list is no object")
        if entry.get("type") != "file":
            return None
        lfs = entry.get("lfs")
        if not isinstance(lfs, dict | None):
            raise self._wrong("what it says of LFS is no object")
        path, size = entry.get("path"), entry.get("size")
        try:
            if lfs is None:
                return HubFile.parse(path, size, entry.get("oid"))
            if lfs.get("size") != size:
                raise ValueError(f"{str(path)[:200]!r} has two sizes")
            # None stands for a file that is not in LFS.
            return HubFile.parse(path, size, None, lfs.get("oid") or "")
        except ValueError as error:
            raise self._wrong(str(error)) from None

    def _query(self, url: str) -> str:
        """Return the query of the next page. Whatever server its URL names, that page is asked of the Hub itself."""
        try:
            query = urlsplit(url).query
        except ValueError:
            query = ""
        if not 0 < len(query) <= _MAX_QUERY or not query.isascii() or not query.isprintable() or " " in query:
            raise self._wrong("the link to its next page cannot be used")
        return query

    def _get(self, path: str) -> tuple[Any, str | None]:
        url = f"{self.hub.endpoint}/api/models/{self.name}/{path}"
        try:
            answer = get(
                url,
                limit=MAX_PAGE_BYTES,
                seconds=max(0.1, self.deadline - time.monotonic()),
                network=self.network,
                route=self.route,
                token=self.hub.token_for(url),
            )
        except HttpFailure as failure:
            raise self._refused(failure) from failure
        try:
            return json.loads((answer.body or b"").decode("utf-8"), object_pairs_hook=_Objects()), answer.next_url
        except (ValueError, RecursionError) as error:
            reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:120]
            raise self._wrong(f"its answer is no JSON that can be used: {reason}") from None

    def _refused(self, failure: HttpFailure) -> WeightswarmError:
        """Say what a refusal means, by its status and the Hub's `X-Error-Code`."""
        told = f"The Hub at {self.hub.endpoint}"
        known = self.hub.token is not None
        if failure.code == "GatedRepo":
            also = "" if known else " and set HF_TOKEN"
            return NetworkFailure(f"{told}: {self.name} is gated", hint=f"accept its terms on the Hub{also}")
        if failure.code == "RevisionNotFound":
            return NotFound(f"{told} has no revision {self.revision} of {self.name}")
        if failure.status == 404 or (failure.status == 401 and not known):
            # Whom it does not know the Hub does not tell which models are private.
            return NotFound(
                f"{told} knows no {self.name}@{self.revision} that {'this token' if known else 'everybody'} may see",
                hint="check the name and the revision; for a private model set HF_TOKEN",
            )
        if failure.status in (401, 403):
            return NetworkFailure(f"{told} does not accept this token: {failure}", hint="set another HF_TOKEN")
        hint = None if failure.status else "HF_ENDPOINT says which Hub is asked; without --from-hub none is"
        return NetworkFailure(f"{told} does not list {self.name}: {failure}", hint=hint)

    def _wrong(self, reason: str, *, hint: str | None = None) -> NetworkFailure:
        return NetworkFailure(
            f"The Hub at {self.hub.endpoint} does not list {self.name} as it should: {reason}", hint=hint
        )


class _Objects:
    """Reads JSON objects, of which one reply has no more than a full list takes."""

    def __init__(self) -> None:
        self.left = 3 * _MAX_ENTRIES

    def __call__(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        self.left -= 1
        if self.left < 0:
            raise ValueError("it has too many objects")
        document = dict(pairs)
        if len(document) < len(pairs):
            raise ValueError("a key stands twice in one object")
        return document


def _parse_ref(text: str) -> str:
    """Return a revision as the Hub takes it: a commit, or a branch or tag by git's rules, roughly."""
    if not text or len(text) > _MAX_REF or not text.isascii() or not text.isprintable() or " " in text or ".." in text:
        raise InvalidInput(f"Not a revision: {text[:80]}", hint="a revision is a commit, a branch or a tag")
    return text
