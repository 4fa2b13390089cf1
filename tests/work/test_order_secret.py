"""The file of an order's secret: its owner's alone, and named by its digest."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from potstill.errors import PotstillError
from potstill.work.order_secret import (
    OrderSecret,
    new_secret,
    read_order_secret,
    write_order_secret,
)


def test_a_secret_is_read_as_it_was_written_and_others_may_not(tmp_path: Path) -> None:
    secret, path = new_secret(), tmp_path / "a" / "order.secret"
    write_order_secret(path, secret)
    assert read_order_secret(path) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(PotstillError, match="is there already"):
        write_order_secret(path, new_secret())
    assert read_order_secret(path) == secret


def test_secrets_differ_and_are_shown_nowhere() -> None:
    one, other = new_secret(), new_secret()
    assert one != other
    assert one.secret.hex() not in repr(one) + one.digest


def test_the_digest_of_a_secret_stays_for_good() -> None:
    assert OrderSecret(bytes(range(32))).digest == (
        "blake3:24bad39ce5851aa6315159afe8455a93d498647f8c17d5ab4f843a1d5f35e016"
    )


@pytest.mark.parametrize("content", ["", "0" * 63, "0" * 65, "g" * 64, "0" * 64 + " 1", "\xff"])
def test_what_is_no_secret_is_refused_without_showing_it(content: str, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(content)
    with pytest.raises(PotstillError, match="holds no secret of a training order") as error:
        read_order_secret(path)
    assert not content or content not in str(error.value)


def test_capitals_and_a_missing_end_of_line_are_read(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("AB" * 32)
    assert read_order_secret(path) == OrderSecret(b"\xab" * 32)


def test_a_secret_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match="does not exist"):
        read_order_secret(tmp_path / "none")
