"""Compare the greedy answers of a teacher, a suspect and controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from potstill.errors import PotstillError
from potstill.models.greedy import greedy_ids
from potstill.models.loaded import LoadedModel
from potstill.progress import Step
from potstill.trace.agreement import AgreementItem, AgreementPlanned, common_prefix

# Prompts between two appends: what a kill loses at most.
_AT_ONCE = 64


def gather_agreement(
    planned: AgreementPlanned,
    teacher: LoadedModel,
    suspect: LoadedModel,
    controls: Sequence[LoadedModel],
    prompts: Sequence[Sequence[int]],
    done: Sequence[AgreementItem],
    append: Callable[[AgreementItem], None],
    *,
    step: Step | None = None,
) -> None:
    """Append an item for each prompt of the plan that has none yet.

    `prompts` are the teacher's ids of each prompt of the plan. Raises PotstillError where a model
    is not that of the plan, or reads other tokens than the teacher.
    """
    if teacher.identity != planned.teacher or len(prompts) != len(planned.prompts):
        raise PotstillError("the teacher or the prompts are not those of the plan; make a new plan")
    if tuple(control.identity for control in controls) != planned.controls:
        raise PotstillError("the controls are not those of the plan, in its order; make a new plan")
    for model in (suspect, *controls):
        if model.tokenizer_id != teacher.tokenizer_id:
            raise PotstillError(
                "agreement compares token ids, and a suspect or control has another tokenizer than "
                "the teacher; take the test out of the plan"
            )
    for start in range(len(done), len(prompts), _AT_ONCE):
        asked = prompts[start : start + _AT_ONCE]
        answers = [
            greedy_ids(model, asked, max_tokens=planned.longest)
            for model in (teacher, suspect, *controls)
        ]
        for at in range(len(asked)):
            ours, *others = (found[at] for found in answers)
            lengths = [common_prefix(ours, theirs, planned.longest) for theirs in others]
            append(
                AgreementItem(
                    index=start + at,
                    prompt=planned.prompts[start + at],
                    suspect=lengths[0],
                    controls=tuple(lengths[1:]),
                )
            )
        if step is not None:
            step.advance(len(asked))
