"""With `--proxy` all goes through it: every frame that leaves a namespace is for the proxy, no name is looked up.

The proxies are Debian's. What lies behind them is known by name to them alone.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import outside
from conftest import make_model
from frames import leaving
from hostile import NAME, NOWHERE, refused, release_of, wait_until
from namespaces import Host, name_server, network
from running import CommandLine, Seeder
from weightswarm import Network, NetworkOptions
from weightswarm.dialling import Proxy, Route, Unreachable, shake_hands
from weightswarm.errors import InvalidInput, RegistryFailure
from weightswarm.reach import Refused, connect
from weightswarm.registry import HttpRegistry

PASSWORD = "s3cret-word"
PEER_PORT = 7000
NAMES = ("tracker.example", "weights.example", "registry.example", "torrent.example")
Figure = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class World:
    """`here` is where commands run, `there` all else: a seed, a tracker, a registry, web seeds, names for them."""

    here: Host
    there: Host
    folder: Path
    magnet: str
    asked: Callable[[], list[str]]
    paths: Callable[[], list[str]]

    @property
    def peer(self) -> str:
        return f"{self.there.address}:{PEER_PORT}"


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    """Two namespaces on one bridge, new for each test: what one asked for and did not get the kernel asks for again."""
    with network(hosts=2) as (here, there):
        yield here, there


@pytest.fixture
def world(hosts: tuple[Host, Host], tmp_path: Path, cli: CommandLine, seeder: Seeder) -> Iterator[World]:
    """A release that can be had in every way there is."""
    plain, there = hosts
    etc = tmp_path / "etc-there"
    etc.mkdir()
    (etc / "hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{there.address} {name}\n" for name in NAMES))
    (etc / "nsswitch.conf").write_text("hosts: files\n")
    there = replace(there, etc=etc)
    model = make_model(tmp_path / "model", size=300_000)
    folder = tmp_path / "served"
    registry = ("--add-to", folder / "registry", "-o", folder, "-t", f"http://{NAMES[0]}:{outside.PORT}/announce")
    folder.mkdir()
    published = cli.ok("publish", model, "--name", NAME, *registry, "--json").json
    Path(published["torrent"]).rename(folder / "x.torrent")
    (folder / "web").mkdir()
    (folder / "web" / "model").symlink_to(model)
    with there.commands():
        seeder(model, "--name", NAME, "--network", "lan", "--listen", f"{there.address}:{PEER_PORT}")
    log = tmp_path / "outside.log"
    with log.open("w") as output:
        command = [*there.prefix, sys.executable, "-u", outside.__file__, there.address, str(folder), str(PEER_PORT)]
        server = subprocess.Popen(command, stdout=output)
    try:
        wait_until(lambda: "ready" in log.read_text(), "the world did not start")
        with name_server(plain) as (here, asked):
            yield World(
                here,
                there,
                folder,
                published["magnet"],
                asked,
                lambda: [line for line in log.read_text().split("\n")[1:-1] if line.strip()],
            )
    finally:
        server.kill()
        server.wait()


@contextmanager
def proxy(kind: str, host: Host, folder: Path) -> Iterator[str]:
    """Run one of Debian's proxies on a host; yield its URL."""
    program, _, _ = kind.partition(" ")
    if shutil.which(program) is None:
        pytest.skip(f"NOT TESTED: {program} is not installed, so the way through it was not tried")
    port, user = (8888, "") if program == "tinyproxy" else (1080, "")
    config = folder / "proxy.conf"
    command = [program]
    if kind == "microsocks":
        command += ["-i", host.address, "-p", str(port)]
    elif kind == "microsocks with a password":
        command += ["-i", host.address, "-p", str(port), "-u", "bob", "-P", PASSWORD]
    elif program == "danted":
        config.write_text(
            f"logoutput: stderr\ninternal: {host.address} port = {port}\nexternal: {host.address}\n"
            "clientmethod: none\nsocksmethod: none\nuser.privileged: root\nuser.unprivileged: nobody\n"
            "client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }\nsocks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }\n"
        )
        command += ["-f", str(config)]
    else:
        word = f"BasicAuth bob {PASSWORD}\n" if "password" in kind else ""
        config.write_text(f"Port {port}\nListen {host.address}\nTimeout 60\nMaxClients 50\n{word}")
        command += ["-d", "-c", str(config)]
    if "password" in kind:
        user = f"bob:{PASSWORD}@"
    process = subprocess.Popen(
        [*host.prefix, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        probe = [
            *host.prefix,
            sys.executable,
            "-c",
            f"import socket; socket.create_connection(('{host.address}', {port}))",
        ]
        wait_until(lambda: subprocess.run(probe, capture_output=True, check=False).returncode == 0, f"no {kind}")
        yield f"{'http' if program == 'tinyproxy' else 'socks5'}://{user}{host.address}:{port}"
    finally:
        process.kill()
        process.wait()


KINDS = [
    "microsocks",
    "microsocks with a password",
    "danted",
    "tinyproxy",
    "tinyproxy with a password",
]


@pytest.mark.namespaces
@pytest.mark.counterpart
@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_is_for_the_proxy_and_no_name_is_looked_up(
    world: World, cli: CommandLine, tmp_path: Path, kind: str, figure: Figure
) -> None:
    """At public, where without it the DHT, port mapping and local discovery speak up at once."""
    strangers = "".join(
        (
            f"&tr=udp%3A%2F%2F{NAMES[0]}%3A6969&x.pe=peer.example%3A7001&x.pe=203.0.113.7%3A7002",
            f"&ws=http%3A%2F%2Fabsent.example%2Fw%2F&xs=http%3A%2F%2F{NAMES[3]}%3A{outside.PORT}%2Fno.torrent",
        )
    )
    server = f"http://{{}}:{outside.PORT}"
    registry = ("--registry", server.format(NAMES[2]) + "/registry/")
    # Named elsewhere, a proxy would not be asked for this either.
    environment = {"http_proxy": "http://10.77.0.99:1", "ALL_PROXY": "socks5://10.77.0.99:1", "no_proxy": ""}
    with proxy(kind, world.there, tmp_path) as url, leaving(world.here, "eth0", tmp_path / "frames") as frames:
        options = ("--network", "public", "--proxy", url, "--timeout", "60")
        with world.here.commands():
            link = world.magnet + strangers
            peers = ("--peer", world.peer, "--peer", "203.0.113.9:7003")
            fetched = cli.ok("fetch", link, *registry, *peers, *options, **environment)
            torrent = server.format(NAMES[3]) + "/x.torrent"
            web = ("-w", server.format(NAMES[1]) + "/web/", "--local-dir", "plain", "--cache-dir", "other")
            by_web = cli.ok("fetch", torrent, "--name", NAME, *web, *options, **environment)
            found = cli.ok("search", NAME, *registry, *options[:4], "--json", **environment)
            shown = cli.ok("show", NAME, *registry, *options, "--json", **environment)

        target = url.rpartition("@")[2].rpartition("/")[2]
        host, port = target.split(":")
        assert frames() - {f"arp {host}"} == {f"tcp {host} {port}"}
        assert world.asked() == []
    assert found.json[0]["name"] == shown.json["name"] == NAME
    assert "no UDP goes through --proxy" in fetched.stderr
    assert "peer.example:7001 (a name that would have to be looked up here" in fetched.stderr
    assert (cli.folder / "plain" / "model.safetensors").read_bytes() == (
        tmp_path / "model" / "model.safetensors"
    ).read_bytes()
    # Each kind of thing was there, and was asked, by its name.
    assert {line.partition(":")[0] for line in world.paths()} == set(NAMES)
    assert f"{NAMES[0]}:{outside.PORT} /announce" in world.paths()
    assert PASSWORD not in "".join((fetched.stderr, by_web.stderr, found.stderr, shown.stderr))
    figure("frames to anybody but the proxy", 0)


@pytest.mark.namespaces
def test_without_a_proxy_the_same_is_seen_to_speak_to_others(world: World, cli: CommandLine, tmp_path: Path) -> None:
    """The counterpart: what is counted is there to be counted."""
    with leaving(world.here, "eth0", tmp_path / "frames") as frames, world.here.commands():
        cli("fetch", world.magnet, "--network", "public", "--timeout", "2")
        assert {line.split()[0] for line in frames()} >= {"arp", "udp"}
        assert NAMES[0] in world.asked()


@pytest.mark.namespaces
@pytest.mark.counterpart
@pytest.mark.parametrize("kind", ["microsocks", "tinyproxy"])
def test_a_seed_behind_a_proxy_gives_to_those_that_it_finds(
    world: World, cli: CommandLine, seeder: Seeder, tmp_path: Path, kind: str
) -> None:
    model = make_model(tmp_path / "other", size=300_000, seed=8)
    torrent = tmp_path / "other.torrent"
    torrent.write_bytes(release_of(model, name="org/other").metainfo.data)
    at = f"{world.there.address}:7005"
    with proxy(kind, world.there, tmp_path) as url, leaving(world.here, "eth0", tmp_path / "frames") as frames:
        with world.there.commands():
            options = ("--network", "lan", "--listen", at, "--cache-dir", "theirs")
            fetch = cli.start("fetch", torrent, "--name", "org/other", *options)
        try:
            with world.here.commands():
                seeding = seeder(model, "--name", "org/other", "--network", "lan", "--proxy", url, "--peer", at)
            stdout, stderr = fetch.communicate(timeout=60)
            assert fetch.returncode == 0, stderr
        finally:
            fetch.kill()
            fetch.communicate()
        told = seeding.stop().stderr
        host, port = url.rpartition("/")[2].split(":")
        assert frames() - {f"arp {host}"} == {f"tcp {host} {port}"}
    assert "Through a proxy nobody can connect to this machine" in told
    assert Path(stdout.strip()).is_dir()


@pytest.mark.namespaces
@pytest.mark.counterpart
def test_a_strangers_private_address_is_refused_through_a_proxy_as_without(
    world: World, cli: CommandLine, tmp_path: Path
) -> None:
    inside = f"http%3A%2F%2F{world.there.address}%3A{outside.PORT}%2F"
    link = f"{NOWHERE}&tr={inside}announce&ws={inside}web%2F&xs={inside}x.torrent&x.pe={world.peer}"
    with proxy("microsocks", world.there, tmp_path) as url, world.here.commands():
        outcome = cli("fetch", link, "--network", "public", "--proxy", url, "--timeout", "2")

    assert outcome.code == 4
    assert outcome.stderr.count("is not open to strangers") >= 3
    assert world.paths() == []


@pytest.mark.namespaces
@pytest.mark.counterpart
@pytest.mark.parametrize("kind", ["microsocks with a password", "tinyproxy with a password"])
def test_a_wrong_password_is_one_line_without_it_and_the_end(
    world: World, cli: CommandLine, tmp_path: Path, kind: str
) -> None:
    with proxy(kind, world.there, tmp_path) as url, world.here.commands():
        options = ("--network", "public", "--timeout", "60", "--peer", world.peer)
        for user, words in (("bob:wrong-word@", "refuses"), ("", "wants a user and password")):
            there = f"{url.partition('//')[0]}//{user}{url.rpartition('@')[2]}"
            outcome = cli("fetch", world.magnet, *options, "--proxy", there)
            refused(outcome, 1, url.rpartition("@")[2], words)
            assert "wrong-word" not in outcome.stderr


@pytest.mark.namespaces
def test_a_proxy_that_is_down_is_named_and_nothing_goes_past_it(world: World, cli: CommandLine, tmp_path: Path) -> None:
    url = f"socks5://bob:{PASSWORD}@{world.there.address}:1081"
    with leaving(world.here, "eth0", tmp_path / "frames") as frames, world.here.commands():
        started = time.monotonic()
        for arguments in (
            ("fetch", world.magnet, "--name", NAME, "--peer", world.peer),
            ("fetch", f"http://{NAMES[3]}:{outside.PORT}/x.torrent"),
            ("show", world.magnet),
            ("search", "nothing of the kind", "--registry", f"http://{NAMES[2]}:{outside.PORT}/registry/"),
            ("seed", tmp_path / "model", "--name", NAME),
        ):
            outcome = cli(*arguments, "--network", "public", "--proxy", url)
            refused(outcome, 1, f"the proxy socks5://{world.there.address}:1081 cannot be reached")
            assert PASSWORD not in outcome.stderr
        assert time.monotonic() - started < 60
        host = world.there.address
        assert frames() - {f"arp {host}"} == {f"tcp {host} 1081"}
        assert world.asked() == []


# --- what may be said ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("socks4://h:1", "socks4 is not spoken"),
        ("https://h:1", "https is not spoken"),
        ("h:1080", "is not spoken"),
        ("socks5://h", "needs a host and a port"),
        ("socks5://:1", "needs a host and a port"),
        ("socks5://h:99999", "is no URL"),
        ("http://h:1/path", "something after its port"),
        (f"socks5://bob:{'x' * 300}@h:1", "no proxy takes"),
        ("socks5://bob:a%0ab@h:1", "no proxy takes"),
        (f"ftp://bob:{PASSWORD}@h:1", "ftp is not spoken"),
    ],
)
def test_a_url_that_is_no_proxy_is_refused_without_its_password(cli: CommandLine, text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        Proxy.parse(text)
    assert PASSWORD not in str(caught.value)


def test_what_a_proxy_rules_out_is_one_line(cli: CommandLine) -> None:
    here = ("--proxy", f"socks5://bob:{PASSWORD}@127.0.0.1:1")
    for arguments, words in (
        (("--listen", "127.0.0.1:0"), "--listen"),
        (("--dht-node", "127.0.0.1:1"), "--dht-node"),
        (("--peer", "peer.example:1"), "--peer peer.example:1"),
    ):
        outcome = cli("fetch", NOWHERE, *here, *arguments)
        assert outcome.code == 2
        assert words in outcome.stderr
        assert "Traceback" not in outcome.stderr + PASSWORD.join(outcome.stderr.split(PASSWORD)[:0])
    away = ("--proxy", f"socks5://bob:{PASSWORD}@192.0.2.1:1080")
    for command in (("fetch", NOWHERE), ("search", "x")):
        outcome = cli(*command, *away)
        refused(outcome, 2, "--network loopback asks no other machine, and the proxy socks5://192.0.2.1:1080 is on one")


def test_a_proxy_shows_no_password() -> None:
    proxy = Proxy.parse(f"socks5h://bob:{PASSWORD}@[::1]:1080")
    assert (proxy.user, proxy.password) == ("bob", PASSWORD)
    assert str(proxy) == "socks5://[::1]:1080"
    assert PASSWORD not in repr(NetworkOptions(proxy=proxy))


# --- what a proxy may answer -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "answers", "words"),
    [
        ("socks5", b"\x04\x00", "does not speak SOCKS5"),
        ("socks5", b"\x05\xff", "wants a user and password"),
        ("socks5", b"\x05", "hung up"),
        ("socks5", b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak SOCKS5"),
        ("socks5", b"\x05\x00\x05\x05\x00\x01", "connection refused"),
        ("socks5", b"\x05\x00\x05\x99\x00\x01", "failure 153"),
        ("http", b"HTTP/1.1 407 No\r\n\r\n", "wants a user and password"),
        ("http", b"HTTP/1.1 403 No\r\n\r\n", "answered 403 to CONNECT, port 80"),
        ("http", b"SSH-2.0-x\r\n\r\n", "does not speak HTTP"),
        ("http", b"HTTP/1.1 200 x\r\n" + b"X: y\r\n" * 4000, "header without end"),
        ("http", b"HTTP/1.1 200 x\r\n", "hung up"),
    ],
)
def test_what_a_proxy_may_not_answer_is_told(url: str, answers: bytes, words: str) -> None:
    with answering(answers) as port:
        route = Route(Proxy.parse(f"{url}://127.0.0.1:{port}"))
        with pytest.raises(Unreachable, match=words):
            connect(("203.0.113.1", 80), Network.PUBLIC, named=True, deadline=time.monotonic() + 5, route=route)


def test_what_follows_the_handshake_is_left_for_whom_it_is_for() -> None:
    for url, answers in (
        ("socks5", b"\x05\x00" + b"\x05\x00\x00\x03\x04nameXX" + b"hello"),
        ("http", b"HTTP/1.0 200 Connection established\r\nVia: x\r\n\r\nhello"),
    ):
        with answering(answers) as port, socket.create_connection(("127.0.0.1", port)) as connection:
            proxy = Proxy.parse(f"{url}://127.0.0.1:{port}")
            shake_hands(connection, proxy, "name.example", 80, time.monotonic() + 5)
            assert connection.recv(100) == b"hello"


def test_a_proxy_that_drips_meets_the_deadline() -> None:
    with answering(b"HTTP/1.1 200 x\r\n" + b"X: y\r\n" * 100, drip=0.02) as port:
        route = Route(Proxy.parse(f"http://127.0.0.1:{port}"))
        started = time.monotonic()
        with pytest.raises(Unreachable):
            connect(("203.0.113.1", 80), Network.PUBLIC, named=True, deadline=started + 0.5, route=route)
        assert time.monotonic() - started < 5


def test_a_literal_address_is_judged_here_and_a_name_by_the_proxy() -> None:
    with answering(b"\x05\x00" + b"\x05\x00\x00\x01" + bytes(6)) as port:
        route = Route(Proxy.parse(f"socks5://127.0.0.1:{port}"))
        deadline = time.monotonic() + 5
        for host in ("10.0.0.1", "127.0.0.1", "localhost", "::ffff:10.0.0.1"):
            with pytest.raises(Refused, match="not open to strangers"):
                connect((host, 80), Network.PUBLIC, named=False, deadline=deadline, route=route)
        connect(("inside.example", 80), Network.PUBLIC, named=False, deadline=deadline, route=route).close()


def test_a_socks_proxy_of_the_environment_is_used_for_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = b"HTTP/1.1 404 Not here\r\nContent-Length: 0\r\n\r\n"
    with answering(b"\x05\x00" + b"\x05\x00\x00\x01" + bytes(6) + answer) as port:
        monkeypatch.setenv("ALL_PROXY", f"socks5h://127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", "")
        with pytest.raises(RegistryFailure, match="it answered 404 Not here"):
            HttpRegistry("http://registry.example.invalid").releases()
        # And one that is given in so many words goes before it.
        monkeypatch.setenv("ALL_PROXY", "socks5h://127.0.0.1:1")
        route = Route(Proxy.parse(f"socks5://127.0.0.1:{port}"))
        with pytest.raises(RegistryFailure, match="it answered 404 Not here"):
            HttpRegistry("http://registry.example.invalid", route=route).releases()


@contextmanager
def answering(data: bytes, *, drip: float = 0.0) -> Iterator[int]:
    """Run a proxy that sends the same to everybody, whatever they say, and hangs up; yield its port."""
    stop = threading.Event()

    def serve(client: socket.socket) -> None:
        with client:
            client.settimeout(2)
            client.recv(4096)
            for part in [data[i : i + 1] for i in range(len(data))] if drip else [data]:
                if stop.wait(drip):
                    return
                client.sendall(part)
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                pass

    def run() -> None:
        while not stop.is_set():
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=_quietly, args=(serve, client), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            stop.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def _quietly(serve: Callable[[socket.socket], None], client: socket.socket) -> None:
    try:
        serve(client)
    except OSError:
        return
