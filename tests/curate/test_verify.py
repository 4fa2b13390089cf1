"""Verifiers: right, wrong and unknown answers, and settings that cannot work."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.curate.verify import verifier
from potstill.errors import PotstillError
from potstill.recipe import VerifyConfig
from potstill.text.values import last_number

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"$ref": "#/$defs/count"}},
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {"count": {"type": "integer", "minimum": 0}},
}


def verdict(config: VerifyConfig, answer: str, gold: str | None, known: str = "7") -> Any:
    check = verifier(config, {"p": gold if gold is not None else known})
    assert check is not None
    found = check(answer, gold)
    assert bool(found.reason) is (found.correct is False)
    return found.reason or found.correct


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("The answer is 42.", "42"),
        ("3 + 4 = 7", "7"),
        ("5-3", "3"),
        ("x=-5", "-5"),
        ("about \N{MINUS SIGN}2.5 degrees", "-2.5"),
        ("$1,234,567.89 in all", "1234567.89"),
        ("-$20", "-20"),
        ("1,2,3", "3"),
        ("3e2", "300"),
        (".5", "0.5"),
        ("It costs 12 euros and 5e", "5"),
        ("**18**", "18"),
        ("9007199254740993", "9007199254740993"),
        ("none", None),
        ("", None),
    ],
)
def test_last_number(text: str, number: str | None) -> None:
    assert last_number(text) == (Decimal(number) if number is not None else None)


@given(st.decimals(-(10**9), 10**9, places=3), st.text("abc ,.=\n", max_size=20))
def test_a_number_at_the_end_is_read_whatever_stands_before(number: Decimal, before: str) -> None:
    assert last_number(f"{before} {number:,}") == number


@given(st.text(max_size=80))
def test_any_text_has_a_verdict(answer: str) -> None:
    for config, gold in (
        (VerifyConfig(kind="number"), "7"),
        (VerifyConfig(kind="label", labels=("yes", "no")), "yes"),
        (VerifyConfig(kind="json", json_schema=SCHEMA), '{"city": "Lima"}'),
        (VerifyConfig(kind="exact"), "seven"),
    ):
        verdict(config, answer, gold)


@pytest.mark.parametrize(
    ("answer", "gold", "tolerance", "expected"),
    [
        ("It is 7.", "7", 0, True),
        ("It is 7.0", "7", 0, True),
        ("It is 8.", "7", 0, "another number"),
        ("It is 7.05", "7", 0.1, True),
        ("It is 7.1", "7", 0.1, True),
        ("It is 7.11", "7", 0.1, "another number"),
        ("9007199254740993", "9007199254740992", 0, "another number"),
        ("1e9999", "7", 1, "another number"),
        ("9" * 5000, "7", 0, "another number"),
        ("Seven.", "7", 0, "no number"),
        ("It is 7.", None, 0, None),
    ],
)
def test_numbers(answer: str, gold: str | None, tolerance: float, expected: object) -> None:
    assert verdict(VerifyConfig(kind="number", tolerance=tolerance), answer, gold) == expected


@pytest.mark.parametrize(
    ("answer", "gold", "expected"),
    [
        ("Yes.", "yes", True),
        ('"no"', None, True),
        ("NO\n", "no", True),
        ("no", "yes", "another label"),
        ("maybe", None, "no allowed label, or several"),
        ("yes, since", "yes", True),
        ("**Yes**", "yes", True),
        ("The answer is yes.", "yes", True),
        ("<think>no?</think>Yes", "yes", True),
        ("yes or no", "yes", "no allowed label, or several"),
        ("This is not a yes.", None, "no allowed label, or several"),
        ("<think>yes", None, "no allowed label, or several"),
        ("", None, "no allowed label, or several"),
    ],
)
def test_labels(answer: str, gold: str | None, expected: object) -> None:
    config = VerifyConfig(kind="label", labels=("Yes", "no"))
    assert verdict(config, answer, gold, known="no") == expected


@pytest.mark.parametrize(
    ("answer", "gold", "expected"),
    [
        ('{"city": "Lima", "people": 10}', None, True),
        ('{"people": 10, "city": "Lima"}', '{"city": "Lima", "people": 10.0}', True),
        ('{"city": "Lima"}', '{"city": "Oslo"}', "another value"),
        ('{"city": "LIMA."}', '{"city": "Lima"}', True),
        ('{"people": 10}', None, "JSON against the schema's required"),
        ('{"city": "Lima", "people": -1}', None, "JSON against the schema's minimum"),
        ('{"city": "Lima", "mayor": "?"}', None, "JSON against the schema's additionalProperties"),
        ('```json\n{"city": "Lima"}\n```', None, "not bare JSON: in a code fence"),
        ('Here:\n```json\n{"city": "Lima"}\n```', None, "not bare JSON: in a code fence"),
        ('{"city": "Lima"} I hope', None, "not bare JSON: text around it"),
        ('```json\n{"city": "Lima"}\n```', '{"city": "Oslo"}', "another value"),
        ('<think>{"city": "Oslo"}</think>\n{"city": "Lima"}', '{"city": "Lima"}', True),
        ("{'city': 'Lima'}", None, "no JSON"),
        ("NaN", None, "no JSON"),
        ("[" * 100_000, None, "no JSON"),
    ],
)
def test_json(answer: str, gold: str | None, expected: object) -> None:
    config = VerifyConfig(kind="json", json_schema=SCHEMA)
    assert verdict(config, answer, gold, known='{"city": "Rome"}') == expected


def test_json_tells_true_from_one() -> None:
    assert verdict(VerifyConfig(kind="json"), "[1]", "[true]") == "another value"
    assert verdict(VerifyConfig(kind="json"), "[true]", "[true]") is True
    deep = "[" * 300 + "]" * 300
    assert verdict(VerifyConfig(kind="json"), deep, deep) is True


json_values = st.recursive(
    # Letters alone: texts are compared in their plain form.
    st.none() | st.booleans() | st.integers() | st.text("abc", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(json_values, json_values)
def test_json_equals_itself_however_it_is_spelt(one: Any, other: Any) -> None:
    config = VerifyConfig(kind="json")
    canonical = json.dumps(one, sort_keys=True)
    assert verdict(config, json.dumps(one, indent=2), canonical) is True
    same = canonical == json.dumps(other, sort_keys=True)
    assert (verdict(config, json.dumps(other), canonical) is True) is same


def test_exact() -> None:
    config = VerifyConfig(kind="exact")
    assert verdict(config, " New\nYork.", "new york") is True
    assert verdict(config, "-5", "5") == "another answer"
    assert verdict(config, "x²", "x2") == "another answer"
    assert verdict(config, "**Answer:** New York!", "New York") is True
    assert verdict(config, "<think>York</think>New York", "New York") is True
    assert verdict(config, "York", None) is None


@pytest.mark.parametrize(
    ("config", "gold", "words"),
    [
        (
            VerifyConfig(kind="label", labels=("yes", "no")),
            {"a": "yes", "b": "perhaps"},
            r"1 of 2 gold answers are no labels \(yes, no\); correct them",
        ),
        (VerifyConfig(kind="number"), {"a": "seven"}, "1 of 1 gold answers hold no number"),
        (VerifyConfig(kind="number"), None, "compares with gold answers, and there are none"),
        (VerifyConfig(kind="exact"), {}, "compares with gold answers, and there are none"),
        (
            VerifyConfig(kind="json", json_schema=SCHEMA),
            {"a": '{"people": 1}'},
            "1 of 1 gold answers are not JSON that fits",
        ),
        (VerifyConfig(kind="label", labels=("yes", "Yes.")), None, "which are one label"),
        (VerifyConfig(kind="label", labels=("yes", " ")), None, "without a letter or digit"),
    ],
)
def test_settings_that_cannot_work(
    config: VerifyConfig, gold: dict[str, str] | None, words: str
) -> None:
    with pytest.raises(PotstillError, match=words):
        verifier(config, gold)


def test_a_malformed_schema_is_refused_in_one_sentence() -> None:
    with pytest.raises(PotstillError, match="json_schema is no JSON schema: type"):
        verifier(VerifyConfig(kind="json", json_schema={"type": "objekt"}), None)


def test_a_schema_may_refer_into_itself_by_name() -> None:
    schema = {
        "$id": "https://example.org/tree",
        "type": "object",
        "properties": {"inner": {"$ref": "tree"}, "leaf": {"$ref": "#leaf"}},
        "$defs": {"x": {"$anchor": "leaf", "type": "integer"}},
    }
    config = VerifyConfig(kind="json", json_schema=schema)
    assert verdict(config, '{"inner": {"leaf": 1}}', None, known="{}") is True
    wrong = verdict(config, '{"inner": {"leaf": "1"}}', None, known="{}")
    assert wrong == "JSON against the schema's type"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kind": "label"}, "needs curate.verify.labels"),
        ({"kind": "json", "labels": ["a"]}, "labels are not used by curate.verify.kind json"),
        ({"kind": "exact", "json_schema": {}}, "json_schema is not used"),
        ({"kind": "exact", "tolerance": 1}, "tolerance is not used"),
    ],
)
def test_settings_of_another_kind_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        VerifyConfig.model_validate(values)
