"""Sigstore identities of OpenSSF Model Signing, by the real `sigstore`, with a Sigstore of the test's own."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from hostile import NAME, flip_byte, refused, release_of, serving_release, visible
from private_sigstore import IDENTITY, ISSUER, PrivateSigstore
from running import CommandLine, CommandLineHere
from test_oms import Authority, key_pair, pem_of, reference, with_chain
from weightswarm.errors import InvalidInput, InvalidSignature, Untrusted
from weightswarm.signing import MAX_BUNDLE_BYTES, SigstoreIdentity, sign_files, verify_oms

FILES = [("config.json", "11" * 32), ("sub/weights", "22" * 32)]
BY = ("--oms-identity", IDENTITY, "--oms-issuer", ISSUER, "--oms-trust-config", "trust.json")


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    """The command, without the start of Python each time."""
    return CommandLineHere(tmp_path)


@pytest.fixture
def lab(tmp_path: Path) -> PrivateSigstore:
    """A private Sigstore, its configuration in `trust.json` and the signer's key of the moment in `key.pem`."""
    sigstore = PrivateSigstore()
    (tmp_path / "trust.json").write_bytes(sigstore.trust_config)
    (tmp_path / "key.pem").write_bytes(sigstore.key_pem)
    return sigstore


def signed(sigstore: PrivateSigstore) -> bytes:
    """A bundle by the signer's key, that nobody has vouched for."""
    return sign_files(FILES, "m", sigstore.key_pem, lambda: "")


@cache
def shared() -> tuple[PrivateSigstore, SigstoreIdentity, bytes]:
    """A Sigstore, an identity in it and a good bundle, for tests that leave them as they are."""
    sigstore = PrivateSigstore()
    identity = SigstoreIdentity.load(IDENTITY, ISSUER, sigstore.trust_config)
    return sigstore, identity, sigstore.vouch(signed(sigstore))


def test_the_reference_implementation_and_we_verify_the_same_identitys_signature_and_name_a_flipped_byte(
    cli: CommandLine, lab: PrivateSigstore, model: Path, tmp_path: Path
) -> None:
    told = cli.ok("publish", model, "--name", NAME, "-o", "out", "--oms-key", "key.pem", "--json").json
    (tmp_path / "by-lab.sig").write_bytes(lab.vouch((tmp_path / told["model_sig"]).read_bytes()))
    theirs = ("verify", "sigstore", model, "--signature", tmp_path / "by-lab.sig",
              "--trust_config", tmp_path / "trust.json", "--identity_provider", ISSUER, "--identity")  # fmt: skip
    ours = ("verify", model, "--manifest", told["manifest"], "--oms-signature", "by-lab.sig")
    assert reference(*theirs, IDENTITY) == 0
    assert f"signed by {IDENTITY}, by the word of {ISSUER}" in cli.ok(*ours, *BY).stderr
    assert reference(*theirs, "somebody@lab.example") == 1
    refused(cli(*ours, *BY, "--oms-identity", "somebody@lab.example"), 3, "somebody@lab.example", IDENTITY)
    refused(cli(*ours, *BY, "--oms-issuer", "https://other.example"), 3, "https://other.example", ISSUER)
    flip_byte(model / "model.safetensors")
    assert reference(*theirs, IDENTITY) == 1
    assert cli(*ours, *BY).code == 3


def test_a_release_is_fetched_only_by_the_identity_that_signed_it(
    cli: CommandLine, lab: PrivateSigstore, model: Path, tmp_path: Path, hub: Path
) -> None:
    told = cli.ok("publish", model, "--name", NAME, "-o", "out", "--oms-key", "key.pem", "--json").json
    (model / "model.sig").write_bytes(lab.vouch((tmp_path / told["model_sig"]).read_bytes()))
    with serving_release(release_of(model)) as magnet:
        fetch = ("fetch", magnet, "--name", NAME, "--timeout", "20")
        refused(cli(*fetch, *BY, "--oms-identity", "somebody@lab.example"), 3, "somebody@lab.example")
        assert visible(hub) == []
        cli.ok(*fetch, *BY)
    again = cli.ok("fetch", NAME, *BY[4:], "--timeout", "5", WEIGHTSWARM_OMS_IDENTITY=IDENTITY,
                   WEIGHTSWARM_OMS_ISSUER=ISSUER)  # fmt: skip
    assert f"model.sig is signed by {IDENTITY}" in again.stderr


# --- what must not count ---------------------------------------------------------------------------------------------


def other() -> ec.EllipticCurvePrivateKey:
    """A key of the attacker's."""
    return ec.generate_private_key(ec.SECP256R1())


