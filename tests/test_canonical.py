"""JSON in one spelling, and digests that stay what they were.

The constants were computed before the digests were formed at one place: what is stored in runs
and caches is named by them.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from safetensors.numpy import save_file

from potstill.canonical import (
    canonical_json,
    canonical_text,
    digest_of,
    digest_of_bytes,
    digest_of_file,
    labelled,
    parsed,
    sha256_of_file,
    spaced_json,
)
from potstill.curate.kept_scores import question_key
from potstill.exchanges.rows import response_digest
from potstill.lineage import manifest
from potstill.logs.call import Ask, CallFacts, LoggedAnswer, LoggedCall
from potstill.models.identity import identity_of, tokenizer_id_of
from potstill.work.named_files import NamedFile, digests
from potstill.work.run_recipe import recipe_digest

LONG = bytes(range(256)) * 5000

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


def test_the_spelling_is_what_it_was() -> None:
    value = {"b": [1, 1.0, 1e-7, True, None], "a": "é\u2028", "ü": {}}
    known = '{"a":"é\u2028","b":[1,1.0,1e-07,true,null],"ü":{}}'
    assert canonical_text(value) == known
    assert canonical_json(value) == known.encode()
    assert spaced_json({"b": [1, 2], "a": "é"}) == '{"a": "é", "b": [1, 2]}'.encode()
    assert spaced_json(["\ud800"], ascii_only=True) == b'["\\ud800"]'


@given(json_values)
def test_what_is_spelt_is_read_again(value: object) -> None:
    assert parsed(canonical_text(value)) == value
    assert digest_of(parsed(json.dumps(value, indent=3))) == digest_of(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_is_no_json_has_no_spelling(value: object) -> None:
    with pytest.raises(ValueError, match=r"JSON compliant|surrogates not allowed"):
        canonical_json([value])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("NaN", "NaN is no JSON"),
        ("[1, -Infinity]", "-Infinity is no JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("{", "Expecting"),
        ("", "Expecting"),
    ],
)
def test_what_is_no_json_is_not_read(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parsed(text)


@pytest.mark.parametrize(
    ("content", "blake3", "sha256"),
    [
        (
            LONG,
            "1b06ce5ad94441612fe1c77dc37a0a89d86d5d4452b1c0c63f52adc5daf682cd",
            "7d471e4af16db5a30ce10aebbc29f5178b2edbad6c7dc2e8ff8ee6e4848a726f",
        ),
        (
            b"",
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
    ],
)
def test_files_keep_their_digests(content: bytes, blake3: str, sha256: str, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(content)
    assert digest_of_file(file, 32) == digest_of_bytes(content, 32) == blake3
    assert digest_of_file(file) == blake3[:32]
    assert sha256_of_file(file) == sha256
    assert labelled(blake3) == f"blake3:{blake3}"
    assert digests([NamedFile(file, "a.b")]) == {"a.b": {str(file): f"blake3:{blake3[:32]}"}}


def test_the_manifest_keeps_its_digests(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(LONG)
    listed = {"schema": manifest.SCHEMA, "files": {"f": {"bytes": 1_280_000, "blake3": "?"}}}
    known = "1b06ce5ad94441612fe1c77dc37a0a89d86d5d4452b1c0c63f52adc5daf682cd"
    for digest, problems in (("?", ["f has changed"]), (known, [])):
        listed["files"] = {"f": {"bytes": len(LONG), "blake3": digest}}
        (tmp_path / "manifest.json").write_text(json.dumps(listed))
        assert manifest.verify(tmp_path) == problems


def test_models_keep_their_identities(tmp_path: Path) -> None:
    weights = {
        "b.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "a": np.ones(2, dtype=np.float16),
    }
    save_file(weights, tmp_path / "model.safetensors")
    config = {"model_type": "llama", "hidden_size": 4, "dtype": "float32", "name": "é"}
    tokenizer = {"version": "1.0", "truncation": None, "model": {"vocab": {"é": 1, "a": 0}}}
    tokenizer["model"]["type"] = "BPE"
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    assert identity_of(tmp_path) == "blake3:3931ac8f04e88c089f3c81fd7b3b6f22"
    assert tokenizer_id_of(tmp_path) == "blake3:7e1f221b7f9d65b6c5bf093483793b2e"


def test_recipes_keep_their_digests() -> None:
    class Small(BaseModel):
        name: str = "é"
        z: float = 1e-4
        a: tuple[int, ...] = (1, 2)

    assert recipe_digest(Small()) == "blake3:24b27d94a880b9140172e6fa80af4035"


def test_responses_and_questions_keep_their_digests() -> None:
    assert response_digest([1, 2], "x").hex() == "de3e56c7c09b73d7ebb844a2495d9e43"
    assert response_digest(None, "é").hex() == "ba219de80cafca5fd47aee16e7d614ca"
    assert response_digest(None, "é", "[]").hex() == "903b0ea8d018248a24936799437574c7"
    asked = [{"role": "user", "content": "é\ud800"}]
    assert question_key("judge@1", asked) == "41d7fa9e98294efa7d8a88314f6057af"


def test_calls_of_a_log_keep_their_digests() -> None:
    from potstill.logs.reading import _content_key

    ask = Ask(
        ({"role": "user", "content": "hé"},),
        {"temperature": 0.5, "seed": None},
        '[{"type":"function"}]',
    )
    answer = LoggedAnswer("yes", None, '[{"id":"1"}]')
    call = LoggedCall(ask, answer, CallFacts(), "f")
    known = "20f47783db264ac1ff52b7ff43376570"
    assert _content_key("calls/m", call.ask, call.answer).hex() == known
