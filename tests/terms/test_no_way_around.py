"""The gate is not got around by another name, by edited files, or by calling the library."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from licence_texts import APACHE, MIT, card
from potstill.errors import PotstillError
from potstill.terms import Evidence, Stated, TermsDecision, Use, decide, licence_of, packaged_facts
from potstill.terms.gate import own_answers, own_weights
from potstill.terms.inherited import STUDENT_TERMS_FILE, StudentTerms, write_student_terms
from potstill.terms.records import RowTerms
from potstill.terms.statements import read_statement

SOURCE = Path(__file__).parents[2] / "src" / "potstill"
TODAY = date(2026, 11, 30)
LLAMA3 = "META LLAMA 3 COMMUNITY LICENSE AGREEMENT\nof a test\n"


def decided(model: Path) -> TermsDecision:
    return decide("m", licence_of(model), Stated(), today=TODAY)


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    model = tmp_path / "Meta-Llama-3-8B"
    model.mkdir()
    (model / "README.md").write_text(card(license="llama3"))
    (model / "LICENSE").write_text(LLAMA3)
    (model / "USE_POLICY.md").write_text("Not for this.")
    return model


@pytest.mark.parametrize("name", ["SmolLM2-135M", "gpt-oss-20b", "gemma-4", "apache-2.0", "mine"])
def test_another_name_of_a_directory_changes_nothing(llama: Path, name: str) -> None:
    renamed = llama.rename(llama.with_name(name))
    assert decided(renamed).outcome == "deny"
    bare = llama.with_name(f"{name}-bare")
    bare.mkdir()
    assert decided(bare).outcome == "unknown"


def put(name: str, text: str | None) -> Callable[[Path], None]:
    def change(model: Path) -> None:
        if text is None:
            (model / name).unlink()
        else:
            (model / name).write_text(text)

    return change


@pytest.mark.parametrize(
    "edit",
    [
        put("README.md", card(license="mit")),
        put("README.md", card(license="apache-2.0", base_model="Qwen/Qwen3-8B")),
        put("README.md", None),
        put("LICENSE", MIT),
        put("LICENSE", APACHE),
        put("LICENSE", None),
        put("LICENSE.txt", MIT),
        put("potstill-source.json", '{"license": "mit"}'),
        put("manifest.json", '{"terms": {"outcome": "allow"}}'),
        put(STUDENT_TERMS_FILE, "{}"),
    ],
)
def test_an_edit_of_one_file_lets_nobody_through(llama: Path, edit: Callable[[Path], None]) -> None:
    edit(llama)
    assert not decided(llama).permitted


def test_an_edited_card_and_licence_leave_the_policy(llama: Path) -> None:
    (llama / "README.md").write_text(card(license="mit"))
    (llama / "LICENSE").write_text(MIT)
    decision = decided(llama)
    assert decision.outcome == "unknown" and "USE_POLICY.md" in decision.reason


def terms(*lines: str, licences: tuple[str, ...] = ("apache-2.0",)) -> StudentTerms:
    rows = tuple(RowTerms(line=line, rows=1) for line in lines)
    named = [name for row in rows for name in row.licences]
    return StudentTerms(
        student="s",
        intent="internal",
        kind="general",
        outcome="allow",
        licences=(*licences, *named),
        sources=(),
        rows=rows,
        owed=(),
        facts="1",
    )


@pytest.fixture
def student(tmp_path: Path) -> Path:
    model = tmp_path / "student"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "llama"}')
    write_student_terms(model, terms("deny: llama3; facts 1"))
    return model


def test_a_student_of_refused_rows_is_refused_as_a_teacher(student: Path) -> None:
    decision = decided(student)
    assert decision.outcome == "deny" and "llama3" in decision.licences
    assert decide("m", licence_of(student), Stated(), role="base", today=TODAY).outcome != "allow"


@pytest.mark.parametrize(
    "edit",
    [
        put("README.md", card(license="mit")),
        put("LICENSE", APACHE),
        put("manifest.json", '{"files": {}, "terms": {"outcome": "allow"}}'),
        put("potstill-source.json", '{"license": "apache-2.0"}'),
        put(STUDENT_TERMS_FILE, None),
        put(STUDENT_TERMS_FILE, "{"),
        put(STUDENT_TERMS_FILE, terms().text()),
        put("config.json", '{"model_type": "llama"}'),
    ],
)
def test_an_edited_student_is_refused_as_well(student: Path, edit: Callable[[Path], None]) -> None:
    edit(student)
    assert not decided(student).permitted


def test_all_of_a_students_labels_may_be_edited_and_config_still_tells(student: Path) -> None:
    for edit in (
        put("README.md", card(license="mit")),
        put("LICENSE", MIT),
        put("manifest.json", "{}"),
        put("potstill-source.json", '{"license": "mit"}'),
        put(STUDENT_TERMS_FILE, None),
    ):
        edit(student)
    assert decided(student).outcome == "deny"


def test_transformers_carries_a_students_terms_on(student: Path, tmp_path: Path) -> None:
    from transformers import AutoConfig

    tuned = tmp_path / "tuned"
    AutoConfig.from_pretrained(student).save_pretrained(tuned)
    (tuned / "README.md").write_text(card(license="mit"))
    assert decided(tuned).outcome == "deny"


def test_a_student_of_allowed_rows_is_allowed_until_it_is_edited(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    write_student_terms(tmp_path, terms("allow: apache-2.0; facts 1"))
    assert decided(tmp_path).outcome == "allow"
    kept = json.loads((tmp_path / STUDENT_TERMS_FILE).read_text())
    (tmp_path / STUDENT_TERMS_FILE).write_text(json.dumps({**kept, "student": "another"}))
    decision = decided(tmp_path)
    assert decision.outcome == "unknown"
    assert "other terms than those that config.json was given" in decision.reason


@pytest.mark.parametrize(
    ("line", "outcome", "refused"),
    [
        ("allow: apache-2.0; facts 2026-11", "allow", False),
        ("allow: own data; facts 2026-11", "allow", False),
        ("conditions: gemma, mit; facts 2026-11", "conditions", False),
        ("deny: llama3; facts 2026-11", "deny", True),
        ("deny: llama3; facts 2026-11; authorisation blake3:ab", "deny", False),
        ("unknown: no licence stated; facts 2026-11", "unknown", True),
        ("allow: mit; facts 2026-11; not made by the gate", "unknown", True),
        ("allow: mit; facts 2026-11; by evidence that was handed in", "unknown", True),
        ("allow", "unknown", True),
        ("", "unknown", True),
        ("fine: mit; facts 2026-11", "unknown", True),
    ],
)
def test_the_line_of_a_row_is_read_back(line: str, outcome: str, refused: bool) -> None:
    row = RowTerms(line=line, rows=3)
    assert (row.outcome, row.refused) == (outcome, refused)


def test_a_decision_that_no_gate_made_is_recorded_as_such() -> None:
    found = read_statement("llama3", "README.md", packaged_facts())
    gates = decide("m", found, Stated(), today=TODAY)
    assert gates.made_by == "gate" and gates.facts()["made_by"] == "gate"
    for changed in (
        replace(gates, outcome="allow"),
        replace(gates, teacher="another"),
        replace(gates, authorisation="blake3:00"),
        TermsDecision("m", "allow", ("mit",), (), (), "because I say so", "1"),
    ):
        assert changed.made_by == "caller" and changed.facts()["made_by"] == "caller"
        assert changed.record().endswith("; not made by the gate")
        assert RowTerms(line=changed.record(), rows=1).outcome in ("unknown", "deny")
    said = decide("m", (Evidence("mit", "my word", "mit"),), Stated(), today=TODAY)
    assert said.record().endswith("; by evidence that was handed in")
    assert said.facts()["made_by"] == "gate, by evidence handed in"


def test_decisions_about_something_else_let_nobody_be_asked() -> None:
    for decision in (own_answers("m"), own_weights("m", Use())):
        assert decision.permitted and decision.made_by == "gate"
        with pytest.raises(PotstillError, match="does not permit asking a teacher"):
            decision.require(asks=True)


# What asks a model, and takes no decision since it is given one that `Opened` loaded by one.
BY_OPENED = {"questions"}


def test_no_public_function_that_asks_a_teacher_goes_without_a_decision() -> None:
    """In collect/: whoever is given a teacher, or asks a server, is given the gate's decision."""
    asking = ("completions", "decode", "ask_many", "client_for")
    seen = []
    for path in sorted((SOURCE / "collect").rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
                continue
            given = [*node.args.args, *node.args.kwonlyargs]
            kinds = [ast.unparse(a.annotation) for a in given if a.annotation]
            called = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
            takes = any(a.arg == "teacher" for a in given) and "LoadedModel" in kinds
            if (takes or called & set(asking)) and node.name not in BY_OPENED:
                seen.append(node.name)
                assert "TermsDecision" in kinds, (path.name, node.name)
    assert {"collect", "mark_effect", "written_prompts", "collect_from_endpoint"} <= set(seen)
    assert {"score_by_endpoint", "require_reading", "decoded_answers"} <= set(seen)


def test_every_class_that_asks_a_server_looks_at_a_decision() -> None:
    """In collect/: whoever makes a client, outside of a function that is given the decision."""
    found = {
        node.name: ast.unparse(node)
        for path in sorted((SOURCE / "collect").rglob("*.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and "client_for(" in ast.unparse(node)
    }
    assert set(found) == {"OwnTextReader"}
    for name, text in found.items():
        made = text.count("client_for(")
        assert text.count("decision.require(asks=True)") == made + 1, name


def test_a_copied_directory_is_judged_as_the_first(llama: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(llama, tmp_path / "elsewhere" / "SmolLM2"))
    assert decided(copied).outcome == decided(llama).outcome == "deny"