def changed(bundle: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A bundle with something else in its log entry."""
    document = json.loads(bundle)
    change(document["verificationMaterial"]["tlogEntries"][0])
    return json.dumps(document).encode()


def test_a_bundle_whose_vouchers_lie_or_came_too_late_is_refused_and_the_reason_named(
    figure: Callable[[str, float], None],
) -> None:
    def by(**keys: ec.EllipticCurvePrivateKey) -> tuple[PrivateSigstore, SigstoreIdentity]:
        sigstore = PrivateSigstore()
        identity = SigstoreIdentity.load(IDENTITY, ISSUER, sigstore.trust_config)
        for name, key in keys.items():
            setattr(sigstore, name, key)
        return sigstore, identity

    honest, identity, good = shared()
    assert verify_oms(good, identity=identity).files == dict(FILES)
    bare = signed(honest)
    stranger = PrivateSigstore()
    strangers = stranger.vouch(signed(stranger))
    fulcio, ct, rekor = by(fulcio=other()), by(ct=other()), by(rekor=other())
    another_payload = json.loads(good)
    another_payload["dsseEnvelope"] = json.loads(
        sign_files([("config.json", "33" * 32)], "m", honest.key_pem, lambda: "")
    )["dsseEnvelope"]
    stolen_place = json.loads(good)
    stolen_place["dsseEnvelope"] = json.loads(sign_files(FILES, "m", pem_of(other()), lambda: ""))["dsseEnvelope"]
    cases = [
        (identity, strangers, "no authority of the trust root"),
        (fulcio[1], fulcio[0].vouch(signed(fulcio[0])), "no authority of the trust root"),
        (ct[1], ct[0].vouch(signed(ct[0])), "SCT"),
        (rekor[1], rekor[0].vouch(signed(rekor[0])), "invalid log entry"),
        (identity, honest.vouch(bare, late=timedelta(minutes=11)), "had expired when it was logged"),
        (identity, honest.vouch(bare, late=timedelta(hours=-1)), "had expired when it was logged"),
        (identity, honest.vouch(bare, scts=0), "timestamp"),
        (identity, honest.vouch(bare, scts=2), "timestamp"),
        (identity, honest.vouch(bare, code_signing=False), "code signing"),
        (identity, json.dumps(another_payload).encode(), "payload hash"),
        (identity, json.dumps(stolen_place).encode(), "invalid signature"),
        (identity, changed(good, lambda e: e.pop("inclusionPromise")), "inclusion promise"),
        (identity, changed(good, lambda e: e["inclusionProof"].pop("checkpoint")), "checkpoint"),
        (identity, changed(good, lambda e: e.update(integratedTime=str(int(e["integratedTime"]) + 1))), "SET"),
        (identity, changed(good, lambda e: e.update(integratedTime="9" * 19)), "timestamp out of range"),
        (identity, changed(good, lambda e: e["inclusionProof"].update(hashes=[])), "inclusion proof"),
        (identity, changed(good, lambda e: e["inclusionProof"].update(hashes=["AA=="])), "root hash"),
        (identity, changed(good, lambda e: e["inclusionProof"].update(logIndex="0")), "root hash"),
        (identity, changed(good, lambda e: e["kindVersion"].update(kind="intoto")), "dsse"),
    ]
    for judge, bundle, reason in cases:
        with pytest.raises(Untrusted, match=f"(?s)not signed by .*{reason}"):
            verify_oms(bundle, identity=judge)
            pytest.fail(reason)
    for entries in ([], [1], "many", json.loads(good)["verificationMaterial"]["tlogEntries"] * 2):
        document = json.loads(good)
        document["verificationMaterial"]["tlogEntries"] = entries
        with pytest.raises(Untrusted):
            verify_oms(json.dumps(document).encode(), identity=identity)
    figure("lying Sigstore bundles refused", len(cases) + 4)


def test_a_model_sig_by_a_key_or_an_own_certificate_is_no_identitys(tmp_path: Path, cli: CommandLine) -> None:
    _, identity, good = shared()
    key = other()
    by_key = sign_files(FILES, "m", pem_of(key), lambda: "")
    pki = Authority(tmp_path / "ca")
    by_chain = with_chain(sign_files(FILES, "m", pem_of(pki.leaf_key), lambda: ""), pki.leaf, pki.middle)
    for bundle in (by_key, by_chain):
        with pytest.raises(Untrusted, match="no Sigstore certificate"):
            verify_oms(bundle, identity=identity)
    own = json.loads(good)
    own["verificationMaterial"]["certificate"] = json.loads(by_chain)["verificationMaterial"]["x509CertificateChain"][
        "certificates"
    ][0]
    with pytest.raises(Untrusted, match="certificate"):
        verify_oms(json.dumps(own).encode(), identity=identity)


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"{}", b"[" * 100_000, b"[" + b"{}," * 1_000_000 + b"{}]", b" " * (MAX_BUNDLE_BYTES + 1)]
)
def test_what_is_no_model_sig_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidSignature):
        verify_oms(data, identity=shared()[1])


def test_any_flipped_byte_of_an_identitys_bundle_is_refused_or_changes_nothing(
    figure: Callable[[str, float], None],
) -> None:
    _, identity, good = shared()
    passed = 0
    for position in range(0, len(good), 7):
        flipped = bytearray(good)
        flipped[position] ^= 0x01
        try:
            assert verify_oms(bytes(flipped), identity=identity).files == dict(FILES)
            passed += 1
        except (InvalidSignature, Untrusted):
            continue
    assert passed < len(good) // 7 // 10, "only what nobody reads may change"
    figure("bytes of a Sigstore bundle flipped", len(good) // 7)


def test_what_was_verified_counts_and_not_what_another_parser_read() -> None:
    _, _, good = shared()
    key = other()
    envelope = json.loads(sign_files([("verified", "33" * 32)], "m", pem_of(key), lambda: ""))["dsseEnvelope"]

    class Verified:
        kind = envelope["payloadType"]

        def verify_dsse(self, *_: object) -> tuple[str, bytes]:
            return self.kind, base64.b64decode(envelope["payload"])

    verifier = Verified()
    identity = SigstoreIdentity(IDENTITY, ISSUER, verifier)  # type: ignore[arg-type]
    assert verify_oms(good, identity=identity).files == {"verified": "33" * 32}
    verifier.kind = "application/vnd.other+json"
    with pytest.raises(InvalidSignature, match="no in-toto statement"):
        verify_oms(good, identity=identity)


# --- the command line ------------------------------------------------------------------------------------------------


def test_an_identity_needs_its_issuer_and_stands_alone(cli: CommandLine, lab: PrivateSigstore, tmp_path: Path) -> None:
    key_pair(tmp_path / "keys")
    for wrong, words in (
        (BY[:2], "need each other"),
        (BY[2:4], "need each other"),
        (BY[4:], "--oms-trust-config needs"),
        ((*BY, "--oms-key", "keys/pub.pem"), "exclude each other"),
        ((*BY, "--oms-issuer", ""), "no identity with its issuer"),
        ((*BY, "--oms-issuer", "accounts.lab.example"), "no identity with its issuer"),
        ((*BY, "--oms-identity", ""), "no identity with its issuer"),
        ((*BY, "--oms-trust-config", "key.pem"), "Not a Sigstore client trust configuration"),
    ):
        refused(cli("verify", NAME, *wrong), 2, words)
        refused(cli("fetch", NAME, *wrong), 2, words)
    with pytest.raises(InvalidInput):
        SigstoreIdentity.load(IDENTITY, "", lab.trust_config)


def test_without_the_extra_one_line_says_what_to_install(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.partition(".")[0] == "sigstore"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sigstore", None)
    outcome = cli("fetch", NAME, *BY[:4])
    refused(outcome, 1, "package sigstore")
    assert "pip install 'weightswarm[sigstore]'" in outcome.stderr


OFFLINE = """
import sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        sys.stderr.write(f"NETWORK {event} {arguments}\\n")
        raise OSError("no network here")

sys.addaudithook(refuse)
from weightswarm.cli.start import main
main()
"""


def run_offline(folder: Path, home: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command that is refused any connection and any look-up of a name, and tells of the attempt."""
    return subprocess.run(
        [sys.executable, "-c", OFFLINE, *map(str, arguments)],
        capture_output=True, text=True, check=False, cwd=folder,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "WEIGHTSWARM_NETWORK": "loopback"},
    )  # fmt: skip


