"""SipHash-2-4 on bytes, in plain Python integers, as its authors' paper writes it down."""

from __future__ import annotations

import json
from pathlib import Path

HERE = Path(__file__).parent
# `vectors_sip64` of the authors' reference code: key 00 01 .. 0f, messages of 0 to 63 bytes
# 00 01 02 ..; hashes as eight bytes, lowest first.
PUBLISHED = [bytes.fromhex(line) for line in (HERE / "siphash24.txt").read_text().split()]
OWN = json.loads((HERE / "vectors.json").read_text())
MASK = 2**64 - 1


def _turned(x: int, bits: int) -> int:
    return ((x << bits) | (x >> (64 - bits))) & MASK


def _round(v: list[int]) -> None:
    v[0] = (v[0] + v[1]) & MASK
    v[1] = _turned(v[1], 13) ^ v[0]
    v[0] = _turned(v[0], 32)
    v[2] = (v[2] + v[3]) & MASK
    v[3] = _turned(v[3], 16) ^ v[2]
    v[0] = (v[0] + v[3]) & MASK
    v[3] = _turned(v[3], 21) ^ v[0]
    v[2] = (v[2] + v[1]) & MASK
    v[1] = _turned(v[1], 17) ^ v[2]
    v[2] = _turned(v[2], 32)


def siphash(message: bytes, key: bytes) -> int:
    k = [int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")]
    v = [
        k[i % 2] ^ int.from_bytes(s, "big")
        for i, s in enumerate((b"somepseu", b"dorandom", b"lygenera", b"tedbytes"))
    ]
    whole = len(message) - len(message) % 8
    words = [int.from_bytes(message[i : i + 8], "little") for i in range(0, whole, 8)]
    words.append(int.from_bytes(message[whole:], "little") | (len(message) & 255) << 56)
    for word in words:
        v[3] ^= word
        _round(v)
        _round(v)
        v[0] ^= word
    v[2] ^= 255
    for _ in range(4):
        _round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def message_of(ids: list[int]) -> bytes:
    return b"".join(i.to_bytes(4, "little") for i in ids)
