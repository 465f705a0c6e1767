"""The files of `docs/cluster`: each is valid by its own program's word, and what it runs is run and brings a model."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import kubernetes_validate
import pytest
import yaml

import running
from conftest import make_model
from counterparts import require
from hostile import contents, release_of, wait_until
from namespaces import Host, network
from running import CommandLine, Seeding
from weightswarm.magnet import parse_magnet

FILES = Path(__file__).parents[1] / "docs" / "cluster"
NAME = "sentence-transformers/all-MiniLM-L6-v2"
"""The model that the files name."""

TRACKER_PORT, PEER_PORT = 6969, 6881
KUBERNETES = "1.30"


# --- valid by their own programs' word -------------------------------------------------------------------------------


@pytest.mark.counterpart
@pytest.mark.parametrize("unit", ["opentracker.service", "weightswarm-seed.service"])
def test_systemd_finds_nothing_wrong_with_a_unit(tmp_path: Path, unit: str) -> None:
    analyze = require("systemd-analyze", "systemd")
    # What it starts has to exist, and is elsewhere here.
    text = re.sub(r"(?<=^ExecStart=)\S+", sys.executable, (FILES / unit).read_text(), flags=re.MULTILINE)
    (tmp_path / unit).write_text(text)
    done = subprocess.run([analyze, "verify", tmp_path / unit], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")

    (tmp_path / unit).write_text(text.replace("Restart=", "Restrat="))
    done = subprocess.run([analyze, "verify", tmp_path / unit], capture_output=True, text=True, timeout=60, check=False)
    assert "Restrat" in done.stderr, "it finds nothing wrong with anything"


def test_kubernetes_takes_every_manifest() -> None:
    for manifest in manifests():
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    (pods,) = [each for each in manifests() if each["kind"] == "DaemonSet"]
    pods["spec"]["template"]["spec"]["containers"][0]["comand"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pods, KUBERNETES, strict=True)


@pytest.mark.counterpart
def test_shellcheck_finds_nothing_wrong_with_the_job() -> None:
    subprocess.run([require("shellcheck", "shellcheck"), FILES / "weightswarm.slurm"], timeout=60, check=True)


# --- run -------------------------------------------------------------------------------------------------------------


@pytest.mark.namespaces
@pytest.mark.counterpart
def test_the_units_bring_a_model_to_a_node_once_its_hash_is_on_the_reloaded_whitelist(
    tmp_path: Path, cli: CommandLine
) -> None:
    tracker, seed = unit("opentracker.service"), unit("weightswarm-seed.service")
    settings: dict[str, Any] = dict(
        line.split("=", 1) for line in (FILES / "seed.env").read_text().splitlines() if "=" in line[:20]
    )
    with networked(tmp_path) as (origin, node, model):
        settings |= {"MODEL": str(model), "WEIGHTSWARM_TRACKER": f"http://{origin.address}:{TRACKER_PORT}/announce"}
        whitelist = folder_for_all(tmp_path / "opentracker") / "whitelist.txt"
        whitelist.write_text("")
        command = shlex.split(tracker["ExecStart"].replace("/etc/opentracker", str(whitelist.parent)))
        with started(origin, command, as_nobody=True) as process:
            wait_until(lambda: listens(origin, TRACKER_PORT), "the tracker does not listen")
            whitelist.write_text("".join(f"{digest[:40]}\n" for digest in hashes(model)))
            reload = shlex.split(tracker["ExecReload"].replace("$MAINPID", str(process.pid)))
            subprocess.run(reload, timeout=10, check=True)

            words = [settings[word[2:-1]] if word.startswith("${") else word for word in seed["ExecStart"].split()]
            assert words[0].endswith("/bin/weightswarm")
            with origin.commands():
                seeding = running.Seeder(tmp_path)(*words[2:], **settings)
            try:
                # Not by local discovery: the bridge passes no multicast on.
                fetched_on(node, cli, model, seeding.magnet)
                assert listens(origin, int(settings["WEIGHTSWARM_LISTEN"].rpartition(":")[2]))
            finally:
                ended = seeding.stop(signal.SIGTERM)
            assert str(ended.code) == seed["SuccessExitStatus"]


@pytest.mark.namespaces
@pytest.mark.counterpart
def test_the_containers_bring_a_model_to_a_node_that_then_seeds_it(tmp_path: Path, cli: CommandLine) -> None:
    """Their commands and environments, as processes: tracker and origin on one host, a pod of the set on another."""
    found = {container["name"]: container for container in containers()}
    with networked(tmp_path) as (origin, node, model), ExitStack() as stack:
        given = hashes(model)
        moved = {
            "/etc/opentracker": str(folder_for_all(tmp_path / "opentracker")),
            "tracker.weightswarm.svc.cluster.local": origin.address,
            "e12272c64c52ab7188583245711176ac2f607c2b": given[0],
            "0fb0a28784a372412fa9c92fed6a088f29938927840a0ea6c2e4d9d46d834b99": given[1],
            "/model": str(model),
            "/remembered": str(tmp_path / "remembered"),
            "/hub": str(tmp_path / "pod"),
            "/tmp": str(tmp_path / "tmp"),
        }

        def run(name: str) -> tuple[list[str], dict[str, Any]]:
            environment: dict[str, Any] = {
                each["name"]: moved_to(each["value"], moved) for each in found[name].get("env", ())
            }
            words = [environment[word[2:-1]] if word.startswith("$(") else word for word in found[name]["command"]]
            return [moved.get(word, word) for word in words], environment

        (whitelist,) = [each for each in manifests() if each["kind"] == "ConfigMap"]
        assert re.fullmatch(r"(?:[0-9a-f]{40}\n)+", whitelist["data"]["whitelist.txt"])
        (tmp_path / "opentracker" / "whitelist.txt").write_text("".join(f"{digest[:40]}\n" for digest in given))
        tracker = shutil.which("opentracker")
        assert tracker is not None
        stack.enter_context(started(origin, [tracker, *run("opentracker")[0][1:]], as_nobody=True))
        wait_until(lambda: listens(origin, TRACKER_PORT), "the tracker does not listen")
        seeder = running.Seeder(tmp_path)
        stack.callback(seeder.stop_all)
        with origin.commands():
            words, environment = run("weightswarm")
            seeding = seeder(*words[2:], **environment)
        with node.commands():
            words, environment = run("fetch")
            cli.ok(*words[1:], **environment)
            words, environment = run("seed")
            second: Seeding = seeder(*words[2:], **environment)
        assert listens(node, PEER_PORT)
        seeding.stop()

        # Another node, which the first pod serves alone.
        fetched_on(origin, cli, model, second.magnet)


@pytest.mark.namespaces
@pytest.mark.counterpart
def test_the_web_server_is_seed_enough(tmp_path: Path, cli: CommandLine) -> None:
    nginx = require("nginx", "nginx-light")
    site = FILES / "nginx.conf"
    (url,) = re.findall(r"--web-seed (\S+)`", site.read_text())
    with networked(tmp_path) as (origin, node, model):
        url = re.sub(r"//[^:]+", f"//{origin.address}", url)
        cli.ok("publish", model, "--name", NAME, "--web-seed", url, "-o", model.parent)
        settings = tmp_path / "nginx.conf"
        site_text = site.read_text().replace("/srv/models", str(model.parent))
        (tmp_path / "site.conf").write_text(site_text)
        settings.write_text(
            f"daemon off; master_process off; user root; pid {tmp_path}/pid; error_log stderr error; events {{ }}\n"
            f"http {{ access_log off; include {tmp_path}/site.conf; }}\n"
        )
        command = [nginx, "-e", "stderr", "-p", str(tmp_path), "-c", str(settings)]
        subprocess.run([*command, "-t"], capture_output=True, timeout=20, check=True)
        with started(origin, command):
            wait_until(lambda: listens(origin, 8080), "nginx does not listen")
            (torrent,) = model.parent.glob("*.torrent")
            fetched_on(node, cli, model, f"{url}{torrent.name}", "--web-seed", url)


@pytest.mark.parametrize("shared", [False, True])
def test_the_job_fetches_on_each_node_and_once_on_a_shared_file_system(
    tmp_path: Path, cli: CommandLine, shared: bool
) -> None:
    """With an `srun` that runs its command once and keeps its options: docs/cluster.md tells of a real one."""
    model = make_model(tmp_path / "model", 200_000)
    programs = tmp_path / "bin"
    programs.mkdir()
    script = '#!/bin/sh\nwhile [ "${1#-}" != "$1" ]; do echo "$1" >>"$OPTIONS"; shift; done\nexec "$@"\n'
    for name, text in (("srun", script), ("weightswarm", f'#!/bin/sh\nexec {sys.executable} -m weightswarm "$@"\n')):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    seeder = running.Seeder(tmp_path)
    try:
        magnet = seeder(model, "--name", NAME).magnet
        environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "OPTIONS": str(tmp_path / "options"),
            "MAGNET": magnet,
            "NAME": NAME,
            "SEED_SECONDS": "0.1",
            **({"SHARED": "1"} if shared else {}),
        }
        command = ["bash", str(FILES / "weightswarm.slurm")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    finally:
        seeder.stop_all()
    assert done.returncode == 0, done.stderr
    assert contents(Path(done.stdout.strip())) == contents(model)
    options = (tmp_path / "options").read_text().split()
    assert options == (
        ["--nodes=1", "--ntasks=1"] if shared else ["--label", "--ntasks-per-node=1", "--kill-on-bad-exit=0"]
    )


# --- reading the files -----------------------------------------------------------------------------------------------


def unit(name: str) -> dict[str, str]:
    """Return a unit's settings."""
    lines = (FILES / name).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if re.match(r"\w+=", line))


