"""OpenSSF Model Signing: the real `model_signing` verifies what we sign, and we what it signs, by key and by chain."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from conftest import make_model
from hostile import NAME, flip_byte, refused, release_of, serving_release, visible
from running import CommandLine, CommandLineHere
from weightswarm.errors import InvalidInput, InvalidSignature, Untrusted
from weightswarm.signing import sign_files, verify_oms

FILES = [("config.json", "11" * 32), ("sub/weights", "22" * 32)]


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    """The command, without the start of Python each time."""
    return CommandLineHere(tmp_path)


def key_pair(folder: Path, passphrase: bytes | None = None) -> None:
    """Write `key.pem` and `pub.pem`."""
    key = ec.generate_private_key(ec.SECP256R1())
    sealed = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    folder.mkdir(exist_ok=True)
    (folder / "key.pem").write_bytes(pem_of(key, sealed))
    (folder / "pub.pem").write_bytes(public_of(key))


def pem_of(key: ec.EllipticCurvePrivateKey, sealed: Any = None) -> bytes:
    """Return a private key in PEM."""
    encryption = sealed or serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def public_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return its public key in PEM."""
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def reference(*arguments: str | Path) -> int:
    """Run OpenSSF's own `model_signing` and return its exit code."""
    done = subprocess.run(
        [Path(sys.executable).with_name("model_signing"), *arguments], capture_output=True, text=True, check=False
    )
    assert "No such option" not in done.stderr, done.stderr
    return done.returncode


def never() -> str:
    """The passphrase of a key that has none."""
    raise AssertionError("nobody asked for a passphrase")


def test_the_reference_implementation_verifies_what_we_sign_and_names_a_flipped_byte(
    cli: CommandLine, model: Path, tmp_path: Path
) -> None:
    (model / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    key_pair(tmp_path / "lab", passphrase=b"secret")
    told = cli.ok(
        "publish", model, "--name", NAME, "-o", "out", "--oms-key", "lab/key.pem", "--json",
        WEIGHTSWARM_KEY_PASSPHRASE="secret",
    ).json  # fmt: skip
    check = ("verify", "key", model, "--signature", tmp_path / told["model_sig"], "--public_key", "lab/pub.pem")
    at = [str(a).replace("lab/", f"{tmp_path}/lab/") for a in check]
    assert reference(*at) == 0
    cli.ok("verify", model, "--manifest", told["manifest"], "--oms-key", "lab/pub.pem",
           "--oms-signature", told["model_sig"])  # fmt: skip
    flip_byte(model / "model.safetensors")
    assert reference(*at) == 1


def test_a_release_that_carries_the_reference_implementations_signature_is_checked_before_it_is_placed(
    cli: CommandLine, model: Path, tmp_path: Path, hub: Path
) -> None:
    key_pair(tmp_path / "lab")
    key_pair(tmp_path / "other")
    signature = model / "model.sig"
    assert reference("sign", "key", model, "--signature", signature, "--private_key", tmp_path / "lab/key.pem") == 0
    with serving_release(release_of(model)) as magnet:
        fetch = ("fetch", magnet, "--name", NAME, "--timeout", "20")
        refused(cli(*fetch, "--oms-key", "other/pub.pem"), 3, "model.sig is not signed by key")
        assert visible(hub) == []
        cli.ok(*fetch, "--oms-key", "lab/pub.pem")
    again = cli.ok("fetch", NAME, "--oms-key", "lab/pub.pem", "--timeout", "5")
    assert "model.sig is signed by key" in again.stderr
    refused(cli("fetch", NAME, "--oms-key", "other/pub.pem", "--timeout", "5"), 3, "not signed by key")
    assert "model.sig is signed by key" in cli.ok("verify", NAME, "--oms-key", "lab/pub.pem").stderr
    refused(cli("verify", NAME, "--oms-key", "other/pub.pem"), 3, "not signed by key")


def test_a_release_that_carries_a_malformed_signature_is_refused_before_it_is_placed(
    cli: CommandLine, model: Path, tmp_path: Path, hub: Path
) -> None:
    key_pair(tmp_path / "lab")
    (model / "model.sig").write_bytes(b"{}")
    with serving_release(release_of(model)) as magnet:
        refused(cli("fetch", magnet, "--name", NAME, "--timeout", "20", "--oms-key", "lab/pub.pem"), 3, "model.sig")
        assert visible(hub) == []
        cli.ok("fetch", magnet, "--name", NAME, "--timeout", "20")
    refused(cli("verify", NAME, "--oms-key", "lab/pub.pem"), 3, "model.sig")


def test_a_release_is_refused_whose_files_are_not_those_that_were_signed(
    cli: CommandLine, model: Path, tmp_path: Path, hub: Path
) -> None:
    key_pair(tmp_path / "lab")
    told = cli.ok("publish", model, "--name", NAME, "-o", "out", "--oms-key", "lab/key.pem", "--json").json
    other = release_of(make_model(tmp_path / "other", 50_000, seed=9))
    with serving_release(other) as magnet:
        fetch = ("fetch", magnet, "--name", NAME, "--oms-key", "lab/pub.pem", "--timeout", "20")
        refused(cli(*fetch, "--oms-signature", told["model_sig"]), 3, "model.safetensors")
        refused(cli(*fetch), 3, "carries no model.sig")
    assert visible(hub) == []


# --- by certificate --------------------------------------------------------------------------------------------------


class Authority:
    """A certificate authority of three: root, one below it, and who signs."""

    def __init__(self, folder: Path) -> None:
        self.now = datetime.now(UTC) - timedelta(hours=1)
        self.root_key, self.middle_key, self.leaf_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
        self.root = self.issue("root", self.root_key, "root", self.root_key, ca=True)
        self.middle = self.issue("middle", self.middle_key, "root", self.root_key, ca=True)
        self.leaf = self.issue("lab", self.leaf_key, "middle", self.middle_key)
        folder.mkdir()
        for name, certificate in (("root", self.root), ("middle", self.middle), ("leaf", self.leaf)):
            (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / "leaf.key").write_bytes(pem_of(self.leaf_key))

    def issue(
        self, subject: str, key: Any, issuer: str, issuer_key: Any, *, ca: bool = False, signs: bool = True,
        issues: bool | None = None, depth: int | None = None, aged: int = 30, days: int = 1, narrow: bool = False,
        others: Sequence[tuple[str, bytes]] = (),
    ) -> x509.Certificate:  # fmt: skip
        """Issue a certificate; `issues` is its key's use, `depth` how many authorities it may have below it."""

        def name(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        usage = x509.KeyUsage(signs, False, False, False, False, ca if issues is None else issues, False, False, False)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.now - timedelta(days=aged))
            .not_valid_after(self.now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca, depth), critical=True)
            .add_extension(usage, critical=True)
        )
        for oid, value in others:
            builder = builder.add_extension(
                x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value), critical=False
            )
        if narrow:
            builder = builder.add_extension(x509.NameConstraints([x509.DNSName("example.org")], None), critical=True)
        return builder.sign(issuer_key, hashes.SHA256())


