"""What the stages are handed of the teacher's text, read from the store in the form they want."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from potstill.evaluate.fidelity import compare
from potstill.evaluate.text import HeldOut
from potstill.exchanges.exchange import Exchange
from potstill.job import Job
from potstill.models.likelihood import response_nll
from potstill.models.load import head_of
from potstill.models.loaded import LoadedModel
from potstill.models.score import response_hidden
from potstill.models.vocabulary import VocabularyMap
from potstill.shrink.trials import Measure, first_tokens
from potstill.shrink.vocabulary import merges_of, removal_cost, unseen_counts
from potstill.work.corpus import Text, fitting

# Positions of the job's text at which the cost of losing a token is measured.
_COST_POSITIONS = 13_000


def calibration_rows(job: Job, tokens: int) -> list[Sequence[int]]:
    """Return teacher text (prompt and response ids) of about so many tokens."""
    return first_tokens([sum(ids, ()) for ids in job.parent_ids("train")], tokens)


@torch.inference_mode()
def token_weights(job: Job) -> Tensor:
    """Return weight_V: how much the job's text needs each token, in nats.

    What losing a token would cost the teacher's distributions, at positions spread over all of
    the text; and one nat for each time that it stands in the text, which would be cut up, or may
    be expected to stand in as much text again.
    """
    texts = job.parent_ids("train")
    width = job.parent_head.weight_VD.shape[0]
    ids_T = torch.tensor([i for text in texts for part in text for i in part])
    count_V = torch.bincount(ids_T, minlength=width)
    positions = sum(len(response) for _, response in texts)
    stride = max(1, positions // _COST_POSITIONS)
    merges = merges_of(job.parent.tokenizer)
    weight_V = count_V.double() + unseen_counts(merges, count_V)
    first_V = merges.first_parts(width)
    for hidden_ND in _spread_states(job, texts, stride):
        for chunk_ND in hidden_ND.to(job.parent.device).split(64):
            p_NV = job.parent_head.logits(chunk_ND).softmax(-1)
            weight_V += removal_cost(p_NV, first_V).double().cpu() * stride
    return weight_V


def held_out(job: Job, student: LoadedModel, *, greedy: bool) -> list[HeldOut]:
    """Return the teacher's held-out text, drawn at temperature 1 or greedy, with its states."""
    rows = job.exchanges("held_out", greedy=greedy)
    texts = _held_out_texts(job, rows, student)
    states = job.hidden([text.exchange for text in texts])
    return [
        HeldOut(
            prompt_id=text.exchange.prompt_id,
            messages=text.exchange.messages,
            prompt_ids=text.prompt_ids,
            response_ids=text.response_ids,
            response=text.exchange.answer,
            reasoning=text.exchange.reasoning,
            teacher_prompt_ids=text.exchange.ids[0],
            teacher_response_ids=text.exchange.ids[1],
            teacher_hidden_RD=state,
        )
        for text, state in zip(texts, states, strict=True)
    ]


def held_out_answers(job: Job, student: LoadedModel) -> list[HeldOut]:
    """Return the held-out text of a teacher without weights, in a student's tokens."""
    recipe = job.recipe
    drawn = None if recipe.teacher.endpoint is None or recipe.collect.answers_given else False
    rows = job.exchanges("held_out", greedy=drawn)
    return [
        HeldOut(
            prompt_id=text.exchange.prompt_id,
            messages=text.exchange.messages,
            prompt_ids=text.prompt_ids,
            response_ids=text.response_ids,
            response=text.exchange.answer,
            reasoning=text.exchange.reasoning,
            teacher_prompt_ids=(),
            teacher_response_ids=(),
        )
        for text in _held_out_texts(job, rows, student)
    ]


def _held_out_texts(job: Job, rows: Sequence[Exchange], student: LoadedModel) -> list[Text]:
    """Return held-out text as far as a student can read it, and say what it cannot."""
    texts, too_long = fitting(job.texts(rows, student), student)
    if too_long:
        job.progress.note(
            f"evaluate: {too_long} of {len(rows)} held-out answers are left out: longer than what "
            "the student reads at once"
        )
    return texts


