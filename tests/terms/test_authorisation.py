"""An authorisation says who permits what until when; free text is read as before, and said so."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from potstill.errors import PotstillError
from potstill.terms import Stated, TermsDecision, Use, decide, packaged_facts
from potstill.terms.named import terms_of
from potstill.terms.statements import read_statement

TODAY = date(2026, 11, 30)
FORM = """authorisation: 1
who: Example Corp., legal department
what: [example/large-model, llama3]
until: 2027-06-30
"""


def decided(path: Path, *, today: date = TODAY, named: str = "m", **use: Any) -> TermsDecision:
    evidence = read_statement("llama3", "README.md", packaged_facts())
    stated = Stated(str(path), "--authorisation", Use(**use))
    return decide(named, evidence, stated, today=today)


@pytest.fixture
def letter(tmp_path: Path) -> Path:
    return tmp_path / "permission.txt"


def test_the_form_is_read_and_recorded(letter: Path) -> None:
    letter.write_text(FORM + "to: us\ntext: You may.\n")
    decision = decided(letter).require()
    assert decision.outcome == "deny" and decision.granted is not None
    said = "Example Corp., legal department permits example/large-model, llama3 until 2027-06-30"
    assert decision.granted.said() == said
    granted = decision.facts()["granted"]
    assert isinstance(granted, dict)
    assert (granted["until"], granted["to"], granted["form"]) == ("2027-06-30", "us", "form 1")
    assert "text" not in granted


def test_free_text_permits_as_before_and_is_said_to_be_free(letter: Path) -> None:
    letter.write_text("Dear all: you may distil our model. The rights holder.")
    decision = decided(letter).require()
    assert decision.granted is not None and "free text" in decision.granted.said()
    assert "free text" in str(decision.facts()["granted"])


@pytest.mark.parametrize("named", ["example/large-model", "EXAMPLE/Large-Model"])
def test_it_covers_what_it_names(letter: Path, named: str) -> None:
    letter.write_text(FORM.replace(", llama3", ""))
    assert decided(letter, named=named).permitted
    with pytest.raises(PotstillError, match="is for example/large-model, and not for another/one"):
        decided(letter, named="another/one")


def test_it_covers_a_provider_and_its_services(letter: Path) -> None:
    letter.write_text(FORM.replace("[example/large-model, llama3]", "openai"))
    stated = Stated(str(letter))
    api = decide("gpt-4o", terms_of("https://api.openai.com/v1").evidence, stated, today=TODAY)
    assert api.require().outcome == "deny"
    with pytest.raises(PotstillError, match="is for openai, and not for claude"):
        decide("claude", terms_of("anthropic").evidence, stated, today=TODAY)


def test_it_ends_on_its_day(letter: Path) -> None:
    letter.write_text(FORM)
    assert decided(letter, today=date(2027, 6, 30)).permitted
    with pytest.raises(PotstillError) as caught:
        decided(letter, today=date(2027, 7, 1))
    assert str(caught.value) == (
        f"the authorisation {letter} ended on 2027-06-30; ask Example Corp., legal department for "
        "a new one"
    )


def test_it_may_be_for_some_students_alone(letter: Path) -> None:
    letter.write_text(FORM + "intents: internal\nstudents: [classifier]\n")
    assert decided(letter, intent="internal", kind="classifier").permitted
    for use in ({"intent": "internal"}, {"kind": "classifier"}, {"intent": "host"}):
        with pytest.raises(PotstillError, match="is for intents internal and students classifier"):
            decided(letter, **use)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (FORM.replace(": 1", ": 2"), "is of form 2, and potstill knows form 1"),
        (FORM.replace(": 1", ": yes"), "is of form True"),
        (FORM.replace("until: 2027-06-30\n", ""), "does not say until"),
        (FORM.replace("who: ", "whom: "), "does not say who"),
        (FORM + "forever: yes\n", "has a key forever, which form 1 does not"),
        (FORM.replace("2027-06-30", "some day"), "has a value of until that form 1 does not take"),
        (FORM.replace("2027-06-30", "2027"), "has a value of until that form 1 does not take"),
        (FORM.replace("[example/large-model, llama3]", "[]"), "has a value of what"),
        (FORM + "intents: [resell]\n", "has a value of intents"),
        (FORM.replace("authorisation: 1\n", ""), "does not say which form it has"),
        (FORM.replace("who: ", "who: ["), "cannot be read as YAML"),
        # Of two values the last would count; a day with a time or a zone could be another.
        (FORM + "until: 2099-01-01\n", "in which each key stands once"),
        (FORM.replace("2027-06-30", "2027-06-30T00:00:00+14:00"), "has a value of until"),
        (FORM.replace("2027-06-30", "2027-06-30 00:00:00"), "has a value of until"),
        (FORM.replace("2027-06-30", "1814313600"), "has a value of until"),
        # Text before or around it does not free it from its own conditions.
        ("Dear all,\n\n" + FORM, "cannot be read as YAML"),
        ("# ours\n" + FORM.replace("who: ", "who: ["), "cannot be read as YAML"),
        ("- " + FORM.replace("\n", "\n  "), "cannot be read as YAML"),
        (FORM + "---\n" + FORM, "cannot be read as YAML"),
        (b"a" * 1_000_001, "is no text file"),
        (b"%PDF-1.7\n\x00\xff", "is no text file"),
        (b"\xff\xfe", "is no text file"),
    ],
)
def test_another_form_is_refused_in_one_sentence(
    letter: Path, content: str | bytes, words: str
) -> None:
    letter.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PotstillError) as caught:
        decided(letter)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_whoever_permits_has_a_name(letter: Path) -> None:
    lines = FORM.splitlines(keepends=True)
    text = "".join("who: '  '\n" if line.startswith("who:") else line for line in lines)
    letter.write_text(text)
    with pytest.raises(PotstillError, match="has a value of who that form 1 does not take"):
        decided(letter)


def test_american_spelling_and_json_are_the_same_form(letter: Path) -> None:
    letter.write_text(FORM.replace("authorisation", "Authorization"))
    assert decided(letter).granted is not None
    letter.write_text('{"authorisation": 1, "who": "A", "what": "llama3", "until": "2027-01-01"}')
    found = decided(letter).granted
    assert found is not None and found.permission is not None
    assert found.permission.until == date(2027, 1, 1)
