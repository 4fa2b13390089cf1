"""Random numbers of a trace's questions: what decides them is the plan's digest alone."""

from __future__ import annotations

from blake3 import blake3

from potstill.canonical import digest_of_bytes


def request_key(digest: str, test: str, configuration: str, number: int) -> str:
    """Return what seeds the answer to a question of a test: 32 hexadecimal digits."""
    return _key("potstill trace question", digest, test, configuration, str(number))


def twin_key(digest: str, configuration: str, index: int, twin: int) -> str:
    """Return what seeds the `twin`-th twin of exchange `index`: 32 hexadecimal digits.

    The plan's digest decides it, so that nobody draws twins twice and takes the ones that fit.
    """
    return _key("potstill twin", digest, configuration, str(index), str(twin))


def request_seed(key: str) -> int:
    """Return the seed that a server is given for a key: a whole number below 2^31."""
    return int.from_bytes(blake3(key.encode()).digest(length=4), "little") >> 1


def _key(*facts: str) -> str:
    return digest_of_bytes("\0".join(facts).encode(), 16)
