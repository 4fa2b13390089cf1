"""Answers read from responses, and gold answers from cells."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.errors import PotstillError
from potstill.recipe import TaskConfig
from potstill.text.answers import AnswerForm
from potstill.text.forms import plain
from potstill.text.values import first_object

LABELS = AnswerForm("label", ("Urgent", "not urgent", "spam"))
SCHEMA = {
    "type": "object",
    "properties": {"city": {"$ref": "#/$defs/name"}, "n": {"type": "integer"}},
    "required": ["city"],
    "$defs": {"name": {"type": "string"}},
}
ORDER = AnswerForm("json", schema=SCHEMA)
TEXT = AnswerForm("text")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("urgent", "Urgent"),
        ("  **URGENT.** ", "Urgent"),
        ("Not\n urgent!", "not urgent"),
        ("The queue is: spam, I think.", "spam"),
        ("This is not urgent.", "not urgent"),
        ("spam. Yes, Spam.", "spam"),
        ("urgent or spam", None),
        ("urgently needed", None),
        ("", None),
        ("something else", None),
        ("ｓｐａｍ", "spam"),
        ("\ud800 spam \x00", "spam"),
    ],
)
def test_a_label_is_the_whole_text_or_the_only_one_in_it(text, label):
    assert LABELS.read(text) == label


@given(st.sampled_from(LABELS.labels), st.sampled_from(["", " ", "\n", "“", "*", ". "]))
def test_a_label_is_read_whatever_surrounds_it(label, edge):
    assert LABELS.read(edge + label.upper() + edge) == label


def test_labels_may_hold_what_patterns_are_made_of():
    form = AnswerForm("label", ("c++", "c", "a|b", "(x"))
    assert form.read("I say a|b here") == "a|b"
    assert form.read("c") is not None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1}', {"a": 1}),
        ('Sure!\n```json\n{"a": {"b": [1, {"c": 2}]}}\n``` {"z": 1}', {"a": {"b": [1, {"c": 2}]}}),
        ('Here {is} the answer: {"a": "}"}', {"a": "}"}),
        ('{"a": 1, bad} {"b": 2}', {"b": 2}),
        ('{"a": {"b": 1}', None),
        ('{"a": {"b": 1}, "c": "{', None),
        ('[{"a": 1}]', {"a": 1}),
        ('{"a": NaN}', None),
        ('{"a": Infinity}', None),
        ('{"a": ' * 5000, None),
        ('{"a": ' + "[" * 100_000, None),
        ('{"a": ' + "9" * 5000 + "}", None),
        ("{}", {}),
        ("none", None),
    ],
)
def test_json_is_the_first_complete_object(text, found):
    assert first_object(text) == found


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(max_size=5), values, max_size=4),
    st.text(st.characters(exclude_characters="{")),
    st.text(),
)
def test_any_object_is_found_in_any_text(value, before, after):
    assert first_object(before + json.dumps(value) + after) == value


@given(st.dictionaries(st.text(max_size=5), values, min_size=1, max_size=4), st.data())
def test_a_truncated_object_has_no_answer(value, data):
    text = json.dumps(value)
    assert first_object(text[: data.draw(st.integers(0, len(text) - 1))]) is None


def test_schema_decides_what_fits():
    assert ORDER.fits_schema(ORDER.read('{"city": "Bonn", "n": 2}'))
    assert not ORDER.fits_schema(ORDER.read('{"city": 5}'))
    assert not ORDER.fits_schema(ORDER.read('{"n": 2}'))
    assert not ORDER.fits_schema(None)
    assert AnswerForm("json").fits_schema({"anything": 1})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('<think>{"n": 1}</think>\n```json\n{"n": 2}\n```', {"n": 2}),
        ('{"n": 1}</think>{"n": 2} is it', {"n": 2}),
        ('[{"n": 1}]', None),
        ('<think>{"n": 1}', None),
        ("5", None),
    ],
)
def test_an_answer_in_json_is_one_object_after_the_reasoning(text, found):
    assert AnswerForm("json").read(text) == found


def test_text_is_compared_without_case_space_quotes_and_final_stop():
    assert TEXT.read(' "The  Hague." ') == "the hague"
    assert TEXT.read(" \n ") is None
    assert plain("3.5") == "3.5"


@pytest.mark.parametrize(
    ("form", "value", "gold"),
    [
        (LABELS, " SPAM ", "spam"),
        (AnswerForm("label", ("1", "2")), 1, "1"),
        (ORDER, '{"city": "Bonn"}', {"city": "Bonn"}),
        (ORDER, {"city": "Bonn"}, {"city": "Bonn"}),
        (TEXT, "Bonn.", "bonn"),
        (TEXT, 5, "5"),
        (TEXT, ".", "."),
    ],
)
def test_gold_answers_are_read_from_cells(form, value, gold):
    assert form.gold(value, "rows.csv, line 2") == gold


@pytest.mark.parametrize(
    ("form", "value", "message"),
    [
        (
            LABELS,
            "ham",
            "rows.csv, line 2, has the gold label ham, which task.labels does not allow "
            "(Urgent, not urgent, spam); add it there, or correct the row",
        ),
        (LABELS, "spam or urgent", "does not allow"),
        (LABELS, None, "rows.csv, line 2, has no gold answer"),
        (TEXT, " ", "has no gold answer"),
        (ORDER, "Bonn", "is no JSON object"),
        (ORDER, [1], "is no JSON object"),
        (ORDER, '{"city": 5}', "does not fit task.json_schema"),
    ],
)
def test_gold_answers_that_are_not_allowed_are_refused(form, value, message):
    with pytest.raises(PotstillError) as caught:
        form.gold(value, "rows.csv, line 2")
    assert message in str(caught.value)


def test_a_long_gold_label_is_not_quoted_whole():
    with pytest.raises(PotstillError) as caught:
        LABELS.gold("secret " * 40, "rows.csv, line 2")
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "the schema {path} does not exist; check task.json_schema"),
        ("{", "the schema s.json is not valid JSON"),
        ("[]", "the schema s.json is no JSON schema: it must be an object"),
        ('{"type": "objekt"}', "the schema s.json is no JSON schema: type breaks the rule"),
        ('{"$ref": "#/$defs/x"}', "leads nowhere"),
        ('{"$ref": "https://example.org/s.json"}', "leads out of it"),
        (b"\xff", "the schema s.json is not UTF-8 text; check the file"),
    ],
)
def test_a_schema_file_that_is_none_is_refused(tmp_path, content, message):
    path = tmp_path / "s.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PotstillError) as caught:
        AnswerForm.of(TaskConfig(kind="json", json_schema=str(path)))
    assert message.format(path=path) in str(caught.value)


def test_a_schema_file_is_used(tmp_path):
    path = tmp_path / "s.json"
    path.write_text(json.dumps(SCHEMA))
    form = AnswerForm.of(TaskConfig(kind="json", json_schema=str(path)))
    assert not form.fits_schema({"city": 1})