def with_chain(signature: bytes, *chain: x509.Certificate) -> bytes:
    """Put certificates where a `model.sig` names its key."""
    return with_raw_chain(signature, *(c.public_bytes(serialization.Encoding.DER) for c in chain))


def with_raw_chain(signature: bytes, *chain: bytes) -> bytes:
    """As `with_chain`, of bytes that need be no certificates."""
    document = json.loads(signature)
    raw = [base64.b64encode(each).decode() for each in chain]
    document["verificationMaterial"] = {
        "x509CertificateChain": {"certificates": [{"rawBytes": each} for each in raw]},
        "tlogEntries": [],
    }
    return json.dumps(document).encode()


def test_the_reference_implementations_certificate_is_followed_to_the_authority_that_the_user_named(
    cli: CommandLine, model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "ca"
    Authority(folder)
    manifest = cli.ok("publish", model, "--name", NAME, "-o", "out", "--json").json["manifest"]
    assert reference(
        "sign", "certificate", model, "--signature", tmp_path / "by-chain.sig", "--private_key", folder / "leaf.key",
        "--signing_certificate", folder / "leaf.pem", "--certificate_chain", folder / "middle.pem",
    ) == 0  # fmt: skip
    verify = ("verify", model, "--manifest", manifest, "--oms-signature", "by-chain.sig")
    assert "signed by CN=lab, certified by CN=root" in cli.ok(*verify, "--oms-ca", "ca/root.pem").stderr
    Authority(tmp_path / "stranger")
    refused(cli(*verify, "--oms-ca", "stranger/root.pem"), 3, "CN=lab leads to none of the authorities")


def test_a_chain_that_must_not_count_is_refused(tmp_path: Path, figure: Callable[[str, float], None]) -> None:
    pki = Authority(tmp_path / "ca")
    root = pki.root.public_bytes(serialization.Encoding.PEM)
    signed = sign_files(FILES, "model", pem_of(pki.leaf_key), never)
    assert verify_oms(with_chain(signed, pki.leaf, pki.middle), ca_pem=root).files == dict(FILES)

    def middle(**what: Any) -> x509.Certificate:
        return pki.issue("middle", pki.middle_key, "root", pki.root_key, **what)

    forged = pki.issue("lab", pki.leaf_key, "middle", pki.leaf_key)
    no_signer = pki.issue("lab", pki.leaf_key, "middle", pki.middle_key, signs=False)
    other_key = pki.issue("lab", pki.middle_key, "middle", pki.middle_key)
    own_root = pki.issue("root", pki.leaf_key, "root", pki.leaf_key, ca=True)
    chains = {
        "no link to the root": (pki.leaf,),
        "an issuer that is no authority": (pki.leaf, middle(issues=True)),
        "an issuer whose key may not issue": (pki.leaf, middle(ca=True, issues=False)),
        "an issuer that had expired": (pki.leaf, middle(ca=True, aged=60, days=-40)),
        "an issuer for other names alone": (pki.leaf, middle(ca=True, narrow=True)),
        "a signature by another issuer": (forged, pki.middle),
        "a certificate not for signing": (no_signer, pki.middle),
        "another key's certificate": (other_key, pki.middle),
        "a root of the attacker's own": (own_root, own_root),
    }
    for what, chain in chains.items():
        with pytest.raises(Untrusted):
            verify_oms(with_chain(signed, *chain), ca_pem=root)
            pytest.fail(what)
    with pytest.raises(InvalidSignature):
        verify_oms(with_chain(signed), ca_pem=root)
    shallow = pki.issue("root", pki.root_key, "root", pki.root_key, ca=True, depth=0)
    with pytest.raises(Untrusted):
        verify_oms(with_chain(signed, pki.leaf, pki.middle), ca_pem=shallow.public_bytes(serialization.Encoding.PEM))
    figure("certificate chains refused", len(chains) + 2)


def test_a_chain_of_certificates_that_nothing_can_read_is_refused_as_a_strangers(
    cli: CommandLine, model: Path, tmp_path: Path, figure: Callable[[str, float], None]
) -> None:
    pki = Authority(tmp_path / "ca")
    told = cli.ok(
        "publish", model, "--name", NAME, "-o", "out", "--oms-key", "ca/leaf.key", "--json"
    ).json  # fmt: skip
    signed = (tmp_path / told["model_sig"]).read_bytes()
    verify = ("verify", model, "--manifest", told["manifest"], "--oms-signature", "bad.sig", "--oms-ca", "ca/root.pem")
    (tmp_path / "bad.sig").write_bytes(with_chain(signed, pki.leaf, pki.middle))
    cli.ok(*verify)

    def der(*extensions: tuple[str, bytes]) -> bytes:
        return pki.issue("lab", pki.leaf_key, "middle", pki.middle_key, others=extensions).public_bytes(
            serialization.Encoding.DER
        )

    plain = der()
    elsewhere = pki.issue("lab", ec.generate_private_key(ec.SECP256K1()), "middle", pki.middle_key)
    leaves = {
        "a version that is none": plain.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07"),
        "an extension twice": der(("1.2.3.4", b"\5\0"), ("1.2.3.5", b"\5\0")).replace(b"\x2a\3\5", b"\x2a\3\4"),
        "a name of a kind that nobody uses": der(("2.5.29.17", b"\x30\x02\xa3\x00")),
        "a key of an unknown kind": plain.replace(b"\x2a\x86\x48\xce\x3d\x02\x01", b"\x2a\x86\x48\xce\x3d\x02\x77"),
        "a curve that the standard does not have": elsewhere.public_bytes(serialization.Encoding.DER),
        "no certificate at all": b"\0",
    }
    middle = pki.middle.public_bytes(serialization.Encoding.DER)
    chains = {
        **{what: (leaf, middle) for what, leaf in leaves.items()},
        "an issuer": (plain, leaves["an extension twice"]),
    }
    for what, chain in chains.items():
        assert what == "an issuer" or chain[0] != plain, what
        (tmp_path / "bad.sig").write_bytes(with_raw_chain(signed, *chain))
        refused(cli(*verify), 3)
    for bad in (b"", b"[]", b"{}"):
        (tmp_path / "bad.sig").write_bytes(bad)
        refused(cli(*verify), 3, "model.sig")
    (tmp_path / "bad.sig").write_bytes(with_chain(signed, pki.leaf, pki.middle))
    strange = (tmp_path / "ca" / "root.pem").read_bytes()
    (tmp_path / "ca" / "root.pem").write_bytes(strange[:100] + strange[120:])
    refused(cli(*verify), 2, "Not certificates in PEM")
    figure("certificate chains refused", len(chains))


# --- what is malformed -----------------------------------------------------------------------------------------------


def test_each_curve_of_the_standard_signs_and_no_other(tmp_path: Path) -> None:
    for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()):
        key = ec.generate_private_key(curve)
        assert verify_oms(sign_files(FILES, "m", pem_of(key), never), key_pem=public_of(key)).files == dict(FILES)
    other = ec.generate_private_key(ec.SECP256K1())
    with pytest.raises(InvalidInput, match="secp256k1"):
        sign_files(FILES, "m", pem_of(other), never)


