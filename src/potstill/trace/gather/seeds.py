"""Random numbers of a trace's questions: what decides them is the plan's digest alone."""

from __future__ import annotations

from blake3 import blake3


def request_key(digest: str, test: str, configuration: str, number: int) -> str:
    """Return what seeds the answer to a question of a test: 32 hexadecimal digits."""
    facts = ("potstill trace question", digest, test, configuration, str(number))
    return blake3("\0".join(facts).encode()).hexdigest(length=16)


def request_seed(key: str) -> int:
    """Return the seed that a server is given for a key: a whole number below 2^31."""
    return int.from_bytes(blake3(key.encode()).digest(length=4), "little") >> 1