def manifests() -> list[dict[str, Any]]:
    """Return the Kubernetes objects."""
    return list(yaml.safe_load_all((FILES / "kubernetes.yaml").read_text()))


def containers() -> list[dict[str, Any]]:
    """Return all containers of all pods."""
    pods = [each["spec"]["template"]["spec"] for each in manifests() if "template" in each.get("spec", {})]
    return [container for pod in pods for container in (*pod.get("initContainers", ()), *pod["containers"])]


def moved_to(value: str, moved: dict[str, str]) -> str:
    """Return a value with what is elsewhere here in place of what it names."""
    for old, new in moved.items():
        value = new if value == old else value.replace(old, new) if "." in old or len(old) >= 40 else value
    return value


# --- hosts -----------------------------------------------------------------------------------------------------------


@contextmanager
def networked(tmp_path: Path) -> Iterator[tuple[Host, Host, Path]]:
    """Yield an origin, a node, and the folder of the model that the origin has."""
    require("opentracker", "opentracker")
    model = make_model(tmp_path / "srv" / "all-MiniLM-L6-v2", 1_000_000)
    with network(hosts=2, multicast=False) as (origin, node):
        yield origin, node, model


def hashes(model: Path) -> list[str]:
    """Return both info-hashes of a model's release."""
    found = release_of(model, name=NAME).metainfo.info_hash
    assert found.v1 is not None
    assert found.v2 is not None
    return [found.v1, found.v2]


def folder_for_all(folder: Path) -> Path:
    """Make a folder that another user can read."""
    folder.mkdir(mode=0o755)
    for parent in folder.parents:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
    return folder


@contextmanager
def started(host: Host, command: list[str], *, as_nobody: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program on a host until the block ends."""
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"] if as_nobody else []
    process = subprocess.Popen([*host.prefix, *user, *command], stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def listens(host: Host, port: int) -> bool:
    """Tell whether somebody on a host listens at a TCP port."""
    found = subprocess.run(
        [*host.prefix, "ss", "-Htln", f"sport = {port}"], capture_output=True, timeout=10, check=True
    )
    return bool(found.stdout)


def fetched_on(node: Host, cli: CommandLine, model: Path, source: str, *arguments: str) -> None:
    """Fetch on a node, from nobody that the link itself names, and compare every file."""
    if source.startswith("magnet:"):
        assert parse_magnet(source).peers == ()
    words = ("--name", NAME, "--timeout", "30", "--cache-dir", f"cache-{node.address}", *arguments)
    with node.commands(), mock.patch.dict(os.environ, WEIGHTSWARM_NETWORK="lan"):
        assert contents(Path(cli.ok("fetch", source, *words).result)) == contents(model)
