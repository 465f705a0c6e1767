"""`weightswarm demo`: the main job on this machine alone, each step a real command in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from weightswarm.cli.completing import complete_files
from weightswarm.cli.options import option
from weightswarm.errors import WeightswarmError
from weightswarm.storage import user_path

_SEED_START_SECONDS = 600


@click.command("demo")
@click.argument("model", required=False, metavar="[MODEL]", shell_complete=complete_files)
@option("-n", "--name", metavar="ORG/MODEL", default="demo/model", show_default=True, help="What to call it.")
def demo_command(model: str | None, name: str) -> None:
    """Publish, seed, fetch, verify and open a model, over loopback and in a throw-away cache.

    MODEL is a folder of weights; without one a small model is made up. Two processes take part: one seeds, the other
    fetches by the magnet alone.
    """
    with tempfile.TemporaryDirectory(prefix="weightswarm-demo-") as folder:
        base = Path(folder)
        source = user_path(model) if model else _made_up_model(base / "model")
        if not source.exists():
            raise click.UsageError(f"There is no folder {source}")
        environment = {**os.environ, "WEIGHTSWARM_NETWORK": "loopback", "HF_HUB_OFFLINE": "1"}
        cache = base / "cache"
        _run(["publish", str(source), "--name", name, "-o", str(base / "release")], environment)
        with _seeder(["seed", str(source), "--name", name], environment) as magnet:
            arguments = ["fetch", magnet, "--name", name, "--cache-dir", str(cache), "--timeout", "60"]
            snapshot = _run(arguments, environment).strip()
        _run(["verify", name, "--cache-dir", str(cache)], environment)
        _run(["ls", "--cache-dir", str(cache)], environment)
        _open_with_hub(name, cache, Path(snapshot))
    click.echo("Done: published, seeded, fetched by magnet, verified, placed and found by name.")


def _made_up_model(folder: Path) -> Path:
    """Write a small folder shaped like a model: a config, and a safetensors file of 16 MiB."""
    folder.mkdir()
    size = 16 * 1024 * 1024
    header = b'{"weight":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (size, size)
    (folder / "config.json").write_text('{"model_type": "demo"}\n')
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + os.urandom(size))
    return folder


def _show(arguments: list[str]) -> None:
    shown = " ".join(f"'{a[:60]}…'" if len(a) > 64 and a.startswith("magnet:") else a for a in arguments)
    click.secho(f"$ weightswarm {shown}", fg="green")


def _run(arguments: list[str], environment: dict[str, str]) -> str:
    _show(arguments)
    done = subprocess.run(
        [sys.executable, "-m", "weightswarm", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    click.echo(done.stdout, nl=False)
    if done.returncode:
        raise WeightswarmError(f"weightswarm {arguments[0]} ended with exit code {done.returncode}")
    return done.stdout


@contextmanager
def _seeder(arguments: list[str], environment: dict[str, str]) -> Iterator[str]:
    """Run a seeder in its own process and yield the magnet it prints."""
    _show(arguments)
    command = [sys.executable, "-m", "weightswarm", *arguments, "--quiet"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        watchdog = threading.Timer(_SEED_START_SECONDS, process.kill)
        watchdog.start()
        try:
            magnet = process.stdout.readline().strip()
            if not magnet:
                raise WeightswarmError("weightswarm seed ended before it printed a magnet")
            click.echo(magnet)
            yield magnet
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
        finally:
            watchdog.cancel()
            # One that only starts would answer a signal by Python's own words; a kill costs it nothing.
            process.kill()


def _open_with_hub(name: str, cache: Path, snapshot: Path) -> None:
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        click.echo("huggingface_hub is not installed here, so no loader was tried.", err=True)
        return
    click.secho(f">>> snapshot_download({name!r}, local_files_only=True)", fg="green")
    found = Path(snapshot_download(name, cache_dir=cache, local_files_only=True))
    click.echo(found)
    if found.resolve() != snapshot.resolve():
        raise WeightswarmError(f"huggingface_hub found {found}, not {snapshot}")
