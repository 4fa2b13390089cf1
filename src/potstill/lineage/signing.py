"""Manifests signed by OpenSSF model signing: with a key of one's own, or an identity (Sigstore).

What is signed is the manifest, which lists everything else; the signature lies beside it, so that
`model_signing verify` finds it right as well.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from potstill.canonical import parsed
from potstill.durable import write_bytes
from potstill.errors import PotstillError
from potstill.lineage.document import SignerFacts
from potstill.lineage.keys import SigningKey
from potstill.lineage.signatures import spelled


@dataclass(frozen=True)
class SigstoreIdentity:
    """Who signs without a key: an account that Sigstore's certificate authority has seen.

    `token` is an OpenID Connect token of it; without one a browser is opened for it.
    """

    identity: str
    issuer: str
    token: str | None = None


Signer = SigningKey | SigstoreIdentity


def facts_of(signer: Signer | None) -> SignerFacts | None:
    """Return what a manifest says of whoever signs it."""
    if isinstance(signer, SigningKey):
        return SignerFacts(public_key=signer.public.pem)
    return None if signer is None else SignerFacts(identity=signer.identity, issuer=signer.issuer)


def signature_of(content: bytes, name: str, signer: Signer) -> bytes:
    """Return the content of a signature's file over that of a manifest, the file `name`.

    Raises PotstillError where Sigstore refuses.
    """
    config = _config().set_hashing_config(_alone())
    with tempfile.TemporaryDirectory() as folder:
        path, raw = Path(folder) / name, Path(folder) / "signature"
        path.write_bytes(content)
        try:
            _with(config, signer).sign(path, raw)
        except Exception as error:
            if isinstance(signer, SigningKey):
                raise
            raise PotstillError(
                f"Sigstore did not sign for {signer.identity}; check the network and the account, "
                "or sign with a key"
            ) from error
        return spelled(parsed(raw.read_text(encoding="utf-8")))


def sign_file(path: Path, signer: Signer) -> Path:
    """Sign a manifest that lies there; return the path of its signature, `NAME.sig` beside it."""
    target = path.with_name(f"{path.name}.sig")
    write_bytes(target, signature_of(path.read_bytes(), path.name, signer))
    return target


def require_signed_by(path: Path, signature: Path, who: SigstoreIdentity) -> None:
    """Raise PotstillError unless an identity has signed a manifest, as Sigstore's log knows it.

    Asks for Sigstore's public keys over the network.
    """
    verifying = import_module("model_signing.verifying")
    config = verifying.Config().set_hashing_config(_alone())
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            config.use_sigstore_verifier(identity=who.identity, oidc_issuer=who.issuer).verify(
                path, signature
            )
    except Exception as error:
        raise PotstillError(
            f"{signature.name} does not hold as {who.identity}'s by {who.issuer}; check both names "
            "and the network, or get the directory as it was from whoever made it"
        ) from error


def _config() -> Any:
    return import_module("model_signing.signing").Config()


def _alone() -> Any:
    """Return how a manifest is hashed: by itself, with none of the paths left out by default."""
    hashing = import_module("model_signing.hashing")
    config = hashing.Config().use_file_serialization(hashing_algorithm="sha256")
    return config.set_ignored_paths(paths=[], ignore_git_paths=False)


def _with(config: Any, signer: Signer) -> Any:
    if isinstance(signer, SigningKey):
        return config.use_elliptic_key_signer(private_key=signer.path)
    return config.use_sigstore_signer(identity_token=signer.token)
