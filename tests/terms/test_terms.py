"""The gate: what permits, what stops, and that the model's own files decide."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from blake3 import blake3

from licence_texts import APACHE, MIT, card
from potstill.errors import PotstillError
from potstill.terms import Evidence, Licence, Stated, TermsFacts, decide, licence_of, packaged_facts
from potstill.terms.facts import TermsOutcome
from potstill.terms.licences import read_statement

TODAY = date(2026, 11, 25)
RECIPE = Stated(setting="teacher.terms.authorisation")


def outcome(directory: Path, today: date = TODAY) -> TermsOutcome:
    return decide("model", licence_of(directory), Stated(), today=today).outcome


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"README.md": card(license="apache-2.0")}, "allow"),
        ({"README.md": card(license="Apache 2.0")}, "allow"),
        ({"README.md": card(license=["apache-2.0", "mit"])}, "allow"),
        ({"README.md": card(license="apache-2.0").replace("\n", "\r\n")}, "allow"),
        ({"README.md": "---\nlicense: mit\nbroken: [\n---\n"}, "allow"),
        ({"potstill-source.json": '{"license": "apache-2.0"}'}, "allow"),
        ({"config.json": '{"license": "mit"}'}, "allow"),
        ({"LICENSE": APACHE}, "allow"),
        ({"LICENSE.txt": MIT}, "allow"),
        ({"README.md": card(license="llama3.1")}, "conditions"),
        ({"README.md": card(license="gemma")}, "conditions"),
        ({"README.md": card(license="other", license_name="qwen-research")}, "conditions"),
        ({"README.md": card(license="llama3")}, "deny"),
        ({"LICENSE": "META LLAMA 3 COMMUNITY LICENSE AGREEMENT\n..."}, "deny"),
        ({"LICENSE": "Llama 3.2 Community License Agreement\n..."}, "conditions"),
        ({"LICENSE.md": "# Mistral AI Research License\n..."}, "deny"),
        ({}, "unknown"),
        ({"README.md": "# No front matter\nlicense: mit\n"}, "unknown"),
        ({"README.md": card(license="other")}, "unknown"),
        ({"README.md": card(license="cc-by-nc-4.0")}, "unknown"),
        ({"README.md": card(license="exaone")}, "unknown"),
        ({"README.md": card(license=["apache-2.0", "something-else"])}, "unknown"),
        ({"config.json": "not json", "potstill-source.json": '{"license": null}'}, "unknown"),
    ],
)
def test_files_decide(tmp_path: Path, files: dict[str, str], expected: TermsOutcome) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert outcome(tmp_path) == expected


@pytest.mark.parametrize(
    ("expression", "expected", "licences"),
    [
        ("Apache-2.0 AND MIT", "allow", ["apache-2.0", "mit"]),
        ("Apache-2.0 OR MIT", "allow", ["apache-2.0"]),
        ("llama3 OR MIT", "allow", ["mit"]),
        ("llama3 or (MIT and gemma)", "conditions", ["mit", "gemma"]),
        ("llama3 AND MIT", "deny", ["llama3", "mit"]),
        ("(Apache-2.0)", "allow", ["apache-2.0"]),
        ("LicenseRef-scancode-llama-3.1-license-2024 AND MIT", "conditions", ["llama3.1", "mit"]),
        # A choice that is not known whole is none: words that are no expression look like one.
        ("MIT OR something-else", "unknown", [None]),
        ("MIT or ask us first", "unknown", [None]),
        ("Apache-2.0 AND Commons-Clause", "unknown", [None]),
        ("Apache-2.0 WITH LLVM-exception", "unknown", [None]),
        ("MIT AND Apache-2.0 WITH LLVM-exception", "unknown", [None]),
        ("MIT OR Apache-2.0 WITH LLVM-exception", "unknown", [None]),
        ("MIT WITH Apache-2.0", "unknown", [None]),
        ("Apache-2.0+", "unknown", [None]),
        ("MIT AND", "unknown", [None]),
        ("()", "unknown", [None]),
        ("MIT, Apache-2.0", "unknown", [None]),
        (f"{'(' * 3000}MIT{')' * 3000}", "unknown", [None]),
        (" OR ".join(["MIT"] * 1000), "unknown", [None]),
    ],
)
def test_expressions_are_read_whole_or_not_at_all(
    tmp_path: Path, expression: str, expected: TermsOutcome, licences: list[str | None]
) -> None:
    (tmp_path / "README.md").write_text(card(license=expression), encoding="utf-8")
    assert outcome(tmp_path) == expected
    evidence = licence_of(tmp_path)
    assert [one.licence for one in evidence] == licences
    assert {one.stated for one in evidence} == {expression[:80]}


def test_the_names_that_facts_know_are_read_as_names() -> None:
    facts = packaged_facts()
    for licence in facts.licences:
        for name in (licence.id, *licence.aliases):
            (one,) = read_statement(name.upper(), "here", facts)
            assert one.licence == licence.id


def test_the_strictest_statement_decides(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(card(license="apache-2.0"), encoding="utf-8")
    (tmp_path / "LICENSE").write_text("META LLAMA 3 COMMUNITY LICENSE AGREEMENT", encoding="utf-8")
    assert outcome(tmp_path) == "deny"
    (tmp_path / "LICENSE").write_text("Ours. Ask first.", encoding="utf-8")
    assert outcome(tmp_path) == "unknown"
    (tmp_path / "LICENSE").write_text(APACHE, encoding="utf-8")
    assert outcome(tmp_path) == "allow"


@pytest.mark.parametrize("text", [APACHE, MIT])
def test_a_permissive_text_with_something_added_is_not_that_licence(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "LICENSE"
    for changed in (
        text + "\nOutputs may not be used to train other models.\n",
        "Commons Clause applies.\n" + text,
        text.replace("without", "with", 1),
    ):
        file.write_text(changed, encoding="utf-8")
        assert outcome(tmp_path) == "unknown"


def test_a_gguf_file_states_its_licence(tmp_path: Path) -> None:
    import numpy as np
    from gguf import GGUFWriter

    path = tmp_path / "model.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_license("apache-2.0")
    writer.add_tensor("x", np.zeros(4, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    evidence = licence_of(path)
    assert evidence == (Evidence("apache-2.0", "model.gguf", "apache-2.0"),)


def test_unknown_and_forbidden_stop_with_the_way_out() -> None:
    with pytest.raises(PotstillError) as caught:
        decide("some/model", (), RECIPE, today=TODAY).require()
    assert str(caught.value) == (
        "the teacher some/model may not be distilled yet: its files state no licence; if its "
        "rights holder permits it, save the permission as a text file and name it with "
        "teacher.terms.authorisation, or choose another teacher"
    )
    denied = decide("m", (Evidence("llama3", "README.md", "llama3"),), Stated(), today=TODAY)
    with pytest.raises(PotstillError, match=r"README\.md states llama3 \(Outputs may not be used"):
        denied.require()


def test_an_authorisation_permits_and_is_recorded(tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("We permit it. The rights holder.", encoding="utf-8")
    decision = decide("m", (), Stated(authorisation=str(letter)), today=TODAY)
    digest = f"blake3:{blake3(letter.read_bytes()).hexdigest()}"
    assert decision.require().authorisation == digest
    assert decision.outcome == "unknown"
    assert decision.record() == (
        f"unknown: no licence stated; facts {packaged_facts().version}; authorisation {digest}"
    )
    assert str(tmp_path) not in json.dumps(decision.facts())


def test_a_setting_is_called_what_the_user_calls_it(tmp_path: Path) -> None:
    named = Stated(str(tmp_path / "none.txt"), setting="--authorisation")
    with pytest.raises(PotstillError, match=r"does not exist; check --authorisation$"):
        decide("m", (), named, today=TODAY)
    unknown = decide("m", (), Stated(setting="--authorisation"), today=TODAY)
    with pytest.raises(PotstillError, match="name it with --authorisation, or choose another"):
        unknown.require()


@pytest.mark.parametrize("content", [None, "  \n"])
def test_an_authorisation_has_to_be_there_and_say_something(
    tmp_path: Path, content: str | None
) -> None:
    letter = tmp_path / "letter.txt"
    if content is not None:
        letter.write_text(content, encoding="utf-8")
    with pytest.raises(PotstillError, match="authorisation"):
        decide("m", (), Stated(authorisation=str(letter)), today=TODAY)


def test_allow_comes_with_conditions_and_a_short_record() -> None:
    evidence = (Evidence("apache-2.0", "README.md", "apache-2.0"),)
    decision = decide("m", evidence, Stated(), today=TODAY).require()
    assert decision.conditions[0].startswith("Keep the licence and the notices")
    version = packaged_facts().version
    # What a caller hands in is recorded as such; what potstill read itself is not.
    assert decision.record() == (
        f"allow: apache-2.0; facts {version}; by evidence that was handed in"
    )
    read = read_statement("apache-2.0", "README.md", packaged_facts())
    assert decide("m", read, Stated(), today=TODAY).record() == (
        f"allow: apache-2.0; facts {version}"
    )


def fact(confidence: str, recheck_after: date | None, decision: str = "allow") -> TermsFacts:
    licence = Licence.model_validate(
        {
            "id": "x",
            "decision": decision,
            "conditions": "Keep it.",
            "source": "s",
            "confidence": confidence,
            "recheck_after": recheck_after,
        }
    )
    return TermsFacts(version="1", licences=(licence,))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (fact("P", None), "allow"),
        (fact("S", TODAY), "allow"),
        (fact("U", None), "unknown"),
        (fact("P", date(2026, 11, 24)), "unknown"),
        (fact("U", None, "conditions"), "unknown"),
        (fact("U", date(2020, 1, 1), "deny"), "deny"),
    ],
)
def test_unverified_or_old_facts_never_permit(facts: TermsFacts, expected: TermsOutcome) -> None:
    evidence = (Evidence("x", "README.md", "x"),)
    decision = decide("m", evidence, Stated(), today=TODAY, facts=facts)
    assert decision.outcome == expected


def test_packaged_facts_are_consistent() -> None:
    facts = packaged_facts()
    names = [n for licence in facts.licences for n in (licence.id, *licence.aliases)]
    assert len(names) == len(set(names))
    for licence in facts.licences:
        assert licence.id == licence.id.lower()
        assert all(title == title.lower() for title in licence.titles)
        if licence.decision in ("allow", "conditions"):
            assert licence.confidence != "U"
        if licence.id not in ("apache-2.0", "mit"):
            assert licence.recheck_after is not None
