"""The key of a store: what addresses, payments and texts are hashed under."""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from blake3 import blake3

from potstill.canonical import digest_of_bytes, labelled
from potstill.durable import no_file
from potstill.errors import PotstillError
from potstill.watermark.keys import readable_by_others, write_secret

_BYTES = 32
_HEAD = "potstill-watch-key-v1"
_LINE = re.compile(rf"{_HEAD} (?P<secret>[0-9a-f]{{{2 * _BYTES}}})\s*")
_DIGITS = 24  # of a keyed hash: 96 bits
_IPV6 = 48  # bits of a network
# So keys of services begin; a log may hold one that should not be in it.
_SERVICE_KEYS = ("sk-", "sk_")


@dataclass(frozen=True)
class StoreKey:
    """A 256-bit secret. Hashes under it tell equal values, and nothing to who does not have it."""

    secret: bytes = field(repr=False)

    @property
    def key_id(self) -> str:
        """The digest that names the key and discloses nothing."""
        return labelled(digest_of_bytes(b"potstill watch key\0" + self.secret))

    def subkey(self, purpose: str, length: int) -> bytes:
        """Return the key of one purpose, `length` bytes."""
        return blake3(purpose.encode(), key=self.secret).digest(length=length)

    def hasher(self, purpose: str) -> Callable[[str], str]:
        """Return a function to the keyed hash of a value, 24 hexadecimal digits: others for each
        purpose."""
        key = self.subkey(purpose, _BYTES)
        return lambda value: _hashed(value, key)

    def clients(self) -> Callable[[str], tuple[str, str | None]]:
        """Return a function to the hashes of an address and of its network; the second is None
        where it is no address."""
        client, network = self.hasher("client"), self.hasher("subnet")

        @lru_cache(maxsize=1 << 18)
        def hashed(address: str) -> tuple[str, str | None]:
            written, around = _network(address)
            return client(written), None if around is None else network(around)

        return hashed

    def account(self, name: str) -> str:
        """Return an account's name; a service's key that stands for one is hashed."""
        return self.hasher("account")(name) if name.startswith(_SERVICE_KEYS) else name


def new_key(path: Path) -> StoreKey:
    """Write a fresh key into a new file that its owner alone can read, and return it."""
    key = StoreKey(secrets.token_bytes(_BYTES))
    write_secret(path, f"{_HEAD} {key.secret.hex()}")
    return key


def read_store_key(path: Path) -> StoreKey:
    """Return the key in a file. Raises PotstillError for anything else, and for loose modes."""
    if (wrong := no_file(path)) is not None:
        raise PotstillError(f"the key file {path} {wrong}; bring it back: hashes hang on it")
    with path.open("rb") as file:
        found = _LINE.fullmatch(file.read(256).decode("ascii", "replace"))
    if found is None:
        raise PotstillError(f"{path} holds no key of the watch; bring back the one that does")
    if (warning := readable_by_others(path)) is not None:
        raise PotstillError(warning)
    return StoreKey(bytes.fromhex(found["secret"]))


def domain_of(address: str) -> str:
    """Return the domain of an e-mail address, or a domain as it stands, in lower case."""
    return address.rpartition("@")[2].strip().lower()


def network_of(written: str) -> str:
    """Return the one spelling of a network, or of the network around an address; other text as it
    stands."""
    try:
        found = ipaddress.ip_network(written.strip(), strict=False)
    except ValueError:
        return written
    if found.num_addresses > 1:
        return str(found)
    return _network(str(found.network_address))[1] or written


def _hashed(value: str, key: bytes) -> str:
    return blake3(value.encode(errors="replace"), key=key).hexdigest()[:_DIGITS]


def _network(address: str) -> tuple[str, str | None]:
    """Return the one spelling of an address, and the network around it."""
    try:
        found = ipaddress.ip_address(address.strip())
    except ValueError:
        return address, None
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is None:
            return str(found), str(ipaddress.ip_network((found, _IPV6), strict=False))
        found = found.ipv4_mapped
    written = str(found)
    return written, f"{written.rpartition('.')[0]}.0/24"
