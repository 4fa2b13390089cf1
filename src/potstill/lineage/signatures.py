"""Signatures of manifests, read and checked: bundles of OpenSSF model signing, in one spelling.

A bundle holds an in-toto statement with the SHA-256 digest of the manifest's bytes, in a DSSE
envelope that is signed (https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md). One
by a key is checked here, with nothing but the key, in a hundredth of the time that its library
takes to be imported; what the library signs is accepted here and what is accepted here the library
verifies (tests/lineage/test_signatures.py). Every byte of the file counts: it has to be the one
spelling of what is signed, so that nothing in it can be changed without its showing.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from potstill.canonical import canonical_json, parsed
from potstill.errors import PotstillError
from potstill.lineage.document import SIGNATURE_FILE
from potstill.lineage.keys import PublicKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"
_REMEDY = "get the directory as it was from whoever made it"


@dataclass(frozen=True)
class SignatureBundle:
    """A signature as it lies beside a manifest.

    `fingerprint` is the key's that it says it is by; None where an identity signed (Sigstore).
    """

    name: str
    values: dict[str, Any]
    fingerprint: str | None


def spelled(values: Any) -> bytes:
    """Return the one spelling of a signature's file."""
    return canonical_json(values) + b"\n"


def read_bundle(content: bytes, name: str = SIGNATURE_FILE) -> SignatureBundle:
    """Return the signature in the bytes of the file `name`.

    Raises PotstillError where they are not the one spelling of a signature.
    """
    try:
        values = parsed(content.decode("utf-8"))
        material, hint = values["verificationMaterial"], None
        if "publicKey" in material:
            hint = str(material["publicKey"]["hint"])
            _require(material == {"publicKey": {"hint": hint}, "tlogEntries": []})
        _require(set(values) == {"mediaType", "verificationMaterial", "dsseEnvelope"})
        _require(values["mediaType"] == MEDIA_TYPE and spelled(values) == content)
    except (ValueError, KeyError, TypeError):
        raise _damaged(name) from None
    return SignatureBundle(name, values, hint)


def require_signed(bundle: SignatureBundle, key: PublicKey, signed: bytes) -> None:
    """Raise PotstillError, naming the file, unless a signature is by `key` and of these bytes."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    if bundle.fingerprint is None:
        raise PotstillError(
            f"{bundle.name} is by an identity (Sigstore), not by a key; give --identity and "
            "--issuer in place of --key"
        )
    if bundle.fingerprint != key.fingerprint:
        raise PotstillError(
            f"{bundle.name} is by another key: its fingerprint is {bundle.fingerprint[:64]}, and "
            f"that of the key is {key.fingerprint}; give the key of whoever you expect to have "
            "signed"
        )
    public = key.loaded()
    try:
        payload, signature = _parts(bundle)
        public.verify(signature, _pae(payload), ECDSA(_hash_of(public.curve.key_size)))
    except (ValueError, KeyError, TypeError, InvalidSignature):
        raise _damaged(bundle.name) from None
    manifest = bundle.name.removesuffix(".sig")
    if not _is_of(payload, signed):
        raise PotstillError(f"{manifest} has changed since it was signed; {_REMEDY}")


def _parts(bundle: SignatureBundle) -> tuple[bytes, bytes]:
    """Return the signed statement and the signature over it."""
    envelope = bundle.values["dsseEnvelope"]
    (one,) = envelope["signatures"]
    _require(set(envelope) == {"payload", "payloadType", "signatures"})
    _require(envelope["payloadType"] == _PAYLOAD_TYPE)
    _require(set(one) == {"sig", "keyid"} and one["keyid"] == "")
    return _strict(envelope["payload"]), _strict(one["sig"])


def _require(holds: bool) -> None:
    if not holds:
        raise ValueError("not the spelling of a signature")


def _strict(text: str) -> bytes:
    """Return what base64 text stands for; raises ValueError for another spelling of the same."""
    found = base64.b64decode(text, validate=True)
    if base64.b64encode(found).decode() != text:
        raise ValueError("not the spelling of these bytes")
    return found


def _pae(payload: bytes) -> bytes:
    """Return what is signed of a payload: DSSE's pre-authentication encoding."""
    head = f"DSSEv1 {len(_PAYLOAD_TYPE)} {_PAYLOAD_TYPE} {len(payload)} "
    return head.encode() + payload


def _hash_of(key_size: int) -> HashAlgorithm:
    from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

    hashes: dict[int, HashAlgorithm] = {256: SHA256(), 384: SHA384(), 521: SHA512()}
    return hashes[key_size]


def _is_of(payload: bytes, signed: bytes) -> bool:
    """Tell whether a statement that somebody signed is about these bytes, as a file by itself."""
    digest = hashlib.sha256(signed)
    try:
        values = parsed(payload.decode("utf-8"))
        (subject,) = values["subject"]
        (resource,) = values["predicate"]["resources"]
        return bool(
            values["_type"] == _STATEMENT
            and values["predicateType"] == _PREDICATE
            and subject["digest"] == {"sha256": hashlib.sha256(digest.digest()).hexdigest()}
            and resource == {"algorithm": "sha256", "digest": digest.hexdigest(), "name": "."}
        )
    except (ValueError, KeyError, TypeError):
        return False


def _damaged(name: str) -> PotstillError:
    return PotstillError(f"{name} has changed, or is no signature of a manifest; {_REMEDY}")
