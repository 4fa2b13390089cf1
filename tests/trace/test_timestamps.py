"""Tokens of a real authority (openssl's own), checked offline; every other one is refused."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import authority
import pytest

from potstill import extras
from potstill.errors import PotstillError
from potstill.trace import timestamps
from potstill.trace.timestamps import can_check, check_token

pytest.importorskip("rfc3161_client")
needs_openssl = pytest.mark.skipif(authority.OPENSSL is None, reason="openssl makes the replies")

PLAN = b'{"alpha":0.0001}'
SUBJECTS = {"the plan": PLAN, "the served log": b"blake3:00"}
FILE = Path("plan.tsr")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> authority.Authority:
    return authority.made(tmp_path_factory.mktemp("authority"))


@needs_openssl
@pytest.mark.parametrize("digest", ["sha256", "sha512"])
@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_token_says_what_was_seen_when_and_by_whom(
    own: authority.Authority, subject: str, digest: str
) -> None:
    found = check_token(FILE, own.reply(SUBJECTS[subject], digest), [own.certificates], SUBJECTS)
    assert found.subject == subject
    assert abs(found.time - datetime.now(UTC)) < timedelta(minutes=5)
    assert found.authority == "CN=Test authority"
    assert len(found.root_sha256) == len(hashlib.sha256().hexdigest())


@needs_openssl
def test_a_timestamp_of_another_digest_is_said(own: authority.Authority) -> None:
    with pytest.raises(PotstillError, match="timestamp of another digest: it is of none of the"):
        check_token(FILE, own.reply(PLAN + b" "), [own.certificates], SUBJECTS)


@needs_openssl
def test_another_authority_s_certificates_do_not_hold(
    own: authority.Authority, tmp_path: Path
) -> None:
    other = authority.made(tmp_path / "other")
    with pytest.raises(PotstillError, match="does not hold under the certificates"):
        check_token(FILE, own.reply(PLAN), [other.certificates], SUBJECTS)


@needs_openssl
def test_a_changed_token_does_not_hold(own: authority.Authority) -> None:
    token = own.reply(PLAN)
    # The last bytes are the signature's.
    with pytest.raises(PotstillError, match="does not hold"):
        check_token(FILE, token[:-1] + bytes([token[-1] ^ 1]), [own.certificates], SUBJECTS)


@needs_openssl
def test_certificates_without_a_root_are_refused(own: authority.Authority) -> None:
    with pytest.raises(PotstillError, match="hold no root"):
        check_token(FILE, own.reply(PLAN), [own.signer], SUBJECTS)


@needs_openssl
def test_a_token_without_certificates_is_checked_by_those_given(own: authority.Authority) -> None:
    token = own.reply(PLAN, signer=False)
    found = check_token(FILE, token, [own.certificates, own.signer], SUBJECTS)
    assert found.authority == "CN=Test authority"
    with pytest.raises(PotstillError, match="does not hold"):
        check_token(FILE, token, [own.certificates], SUBJECTS)


@needs_openssl
def test_what_is_no_certificate_is_refused(own: authority.Authority) -> None:
    with pytest.raises(PotstillError, match="certificates is none; give them as a PEM"):
        check_token(FILE, own.reply(PLAN), [b"hello"], SUBJECTS)


@pytest.mark.parametrize("content", [b"", b"hello", b"0\x03\x02\x01\x00"])
def test_what_is_no_reply_is_refused(content: bytes) -> None:
    with pytest.raises(PotstillError, match=r"no reply of a timestamp authority|no timestamp"):
        check_token(FILE, content, [], SUBJECTS)


def test_without_the_package_nothing_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    assert can_check()
    monkeypatch.setattr(extras, "import_module", missing)
    assert not can_check()
    with pytest.raises(PotstillError, match=r"pip install potstill\[trace\]"):
        check_token(FILE, b"", [], SUBJECTS)
    assert timestamps.can_check() is False
