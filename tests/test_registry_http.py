"""Registries over HTTP: a real nginx, and small servers that lie, drip, redirect and swell."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import socket
import subprocess
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator
from email.utils import formatdate
from functools import cache
from pathlib import Path

import platformdirs
import pytest

import weightswarm
from answering import Answer, Asked, Server, answering, canonical, changed_index, entry_of, http, registry_of, tree
from counterparts import Counterparts, free_port
from hostile import LOOPBACK, place, release_of
from running import CommandLine, Seeder
from weightswarm import FetchOptions, MagnetLink, Network, Note, Progress
from weightswarm.cli.exit_codes import exit_code
from weightswarm.errors import InvalidInput, NetworkFailure, NotFound, RegistryFailure, SwarmTimeout, WeightswarmError
from weightswarm.magnet import InfoHash
from weightswarm.registry import (
    DirectoryRegistry,
    HttpRegistry,
    download_metainfo,
    find_info_hash,
    find_name,
    kept,
    search,
)
from weightswarm.registry import http as client
from weightswarm.registry.remote import registry_url
from weightswarm.webseed import retry_after

NAME = "org/model"
INDEX = "/index.json"


class Notes:
    """Collects what a registry reports."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, event: Progress | Note) -> None:
        if isinstance(event, Note):
            self.texts.append(event.text)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once."""
    monkeypatch.setattr(client, "_BACK_OFF", 0.01)


@pytest.fixture
def registry(tmp_path: Path) -> DirectoryRegistry:
    """A registry of one model."""
    return registry_of(tmp_path, (NAME, b"weights", 3))


@pytest.fixture
def counterparts(tmp_path: Path) -> Iterator[Counterparts]:
    """Other programs, ended with the test."""
    starter = Counterparts(tmp_path / "counterparts")
    yield starter
    starter.stop_all()


def remote(server: Server | str, seconds: float = 10, report: Notes | None = None) -> HttpRegistry:
    url = server if isinstance(server, str) else server.url
    return HttpRegistry(url, network=Network.LOOPBACK, report=report or Notes(), seconds=seconds)


def refusal(answer: Answer, seconds: float = 10, ask: Callable[[HttpRegistry], object] = HttpRegistry.releases) -> str:
    """Ask a registry that must be refused in one line which names it, and return what is wrong with it."""
    notes = Notes()
    with answering(answer) as server:
        asked = remote(server, seconds, notes)
        with pytest.raises(RegistryFailure) as caught:
            ask(asked)
        assert str(caught.value) == f"Registry {server.url}: {caught.value.reason}"
        assert notes.texts == [f"{caught.value}; going on without it"]
        assert str(caught.value).isprintable() and len(str(caught.value)) < 500
        with pytest.raises(RegistryFailure):
            ask(asked)  # and is not asked again
    return caught.value.reason


# --- as it should be --------------------------------------------------------------------------------------------------


def test_nginx_serves_names_versions_and_info_hashes_and_is_asked_for_what_changed_alone(
    counterparts: Counterparts, registry: DirectoryRegistry, tmp_path: Path
) -> None:
    here = registry.find(NAME)
    assert here is not None
    nginx = counterparts.nginx(registry.root)
    assert here.revision is not None
    for asked in (None, "v3", "3", here.revision, here.revision[:7]):
        assert remote(nginx.url).find(NAME, asked) == here
    for digest in here.info_hash.digests:
        assert remote(nginx.url).find_info_hash(InfoHash.parse(digest)) == here
    assert remote(nginx.url).find("org/other") is None
    assert remote(nginx.url).find_info_hash(InfoHash(v1="0" * 40)) is None
    statuses = [line.rpartition(" ")[2] for line in nginx.asked() if line.startswith(INDEX)]
    assert statuses == ["200", *["304"] * 8]
    documents = [line for line in nginx.asked() if not line.startswith(INDEX)]
    assert sorted(documents) == sorted(f"/{NAME}/{here.revision}/{d} 200" for d in registry.releases()[0].documents)

    registry.add(entry_of(tmp_path / "later", NAME, b"other weights", version=4))
    later = registry.find(NAME)
    assert later is not None and later.revision != here.revision
    assert remote(nginx.url).find(NAME) == remote(nginx.url).find(NAME, "4") == later
    assert remote(nginx.url).find(NAME, "3") == here
    with pytest.raises(NotFound, match="has no revision v5"):
        remote(nginx.url).find(NAME, "v5")
    assert [found.release.version for found in search([remote(nginx.url)], "MODEL")] == [4, 3]


def test_a_registry_that_is_down_is_answered_for_by_what_it_said_before_and_a_note_says_how_old_that_is(
    counterparts: Counterparts, registry: DirectoryRegistry
) -> None:
    nginx = counterparts.nginx(registry.root)
    here = remote(nginx.url).find(NAME)
    nginx.program.stop()
    for age, told in ((5, "less than a minute"), (3700, "1 hour"), (3 * 86_400, "3 days")):
        (index,) = (path for path in kept_folder().iterdir() if path.is_file())
        os.utime(index, (time.time() - age, time.time() - age))
        notes = Notes()
        assert remote(nginx.url, report=notes).find(NAME) == here
        assert notes.texts == [f"Registry {nginx.url}: no connection; using what it said {told} ago"]


def kept_folder() -> Path:
    return Path(platformdirs.user_cache_dir("weightswarm")) / "registries"


def test_commands_find_releases_by_a_url_as_they_do_in_a_folder(
    cli: CommandLine, seeder: Seeder, counterparts: Counterparts, model: Path, tmp_path: Path
) -> None:
    seeding = seeder(model, "--name", NAME)
    cli.ok("publish", model, "--name", NAME, "--add-to", "registry", "--release-version", "12", "-q")
    nginx = counterparts.nginx(tmp_path / "registry")
    peer = ("--peer", f"127.0.0.1:{seeding.port}", "--timeout", "20")
    fetched = cli.ok("fetch", f"{NAME}@v12", "--registry", nginx.url, "--json", *peer).json
    assert (fetched["name"], fetched["complete"]) == (NAME, True)
    found = cli.ok("search", "mod", "--json", WEIGHTSWARM_REGISTRY=nginx.url).json
    assert [(each["revision"], each["version"], each["registry"]) for each in found] == [
        (fetched["revision"], 12, nginx.url)
    ]
    digest = found[0]["info_hash_v2"]
    again = cli.ok("fetch", digest, "--registry", nginx.url, "--cache-dir", "other", "--json", *peer).json
    assert again["name"] == NAME


# --- down, slow, endless ---------------------------------------------------------------------------------------------


def test_one_registry_that_is_down_does_not_stop_the_others(registry: DirectoryRegistry) -> None:
    here = registry.find(NAME)
    assert here is not None
    notes = Notes()
    down = remote(f"http://127.0.0.1:{free_port()}/", report=notes)
    with answering(tree(registry.root)) as server:
        chain = [down, remote(server)]
        assert find_name(chain, NAME, None) == find_info_hash(chain, here.info_hash) == here
        assert [found.location for found in search(chain, "model")] == [server.url]
        assert notes.texts == [f"Registry {down.location}: no connection; going on without it"]
        with pytest.raises(
            WeightswarmError, match=f"org/absent was not found.*{down.location}: no connection"
        ) as caught:
            find_name(chain, "org/absent", None)
        assert exit_code(caught.value) == 1
        assert find_info_hash(chain, InfoHash(v1="0" * 40)) is None


def test_a_model_in_the_cache_needs_no_registry(model: Path, hub: Path) -> None:
    placed = place(release_of(model), hub)
    notes = Notes()
    down = f"http://127.0.0.1:{free_port()}/"
    options = FetchOptions(network=LOOPBACK, timeout=5)
    fetched = weightswarm.fetch(NAME, cache_dir=hub, registries=[down], options=options, report=notes)
    assert (fetched.path, fetched.downloaded) == (placed, 0)
    assert notes.texts == [f"Registry {down}: no connection; going on without it"]


def test_where_nobody_answers_commands_say_who_was_tried(cli: CommandLine) -> None:
    down = f"http://127.0.0.1:{free_port()}/"
    for arguments in (("fetch", NAME), ("search", "model")):
        outcome = cli(*arguments, "--registry", down)
        assert outcome.code == 1
        assert f"{down}: no connection" in outcome.stderr.splitlines()[-2]
        assert outcome.stderr.splitlines()[-1].startswith("Hint: ")


@pytest.mark.parametrize("where", ["nothing", "header", "body", "zipped"])
def test_a_server_that_keeps_us_waiting_is_left_at_the_deadline(
    where: str, figure: Callable[[str, float], None]
) -> None:
    def answer(_asked: Asked) -> Iterable[bytes]:
        yield {
            "nothing": b"",
            "header": b"HTTP/1.1 200 OK\r\nX-Slow: ",
            "body": b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n",
            "zipped": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n",
        }[where]
        if where == "nothing":
            server.ended.wait(30)
        else:
            yield from server.drip(gzip.compress(b"[]", mtime=0))

    with answering(answer) as server:
        asked = remote(server, seconds=0.5)
        started = time.monotonic()
        with pytest.raises(SwarmTimeout) as caught:
            find_name([asked], NAME, None)
        assert time.monotonic() - started < 10
        assert exit_code(caught.value) == 4
        assert server.url in str(caught.value)
    figure("HTTP answers that never end", 1)


def test_passing_troubles_are_tried_three_times_and_no_more() -> None:
    statuses = iter(["503 Busy", "502 Bad Gateway", "200 OK"])
    with answering(lambda _asked: http(canonical({"releases": [], "weightswarm_index": 1}), next(statuses))) as server:
        assert remote(server).releases() == ()
        assert len(server.asked) == 3
    with answering(lambda _asked: http(b"", "503 Busy", Retry_After="0")) as server:
        with pytest.raises(RegistryFailure, match=r"it answered 503 Busy$"):
            remote(server).releases()
        assert len(server.asked) == client.TRIES == 3
    with answering(lambda _asked: b"") as server:
        with pytest.raises(RegistryFailure, match="no connection"):
            remote(server).releases()
        assert len(server.asked) == 3
    with answering(lambda _asked: http(b"", "404 Not Found")) as server:
        with pytest.raises(RegistryFailure, match=r"it answered 404 Not Found$"):
            remote(server).releases()
        assert len(server.asked) == 1


def test_a_server_may_have_us_wait_a_little_but_not_long() -> None:
    good = http(canonical({"releases": [], "weightswarm_index": 1}))
    answers = iter([http(b"", "429 Slow down", Retry_After="1"), good])
    started = time.monotonic()
    with answering(lambda _asked: next(answers)) as server:
        assert remote(server).releases() == ()
    assert time.monotonic() - started >= 1
    for later in ("3600", formatdate(time.time() + 3600, usegmt=True)):
        with answering(lambda _asked, later=later: http(b"", "503 Busy", Retry_After=later)) as server:  # type: ignore[misc]
            with pytest.raises(RegistryFailure, match=r"wants to be asked again in 3,[56]\d\d s"):
                remote(server).releases()
            assert len(server.asked) == 1
    for odd in ("-1", "soon", "1e9", "9" * 100, "٣"):
        assert retry_after(odd) is None


# --- too much --------------------------------------------------------------------------------------------------------


@cache
def bomb(mebibytes: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([*(packer.compress(bytes(2**20)) for _ in range(mebibytes)), packer.flush()])


def test_a_gzip_bomb_is_left_before_it_swells(figure: Callable[[str, float], None]) -> None:
    packed = bomb(200)
    tracemalloc.start()
    try:
        reason = refusal(lambda _asked: http(packed, Content_Encoding="gzip"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert reason == "it sends more than 33,554,432 bytes"
    assert peak < 80 * 2**20
    figure("gzip bombs left before they swelled", 1)


def test_the_body_of_a_redirect_is_not_read(registry: DirectoryRegistry) -> None:
    packed = bomb(200)
    honest = tree(registry.root)

    def answer(asked: Asked) -> bytes | Iterable[bytes]:
        if asked.path.startswith("/there"):
            return honest(Asked(asked.path.removeprefix("/there"), asked.headers))
        return http(packed, "302 Found", Location=f"/there{asked.path}", Content_Encoding="gzip")

    with answering(answer) as server:
        tracemalloc.start()
        try:
            assert remote(server).find(NAME) == registry.find(NAME)
            assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
        finally:
            tracemalloc.stop()


def test_the_url_of_a_torrent_has_the_same_bounds() -> None:
    packed = bomb(200)
    broken = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nd4:in\r\nzz"

    def answer(asked: Asked) -> bytes:
        return (
            broken if asked.path == "/there" else http(packed, "302 Found", Location="/there", Content_Encoding="gzip")
        )

    with answering(answer) as server:
        tracemalloc.start()
        try:
            with pytest.raises(NetworkFailure, match=f"^Cannot download {server.url}there"):
                download_metainfo(f"{server.url}release.torrent", timeout=20, network=Network.LOOPBACK)
            assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
        finally:
            tracemalloc.stop()


def test_an_endless_body_is_left_at_its_bound() -> None:
    def answer(_asked: Asked) -> Iterable[bytes]:
        yield b"HTTP/1.1 200 OK\r\n\r\n"
        for _ in range(1000):
            yield b" " * 65536

    assert refusal(answer) == "it sends more than 33,554,432 bytes"


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (http(b"x", Content_Encoding="br"), "it sends the encoding br, which nobody asked for"),
        (http(b"x", Content_Encoding="gzip, gzip"), "it sends the encoding gzip, gzip, which nobody asked for"),
        (http(b"x" * 99, Content_Encoding="gzip"), "it sends gzip that cannot be read"),
        (
            http(gzip.compress(b"[]", mtime=0) + b"more", Content_Encoding="gzip"),
            "it sends something after the end of its gzip",
        ),
        (http(gzip.compress(b"[]", mtime=0)[:-4], Content_Encoding="gzip"), "it broke off after 18 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n[]", "it broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n[]", "it broke off"),
        (http(b"", "304 Not Modified"), "it answered 304 Not Modified"),
        (http(b"", "206 Partial"), "it answered 206 Partial"),
        (http(b"", "299 \x1b[2J" + "x" * 500), "it answered"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no connection"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 500 + b"\r\n[]", "no connection"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000 + b"\r\n\r\n[]", "no connection"),
    ],
    ids=lambda value: "told" if isinstance(value, bytes) else value[:30],
)
def test_answers_that_are_none_are_refused(told: bytes, reason: str, figure: Callable[[str, float], None]) -> None:
    assert refusal(lambda _asked: told).startswith(reason)
    figure("HTTP answers refused", 1)


# --- elsewhere -------------------------------------------------------------------------------------------------------


def test_redirects_are_followed_a_few_times_and_never_off_the_web_or_this_machine(registry: DirectoryRegistry) -> None:
    honest = tree(registry.root)
    with answering(lambda asked: http(b"", "302 Found", Location=asked.path)) as server:
        with pytest.raises(RegistryFailure, match="redirects more than 5 times"):
            remote(server).releases()
        assert len(server.asked) == 6
    with (
        answering(honest) as target,
        answering(lambda asked: http(b"", "307 Elsewhere", Location=target.url.rstrip("/") + asked.path)) as server,
    ):
        assert remote(server).find(NAME) == registry.find(NAME)
    places = ["ftp://127.0.0.1/index.json", "file:///etc/passwd", "javascript:1", "http://[::1", "data:,x"]
    for where in places:
        reason = refusal(lambda _asked, where=where: http(b"", "302 Found", Location=where))  # type: ignore[misc]
        assert "redirects to" in reason
    for where in (
        "http://192.0.2.7/",
        "https://example.invalid/",
        "//127.0.0.2.example.invalid/",
        "http://2130706433/",
    ):
        reason = refusal(lambda _asked, where=where: http(b"", "302 Found", Location=where))  # type: ignore[misc]
        assert "asks nobody but this machine" in reason


def test_at_loopback_registries_on_other_machines_are_not_asked_nor_looked_up(
    monkeypatch: pytest.MonkeyPatch, registry: DirectoryRegistry
) -> None:
    from weightswarm import api

    def no_resolver(*arguments: object, **_keywords: object) -> None:
        raise AssertionError(f"asked for {arguments}")

    notes = Notes()
    with answering(tree(registry.root)) as server:
        given = ["http://192.0.2.7/reg", server.url, "https://registry.example.invalid/"]
        registries = api.all_registries(given, Network.LOOPBACK, notes)
        monkeypatch.setattr(socket, "getaddrinfo", no_resolver)
        with pytest.raises(RegistryFailure, match="asks nobody but this machine"):
            remote("http://registry.example.invalid").releases()
        monkeypatch.undo()
        assert find_name(registries, NAME, None) == registry.find(NAME)
    assert [each.location for each in registries][:-1] == [server.url]
    assert notes.texts == [
        "Registry http://192.0.2.7/reg/ is not asked at --network loopback",
        "Registry https://registry.example.invalid/ is not asked at --network loopback",
    ]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 with its key, signed by itself."""
    if shutil.which("openssl") is None:
        pytest.skip("NOT TESTED: TLS of registries needs the program openssl")
    path = tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    where = ["-keyout", str(path), "-out", f"{path}.crt", "-days", "2", "-subj", "/CN=127.0.0.1"]
    alternative = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *where, *alternative], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


