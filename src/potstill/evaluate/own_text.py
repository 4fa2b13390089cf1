"""Students on what they write themselves to held-out prompts: KL(student || teacher)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from potstill.evaluate.text import HeldOut, Lengths
from potstill.losses.teacher import TeacherHead
from potstill.models.generate import Request, completions
from potstill.models.likelihood import Floats
from potstill.models.load import head_of
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Sampling
from potstill.models.score import PromptAndResponse, response_hidden
from potstill.models.vocabulary import VocabularyMap, teacher_ids_of
from potstill.progress import Progress, Step
from potstill.work.items import StudentItems, TextItems
from potstill.work.own_divergence import own_reverse_kl

# Trained on own answers or not: whom the figure is of.
MEASURED = ("student", "untrained")


def with_own_text(
    column: TextItems,
    teacher: LoadedModel,
    students: Mapping[str, LoadedModel],
    sampled: Sequence[HeldOut],
    vocabulary: VocabularyMap | None,
    *,
    max_tokens: int,
    seed: int,
    progress: Progress,
) -> tuple[TextItems, dict[str, list[Lengths]]]:
    """Return items with what students write themselves, and what each model read for it.

    Each answers every prompt of `sampled` once, at temperature 1 without truncation, by the same
    random numbers as the others; the teacher reads what it wrote. Heads run in fp32.
    """
    prompts = {row.prompt_id: row.prompt_ids for row in sampled}
    requests = [
        Request(f"held-out own text/{seed}/{name}", tuple(ids)) for name, ids in prompts.items()
    ]
    head = TeacherHead.of(head_of(teacher), vocabulary, dtype=torch.float32)
    known, read = dict(column.students), dict[str, list[Lengths]]()
    asked = [name for name in MEASURED if name in students]
    with progress.step("own text", total=len(asked) * len(requests), unit="answers") as step:
        for name in asked:
            sums, lengths = _one(
                students[name], teacher, head, requests, vocabulary, max_tokens, step
            )
            known[name] = _with(known[name], sums, lengths)
            read[name] = lengths
            read["teacher"] = read.get("teacher", []) + lengths
    return column.model_copy(update={"students": known}), read


def _one(
    student: LoadedModel,
    teacher: LoadedModel,
    head: TeacherHead,
    requests: Sequence[Request],
    vocabulary: VocabularyMap | None,
    max_tokens: int,
    step: Step,
) -> tuple[Floats, list[Lengths]]:
    """Return the sum of the divergence over each answer, and the answers' lengths."""
    sampling = Sampling(temperature=1.0, max_tokens=max_tokens)
    written = completions(student, requests, sampling, keep_hidden=True, step=step)
    pairs: list[PromptAndResponse] = [
        (teacher_ids_of(vocabulary, r.prompt_ids), teacher_ids_of(vocabulary, w.token_ids))
        for r, w in zip(requests, written, strict=True)
    ]
    sums = own_reverse_kl(
        [w.hidden_RD for w in written if w.hidden_RD is not None],
        head_of(student),
        response_hidden(teacher, pairs),
        head,
        [w.token_ids for w in written],
    )
    return sums, [(len(prompt), len(response)) for prompt, response in pairs]


def _with(known: StudentItems, sums: Floats, lengths: Sequence[Lengths]) -> StudentItems:
    tokens = tuple(float(response) for _, response in lengths)
    return known.model_copy(update={"own_kl": tuple(sums.tolist()), "own_tokens": tokens})
