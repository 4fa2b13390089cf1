"""The cost of a run in a table, a chart and words."""

from __future__ import annotations

from typing import Any

from potstill.report.run.cost import HEADS, PARENT, SCRATCH, cost
from potstill.work.evaluation import Evaluation
from potstill.work.evaluation_file import evaluation_of


def test_stages_that_ran_are_rows_and_energy_is_a_column_where_it_is_known(
    evaluation: Evaluation, content: dict[str, Any]
) -> None:
    made = cost(evaluation)
    assert made.table is not None and made.chart is not None
    assert made.table.heads == [head for head in HEADS if head != "Energy"]
    names = ["Shrink: cut and heal", "Training", "Evaluation", "This run, all of it", SCRATCH]
    assert [row.name for row in made.table.rows] == ["Collection: the teacher answers", *names]
    assert made.ratio == "1/5,900 of" and made.parent is None and made.energy is False
    # 1.375e18 operations at 1.5e14 in 290 s.
    assert made.here == "31 days"
    content["cost"]["total"]["joules"] = 0.0
    with_energy = cost(evaluation_of(content))
    assert with_energy.table is not None
    assert list(with_energy.table.heads) == list(HEADS) and with_energy.energy is True


def test_stages_that_did_not_run_are_left_out(content: dict[str, Any]) -> None:
    for stage in ("collection", "shrink", "training", "evaluation"):
        del content["cost"][stage]
    made = cost(evaluation_of(content))
    assert made.table is not None and made.here is None
    assert [row.name for row in made.table.rows] == ["This run, all of it", SCRATCH]
    content["cost"]["total"]["flops"] = 0.0
    assert cost(evaluation_of(content)).chart is None


def test_a_parent_is_a_row_and_right_answers_are_nobodys(content: dict[str, Any]) -> None:
    content["answers"] = "gold"
    content["cost"] |= {
        "parent": {"model": "maker/small", "parameters": 5, "flops": 1.3e18},
        "ratio_flops_with_parent": 0.96,
    }
    made = cost(evaluation_of(content))
    assert made.table is not None
    names = [row.name for row in made.table.rows]
    assert names[0] == "Collection: the right answers" and names[-1] == PARENT
    assert made.parent == "maker/small" and made.ratio == "0.96 times"
