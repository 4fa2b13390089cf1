"""Marks as tests plan them: small, under made keys."""

from __future__ import annotations

from made_keys import key_of

from potstill.trace.marks import PlannedMark, planned_mark
from potstill.watermark.schemes import GreenList, Gumbel, Scheme

DIGEST = "a" * 64
VOCABULARY = 40


def green(name: str = "one", window: int = 1) -> GreenList:
    return GreenList(key_of(name), window, 0.25, 2.0)


def gumbel(name: str = "one", window: int = 1) -> Gumbel:
    return Gumbel(key_of(name), window)


def planned(scheme: Scheme) -> PlannedMark:
    return planned_mark(scheme, tokenizer="blake3:00", vocabulary=VOCABULARY)