def test_over_tls_the_certificate_counts_the_deadline_holds_and_nobody_is_led_back_to_plain_http(
    certificate: Path, registry: DirectoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(asked: Asked) -> bytes | Iterable[bytes]:
        if asked.path.startswith("/slow"):
            return server.drip(b"HTTP/1.1 200 OK\r\nX: ")
        if asked.path.startswith("/plain"):
            return http(b"", "301 Moved", Location=f"http://127.0.0.1:{free_port()}/")
        return tree(registry.root)(asked)

    with answering(answer, certificate) as server:
        with pytest.raises(RegistryFailure, match="its certificate or TLS is not accepted"):
            remote(server).releases()
        # The environment is heeded where more than this machine may be asked.
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", f"{certificate}.crt")
        monkeypatch.setenv("NO_PROXY", "*")
        assert HttpRegistry(server.url).find(NAME) == registry.find(NAME)
        with pytest.raises(RegistryFailure, match="only the same scheme or https is followed"):
            HttpRegistry(server.url + "plain").releases()
        with pytest.raises(NetworkFailure, match="from https only https is followed"):
            download_metainfo(server.url + "plain", timeout=10, network=Network.PUBLIC)
        started = time.monotonic()
        with pytest.raises(RegistryFailure, match="did not answer in time"):
            HttpRegistry(server.url + "slow", seconds=0.5).releases()
        assert time.monotonic() - started < 8  # of the ten seconds that every byte would begin anew
        with (
            answering(lambda asked: http(b"", "301 Moved", Location=server.url.rstrip("/") + asked.path)) as plain,
            pytest.raises(RegistryFailure, match=r"which is not followed: 127.0.0.1 is not open to strangers"),
        ):
            HttpRegistry(plain.url).releases()
    # The host that the user named may move to https, and nobody else is led inside.
    assert client._redirected("http://10.0.0.1:8000/a", "https://10.0.0.1/a") == "https://10.0.0.1/a"
    assert client._judged("https://10.0.0.1/a", ("10.0.0.1", 8000), Network.PUBLIC)
    for inside in ("https://10.0.0.1:8443/a", "http://10.0.0.2/a"):
        with pytest.raises(client.HttpFailure, match="not open to strangers"):
            client._judged(inside, ("10.0.0.1", 8000), Network.PUBLIC)


def test_the_deadline_holds_through_a_proxy_that_the_environment_names(
    registry: DirectoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = tree(registry.root)

    def answer(asked: Asked) -> bytes | Iterable[bytes]:
        if "slow" in asked.path:
            return server.drip(b"HTTP/1.1 200 OK\r\nX: ")
        return honest(Asked(asked.path.removeprefix("http://registry.example.invalid"), asked.headers))

    with answering(answer) as server:
        monkeypatch.setenv("http_proxy", server.url)
        monkeypatch.setenv("https_proxy", server.url)
        monkeypatch.setenv("no_proxy", "")
        assert HttpRegistry("http://registry.example.invalid").find(NAME) == registry.find(NAME)
        for url in ("http://slow.example.invalid/", "https://slow.example.invalid/"):
            started = time.monotonic()
            with pytest.raises(RegistryFailure, match=r"in time|too slow"):
                HttpRegistry(url, seconds=0.5).releases()
            assert time.monotonic() - started < 8
        # Nor is a proxy there at loopback.
        count = len(server.asked)
        with pytest.raises(RegistryFailure, match="asks nobody but this machine"):
            remote("http://registry.example.invalid").releases()
        assert len(server.asked) == count


@pytest.mark.parametrize(
    "url",
    ["http://", "https:///x", "ftp://host/", "http://u:p@host/", "http://u@host/", "http://host/?q", "http://host/#f",
     "http://host:0/", "http://host:99999/", "http://[::1/", "http://ho st/", "http://host/\n", "gopher://x",
     "http://host/" + "x" * 3000],
)  # fmt: skip
def test_urls_that_cannot_be_a_registrys_are_usage_errors(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        registry_url(url)
    assert caught.value.hint is not None
    assert exit_code(caught.value) == 2


# --- lies ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", ["magnet.txt", "manifest.json", "release.torrent"])
@pytest.mark.parametrize("lie", ["another byte", "longer", "shorter", "absent", "gzip bomb"])
def test_a_document_that_is_not_what_the_index_says_is_refused_and_not_kept(
    registry: DirectoryRegistry, document: str, lie: str, figure: Callable[[str, float], None]
) -> None:
    honest = tree(registry.root)

    def answer(asked: Asked) -> bytes | Iterable[bytes]:
        if not asked.path.endswith(document):
            return honest(asked)
        data = next(registry.root.glob(f"{NAME}/*/{document}")).read_bytes()
        if lie == "absent":
            return http(b"", "404 Not Found")
        if lie == "gzip bomb":
            return http(bomb(20), Content_Encoding="gzip")
        return http({"another byte": data[:-2] + b"?" + data[-1:], "longer": data + b" ", "shorter": data[:-1]}[lie])

    reason = refusal(answer, ask=lambda asked: asked.find(NAME))
    assert reason.startswith(f"{NAME}/")
    assert document in reason
    expected = {"longer": "it sends more than", "gzip bomb": "it sends more than", "absent": "it answered 404"}
    assert expected.get(lie, "is not what its index.json says: wrong size or SHA-256") in reason
    digest = hashlib.sha256(next(registry.root.glob(f"{NAME}/*/{document}")).read_bytes()).hexdigest()
    assert not (kept_folder() / "documents" / digest).exists()
    figure("documents that differ from their index refused", 1)


def test_a_magnet_for_another_torrent_than_the_indexs_is_refused(registry: DirectoryRegistry) -> None:
    other = str(MagnetLink(InfoHash(v1="1" * 40))).encode()

    def change(release: dict[str, object]) -> None:
        documents = release["documents"]
        assert isinstance(documents, dict)
        documents["magnet.txt"] = {"sha256": hashlib.sha256(other).hexdigest(), "size": len(other)}

    index = changed_index(registry, change)
    honest = tree(registry.root)

    def answer(asked: Asked) -> bytes | Iterable[bytes]:
        return http(index) if asked.path == INDEX else http(other) if "magnet" in asked.path else honest(asked)

    assert "is for another torrent than its index.json says" in refusal(answer, ask=lambda asked: asked.find(NAME))


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (http(b"<html>Log in to the WiFi</html>"), "its index.json cannot be used: no JSON"),
        (http(b"", "404 Not Found"), "it answered 404"),
    ],
    ids=["another page", "gone"],
)
def test_where_a_wrong_index_stands_none_of_before_is_used_instead(
    registry: DirectoryRegistry, told: bytes, reason: str
) -> None:
    answers: list[Answer] = [tree(registry.root), lambda _asked: told]

    def answer(asked: Asked) -> bytes | Iterable[bytes]:
        return answers[0](asked)

    with answering(answer) as server:
        assert remote(server).find(NAME) is not None
        del answers[0]
        with pytest.raises(RegistryFailure, match=reason):
            remote(server).find(NAME)


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_a_kept_index_or_document_that_is_damaged_is_asked_for_anew(registry: DirectoryRegistry) -> None:
    here = registry.find(NAME)
    with answering(tree(registry.root)) as server:
        assert remote(server).find(NAME) == here
        files = [path for path in kept_folder().rglob("*") if path.is_file()]
        assert len(files) == 4
        for path in files:
            for damage in (
                b"",
                b"\0" * 5000,
                b"[" * 5000,
                path.read_bytes()[:-3],
                path.read_bytes().replace(b"o", b"0"),
            ):
                path.write_bytes(damage)
                assert remote(server).find(NAME) == here
                assert path.read_bytes() != damage
        assert not [asked for asked in server.asked if "if-none-match" in asked.headers]


def test_what_is_kept_of_documents_is_bounded_and_the_oldest_go_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = registry_of(tmp_path, *((f"org/model-{i}", bytes([i]) * 100, None) for i in range(6)))
    folder = kept_folder() / "documents"
    monkeypatch.setattr(kept, "MAX_KEPT", 4000)
    with answering(tree(registry.root)) as server:
        asked = remote(server)
        for entry in registry.entries():
            assert asked.find(entry.name) == entry
            assert sum(path.stat().st_size for path in folder.iterdir()) <= 4000
        assert (folder / registry.releases()[-1].documents["magnet.txt"].sha256).exists()


def test_a_cache_folder_that_cannot_be_written_stops_nobody(
    registry: DirectoryRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    with answering(tree(registry.root)) as server:
        assert remote(server).find(NAME) == registry.find(NAME)
