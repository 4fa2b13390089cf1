"""The secret that the order of a training is drawn from.

Without it nobody knows the order, so that a model whose likelihoods follow the order descends from
that training (docs/methods/trace.md). The secret lies in a file of its own; only its digest is
recorded.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from potstill.canonical import digest_of_bytes, labelled
from potstill.durable import no_file
from potstill.errors import PotstillError
from potstill.watermark.keys import write_secret

SECRET_FILE = "order.secret"
_BYTES = 32
_CONTENT = re.compile(rf"[0-9a-f]{{{2 * _BYTES}}}\s*")


@dataclass(frozen=True)
class OrderSecret:
    """256 random bits that a training's order is drawn from."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != _BYTES:
            raise ValueError(f"the secret of an order has {_BYTES} bytes")

    @property
    def digest(self) -> str:
        """What names the secret and discloses nothing: `blake3:`, 64 hexadecimal digits."""
        return labelled(digest_of_bytes(b"potstill training order\0" + self.secret, _BYTES))


def new_secret() -> OrderSecret:
    """Return a fresh secret of the system's own randomness."""
    return OrderSecret(secrets.token_bytes(_BYTES))


def write_order_secret(path: Path, secret: OrderSecret) -> None:
    """Write a secret into a new file that its owner alone can read (mode 0600), durable on return.

    Raises PotstillError where there is a file already.
    """
    write_secret(path, secret.secret.hex())


def read_order_secret(path: Path) -> OrderSecret:
    """Return the secret in a file of 64 hexadecimal digits. Raises PotstillError for another."""
    if (wrong := no_file(path)) is not None:
        raise PotstillError(
            f"the file {path} of a training order's secret {wrong}; give the file {SECRET_FILE} of "
            "a run"
        )
    with path.open("rb") as file:
        content = file.read(1024).decode("ascii", "replace").lower()
    if _CONTENT.fullmatch(content) is None:
        raise PotstillError(
            f"{path} holds no secret of a training order, which is 64 hexadecimal digits; give the "
            f"file {SECRET_FILE} of a run, or make one with `openssl rand -hex 32`"
        )
    return OrderSecret(bytes.fromhex(content.strip()))
