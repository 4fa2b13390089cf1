"""Runs that older versions made are opened and shown; what a run has not come to is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import potstill
from potstill.cli.app import app

# A whole run by the commit that it is named after, without its targets, students and page.
OLD = Path(__file__).parent / "run-17f08f5"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def test_a_run_of_an_older_version_is_opened(old: Path) -> None:
    run = potstill.open_run(old)
    assert run.recipe.shrink.drop_layers == 1
    assert run.evaluation.schema_name == "potstill/evaluation/1"
    assert run.evaluation.models.student.params == 244416
    assert run.evaluation.training is not None
    losses = [line["loss"] for line in run.metrics() if "loss" in line]
    assert len(losses) == run.evaluation.training.steps
    rows = run.exchanges("train")
    assert len(rows) == run.evaluation.curation.train
    assert all(row.split == "train" and row.response for row in rows)
    assert len(run.exchanges()) > len(rows)
    assert repr(run) == f"Run(root={old!r})"


def test_reading_a_run_writes_nothing(old: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in sorted(old.rglob("*"))}
    run = potstill.open_run(str(old))
    assert run.exchanges("held_out") and run.metrics() and run.evaluation
    assert {p: p.stat().st_mtime_ns for p in sorted(old.rglob("*"))} == before


def test_a_run_of_an_older_version_is_shown(old: Path) -> None:
    done = CliRunner().invoke(app, ["show", str(old)])
    assert done.exit_code == 0, done.output
    assert "The student has 244.4 thousand" in done.output


@pytest.mark.parametrize("name", ["report", "student_directory"])
def test_what_a_run_does_not_have_is_said(old: Path, name: str) -> None:
    with pytest.raises(potstill.PotstillError, match=r"has no [\w.]+ yet"):
        getattr(potstill.open_run(old), name)
    with pytest.raises(potstill.PotstillError, match="has no student yet"):
        potstill.open_run(old).student()


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(potstill.PotstillError):
            potstill.open_run(path)


def test_a_run_that_is_gone_is_not_one_without_answers(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(old.parent)
    run = potstill.open_run(old.name)
    monkeypatch.chdir(old)
    for read in (run.exchanges, run.metrics):
        with pytest.raises(potstill.PotstillError, match="is not a run directory"):
            read()


def test_there_is_no_other_split(old: Path) -> None:
    with pytest.raises(potstill.PotstillError, match="no split test; there are train, validation"):
        potstill.open_run(old).exchanges("test")  # type: ignore[arg-type]
