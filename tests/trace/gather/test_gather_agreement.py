"""Agreement of nano models: with itself in full, with others as far as they go along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nano_text
import pytest

from potstill.errors import PotstillError
from potstill.models.greedy import greedy_ids
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.trace.agreement import (
    AgreementItem,
    AgreementPlanned,
    agreement_finding,
    common_prefix,
)
from potstill.trace.alike import clusters_of, likeness_of
from potstill.trace.gather.agreement import gather_agreement, kept_answers, plan_agreement


@pytest.fixture(scope="module")
def teacher(nano_model: Callable[[str], Path]) -> LoadedModel:
    return load(str(nano_model("llama")), precision="fp32")


@pytest.fixture(scope="module")
def control(teacher: LoadedModel, nano_model: Callable[[str], Path]) -> LoadedModel:
    """The teacher with its last block taken out."""
    found = load(str(nano_model("llama")), precision="fp32")
    found.network.model.layers = found.network.model.layers[:-1]
    found.network.config.num_hidden_layers -= 1
    return replace(found, identity="blake3:control")


@pytest.fixture(scope="module")
def prompts(teacher: LoadedModel) -> list[list[int]]:
    tokenizer = teacher.tokenizer
    return [tokenizer(text)["input_ids"] for text in nano_text.prompts()[:12]]


def planned(teacher: LoadedModel, count: int = 12) -> AgreementPlanned:
    return AgreementPlanned(
        teacher=teacher.identity,
        prompts=tuple(f"p{i}" for i in range(count)),
        longest=8,
        controls=("blake3:control",),
    )


def test_prefixes_are_those_of_greedy_answers_and_go_on_where_they_stopped(
    teacher: LoadedModel, control: LoadedModel, prompts: list[list[int]]
) -> None:
    plan, items = planned(teacher), list[AgreementItem]()
    gather_agreement(plan, teacher, teacher, [control], prompts, [], items.append)
    ours = greedy_ids(teacher, prompts, max_tokens=8)
    theirs = greedy_ids(control, prompts, max_tokens=8)
    assert [i.suspect for i in items] == [len(ids) for ids in ours]
    expected = [common_prefix(a, b, 8) for a, b in zip(ours, theirs, strict=True)]
    assert [i.controls[0] for i in items] == expected
    rest: list[AgreementItem] = []
    gather_agreement(plan, teacher, teacher, [control], prompts, items[:5], rest.append)
    assert items[:5] + rest == items
    assert agreement_finding(plan, items, "aa").effect > 0


def test_models_that_are_not_the_plans_are_refused(
    teacher: LoadedModel, control: LoadedModel, prompts: list[list[int]]
) -> None:
    plan = planned(teacher)
    with pytest.raises(PotstillError, match="the teacher or the prompts are not those of the plan"):
        gather_agreement(plan, control, teacher, [control], prompts, [], print)
    with pytest.raises(PotstillError, match="the controls are not those of the plan"):
        gather_agreement(plan, teacher, teacher, [], prompts, [], print)
    other = replace(teacher, tokenizer_id="blake3:other")
    with pytest.raises(PotstillError, match="has another tokenizer than the teacher"):
        gather_agreement(plan, teacher, other, [control], prompts, [], print)


def test_the_teachers_answers_are_kept_by_the_plan_and_not_asked_again(
    teacher: LoadedModel, control: LoadedModel, prompts: list[list[int]], tmp_path: Path
) -> None:
    path = tmp_path / "answers.jsonl"
    plan = plan_agreement(
        teacher,
        prompts,
        names=[f"p{i}" for i in range(12)],
        longest=8,
        controls=["blake3:control"],
        path=path,
    )
    ours = greedy_ids(teacher, prompts, max_tokens=8)
    assert plan.clusters == clusters_of([likeness_of(ids) for ids in ours])
    answers, items = kept_answers(plan, path), list[AgreementItem]()
    assert answers == ours
    # A teacher that would say something else by now is not asked.
    changed = replace(control, identity=teacher.identity)
    gather_agreement(plan, changed, teacher, [control], prompts, [], items.append, answers=answers)
    assert [item.suspect for item in items] == [len(ids) for ids in ours]
    found = agreement_finding(plan, items, "aa")
    assert found.clusters == len(set(plan.clusters)) and found.void is not None
    for wrong in (None, answers[1:]):
        with pytest.raises(PotstillError, match="the teacher's answers are not those of the plan"):
            gather_agreement(plan, teacher, teacher, [control], prompts, [], print, answers=wrong)
    path.write_bytes(path.read_bytes().replace(b"[", b"[7,", 1))
    with pytest.raises(PotstillError, match="does not hold the teacher's answers as the plan left"):
        kept_answers(plan, path)
    path.unlink()
    with pytest.raises(PotstillError, match="bring the file back as the plan left it"):
        kept_answers(plan, path)
    assert kept_answers(planned(teacher), path) is None