def resigned(key: ec.EllipticCurvePrivateKey, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A `model.sig` whose statement was changed, and which was then signed by the right key."""
    bundle = json.loads(sign_files(FILES, "m", pem_of(key), never))
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    change(statement)
    payload = json.dumps(statement).encode()
    kind = bundle["dsseEnvelope"]["payloadType"]
    encoded = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    signature = key.sign(encoded, ec.ECDSA(hashes.SHA256()))
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    return json.dumps(bundle).encode()


def test_a_statement_that_is_not_what_this_program_knows_is_refused_even_when_signed(
    figure: Callable[[str, float], None],
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    assert verify_oms(resigned(key, lambda s: s), key_pem=public_of(key)).files == dict(FILES)

    def serialization_of(statement: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = statement["predicate"]["serialization"]
        return found

    changes: list[Callable[[dict[str, Any]], object]] = [
        lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"),
        lambda s: s.update(predicateType="https://slsa.dev/provenance/v1"),
        lambda s: s.update(predicate=[]),
        lambda s: s.update(subject=[]),
        lambda s: s["subject"][0].update(digest={"sha256": "00" * 32}),
        lambda s: s["predicate"]["resources"].pop(),
        lambda s: s["predicate"]["resources"].append(s["predicate"]["resources"][0]),
        lambda s: s["predicate"]["resources"][0].update(algorithm="blake3"),
        lambda s: s["predicate"]["resources"][0].update(digest="zz"),
        lambda s: s["predicate"]["resources"][0].update(name=7),
        lambda s: s["predicate"].update(resources="all"),
        lambda s: serialization_of(s).update(method="shards"),
        lambda s: serialization_of(s).update(hash_type="blake2b"),
        lambda s: serialization_of(s).update(ignore_paths=[""]),
    ]
    for change in changes:
        with pytest.raises(InvalidSignature):
            verify_oms(resigned(key, change), key_pem=public_of(key))
    figure("malformed model.sig refused", len(changes))


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"[]", b"{}", b"[" * 100_000, b"[" + b"{}," * 5_000_000 + b"{}]", b"\xff{}"]
)
def test_what_is_no_model_sig_is_refused_without_much_memory(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InvalidSignature):
            verify_oms(data, key_pem=public_of(ec.generate_private_key(ec.SECP256R1())))
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_any_flipped_byte_of_a_model_sig_is_refused_or_changes_nothing(figure: Callable[[str, float], None]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    whole = sign_files(FILES, "m", pem_of(key), never)
    passed = 0
    for position in range(0, len(whole), 3):
        flipped = bytearray(whole)
        flipped[position] ^= 0x01
        try:
            assert verify_oms(bytes(flipped), key_pem=public_of(key)).files == dict(FILES)
            passed += 1
        except (InvalidSignature, Untrusted):
            continue
    assert passed < len(whole) // 12, "only the key hint and what nobody reads may change"
    figure("bytes of a model.sig flipped", len(whole) // 3)


def test_files_beside_the_signed_ones_are_refused_unless_the_signer_left_them_to_anybody() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    statement = verify_oms(sign_files(FILES, "m", pem_of(key), never), key_pem=public_of(key))
    statement.check(dict(FILES))
    in_folder = ("model.sig/weights.bin", "33" * 32)
    assert (
        dict([in_folder]).items()
        <= dict(
            verify_oms(sign_files([*FILES, in_folder], "m", pem_of(key), never), key_pem=public_of(key)).files
        ).items()
    ), "a folder of that name is signed like any other"
    statement.check({**dict(FILES), "model.sig": "33" * 32, ".gitattributes": "33" * 32, ".github/x": "33" * 32})
    for wrong in (
        dict(FILES[:1]),
        {**dict(FILES), "config.json": "33" * 32},
        {**dict(FILES), "extra.py": "33" * 32},
        {**dict(FILES), "sub/model.sig": "33" * 32},
        {**dict(FILES), "model.sig/weights.bin": "33" * 32},
        {**dict(FILES), ".gitattributes2": "33" * 32},
    ):
        with pytest.raises(Untrusted):
            statement.check(wrong)
