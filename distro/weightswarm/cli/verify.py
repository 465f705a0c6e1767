"""`weightswarm verify`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from weightswarm.cli import exit_codes
from weightswarm.cli.completing import complete_places
from weightswarm.cli.options import (
    cache_options,
    network_from,
    network_options,
    option,
    output_options,
    positive,
    registry_options,
)
from weightswarm.cli.reporting import reporting, size_text
from weightswarm.cli.signer import model_sig_from, model_sig_options
from weightswarm.errors import printable


@click.command("verify")
@click.argument("target", metavar="PATH|ORG/MODEL[@REV]", shell_complete=complete_places)
@option("--manifest", metavar="FILE", help="Compare with this manifest, SHA256SUMS file or torrent.")
@option("--allow-malformed", is_flag=True, help="No fault: weights that break their own format.")
@option("--repair", is_flag=True, help="Fetch the pieces that are bad and put them right.")
@option("--timeout", type=float, default=300.0, show_default=True, metavar="SECONDS", callback=positive("seconds"),
        help="Give a repair up after this long without progress.")  # fmt: skip
@model_sig_options
@network_options
@registry_options
@cache_options
@output_options
def verify_command(
    target: str,
    manifest: str | None,
    allow_malformed: bool,
    repair: bool,
    timeout: float,
    registries: tuple[str, ...],
    cache_dir: str | None,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Hash every byte of a cached model, a snapshot or a folder and compare it with its manifest.

    Names every file that is missing, extra, of the wrong size or hash, or unreadable; exit code 3 if there is one.
    """
    from weightswarm import api
    from weightswarm.checking import VerifyOptions

    network, model_sig = network_from(options), model_sig_from(options)
    chosen = VerifyOptions(
        None if manifest is None else Path(manifest), repair, timeout, network, allow_malformed, model_sig
    )
    with reporting(quiet) as report:
        outcome = api.verify(target, cache_dir=cache_dir, registries=registries, options=chosen, report=report)
    verdict = outcome.verdict
    if as_json:
        findings = [{"path": f.path, "fault": f.fault.value, "detail": f.detail} for f in verdict.findings]
        document = {
            "path": str(outcome.root),
            "ok": outcome.ok,
            "partial": outcome.partial,
            "files": verdict.checked,
            "size": verdict.hashed,
            "findings": findings,
            "code": [{"path": f.path, "kind": f.kind.value, "disguised": f.disguised} for f in verdict.code],
            "repaired": list(outcome.repaired),
            "signature": asdict(outcome.standing),
        }
        click.echo(json.dumps(document, indent=2))
    else:
        for finding in verdict.findings:
            detail = f" ({finding.detail})" if finding.detail else ""
            click.echo(f"{finding.fault.value}: {printable(finding.path)}{printable(detail)}")
    if not quiet:
        for path in outcome.repaired:
            click.echo(f"Repaired: {printable(path)}", err=True)
        faults = len(verdict.findings)
        state = "all as the manifest says" if verdict.ok else f"{faults:,} {'is' if faults == 1 else 'are'} not right"
        part = " (partial: the files that were fetched)" if outcome.partial else ""
        click.echo(f"{verdict.checked:,} files, {size_text(verdict.hashed)}{part}: {state}", err=True)
        told = f"Signed by {outcome.standing}"
        if outcome.key_ids or outcome.standing.key_id:
            click.echo(told + (f"; pinned: {', '.join(outcome.key_ids)}" if outcome.key_ids else ""), err=True)
    return exit_codes.DONE if outcome.ok else exit_codes.MISMATCH
