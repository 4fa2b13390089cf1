"""One spelling of JSON, and digests of values, bytes and files: what things are named by.

A digest is BLAKE3 in hexadecimal digits, two for each of `length` bytes; `labelled` puts the
function's name before it where it stands without a column that says so.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from blake3 import blake3

_BLOCK = 1 << 20  # bytes of a file that are held at once


def canonical_json(value: Any) -> bytes:
    """Return the one spelling of a JSON value: sorted keys, no spaces, UTF-8.

    Raises ValueError for NaN, infinities and text that has no UTF-8.
    """
    return canonical_text(value).encode()


def canonical_text(value: Any) -> str:
    """Return what `canonical_json` spells, as text; halves of surrogate pairs stay in it."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def spaced_json(value: Any, *, ascii_only: bool = False) -> bytes:
    """Return JSON with sorted keys, and a space after each comma and colon.

    Older digests (of recipes, tokenizers, configs, questions to a judge) are over this spelling,
    and stay. With `ascii_only` even half a surrogate pair has bytes.
    """
    return json.dumps(value, sort_keys=True, ensure_ascii=ascii_only).encode()


def parsed(text: str) -> Any:
    """Return the value of JSON text. Raises ValueError, also for NaN and for too deep nesting."""
    try:
        return json.loads(text, parse_constant=refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parsed_once(text: str) -> Any:
    """Return the value of JSON text in which every key stands once, and every number is finite.

    What two readers would read otherwise is a ValueError, as all is that `parsed` refuses.
    """
    try:
        return json.loads(
            text,
            parse_constant=refuse_constant,
            parse_float=_finite,
            object_pairs_hook=keys_once,
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number is too large")
    return value


def keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return pairs of a JSON object as such. Raises ValueError where a key stands twice."""
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key stands twice")
    return values


def refuse_constant(name: str) -> Any:
    """Raise ValueError for NaN and infinities, which Python would read as JSON."""
    raise ValueError(f"{name} is no JSON")


def digest_of(value: Any, length: int = 16) -> str:
    """Return the digest of a JSON value, however it is spelt."""
    return digest_of_bytes(canonical_json(value), length)


def digest_of_bytes(content: bytes, length: int = 16) -> str:
    """Return the digest of bytes."""
    return blake3(content).hexdigest(length=length)


def digest_of_file(path: Path, length: int = 16) -> str:
    """Return the digest of a file's bytes, of which one block at a time is held."""
    hasher = blake3()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            hasher.update(block)
    return hasher.hexdigest(length=length)


def digest_by_all_cores(path: Path, length: int = 32) -> str:
    """Return the digest of a file's bytes, which every core reads a part of.

    The file is mapped and has to stay as long as it is.
    """
    hasher = blake3(max_threads=blake3.AUTO)
    hasher.update_mmap(path)
    return hasher.hexdigest(length=length)


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 digest of a file's bytes, by which others publish theirs."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def labelled(digest: str) -> str:
    """Return a digest with the name of its function: `blake3:...`."""
    return f"blake3:{digest}"
