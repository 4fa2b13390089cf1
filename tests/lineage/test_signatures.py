"""Signatures: ours and the library's are the same, and every byte of one counts."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from potstill.errors import PotstillError
from potstill.lineage.keys import (
    SigningKey,
    local_key,
    make_key,
    read_public_key,
    read_signing_key,
)
from potstill.lineage.signatures import read_bundle, require_signed, spelled
from potstill.lineage.signing import SigstoreIdentity, require_signed_by, sign_file

CONTENT = b'{"files": {}}\n'


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "manifest.json"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return path


def key_of(path: Path, curve: ec.EllipticCurve) -> SigningKey:
    private = ec.generate_private_key(curve)
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return read_signing_key(path)


def library(path: Path, public: Path) -> None:
    from model_signing import hashing, verifying

    alone = hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False)
    config = verifying.Config().set_hashing_config(alone)
    config.use_elliptic_key_verifier(public_key=public).verify(path, f"{path}.sig")


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_the_library_verifies_what_is_accepted_here(
    curve: ec.EllipticCurve, manifest: Path, tmp_path: Path
) -> None:
    key = key_of(tmp_path / "key", curve)
    signature = sign_file(manifest, key)
    bundle = read_bundle(signature.read_bytes())
    require_signed(bundle, key.public, CONTENT)
    public = tmp_path / "key.pub"
    public.write_text(key.public.pem)
    library(manifest, public)
    # Its own spelling of the same signature as well.
    assert json.loads(signature.read_bytes()) == bundle.values
    with pytest.raises(PotstillError, match=r"manifest\.json has changed since it was signed"):
        require_signed(bundle, key.public, CONTENT + b" ")
    manifest.write_bytes(CONTENT + b" ")
    with pytest.raises(ValueError, match="mismatch"):
        library(manifest, public)


def test_no_byte_of_a_signature_may_be_another(manifest: Path, tmp_path: Path) -> None:
    key = key_of(tmp_path / "key", ec.SECP256R1())
    content = sign_file(manifest, key).read_bytes()
    for place in range(len(content)):
        for flip in (1, 32, 128):
            edited = bytearray(content)
            edited[place] ^= flip
            with pytest.raises(PotstillError, match=r"manifest\.json\.sig"):
                require_signed(read_bundle(bytes(edited)), key.public, CONTENT)


def test_another_spelling_of_the_same_signature_is_refused(manifest: Path, tmp_path: Path) -> None:
    key = key_of(tmp_path / "key", ec.SECP256R1())
    values = json.loads(sign_file(manifest, key).read_bytes())

    def refused(change: Any, *, spelling: Any = spelled) -> None:
        other = json.loads(json.dumps(values))
        change(other)
        with pytest.raises(PotstillError, match=r"manifest\.json\.sig has changed"):
            require_signed(read_bundle(spelling(other)), key.public, CONTENT)

    refused(lambda v: None, spelling=lambda v: json.dumps(v).encode())
    refused(lambda v: v.update(more=1))
    refused(lambda v: v.update(mediaType="application/json"))
    refused(lambda v: v["dsseEnvelope"].update(payloadType="text/plain"))
    refused(lambda v: v["dsseEnvelope"]["signatures"][0].update(keyid="x"))
    refused(lambda v: v["dsseEnvelope"]["signatures"].append(values["dsseEnvelope"]))
    refused(lambda v: v["verificationMaterial"]["publicKey"].update(more=1))
    sig = values["dsseEnvelope"]["signatures"][0]["sig"]
    refused(lambda v: v["dsseEnvelope"]["signatures"][0].update(sig=sig + "\n"))
    payload = values["dsseEnvelope"]["payload"]
    other = base64.b64encode(base64.b64decode(payload).replace(b"v1.0", b"v0.1")).decode()
    refused(lambda v: v["dsseEnvelope"].update(payload=other))


def test_another_key_and_an_identity_are_told_apart(manifest: Path, tmp_path: Path) -> None:
    key, other = (key_of(tmp_path / name, ec.SECP256R1()) for name in "ab")
    signature = sign_file(manifest, key)
    bundle = read_bundle(signature.read_bytes())
    with pytest.raises(PotstillError, match="is by another key") as refused:
        require_signed(bundle, other.public, CONTENT)
    assert key.public.fingerprint in str(refused.value)
    # A signature that claims another's fingerprint.
    forged = json.loads(signature.read_bytes())
    forged["verificationMaterial"]["publicKey"]["hint"] = other.public.fingerprint
    with pytest.raises(PotstillError, match="has changed, or is no signature"):
        require_signed(read_bundle(spelled(forged)), other.public, CONTENT)
    by_identity = {**forged, "verificationMaterial": {"certificate": {"rawBytes": "AA=="}}}
    with pytest.raises(PotstillError, match="by an identity"):
        require_signed(read_bundle(spelled(by_identity)), key.public, CONTENT)
    signature.write_bytes(spelled(by_identity))
    with pytest.raises(PotstillError, match=r"does not hold as me@example\.org's"):
        require_signed_by(manifest, signature, SigstoreIdentity("me@example.org", "https://x"))


def test_one_s_own_key_is_made_once_and_is_nobody_else_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    first, then = local_key(), local_key()
    assert first.new and not then.new and first.public == then.public
    assert first.path == tmp_path / "potstill" / "signing.key"
    assert first.path.stat().st_mode & 0o077 == 0
    assert read_public_key(first.path.with_name("signing.key.pub")) == first.public
    with pytest.raises(PotstillError, match="is there already"):
        make_key(first.path)


def test_what_is_no_key_is_one_sentence(tmp_path: Path) -> None:
    rsa_key = rsa.generate_private_key(65537, 2048)
    small = ec.generate_private_key(ec.SECP256K1())
    pem = (Encoding.PEM, PrivateFormat.PKCS8)
    public = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    files = {
        "rsa": rsa_key.private_bytes(*pem, NoEncryption()),
        "rsa.pub": rsa_key.public_key().public_bytes(*public),
        "small": small.private_bytes(*pem, NoEncryption()),
        "small.pub": small.public_key().public_bytes(*public),
        "locked": small.private_bytes(*pem, BestAvailableEncryption(b"x")),
        "text": b"no key\n",
        "empty": b"",
        "mark.key": b"potstill-watermark-master-v1 " + b"0" * 64 + b"\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    for name in ("rsa", "small", "text", "empty", "mark.key", "rsa.pub"):
        with pytest.raises(PotstillError, match="holds no private key that signs manifests"):
            read_signing_key(tmp_path / name)
    for name in ("rsa.pub", "small.pub", "text", "empty", "mark.key"):
        with pytest.raises(PotstillError, match="holds no public key that checks manifests"):
            read_public_key(tmp_path / name)
    with pytest.raises(PotstillError, match="is encrypted"):
        read_signing_key(tmp_path / "locked")
    with pytest.raises(PotstillError, match="holds a private key; give the public one"):
        read_public_key(tmp_path / "rsa")
    for read in (read_public_key, read_signing_key):
        with pytest.raises(PotstillError, match="does not exist"):
            read(tmp_path / "absent")
        with pytest.raises(PotstillError, match="is a directory"):
            read(tmp_path)
