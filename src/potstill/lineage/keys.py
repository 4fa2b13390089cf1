"""Keys that manifests are signed with: where one's own lies, and what names one.

A key is an elliptic curve's (P-256 where potstill makes it), as PEM. Its fingerprint is the SHA-256
digest of the public key's PEM text, which a signature of OpenSSF model signing names its key by.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_data_path

from potstill.durable import no_file, os_reason, temporary_name, write_bytes, write_errors
from potstill.errors import PotstillError
from potstill.watermark.keys import write_secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

KEY_FILE = "signing.key"
PUBLIC_SUFFIX = ".pub"
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_MOST_BYTES = 16_384
_ELSEWHERE = "set XDG_DATA_HOME to a folder that you may write, or give a key with --key"


@dataclass(frozen=True)
class PublicKey:
    """A public key as PEM text; `fingerprint` names it, 64 hexadecimal digits."""

    pem: str

    @property
    def fingerprint(self) -> str:
        """The SHA-256 digest of the PEM text."""
        return hashlib.sha256(self.pem.encode()).hexdigest()

    def loaded(self) -> EllipticCurvePublicKey:
        """Return the key, to check signatures with. Raises ValueError for what is none."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        try:
            key = load_pem_public_key(self.pem.encode())
        except UnsupportedAlgorithm as error:
            raise ValueError("the curve is not known") from error
        if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in _CURVES:
            raise ValueError("it is the key of another kind")
        return key


@dataclass(frozen=True)
class SigningKey:
    """A private key's file, and the public key that goes with it; `new` tells that it was made."""

    path: Path
    public: PublicKey
    new: bool = False


def local_key() -> SigningKey:
    """Return one's own key; the first time it is made, and its public half is written beside it.

    Raises PotstillError where it cannot be written or read.
    """
    path = user_data_path("potstill") / KEY_FILE
    if path.exists():
        return read_signing_key(path)
    try:
        make_key(path)
    except PotstillError:
        # Another process may have made it meanwhile.
        if not path.exists():
            raise
        return read_signing_key(path)
    return SigningKey(path, read_signing_key(path).public, new=True)


def make_key(path: Path) -> None:
    """Write a new private key that its owner alone can read, and its public half beside it.

    Raises PotstillError where there is a file already.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    key = generate_private_key(SECP256R1())
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    temporary = temporary_name(path)
    with write_errors(path.parent, _ELSEWHERE):
        write_secret(temporary, text.rstrip("\n"))
        try:
            # It is there whole or not at all, and never takes the place of another.
            os.link(temporary, path)
        except FileExistsError as error:
            raise PotstillError(
                f"{path} is there already, and a key that is overwritten is lost for good; choose "
                "another name"
            ) from error
        finally:
            temporary.unlink()
    public = _pem_of(key.public_key())
    write_bytes(path.with_name(path.name + PUBLIC_SUFFIX), public.encode(), _ELSEWHERE)


def read_signing_key(path: Path) -> SigningKey:
    """Return the key in a private key's file. Raises PotstillError for anything else."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content = _content(path, "a private key")
    try:
        key = load_pem_private_key(content, None)
    except TypeError:
        raise PotstillError(
            f"the private key {path} is encrypted; give one without a password"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name not in _CURVES:
        raise PotstillError(
            f"{path} holds no private key that signs manifests (of P-256, P-384 or P-521, as PEM); "
            "give one, or leave --key out and potstill's own is used"
        )
    return SigningKey(path, PublicKey(_pem_of(key.public_key())))


def read_public_key(path: Path) -> PublicKey:
    """Return the key in a public key's file. Raises PotstillError for anything else."""
    content = _content(path, "a public key")
    if b"PRIVATE KEY" in content:
        raise PotstillError(
            f"{path} holds a private key; give the public one that its owner publishes "
            f"(NAME{PUBLIC_SUFFIX} beside it)"
        )
    try:
        # Another spelling of the same key (line ends, spaces) has the same fingerprint.
        return PublicKey(_pem_of(PublicKey(content.decode("ascii")).loaded()))
    except ValueError:
        raise PotstillError(
            f"{path} holds no public key that checks manifests (of P-256, P-384 or P-521, as PEM); "
            "give the file that whoever signed has published"
        ) from None


def _pem_of(key: EllipticCurvePublicKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _content(path: Path, kind: str) -> bytes:
    if (fault := no_file(path)) is not None:
        raise PotstillError(f"the key {path} {fault}; give the file of {kind}")
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError as error:
        reason = os_reason(error) or "it does not open"
        raise PotstillError(
            f"the key {path} cannot be read ({reason}); give the file of {kind}"
        ) from error
