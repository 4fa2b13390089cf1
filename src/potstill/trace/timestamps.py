"""Timestamps by an outside authority (RFC 3161), checked offline with its certificates.

A digest of one's own proves no date. A token says that its authority saw the SHA-2 digest of some
bytes at a time: here of `plan.json` as it lies in the bundle, or of the digest of a key or of a
served log, as text. Who trusts the authority knows then that these were fixed by that time. Whether
a certificate is an authority's is for the reader to judge: it is named, with its fingerprint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from potstill.errors import PotstillError
from potstill.extras import extra_package
from potstill.text.counts import listed
from potstill.trace.finding import TraceRecord

_HASHES = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
_BEGIN = b"-----BEGIN CERTIFICATE-----"


class Stamp(TraceRecord):
    """A token of the bundle. `subject` is what it is about, None where that is not known.

    `checked` tells that its signature holds under the authority's certificates; without it the
    time is not to be relied on, and none is given.
    """

    file: str
    digest: str
    checked: bool
    subject: str | None = None
    time: datetime | None = None
    authority: str | None = None
    root_sha256: str | None = None


@dataclass(frozen=True)
class TokenTime:
    """What a token says that holds: which subject was seen, when, and by whom."""

    subject: str
    time: datetime
    authority: str
    root_sha256: str


def can_check() -> bool:
    """Tell whether the package that checks tokens is installed."""
    try:
        _client()
    except PotstillError:
        return False
    return True


def check_token(
    file: Path, token: bytes, certificates: Sequence[bytes], subjects: Mapping[str, bytes]
) -> TokenTime:
    """Return what a token proves under an authority's certificates (PEM or DER).

    `subjects` are, by name, the bytes that it may be a timestamp of. Raises PotstillError where it
    is of none of them, where its signature does not hold, and where it is no token; also where the
    package that checks it is not installed.
    """
    client = _client()
    response = _response(client, file, token)
    subject = _subject_of(file, response, subjects)
    loaded = [found for content in certificates for found in _certificates(content)]
    roots = [one for one in loaded if one.issuer == one.subject]
    if not roots:
        raise PotstillError(
            f"the certificates for the timestamp {file} hold no root (one that signs itself); give "
            "all of the authority's certificates in one PEM file"
        )
    builder = client.VerifierBuilder(
        roots=roots,
        intermediates=[one for one in loaded if one not in roots],
        # A reply that was asked for without certificates holds none.
        tsa_certificate=None if response.signed_data.certificates else _signer(response, loaded),
    )
    try:
        builder.build().verify_message(response, subjects[subject])
    except (client.VerificationError, ValueError) as error:
        raise PotstillError(
            f"the timestamp {file} does not hold under the certificates that were given for it; "
            "give those of the authority that made it, or have a new one made"
        ) from error
    time = response.tst_info.gen_time
    return TokenTime(
        subject=subject,
        time=time if time.tzinfo is not None else time.replace(tzinfo=UTC),
        authority=_authority(response, loaded),
        root_sha256=hashlib.sha256(_der(roots[0])).hexdigest(),
    )


def require_certificates(file: Path, content: bytes) -> None:
    """Raise PotstillError for a file that holds no certificates (PEM or DER).

    Nothing is looked at where the package that checks timestamps is not installed.
    """
    if not can_check():
        return
    try:
        _certificates(content)
    except PotstillError:
        raise PotstillError(
            f"{file} holds no certificates; give a timestamp authority's as a PEM file"
        ) from None


def _client() -> Any:
    return extra_package("rfc3161_client", "checking a timestamp", "trace")


def _response(client: Any, file: Path, token: bytes) -> Any:
    try:
        response = client.decode_timestamp_response(token)
        granted = response.status in (0, 1)
    except ValueError as error:
        raise PotstillError(
            f"{file} is no reply of a timestamp authority that the package rfc3161-client reads; "
            "give the whole reply (a .tsr file), not the question or the bare token, and where it "
            "is whole, ask again without certificates in it (openssl ts -query without -cert)"
        ) from error
    if not granted:
        raise PotstillError(
            f"{file} is an authority's refusal, and no timestamp; ask it again and give its reply"
        )
    return response


def _subject_of(file: Path, response: Any, subjects: Mapping[str, bytes]) -> str:
    imprint = response.tst_info.message_imprint
    name = _HASHES.get(imprint.hash_algorithm.dotted_string)
    if name is None:
        raise PotstillError(
            f"the timestamp {file} is over a digest that is no SHA-256, SHA-384 or SHA-512; have "
            "one made over one of these"
        )
    for subject, content in subjects.items():
        if hashlib.new(name, content).digest() == imprint.message:
            return subject
    raise PotstillError(
        f"{file} is a timestamp of another digest: it is of none of {listed(subjects)}; give the "
        "reply to a question about one of these"
    )


def _certificates(content: bytes) -> list[Any]:
    from cryptography import x509

    try:
        if _BEGIN in content:
            return list(x509.load_pem_x509_certificates(content))
        return [x509.load_der_x509_certificate(content)]
    except ValueError as error:
        raise PotstillError(
            "what was given as a timestamp authority's certificates is none; give them as a PEM "
            "file"
        ) from error


def _authority(response: Any, loaded: Sequence[Any]) -> str:
    """Return the name of whoever signed a response whose signature holds."""
    from cryptography import x509

    inside = [x509.load_der_x509_certificate(one) for one in response.signed_data.certificates]
    return str(_signer(response, [*inside, *loaded]).subject.rfc4514_string())


def _signer(response: Any, certificates: Sequence[Any]) -> Any:
    """Return the certificate of the key that signed a response; None where it is not there."""
    signers = {(one.issuer, one.serial_number) for one in response.signed_data.signer_infos}
    return next((one for one in certificates if (one.issuer, one.serial_number) in signers), None)


def _der(certificate: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return bytes(certificate.public_bytes(Encoding.DER))
