"""Keys: derived as RFC 5869 says, kept in files of their owner's alone, refused where wrong."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from siphash_oracle import OWN

from potstill.errors import PotstillError
from potstill.watermark.keys import (
    EpochKey,
    MasterKey,
    new_master,
    read_key,
    write_key,
)

MASTER = MasterKey(bytes.fromhex(OWN["master"]))


def test_the_library_s_hkdf_is_that_of_the_rfc() -> None:
    """RFC 5869, appendix A, cases 1 and 3."""
    okm = HKDF(
        SHA256(),
        42,
        salt=bytes.fromhex("000102030405060708090a0b0c"),
        info=bytes.fromhex("f0f1f2f3f4f5f6f7f8f9"),
    ).derive(b"\x0b" * 22)
    assert okm.hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )
    okm = HKDF(SHA256(), 42, salt=b"", info=b"").derive(b"\x0b" * 22)
    assert okm.hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )


def test_derived_keys_are_pinned() -> None:
    epoch = MASTER.epoch(OWN["epoch"])
    assert epoch.secret.hex() == OWN["epoch_key"]
    assert epoch.key_id == OWN["key_id"]
    for name, facts in OWN["schemes"].items():
        assert epoch.subkey(name).hex() == facts["subkey"]


def test_epochs_and_purposes_have_keys_of_their_own() -> None:
    one, other = MASTER.epoch("2026-11"), MASTER.epoch("2026-12")
    found = {one.secret, other.secret, one.subkey("green"), one.subkey("gumbel"), MASTER.secret}
    assert len(found) == 5
    assert len({one.key_id, other.key_id, MASTER.key_id}) == 3


def test_no_secret_is_printed() -> None:
    epoch = MASTER.epoch("2026-12")
    for shown in (repr(MASTER), repr(epoch), str(epoch), epoch.key_id, MASTER.key_id):
        assert MASTER.secret.hex()[:16] not in shown
        assert epoch.secret.hex()[:16] not in shown
        assert repr(epoch.secret)[2:10] not in shown


def test_a_file_is_its_owner_s_alone_and_holds_the_key(tmp_path: Path) -> None:
    path = tmp_path / "new" / "master.key"
    master = new_master()
    write_key(path, master)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = read_key(path)
    assert found.key == master
    assert found.warning is None
    assert found.epoch("a") == master.epoch("a")
    assert new_master() != master


def test_an_epoch_s_file_has_that_epoch_s_key_alone(tmp_path: Path) -> None:
    path = tmp_path / "epoch.key"
    write_key(path, MASTER.epoch("2026-12"))
    assert read_key(path).epoch(None) == MASTER.epoch("2026-12")
    assert read_key(path).epoch("2026-12") == MASTER.epoch("2026-12")
    with pytest.raises(PotstillError, match="holds the key of epoch 2026-12, not of 2026-11"):
        read_key(path).epoch("2026-11")


def test_a_master_s_file_needs_an_epoch(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    write_key(path, MASTER)
    with pytest.raises(PotstillError, match="name the epoch"):
        read_key(path).epoch(None)


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    write_key(path, MASTER)
    with pytest.raises(PotstillError, match="is there already"):
        write_key(path, new_master())
    assert read_key(path).key == MASTER


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_read_is_warned_of(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "master.key"
    write_key(path, MASTER)
    path.chmod(mode)
    found = read_key(path)
    assert found.key == MASTER
    assert found.warning is not None
    assert "chmod 600" in found.warning


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"secret",
        b"potstill-watermark-master-v1 00ff\n",
        b"potstill-watermark-master-v2 " + b"0" * 64,
        b"potstill-watermark-epoch-v1 " + b"0" * 64,
        bytes(range(256)) * 100,
        b"potstill-watermark-master-v1 " + b"0" * 64 + b"\nmore\n",
    ],
)
def test_what_is_no_key_file_is_refused_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(PotstillError, match="holds no watermark key; give the file") as caught:
        read_key(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        PotstillError, match="does not exist; give the one that is in use, or make one"
    ):
        read_key(tmp_path / "none")


@pytest.mark.parametrize("name", ["", " ", "a b", "../x", "x" * 65, "-x"])
def test_an_epoch_s_name_is_plain(name: str) -> None:
    with pytest.raises(PotstillError, match="an epoch's name"):
        MASTER.epoch(name)


def test_a_key_has_256_bits() -> None:
    for made in (lambda: MasterKey(b"short"), lambda: EpochKey("a", b"short")):
        with pytest.raises(ValueError, match="32 bytes"):
            made()
