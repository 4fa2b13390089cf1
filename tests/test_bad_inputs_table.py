"""Every bad input of a table is one sentence with exit code 2, before a teacher is asked anything.

The table itself is tests/bad_inputs.py.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import bad_inputs
import pipeline_runs
import potstill
from bad_inputs import Bad
from potstill.cli.app import app
from potstill.exchanges.store import ExchangeStore

AREAS = ("RECIPES", "PROMPTS", "CALLS", "TASKS", "SERVERS", "TERMS")
CASES = [(area, bad) for area in AREAS for bad in getattr(bad_inputs, area)]
# Where a recipe names a model that is loaded here.
FIELDS = ("teacher.model", "student.model", "curate.judge.model")


def refused(bad: Bad, place: Path, nano: Path, prompts: Path, more: tuple[str, ...] = ()) -> str:
    """Run `distill` on a bad input; return its error after checking its form and its price."""
    known = {"{place}": str(place), "{nano}": str(nano), "{may}": str(place / "may.txt")}

    def filled(text: str) -> str:
        for name, value in known.items():
            text = text.replace(name, value)
        return text

    (place / "may.txt").write_text("You may.")
    for name, content in bad.files.items():
        (place / name).write_bytes(content.encode() if isinstance(content, str) else content)
    if bad.model is not None:
        shutil.copytree(nano, place / "model")
        for change in bad.model:
            change(place / "model")
    recipe = place / "recipe.yaml"
    text: Any = bad.text
    if text is None:
        text = yaml.safe_dump(pipeline_runs.recipe_values(nano, prompts))
    recipe.write_bytes(text.encode() if isinstance(text, str) else text)
    if bad.prepare is not None:
        bad.prepare(place)
    arguments = ["distill", str(recipe), "--out", str(place / "run"), "--quiet"]
    for override in (*bad.sets, *more):
        arguments += ["--set", filled(override)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2, (result.output, result.exception)
    assert "Traceback" not in result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("error: ")
    assert len(lines) == 1 or "problems:" in lines[0]
    assert "Error" not in result.output, "the name of an exception is no reason"
    missing = [word for word in map(filled, bad.words) if word not in result.output]
    assert not missing, result.output
    assert len(result.output) < 700 + 2 * len(str(place))
    # Nothing is paid.
    if (place / "run").exists():
        store = ExchangeStore(place / "run")
        assert store.ids() == set()
        store.close()
    return result.output


@pytest.mark.parametrize(
    ("area", "bad"), CASES, ids=[f"{area.lower()}: {bad.name}" for area, bad in CASES]
)
def test_a_bad_input_is_one_sentence(
    area: str, bad: Bad, nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    refused(bad, tmp_path, nano_llama, nano_prompts)


MODELS = [(FIELDS[n % 3], bad) for n, bad in enumerate(bad_inputs.MODELS)]
REFERENCES = [(FIELDS[n % 3], bad) for n, bad in enumerate(bad_inputs.REFERENCES)]


@pytest.mark.parametrize(
    ("field", "bad"), MODELS, ids=[f"{field}: {bad.name}" for field, bad in MODELS]
)
def test_a_broken_model_says_what_is_there(
    field: str, bad: Bad, nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    more = (f"{field}={tmp_path}/model", "shrink.drop_layers=0")
    said = refused(bad, tmp_path, nano_llama, nano_prompts, more)
    assert str(tmp_path / "model") in said


@pytest.mark.parametrize(
    ("field", "bad"), REFERENCES, ids=[f"{field}: {bad.name}" for field, bad in REFERENCES]
)
def test_a_name_that_is_no_model_says_what_is_there(
    field: str, bad: Bad, nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    (named,) = (override.replace("{field}", field) for override in bad.sets)
    case = Bad(bad.name, bad.words, (named,), files=bad.files)
    said = refused(case, tmp_path, nano_llama, nano_prompts, ("shrink.drop_layers=0",))
    # What only the library that reads it can tell is told by the file's name.
    assert field in said or "m.gguf is cut off or damaged" in said


def test_no_message_is_made_of_the_name_of_an_exception() -> None:
    source = Path(potstill.__file__).parent
    named = re.compile(r"type\((error|fault|e|exc|exception)\)\.__name__")
    files = sorted(source.rglob("*.py"))
    assert len(files) > 200
    assert [f.name for f in files if named.search(f.read_text(encoding="utf-8"))] == []


def test_the_table_is_long() -> None:
    assert len(CASES) + len(MODELS) + len(REFERENCES) >= 150
