"""What a teacher is asked, set by set."""

from __future__ import annotations

import pytest

from opened_models import made_plan
from potstill.collect.asked import AskedFor, prompt_sets
from potstill.exchanges.exchange import Prompt
from potstill.models.sampling import Sampling
from potstill.work.samplings import Samplings

SAMPLINGS = Samplings(
    Sampling(temperature=0.7, seed=1), Sampling(seed=1), Sampling(temperature=0.0, seed=1)
)
PLAN = made_plan(train=5, validation=2, held_out=4)


@pytest.mark.parametrize(
    ("wanted", "held_out", "greedy"),
    [
        (AskedFor(), 4, None),
        (AskedFor(fidelity=3), 3, None),
        (AskedFor(fidelity=3, greedy=True), 3, 3),
        (AskedFor(fidelity=3, greedy=True, all_greedy=True), 3, 4),
        (AskedFor(fidelity=0, all_greedy=True), 0, 4),
    ],
)
def test_held_out_prompts_are_asked_as_far_as_they_are_measured(
    wanted: AskedFor, held_out: int, greedy: int | None
) -> None:
    found = {part.label: part for part in prompt_sets(PLAN, SAMPLINGS, wanted)}
    assert found["held-out responses"].prompts == PLAN.held_out[:held_out]
    assert found["held-out responses"].sampling.temperature == 1
    likeliest = found.get("held-out greedy responses")
    if greedy is None:
        assert likeliest is None
    else:
        assert likeliest is not None and likeliest.prompts == PLAN.held_out[:greedy]
        assert likeliest.sampling.temperature == 0


def test_samples_and_targets_are_of_what_is_learnt_from_alone() -> None:
    wanted = AskedFor(samples=3, greedy=True, targets=True)
    first, *others = prompt_sets(PLAN, SAMPLINGS, wanted)
    assert first.label == "responses" and first.prompts == [*PLAN.train, *PLAN.validation]
    assert (first.samples, first.targets, first.training) == (3, True, True)
    assert first.sampling.temperature == 0.7
    assert len(others) == 2
    for part in others:
        assert (part.samples, part.targets, part.training) == (1, False, False)


def test_no_prompt_is_lost_or_asked_twice_in_a_set() -> None:
    every: list[Prompt] = []
    for part in prompt_sets(PLAN, SAMPLINGS, AskedFor()):
        every += part.prompts
    assert every == list(PLAN.prompts)
