"""`weightswarm key`: make, show and change signing keys."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from weightswarm.cli.completing import complete_files
from weightswarm.cli.options import option
from weightswarm.cli.signer import passphrase, passphrase_option, public_key, read_small, secret_key
from weightswarm.errors import InvalidInput
from weightswarm.storage import user_path, write_atomically


@click.group("key")
def key_command() -> None:
    """Make, show and change the keys that sign releases. They are minisign's, in its own files."""


@key_command.command("new", short_help="Make a key, and print its public half.")
@click.argument("file", required=False, shell_complete=complete_files)
@option("--no-passphrase", is_flag=True, help="Leave the secret key unencrypted: whoever reads the file can sign.")
@passphrase_option
def new_command(file: str | None, no_passphrase: bool, key_passphrase_file: str | None) -> None:
    """Make a key: FILE gets the secret half, readable by you alone, FILE.pub the public one, which is printed.

    FILE is signing.key in your configuration folder unless you name another; a file that is there stays.
    """
    from weightswarm.signing import SecretKey

    path = _default_path() if file is None else user_path(file)
    public_path = path.with_name(f"{path.name}.pub")
    for each in (path, public_path):
        if os.path.lexists(each):
            raise InvalidInput(f"{each} is there already, and a lost key cannot be made again", hint="name another")
    chosen = None if no_passphrase else passphrase(key_passphrase_file, confirm=True)
    if chosen == "":
        raise InvalidInput("The passphrase is empty", hint="--no-passphrase makes a key without one")
    key = SecretKey.generate()
    write_atomically(path, key.to_bytes(chosen), mode=0o600)
    write_atomically(public_path, key.public.to_bytes())
    click.echo(f"Wrote {path} (keep it secret, and a copy of it safe) and {public_path}", err=True)
    click.echo(f"Key id {key.public.shown_key_id}; the public key, for users to pin:", err=True)
    click.echo(key.public.line)


@key_command.command("show", short_help="Print the public key of a key file.")
@click.argument("file", shell_complete=complete_files)
@passphrase_option
@option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def show_command(file: str, key_passphrase_file: str | None, as_json: bool) -> None:
    """Print the public key of FILE, a public or a secret key (whose passphrase is asked for)."""
    text = read_small(file)
    # A secret key's line is three times as long.
    public = public_key(file) if len(text.split(b"\n")[-2 if text.endswith(b"\n") else -1]) < 100 else None
    public = public or secret_key(file, key_passphrase_file).public
    if as_json:
        click.echo(json.dumps({"key_id": public.shown_key_id, "public_key": public.line}, indent=2))
        return
    click.echo(f"Key id {public.shown_key_id}", err=True)
    click.echo(public.line)


@key_command.command("rotate", short_help="State that a new key takes an old one's place.")
@option("--old", required=True, metavar="FILE", help="The secret key that users have pinned.")
@option("--new", required=True, metavar="KEY", help="The public key that takes its place: the line, or its file.")
@option("--for", "target", required=True, metavar="ORG|ORG/MODEL", help="For whose models.")
@option("-o", "--output", envvar=None, required=True, metavar="FILE", help="Where the statement goes.")
@passphrase_option
def rotate_command(old: str, new: str, target: str, output: str, key_passphrase_file: str | None) -> None:
    """State with the old key that the new one takes its place; users take it up with `trust add ORG --rotation FILE`.

    The statement is one line, the new public key, and the old key's minisign signature over it.
    """
    from weightswarm.signing import rotate
    from weightswarm.trusting import parse_target

    statement = rotate(secret_key(old, key_passphrase_file), public_key(new), parse_target(target))
    path = user_path(output)
    write_atomically(path, statement.to_bytes())
    click.echo(str(path))


def _default_path() -> Path:
    from platformdirs import user_config_path

    return user_config_path("weightswarm") / "signing.key"
