"""YAML and JSON as values: keys as written, decimal numbers, places, and what is refused."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from potstill.errors import PotstillError
from potstill.recipe.written import Unsure, dump_written, read_written


def refusal(text: str, source: str = "r.yaml") -> str:
    with pytest.raises(PotstillError) as caught:
        read_written(text, source)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-7", -7),
        ("12", 12),
        ("1.5e+3", 1500.0),
        (".5", 0.5),
        ("3.", 3.0),
        ("-.inf", float("-inf")),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("=", "="),
        ("'010'", "010"),
        ('"yes"', "yes"),
        ("!!str yes", "yes"),
        ("!!str 5", "5"),
        ("!!int 5", 5),
        ("|\n  on\n", "on\n"),
        ("v1.2", "v1.2"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_that_every_version_of_yaml_reads_alike(text: str, value: object) -> None:
    found = read_written(text, "r.yaml").value
    assert found == value
    assert type(found) is type(value)


WORDS = ["yes", "No", "ON", "off"]
NUMBERS = ["010", "-017", "0o17", "0x1F", "0b11", "1_000", "1_0.5", "1:30", "190:20:30", "1:30.5"]
DATES = ["2026-01-01", "2001-12-14t21:59:43.10-05:00"]


@pytest.mark.parametrize("text", [*WORDS, *NUMBERS, *DATES])
def test_what_versions_read_differently_is_kept_as_it_is_written(text: str) -> None:
    found = read_written(f"a: [{text}]" if ":" not in text else f"a:\n- {text}\n", "r.yaml").value
    assert found == {"a": [text]}
    assert isinstance(found["a"][0], Unsure)
    assert (found["a"][0].truth is not None) == (text in WORDS)


@pytest.mark.parametrize("text", ["1e-4", "1E5", "1.5e3", "-2e+3", ".5e1"])
def test_an_exponent_is_a_number_or_text(text: str) -> None:
    """YAML 1.1 reads it as text, and everybody else as a number."""
    (found,) = read_written(f"[{text}]", "r.yaml").value
    assert (found, found.number, found.truth) == (text, float(text), None)
    assert read_written(f"[!!float {text}]", "r.yaml").value == [float(text)]
    (json_number,) = read_written(
        f'{{"a": [{text.replace("-2", "2").replace(".5", "0.5")}]}}', "r.json"
    ).value["a"]
    assert type(json_number) is float


TEXTS = [*WORDS, *NUMBERS, *DATES, "1e-4", "1E5", "true", "null", "~", "", "7", "1.5", "=", "<<"]


@pytest.mark.parametrize(
    "text",
    [*TEXTS, "a: b", "- a", "#", " a ", "a\nb", "\t", "é", "\x07", "\x85", "\u2028", "\ufeff"],
)
def test_text_that_is_dumped_is_text_to_every_version(text: str) -> None:
    values = {text: text, "in": [text, {"b": text}]}
    dumped = dump_written(values)
    assert read_written(dumped, "r.yaml").value == values
    assert yaml.safe_load(dumped) == values


@given(value=st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False) | st.integers()))
def test_whatever_is_dumped_reads_back(value: dict[str, object]) -> None:
    assert read_written(dump_written(value, allow_unicode=True), "r.yaml").value == value


@pytest.mark.parametrize(
    "key", [*WORDS, *NUMBERS[:4], *DATES[:1], "true", "null", "1", "1.50", "~"]
)
@pytest.mark.parametrize("form", ["{0}: {{{0}: 1}}", "{0}:\n  {0}: 1", '"{0}": {{"{0}": 1}}'])
def test_keys_are_text_as_it_is_written(key: str, form: str) -> None:
    assert read_written(form.format(key), "r.yaml").value == {key: {key: 1}}


def test_places_are_the_lines_of_keys_and_items() -> None:
    written = read_written("a:\n  b: [1,\n    2]\nc: {d: 3}\n", "r.yaml")
    assert written.lines == {
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "b", 0): 2,
        ("a", "b", 1): 3,
        ("c",): 4,
        ("c", "d"): 4,
    }


def test_json_has_the_same_places() -> None:
    written = read_written('{"a": {\n"b": [1,\n2]},\n"c": 3}', "r.json")
    assert written.value == {"a": {"b": [1, 2]}, "c": 3}
    assert written.lines == {
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "b", 0): 2,
        ("a", "b", 1): 3,
        ("c",): 4,
    }


@pytest.mark.parametrize("source", ["r.json", "r.yaml"])
@pytest.mark.parametrize(
    "text",
    [
        r'{"a": "\ud83d\ude00 \u00e9 \/ \t"}',
        '{"a":"https://h/x","b":1e-4,"c":-0,"d":1E+2}',
        '{\n\t"a": [],\n\t"b": {}\n}',
        json.dumps({"k" * 2000: "v"}),
        '\ufeff{"yes": true, "010": null}',
    ],
)
def test_json_keeps_its_characters(text: str, source: str) -> None:
    assert read_written(text, source).value == json.loads(text.removeprefix("\ufeff"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(value=st.dictionaries(st.text(), JSON), indent=st.sampled_from([None, 2]), raw=st.booleans())
def test_any_json_reads_back(value: dict[str, object], indent: int | None, raw: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=not raw)
    assert read_written(text, "r.yaml").value == json.loads(text)


def test_merged_mappings_come_below_their_own_keys() -> None:
    text = "base: &b {x: 1, y: 2}\nmore: &m {y: 4, z: 5}\na:\n  <<: [*b, *m]\n  x: 3\n"
    assert read_written(text, "r.yaml").value["a"] == {"x": 3, "y": 2, "z": 5}


def test_many_aliases_are_made_once() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40)]
    assert len(read_written("\n".join(lines), "r.yaml").value) == 40


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "r.yaml, line 3: a is given twice (first on line 1); remove one"),
        ("a:\n  b: 1\n  'b': 2\n", "r.yaml, line 3: a.b is given twice (first on line 2)"),
        ("1: x\n'1': y\n", "r.yaml, line 2: 1 is given twice"),
        ("a: [{b: {c: 1, c: 2}}]", "r.yaml, line 1: a[0].b.c is given twice"),
        ('{"a": 1,\n "a": 2}', "r.yaml, line 2: a is given twice (first on line 1)"),
        (
            '{"a": [{"b": 1,\n\n "b": 2}]}',
            "r.yaml, line 3: a[0].b is given twice (first on line 1)",
        ),
        ("a: &a [*a]\n", "r.yaml, line 1: a[0] holds itself"),
        ("a: &a {b: {c: *a}}\n", "r.yaml, line 1: a.b.c holds itself"),
        ("? [a]\n: b\n", "line 1: the recipe has a key that is a list or a mapping"),
        ("a: {[1]: 2}\n", "line 1: a has a key that is a list or a mapping"),
        ("a:\n  b: !!python/name:os.system x\n", "line 2: a.b has the tag"),
        ("a: !!binary aGk=\n", "line 1: a has the tag"),
        ("a: !mine x\n", "line 1: a has the tag !mine"),
        ("a: !!set {x}\n", "line 1: a has the tag"),
        ('a: "\\ud83d"\n', "line 1: a has half of a character"),
        ('{"a":\n"\\ude00 \\ud83d"}', "line 2: a has half of a character"),
        ('"\\ud83d": 1\n', "line 1: the recipe has half of a character"),
        ("a: b\nc: \x07\n", "r.yaml, line 2: the character U+0007 cannot stand in YAML"),
        ("\x00", "r.yaml, line 1: the character U+0000"),
        ("a: [1\n", "r.yaml, line 2, column 1: not valid YAML"),
        ("a: b: c\n", "r.yaml, line 1, column 5: not valid YAML"),
        ("a: 1\n---\nb: 2\n", "r.yaml, line 2, column 1: not valid YAML"),
        ("a: *nowhere\n", "r.yaml, line 1, column 4: not valid YAML"),
        ('a: "\\UFFFFFFFF"\n', "r.yaml is not valid YAML; check its escapes"),
        ("a: " + "[" * 4000, "r.yaml is nested too deeply"),
        ("a:\n  <<: [1]\n", "line 2: a merges (<<) what is no mapping"),
    ],
)
def test_what_is_refused_and_where(text: str, words: str) -> None:
    said = refusal(text)
    assert words in said
    assert "Error" not in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1,}', "r.json, line 1, column 9: not valid JSON"),
        ("a: 1", "r.json, line 1, column 1: not valid JSON (expecting value); correct it there"),
        ('{"a": "b\nc"}', "r.json, line 1, column 9: not valid JSON (invalid control character"),
        ('{"a": ' + "9" * 5000 + "}", "r.json holds a number of more than 4000 digits"),
        ('{"a": ' + "[" * 100_000, "r.json"),
    ],
)
def test_json_that_is_none(text: str, words: str) -> None:
    assert words in refusal(text, "r.json")
