"""Keys of marks: a random master, a key of its own for each epoch, and the files they lie in.

The master never leaves its file. What is stored and printed is the digest of an epoch's key
(`EpochKey.key_id`); what a verdict discloses is one retired epoch's key, which tells nothing of
the master or of other epochs (HKDF, RFC 5869).
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from potstill.canonical import digest_of_bytes, labelled
from potstill.durable import fsync_folder, no_file, write_errors
from potstill.errors import PotstillError

_BYTES = 32
_MASTER, _EPOCH = "potstill-watermark-master-v1", "potstill-watermark-epoch-v1"
_CONTENT = re.compile(
    rf"(?:({_MASTER})|({_EPOCH}) (?P<epoch>\S+)) (?P<secret>[0-9a-f]{{{2 * _BYTES}}})\s*"
)
_EPOCH_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class EpochKey:
    """The 256-bit key of one epoch."""

    epoch: str
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check(self.secret)
        if not _EPOCH_NAME.fullmatch(self.epoch):
            raise PotstillError(
                "an epoch's name is 1 to 64 letters, digits, dots, dashes or underscores, and "
                "begins with a letter or digit; take a date, for example 2026-12"
            )

    @property
    def key_id(self) -> str:
        """The digest that names the key and discloses nothing: `blake3:`, 64 hexadecimal digits."""
        return labelled(digest_of_bytes(b"potstill watermark epoch key\0" + self.secret, _BYTES))

    def subkey(self, purpose: str) -> bytes:
        """Return the 128-bit key for one purpose; no other key follows from it."""
        return _hkdf(self.secret, f"potstill/watermark/v1/subkey/{purpose}", 16)


@dataclass(frozen=True)
class MasterKey:
    """The 256-bit secret that all epochs' keys follow from."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check(self.secret)

    @property
    def key_id(self) -> str:
        """The digest that names the master and discloses nothing."""
        return labelled(digest_of_bytes(b"potstill watermark master key\0" + self.secret, _BYTES))

    def epoch(self, name: str) -> EpochKey:
        """Return the key of an epoch. Raises `PotstillError` for an empty or odd name."""
        return EpochKey(name, _hkdf(self.secret, f"potstill/watermark/v1/epoch/{name}", _BYTES))


@dataclass(frozen=True)
class KeyFile:
    """What a key file holds; `warning` says in a sentence that others can read it."""

    key: MasterKey | EpochKey
    warning: str | None = None

    def epoch(self, name: str | None) -> EpochKey:
        """Return the key of the epoch that is asked for.

        A master's file has every epoch's, and needs a name; an epoch's file has its own alone.
        Raises `PotstillError` where it is another's, or no name is given.
        """
        if isinstance(self.key, MasterKey):
            if name is None:
                raise PotstillError(
                    "the key file holds a master key; name the epoch to take of it "
                    "(--epoch, or collect.watermark.epoch in a recipe)"
                )
            return self.key.epoch(name)
        if name not in (None, self.key.epoch):
            raise PotstillError(
                f"the key file holds the key of epoch {self.key.epoch}, not of {name}; name that "
                "epoch, or give the master key's file"
            )
        return self.key


def new_master() -> MasterKey:
    """Return a fresh master key of the system's own randomness."""
    return MasterKey(secrets.token_bytes(_BYTES))


def write_key(path: Path, key: MasterKey | EpochKey) -> None:
    """Write a key into a new file that its owner alone can read (mode 0600), durable on return.

    Raises `PotstillError` where there is a file already: a key that is lost cannot be made again.
    """
    head = _MASTER if isinstance(key, MasterKey) else f"{_EPOCH} {key.epoch}"
    write_secret(path, f"{head} {key.secret.hex()}")


def write_secret(path: Path, line: str) -> None:
    """Write a line into a new file that its owner alone can read. Raises as `write_key` does."""
    with write_errors(path.parent, "choose another place for the key"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise PotstillError(
                f"{path} is there already, and a key that is overwritten is lost for good; choose "
                "another name"
            ) from error
        with os.fdopen(descriptor, "wb") as file:
            file.write(f"{line}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        fsync_folder(path.parent)


def refuse_no_key(path: Path) -> None:
    """Raise `PotstillError` where there is no file that a key could be read from."""
    if (wrong := no_file(path)) is not None:
        raise PotstillError(
            f"the key file {path} {wrong}; give the one that is in use, or make one with "
            "potstill watermark keygen"
        )


def read_key(path: Path) -> KeyFile:
    """Return what a key file holds. Raises `PotstillError` for anything that is no key file."""
    refuse_no_key(path)
    with path.open("rb") as file:
        found = _CONTENT.fullmatch(file.read(1024).decode("ascii", "replace"))
    if found is None:
        raise PotstillError(
            f"{path} holds no watermark key; give the file that potstill watermark keygen wrote"
        )
    secret = bytes.fromhex(found["secret"])
    epoch = found["epoch"]
    key = MasterKey(secret) if epoch is None else EpochKey(epoch, secret)
    return KeyFile(key, readable_by_others(path))


def readable_by_others(path: Path) -> str | None:
    """Return the sentence that warns of a key file with loose permissions, else None."""
    if os.name == "nt" or not stat.S_IMODE(path.stat().st_mode) & 0o077:
        return None
    return f"others on this machine may read the key file {path}; run chmod 600 on it"


def _check(secret: bytes) -> None:
    if len(secret) != _BYTES:
        raise ValueError(f"a watermark key has {_BYTES} bytes")


def _hkdf(secret: bytes, info: str, length: int) -> bytes:
    """Return HKDF-SHA256 without salt: the secret is uniformly random as it is."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), length, salt=None, info=info.encode()).derive(secret)
