"""What a server calls things reaches neither a terminal nor a store as it is."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.endpoint.labels import HIDDEN, label_of, shown, shown_label, tells_a_key

KEY = "sk-very-secret-0123456789"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("a\r\nb\tc", "abc"),
        ("a\x00\x07\x7fb", "ab"),
        ("a\u0085\u2028\u2029b", "ab"),
        ("nano\u202eonan\u2066x", "nanoonanx"),  # what turns writing round
        ("\u200bnano\ufeff", "nano"),
        ("\ud800nano", "nano"),
        ("  nano  ", "nano"),
        ("\x1b\x07", None),
        ("", None),
        (3, None),
        (None, None),
        ("x" * 999, "x" * 200),
        ("Qwen/Qwen3-8B-AWQ:q4_K_M", "Qwen/Qwen3-8B-AWQ:q4_K_M"),
        ("模型-7б", "模型-7б"),
    ],
)
def test_labels_are_cleaned(said: Any, kept: str | None) -> None:
    assert label_of(said) == kept


@given(st.text())
def test_no_label_holds_what_a_terminal_obeys(said: str) -> None:
    label = label_of(said) or ""
    assert label.isprintable() or all(unicodedata.category(c)[0] != "C" for c in label)


@pytest.mark.parametrize(
    "text",
    [
        KEY,
        f"model for {KEY}",
        KEY[:12],
        KEY[-9:],
        "sk-proj-Ab12Cd34Ef56Gh78Ij90Kl12",
        "openrouter sk-or-v1-0a1b2c3d4e5f60718293a4b5c6d7e8f9",
        "hf_AbCdEfGhIjKlMnOpQr0123456789",
        "gsk_0123456789abcdefABCDEF",
        "AIzaSyA-0123456789_abcdefghijklmnopqrs",
        "AKIAIOSFODNN7EXAMPLE",
        "Bearer 0123456789abcdefgh",
    ],
)
def test_what_tells_a_key_is_not_shown(text: str) -> None:
    assert tells_a_key(text, KEY)
    assert shown(text, KEY) == HIDDEN


@pytest.mark.parametrize(
    "name",
    [
        *("gpt-5.2-mini-2026-01-01", "Qwen/Qwen3-235B-A22B-Instruct-2507", "nano", "fp_44709d6fcb"),
        *("meta-llama/Llama-3.3-70B-Instruct", "task-sk-small", "api-gateway", "key-value-model"),
        *("ft:gpt-4o-mini:org:custom:7p4lURel", "deepseek-r1-distill-qwen-32b", "b6123-0a1b2c3d"),
        *("rate_limit_exceeded", "exceed_context_size_error", "token-classification-large"),
    ],
)
def test_names_are_shown(name: str) -> None:
    assert shown(name, KEY) == shown_label(name) == name


def test_a_short_key_counts_whole() -> None:
    assert tells_a_key("my abc123 key", "abc123") and not tells_a_key("my abc key", "abc123")
