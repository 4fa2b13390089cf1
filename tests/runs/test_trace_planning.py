"""What a plan of greedy answers fixes, keeps and says before anything is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from traced_runs import clean_models, config_of, prepared

from pipeline_runs import Noted
from potstill.errors import PotstillError
from potstill.recipe.trace import TraceTestsConfig
from potstill.runs.trace_asking import GATHERERS
from potstill.runs.trace_planning import PLANNERS
from potstill.runs.verdict import plan_trace, run_trace
from potstill.trace.agreement import AgreementPlanned


def test_a_plan_says_how_many_clusters_there_are_and_keeps_the_teachers_answers(
    tmp_path: Path, nano_llama: Path
) -> None:
    here, root, progress = prepared(tmp_path, nano_llama, count=5), tmp_path / "run", Noted()
    config = config_of(
        here,
        nano_llama,
        suspect={"name": "a copy", "model": str(nano_llama)},
        controls=clean_models(here, nano_llama, 1),
        tests={"agreement": {"longest": 8}},
    )
    (planned,) = plan_trace(config, root, progress=progress).plan.plan.tests
    assert isinstance(planned, AgreementPlanned) and planned.clusters is not None
    count = len(set(planned.clusters))
    (said,) = [
        note for note in progress.notes if "can be told apart" in note and "void" not in note
    ]
    assert said.startswith(f"agreement: the teacher answers 5 prompts in {count} way")
    assert any(note.startswith("agreement will be void") for note in progress.notes)
    kept = root / "own" / "answers-0.jsonl"
    content = kept.read_bytes()
    kept.write_bytes(content.replace(b"[", b"[1,", 1))
    with pytest.raises(PotstillError, match="does not hold the teacher's answers as the plan left"):
        run_trace(root)
    kept.write_bytes(content)
    (finding,) = run_trace(root).findings
    assert (finding.n, finding.clusters, finding.controls) == (5, count, 1)


def test_every_test_that_settings_can_name_is_planned_and_asked() -> None:
    assert set(PLANNERS) == set(TraceTestsConfig.model_fields)
    assert {name.replace("_", "-") for name in PLANNERS} == set(GATHERERS)
