"""A run and its student, verified by whoever gets them: what is changed anywhere is named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import pipeline_runs
from potstill.lineage.keys import local_key
from potstill.lineage.verifying import ExpectedSigner
from potstill.runs.verified_lineage import checks_of_lineage


@pytest.fixture(scope="module")
def made(
    nano_model: Callable[[str], Path], nano_prompts: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    values = pipeline_runs.recipe_values(nano_model("llama"), nano_prompts)
    run, _ = pipeline_runs.run(values, tmp_path_factory.mktemp("lineage") / "run")
    return run.root


def test_it_holds(made: Path, tmp_path: Path) -> None:
    for c in checks_of_lineage(made, ExpectedSigner((local_key().public,))):
        print(c)
    shutil.copytree(made / "student", tmp_path / "s")
    for c in checks_of_lineage(tmp_path / "s", ExpectedSigner((local_key().public,))):
        print(c)
    shutil.rmtree("/tmp/lin/nanorun", ignore_errors=True)
    shutil.copytree(made, "/tmp/lin/nanorun")
