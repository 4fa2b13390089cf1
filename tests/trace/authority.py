"""A timestamp authority of a test's own: certificates by `cryptography`, replies by openssl."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

OPENSSL = shutil.which("openssl")
_CONFIG = """
[tsa]
default_tsa = own
[own]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
accuracy = secs:1
ess_cert_id_alg = sha256
"""


@dataclass(frozen=True)
class Authority:
    """`certificates` is the PEM text of its root; `signer` that of who signs."""

    folder: Path

    @property
    def certificates(self) -> bytes:
        return (self.folder / "root.pem").read_bytes()

    @property
    def signer(self) -> bytes:
        return (self.folder / "tsa.pem").read_bytes()

    def reply(self, content: bytes, digest: str = "sha256", *, signer: bool = True) -> bytes:
        """Return the reply to a question about content, with the signer's certificate or not."""
        assert OPENSSL is not None
        (self.folder / "data").write_bytes(content)
        query, reply = self.folder / "query.tsq", self.folder / "reply.tsr"
        ask = ["ts", "-query", "-data", f"{self.folder}/data", f"-{digest}"]
        ask += ["-cert"] if signer else []
        subprocess.run([OPENSSL, *ask, "-out", query], check=True, capture_output=True)
        answer = ["ts", "-reply", "-config", f"{self.folder}/tsa.cnf", "-section", "own"]
        subprocess.run(
            [OPENSSL, *answer, "-queryfile", query, "-out", reply], check=True, capture_output=True
        )
        return reply.read_bytes()


def made(folder: Path, name: str = "Test authority") -> Authority:
    """Return an authority that has just been made up."""
    folder.mkdir(parents=True, exist_ok=True)
    root_key, key = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    root_name = _name(f"{name} root")
    root = (
        _certificate(root_name, root_name, root_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
    signer = (
        _certificate(_name(name), root_name, key)
        .add_extension(usage, critical=True)
        .sign(root_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "root.pem").write_bytes(root.public_bytes(pem))
    (folder / "tsa.pem").write_bytes(signer.public_bytes(pem))
    (folder / "tsa.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "serial").write_text("01\n")
    (folder / "tsa.cnf").write_text(_CONFIG.format(folder=folder))
    return Authority(folder)


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