def validation(job: Job) -> Measure:
    """Return what measures a student on the validation prompts, which nothing is trained on."""
    return _Validation(job)


def text_validation(job: Job) -> Measure:
    """Return what measures how unlikely a student finds the answers to the validation prompts."""
    rows = job.exchanges("validation")

    def measure(student: LoadedModel, vocabulary: VocabularyMap | None) -> dict[str, float]:
        texts, _ = fitting(job.texts(rows, student), student)
        pairs = [(t.prompt_ids, t.response_ids) for t in texts]
        responses = [response for _, response in pairs]
        nll = response_nll(response_hidden(student, pairs), head_of(student), responses)
        return {"nll": float(nll.sum() / sum(map(len, responses)))}

    return measure


class _Validation:
    """Measures students on the validation prompts, which nothing is trained on.

    The teacher reads them once for each vocabulary, as long as no more than two take turns.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._rows = job.exchanges("validation")
        self._stored = job.hidden(self._rows)
        self._read: list[tuple[VocabularyMap | None, list[Text], list[Tensor]]] = []

    def __call__(self, student: LoadedModel, vocabulary: VocabularyMap | None) -> dict[str, float]:
        job = self._job
        job.vocabulary = vocabulary
        texts, teacher_states = self._reading(student, vocabulary)
        pairs = [(t.prompt_ids, t.response_ids) for t in texts]
        sums = compare(
            teacher_states,
            job.parent_head,
            response_hidden(student, pairs),
            head_of(student),
            [response for _, response in pairs],
            vocabulary,
            precise=False,
        )
        tokens = sums.tokens.sum()
        return {
            "kl": float(sums.kl.sum() / tokens),
            "agreement": float(sums.agree.sum() / tokens),
        }

    def _reading(
        self, student: LoadedModel, vocabulary: VocabularyMap | None
    ) -> tuple[list[Text], list[Tensor]]:
        """Return the prompts in the student's tokens, and the teacher's states on them."""
        for known, texts, states in self._read:
            if known is vocabulary:
                return texts, states
        every = self._job.texts(self._rows, student)
        # What is cut up anew may be longer than the student reads.
        texts, _ = fitting(every, student)
        kept = {t.exchange.exchange_id for t in texts}
        stored = [
            state
            for text, state in zip(every, self._stored, strict=True)
            if text.exchange.exchange_id in kept
        ]
        states = _teacher_states(self._job, texts, stored)
        self._read = [*self._read[-1:], (vocabulary, texts, states)]
        return texts, states


def _spread_states(
    job: Job, ids: Sequence[tuple[Sequence[int], Sequence[int]]], stride: int
) -> Iterator[Tensor]:
    """Yield the parent's states hidden_ND on one in `stride` positions of the responses.

    Stored ones are taken from every row. What the parent has to read for it comes from one row
    in `stride`, whole, so that it reads no more than is used.
    """
    rows = job.exchanges("train")
    for start in range(0, len(rows), 64):
        group = rows[start : start + 64]
        stored = [state for state in job.hidden(group) if state is not None]
        if len(stored) == len(group):
            yield torch.cat(stored)[::stride]
            continue
        read = [ids[i] for i in range(start, start + len(group)) if i % stride == 0]
        if read:
            yield torch.cat(response_hidden(job.parent, read))


def _teacher_states(
    job: Job, texts: Sequence[Text], stored: Sequence[Tensor | None]
) -> list[Tensor]:
    """Return the parent's states on texts: stored ones where they fit, else scored now."""
    fresh = [i for i, t in enumerate(texts) if not t.unchanged or stored[i] is None]
    pairs = [
        (job.to_teacher(texts[i].prompt_ids), job.to_teacher(texts[i].response_ids)) for i in fresh
    ]
    scored = dict(zip(fresh, response_hidden(job.parent, pairs) if pairs else [], strict=True))
    states = []
    for i, state in enumerate(stored):
        known = scored.get(i, state)
        assert known is not None
        states.append(known)
    return states
