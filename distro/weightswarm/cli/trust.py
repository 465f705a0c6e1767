"""`weightswarm trust`: which keys count for whose models."""

from __future__ import annotations

import json

import click

from weightswarm.cli.completing import complete_cached, complete_files
from weightswarm.cli.options import confirmed, option
from weightswarm.cli.signer import public_key, read_small
from weightswarm.errors import InvalidInput, NotFound


@click.group("trust")
def trust_command() -> None:
    """Pin the keys that must have signed an organisation's models, or one model.

    From then on nothing else is placed under those names, whoever hands it over. A key pinned for ORG/MODEL counts
    there instead of those of ORG.
    """


@trust_command.command("add")
@click.argument("target", metavar="ORG|ORG/MODEL", shell_complete=complete_cached)
@click.argument("key", required=False, shell_complete=complete_files)
@option("--rotation", envvar=None, metavar="FILE", help="A statement by a pinned key that another takes its place.")
def add_command(target: str, key: str | None, rotation: str | None) -> None:
    """Pin KEY, a public key's line or its file. Have it from the publisher by a way that you trust."""
    from weightswarm.signing import parse_rotation
    from weightswarm.trusting import default_store, parse_target

    target, store = parse_target(target), default_store()
    if (key is None) == (rotation is None):
        raise click.UsageError("give a KEY or --rotation FILE")
    if key is not None:
        pinned = public_key(key)
        store.change_pins(lambda pins: pins.adding(target, pinned))
        click.echo(f"Pinned {pinned.shown_key_id} for {target}", err=True)
        return
    assert rotation is not None
    before = store.pins()
    old, new = store.rotate(target, parse_rotation(read_small(rotation)))
    for known in [known for known, keys in before.below(target).items() if old in keys]:
        click.echo(f"Pinned {new.shown_key_id} for {known} in the place of {old.shown_key_id}", err=True)


@trust_command.command("ls")
@option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def ls_command(as_json: bool) -> None:
    """List what is pinned: the name, the key's id, the key."""
    from weightswarm.trusting import default_store

    store = default_store()
    rows = [(target, key) for target, keys in sorted(store.pins().keys.items()) for key in keys]
    if as_json:
        listed = [{"target": t, "key_id": key.shown_key_id, "public_key": key.line} for t, key in rows]
        click.echo(json.dumps(listed, indent=2))
        return
    if not rows:
        click.echo(f"No keys in {store.path}", err=True)
        return
    width = max(len(target) for target, _ in rows)
    for target, key in rows:
        click.echo(f"{target:<{width}}  {key.shown_key_id}  {key.line}")


@trust_command.command("rm", short_help="Unpin a key, or every key of a name.")
@click.argument("target", metavar="ORG|ORG/MODEL", shell_complete=complete_cached)
@click.argument("key", required=False, shell_complete=complete_files)
@option("-y", "--yes", is_flag=True, help="Remove all of a name's keys without asking.")
def rm_command(target: str, key: str | None, yes: bool) -> None:
    """Unpin KEY (its line, file or id), or every key of a name: nothing it signed counts from then on.

    A key of ORG is unpinned from ORG's models, too. Without any key left, a name is anybody's again.
    """
    from weightswarm.trusting import default_store, parse_target

    target, store = parse_target(target), default_store()
    before = store.pins()
    pinned = before.of(target)
    covered = tuple(dict.fromkeys(k for keys in before.below(target).values() for k in keys))
    if not (pinned if key is None else covered):
        raise NotFound(f"No key is pinned for {target}", hint="weightswarm trust ls shows what is")
    if key is None:
        if not yes and not confirmed(f"Unpin {_keys(len(pinned))} of {target}?"):
            raise InvalidInput("Nothing was removed", hint="--yes removes without asking")
        after = store.change_pins(lambda pins: pins.without(target))
    else:
        by_id = [k for k in covered if k.shown_key_id == key.upper()]
        if len(by_id) > 1:
            raise InvalidInput(
                f"{len(by_id)} keys with the id {key.upper()} are pinned for {target}",
                hint="name the one to remove by its line, as weightswarm trust ls shows it",
            )
        gone = by_id[0] if by_id else public_key(key)
        if gone not in covered:
            raise NotFound(f"Key {gone.shown_key_id} is not pinned for {target}")
        after = store.change_pins(lambda pins: pins.without(target, gone))
    for known, keys in before.below(target).items():
        for each in keys:
            if each not in after.keys.get(known, ()):
                click.echo(f"Unpinned {each.shown_key_id} for {known}", err=True)
    left = after.of(target)
    click.echo(f"{_keys(len(left))} pinned for {target} now", err=True)


def _keys(count: int) -> str:
    return "1 key" if count == 1 else f"{count} keys"