def test_the_public_sigstores_trust_root_comes_with_the_package_and_nothing_asks_the_network(
    cli: CommandLine, lab: PrivateSigstore, model: Path, tmp_path: Path
) -> None:
    told = cli.ok("publish", model, "--name", NAME, "-o", "out", "--oms-key", "key.pem", "--json").json
    (tmp_path / "by-lab.sig").write_bytes(lab.vouch((tmp_path / told["model_sig"]).read_bytes()))
    verify = ("verify", model, "--manifest", told["manifest"], "--oms-signature", "by-lab.sig", *BY[:4])
    (tmp_path / "home").mkdir()
    public = run_offline(tmp_path, tmp_path / "home", *verify)
    assert public.returncode == 3, public.stderr
    assert "no authority of the trust root" in public.stderr
    private = run_offline(tmp_path, tmp_path / "home", *verify, *BY[4:])
    assert private.returncode == 0, private.stderr
    for each in (public, private):
        assert "NETWORK" not in each.stderr
        assert "Traceback" not in each.stderr
        assert "TUF" not in each.stderr
    (tmp_path / "no-home").write_text("a file")
    unusable = cli(*verify, HOME=str(tmp_path / "no-home"), XDG_CACHE_HOME=str(tmp_path / "no-home"))
    refused(unusable, 1, "Sigstore's trust root")
    assert "sigstore plumbing update-trust-root" in unusable.stderr
