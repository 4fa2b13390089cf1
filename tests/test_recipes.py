"""The recipes that people start from are valid, and `make demo-all` runs each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from potstill.recipe.io import read_recipe

FOLDER = Path(__file__).parents[1] / "recipes"
RECIPES = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_valid_and_named_after_its_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FOLDER.parent)
    assert read_recipe(path).name == path.stem


def test_all_of_them_are_run_and_teachers_before_their_students() -> None:
    text = (FOLDER / "demo_all.py").read_text(encoding="utf-8")
    names = re.findall(r'"([a-z-]+)"', text.partition("NAMES = (")[2].partition(")")[0])
    assert sorted(names) == sorted(path.stem for path in RECIPES)
    for path in RECIPES:
        teacher = read_recipe(path).teacher.model
        if teacher.startswith("runs/"):
            assert names.index(teacher.split("/")[1]) < names.index(path.stem)


def test_the_table_spells_figures_as_evaluations_hold_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    from demo_all import cells

    figure = {"value": 0.7207, "ci95": [0.7108, 0.7311], "n": 200}
    student = {"params": 107_600_000, "top1_agreement": figure}
    total = {"seconds": 120.0, "money": 0.01}
    found = cells(
        {
            "models": {"student": student, "teacher": {"params": 134_500_000}},
            "task": {"score": "exact", "teacher": {"exact": figure}, "student": {"exact": figure}},
            "cost": {"total": total, "currency": "USD"},
        }
    )
    assert found["fidelity"] == "agreement 72.1%\n71.1% to 73.1%"
    assert found["teacher"] == found["student"] == "72.1%\n71.1% to 73.1%"
    assert found["parameters"].endswith("(80.0%)")
