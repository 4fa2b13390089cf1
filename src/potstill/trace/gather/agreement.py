"""Compare the greedy answers of a teacher, a suspect and controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from potstill.canonical import canonical_json, digest_of, labelled
from potstill.durable import no_file, read_lines, write_bytes
from potstill.errors import PotstillError
from potstill.models.greedy import greedy_ids
from potstill.models.loaded import LoadedModel
from potstill.progress import Step
from potstill.trace.agreement import AgreementItem, AgreementPlanned, common_prefix
from potstill.trace.alike import clusters_of, likeness_of

# Prompts between two appends: what a kill loses at most.
_AT_ONCE = 64


def plan_agreement(
    teacher: LoadedModel,
    prompts: Sequence[Sequence[int]],
    *,
    names: Sequence[str],
    longest: int,
    controls: Sequence[str],
    path: Path,
) -> AgreementPlanned:
    """Return the comparison of greedy answers, whose prompts the teacher's answers put in clusters.

    `prompts` are the teacher's ids of each prompt, `names` the ids of their digests, `controls` the
    identities of models. The teacher is asked here, once, and its answers are kept in the file
    `path`, of the owner's: rounding may change one where it is asked in another batch.
    """
    answers = greedy_ids(teacher, prompts, max_tokens=longest)
    lines = [canonical_json({"ids": list(ids)}) for ids in answers]
    write_bytes(path, b"\n".join(lines) + b"\n")
    return AgreementPlanned(
        teacher=teacher.identity,
        prompts=tuple(names),
        longest=longest,
        controls=tuple(controls),
        answers=_digest_of(answers),
        clusters=clusters_of([likeness_of(ids) for ids in answers]),
    )


def kept_answers(planned: AgreementPlanned, path: Path) -> list[tuple[int, ...]] | None:
    """Return the teacher's answers as the plan kept them; None for a plan without clusters.

    Raises PotstillError where the file is not the plan's.
    """
    if planned.answers is None:
        return None
    if (fault := no_file(path)) is not None:
        raise PotstillError(
            f"the teacher's answers {path} {fault}; bring the file back as the plan left it"
        )
    answers = [tuple(row.get("ids", ())) for row in read_lines(path, strict=True)]
    if _digest_of(answers) != planned.answers:
        raise PotstillError(
            f"{path} does not hold the teacher's answers as the plan left them; bring them back, "
            "or make another plan"
        )
    return answers


def _digest_of(answers: Sequence[Sequence[int]]) -> str:
    return labelled(digest_of([list(ids) for ids in answers], 32))


def gather_agreement(
    planned: AgreementPlanned,
    teacher: LoadedModel,
    suspect: LoadedModel,
    controls: Sequence[LoadedModel],
    prompts: Sequence[Sequence[int]],
    done: Sequence[AgreementItem],
    append: Callable[[AgreementItem], None],
    *,
    answers: Sequence[Sequence[int]] | None = None,
    step: Step | None = None,
) -> None:
    """Append an item for each prompt of the plan that has none yet.

    `prompts` are the teacher's ids of each prompt of the plan, `answers` its answers to them as the
    plan kept them; without a plan's clusters it is asked again. Raises PotstillError where a model
    is not that of the plan, or reads other tokens than the teacher.
    """
    if teacher.identity != planned.teacher or len(prompts) != len(planned.prompts):
        raise PotstillError("the teacher or the prompts are not those of the plan; make a new plan")
    if planned.clusters is not None and (answers is None or _digest_of(answers) != planned.answers):
        raise PotstillError("the teacher's answers are not those of the plan; make a new plan")
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
        own = None if answers is None else answers[start : start + _AT_ONCE]
        if own is None:
            own = greedy_ids(teacher, asked, max_tokens=planned.longest)
        found = [greedy_ids(m, asked, max_tokens=planned.longest) for m in (suspect, *controls)]
        for at, ours in enumerate(own):
            others = [theirs[at] for theirs in found]
            lengths = [common_prefix(ours, theirs, planned.longest) for theirs in others]
            append(
                AgreementItem(
                    index=start + at,
                    prompt=planned.prompts[start + at],
                    suspect=lengths[0],
                    controls=tuple(lengths[1:]),
                    likeness=None if planned.clusters is None else likeness_of(ours),
                )
            )
        if step is not None:
            step.advance(len(asked))
