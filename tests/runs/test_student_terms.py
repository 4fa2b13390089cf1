"""A student's terms: all that it comes from, all rows that it could learn, in files beside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from learnt_stores import PLAN, written
from licence_texts import card
from pipeline_runs import Noted, recipe_values
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange
from potstill.exchanges.rows import Mark
from potstill.models.identity import identity_of
from potstill.recipe import Recipe
from potstill.runs.parts import Parts
from potstill.runs.student_terms import decisions_of, require_terms_of_all, state_terms
from potstill.terms import Stated, decide, licence_of
from potstill.work.rundir import RunDir

GATED = "allow: apache-2.0; facts 2026-11"


def copied(nano: Path, place: Path, text: str | None = None) -> Path:
    model = Path(shutil.copytree(nano, place))
    if text is not None:
        (model / "README.md").write_text(text)
    return model


def rows(*lines: str) -> list[Exchange]:
    """Return answers to training prompts, one for each line of terms."""
    return [
        replace(written(prompt, "So."), terms_decision=line)
        for prompt, line in zip(PLAN.train, lines, strict=False)
    ]


@contextmanager
def parts_of(
    root: Path, model: Path, authorisation: Path | None = None, **sections: Any
) -> Iterator[Parts]:
    values = recipe_values(model, "rows.jsonl", **sections)
    if authorisation is not None:
        values["teacher"]["terms"] = {"authorisation": str(authorisation)}
    recipe = Recipe.model_validate(values)
    with RunDir.open(root, recipe) as run:
        parts = Parts(run, recipe, Noted())
        yield parts
        parts.store.close()


def notes(parts: Parts) -> list[str]:
    assert isinstance(parts.progress, Noted)
    return parts.progress.notes


def stated(parts: Parts, directory: Path) -> dict[str, Any]:
    state_terms(parts, directory)
    found: dict[str, Any] = json.loads((directory / "student-terms.json").read_text())
    return found


def test_a_student_says_what_it_comes_from_and_may_teach(nano_llama: Path, tmp_path: Path) -> None:
    student = copied(nano_llama, tmp_path / "student", "# A student\n")
    before = identity_of(student)
    with parts_of(tmp_path / "run", nano_llama, student={"intent": "distribute"}) as parts:
        parts.store.append(rows(GATED, GATED))
        terms = stated(parts, student)
        assert notes(parts) == []
    assert (terms["outcome"], terms["intent"], terms["student"]) == ("allow", "distribute", "nano")
    assert [s["role"] for s in terms["sources"]] == ["teacher", "base"]
    assert {s["made_by"] for s in terms["sources"]} == {"gate"}
    assert terms["rows"] == [{"line": GATED, "rows": 2}]
    assert (student / "LICENSES" / "apache-2.0.txt").is_file()
    assert "the weights of llama (apache-2.0)" in (student / "NOTICE").read_text()
    # Nothing of this machine, and the same model as before.
    assert str(tmp_path) not in (student / "student-terms.json").read_text()
    assert identity_of(student) == before
    decision = decide("student", licence_of(student), Stated())
    assert decision.outcome == "allow" and decision.licences == ("apache-2.0",)


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        ("deny: llama3; facts 2026-11", "deny"),
        ("unknown: no licence stated; facts 2026-11", "unknown"),
        ("allow: mit; facts 2026-11; not made by the gate", "unknown"),
        ("whatever", "unknown"),
    ],
)
def test_refused_rows_are_inherited_whatever_was_filtered_later(
    nano_llama: Path, tmp_path: Path, line: str, outcome: str
) -> None:
    student = copied(nano_llama, tmp_path / "student")
    with parts_of(tmp_path / "run", nano_llama, student={"intent": "internal"}) as parts:
        given = rows(GATED, line)
        parts.store.append(given)
        # Left out of training afterwards.
        dropped = [
            Mark(row.exchange_id, "test", row.terms_decision == GATED, "refused") for row in given
        ]
        parts.store.mark(dropped)
        terms = stated(parts, student)
        (said,) = [note for note in notes(parts) if "inherits" in note]
        assert line in said
    assert terms["outcome"] == outcome
    decision = decide("student", licence_of(student), Stated())
    assert decision.outcome == outcome and not decision.permitted
    # A second generation inherits it, whatever its own card says.
    (student / "README.md").write_text(card(license="mit"))
    with (
        parts_of(tmp_path / "next", student) as parts,
        pytest.raises(PotstillError, match="may not be distilled yet"),
    ):
        require_terms_of_all(parts)
    base = {"model": str(student)}
    with (
        parts_of(tmp_path / "based", nano_llama, student=base, shrink={"drop_layers": 0}) as parts,
        pytest.raises(PotstillError, match=r"student's base .* may not be trained further yet"),
    ):
        require_terms_of_all(parts)


def test_authorised_rows_pass_their_licence_on(nano_llama: Path, tmp_path: Path) -> None:
    student = copied(nano_llama, tmp_path / "student")
    with parts_of(tmp_path / "run", nano_llama, student={"intent": "internal"}) as parts:
        parts.store.append(rows("deny: llama3; facts 2026-11; authorisation blake3:ab"))
        stated(parts, student)
        assert notes(parts) == []
    # It was permitted for this student; for the next one it has to be again.
    assert decide("student", licence_of(student), Stated()).outcome == "deny"


def test_rows_of_another_licence_are_owed_for(nano_llama: Path, tmp_path: Path) -> None:
    student = copied(nano_llama, tmp_path / "student")
    with parts_of(tmp_path / "run", nano_llama, student={"intent": "host"}) as parts:
        parts.store.append(rows(GATED, "conditions: gemma; facts 2026-11"))
        terms = stated(parts, student)
        said = notes(parts)
        assert any("for you to see to" in note and "Gemma Terms of Use" in note for note in said)
        # The same is said once.
        assert stated(parts, student) == terms and notes(parts) == said
    assert terms["outcome"] == "conditions"
    assert "gemma" in (student / "TERMS-TO-PASS-ON.md").read_text()
    assert decide("student", licence_of(student), Stated()).licences == ("apache-2.0", "gemma")


def test_a_base_is_weighed_before_anybody_is_asked(nano_llama: Path, tmp_path: Path) -> None:
    base = copied(nano_llama, tmp_path / "base", card(license="llama3"))
    sections: dict[str, Any] = {"student": {"model": str(base)}, "shrink": {"drop_layers": 0}}
    with parts_of(tmp_path / "run", nano_llama, **sections) as parts:
        assert parts.decision.permitted
        with pytest.raises(PotstillError) as caught:
            require_terms_of_all(parts)
    assert "no fact on training its weights further" in str(caught.value)
    letter = tmp_path / "letter.txt"
    letter.write_text(
        f"authorisation: 1\nwho: A\nwhat: [{nano_llama}, {base}]\nuntil: 2999-01-01\n"
    )
    with parts_of(tmp_path / "other", nano_llama, letter, **sections) as parts:
        require_terms_of_all(parts)
        assert [d.role for d in decisions_of(parts)] == ["teacher", "base"]
        assert any(f"A permits {nano_llama}" in note for note in notes(parts))


def test_free_text_is_said_to_be_so(nano_llama: Path, tmp_path: Path) -> None:
    teacher = copied(nano_llama, tmp_path / "teacher", "# Nothing\n")
    letter = tmp_path / "letter.txt"
    letter.write_text("You may.")
    with parts_of(tmp_path / "run", teacher, letter) as parts:
        require_terms_of_all(parts)
        assert any("the authorisation is free text" in note for note in notes(parts))


def test_own_weights_need_no_licence_where_the_recipe_says_so(
    nano_llama: Path, tmp_path: Path
) -> None:
    base = copied(nano_llama, tmp_path / "base", "# Mine\n")
    for licence, expected in (("own", ("own weights",)), ("mit", ("mit",))):
        student = {"model": str(base), "licence": licence}
        sections: dict[str, Any] = {"student": student, "shrink": {"drop_layers": 0}}
        with parts_of(tmp_path / licence, nano_llama, **sections) as parts:
            require_terms_of_all(parts)
            assert parts.base_decision.licences == expected
    # Where its files state one, what the recipe says changes nothing.
    (base / "README.md").write_text(card(license="mrl-0.1"))
    with parts_of(tmp_path / "stated", nano_llama, **sections) as parts:
        assert parts.base_decision.outcome == "deny"


def test_the_name_is_checked_before_anybody_is_asked(nano_llama: Path, tmp_path: Path) -> None:
    teacher = copied(nano_llama, tmp_path / "teacher", card(license="llama3.2"))
    with (
        parts_of(tmp_path / "run", teacher) as parts,
        pytest.raises(PotstillError, match="name nano has to begin with Llama"),
    ):
        require_terms_of_all(parts)
    with parts_of(tmp_path / "inside", teacher, student={"intent": "internal"}) as parts:
        require_terms_of_all(parts)
        stated(parts, copied(nano_llama, tmp_path / "student"))
        assert any("for you to see to" in note and "700 million" in note for note in notes(parts))


def test_earlier_answers_of_a_log_need_terms_where_they_are_learnt(
    nano_llama: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log.jsonl"
    turns = [{"role": r, "content": "Hi"} for r in ("user", "assistant", "user", "assistant")]
    log.write_text(json.dumps({"messages": turns, "model": "past-1"}) + "\n")
    calls = {"path": str(log), "use": "prompts"}
    sections: dict[str, Any] = {"collect": {"calls": calls}, "train": {"turns": "all"}}
    with (
        parts_of(tmp_path / "run", nano_llama, **sections) as parts,
        pytest.raises(PotstillError, match="the log of calls states no terms"),
    ):
        require_terms_of_all(parts)
    calls["source"] = "deepseek-api"
    with parts_of(tmp_path / "said", nano_llama, **sections) as parts:
        require_terms_of_all(parts)
        assert len(decisions_of(parts)) == 3
    with parts_of(tmp_path / "last", nano_llama, collect={"calls": calls}) as parts:
        assert parts.earlier_decision is None
