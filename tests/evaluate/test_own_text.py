"""Students on what they write themselves, against an enumeration and in the figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_measure import CONFIG, answered, noisy, permuted

from potstill.evaluate import measure, own_text
from potstill.evaluate.again import figures_of
from potstill.evaluate.measure import Measured, evaluate
from potstill.evaluate.speed import Speed
from potstill.evaluate.text import HeldOut
from potstill.models.generate import Completion
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.models.vocabulary import VocabularyMap
from potstill.progress import Silent
from potstill.work.items import Items


@pytest.fixture(scope="module")
def teacher(nano_llama: Path) -> LoadedModel:
    return load(str(nano_llama), device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def sampled(teacher: LoadedModel) -> list[HeldOut]:
    return answered(teacher, temperature=1.0)


def measured(
    teacher: LoadedModel,
    students: dict[str, LoadedModel],
    sampled: list[HeldOut],
    vocabulary: VocabularyMap | None = None,
) -> Measured:
    return evaluate(
        teacher,
        students,
        sampled,
        [],
        vocabulary=vocabulary,
        config=CONFIG,
        directories={},
        seed=3,
        progress=Silent(),
        own_text=True,
    )


def enumerated(
    student: LoadedModel,
    teacher: LoadedModel,
    done: list[Completion],
    rows: list[HeldOut],
    vocabulary: VocabularyMap | None,
) -> float:
    """Return KL(student || teacher) a token in float64, a removed token's mass moved by a loop."""
    total, tokens = 0.0, 0
    for row, one in zip(rows, done, strict=True):
        ids = [*row.prompt_ids, *one.token_ids]
        theirs = ids if vocabulary is None else vocabulary.teacher_ids_K[ids].tolist()
        with torch.no_grad():
            q_TV = student.network(torch.tensor([ids])).logits[0].double().softmax(-1)
            p_TV = teacher.network(torch.tensor([theirs])).logits[0].double().softmax(-1)
        if vocabulary is not None:
            moved_TK = torch.zeros(len(ids), len(vocabulary.teacher_ids_K), dtype=torch.float64)
            for there, here in enumerate(vocabulary.student_ids_V.tolist()):
                if here >= 0:
                    moved_TK[:, here] += p_TV[:, there]
            p_TV, q_TV = moved_TK, q_TV[:, : moved_TK.shape[1]]
        for at in range(len(row.prompt_ids) - 1, len(ids) - 1):
            total += float((q_TV[at] * (q_TV[at].log() - p_TV[at].log())).sum())
        tokens += len(one.token_ids)
    return total / tokens


@pytest.mark.parametrize("trimmed", [False, True])
def test_it_is_the_whole_divergence_along_what_each_writes(
    trimmed: bool,
    teacher: LoadedModel,
    sampled: list[HeldOut],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain, vocabulary, rows = teacher, None, sampled
    if trimmed:
        used = {i for row in sampled for i in (*row.prompt_ids, *row.response_ids)}
        removed = next(v for v in range(len(teacher.tokenizer)) if v not in used)
        plain, vocabulary, to_student = permuted(teacher, removed)
        rows = [
            replace(
                row,
                prompt_ids=tuple(to_student[i] for i in row.prompt_ids),
                response_ids=tuple(to_student[i] for i in row.response_ids),
            )
            for row in sampled
        ]
    students = {"student": noisy(plain, 0.3), "untrained": noisy(plain, 1.0)}
    written: list[list[Completion]] = []
    original = own_text.completions

    def remembering(*args: object, **kwargs: object) -> list[Completion]:
        written.append(original(*args, **kwargs))  # type: ignore[arg-type]
        return written[-1]

    monkeypatch.setattr(own_text, "completions", remembering)
    # Its prompts are of any token, and the student here has a tokenizer that knows more than it.
    speeds = {name: Speed(1.0, 1.0) for name in ("teacher", *students)}
    monkeypatch.setattr(measure, "measure_speed", lambda *args, **kwargs: speeds)
    found = measured(teacher, students, rows, vocabulary)
    student, untrained = found.models.student, found.models.untrained
    assert student.own_kl_per_token is not None and untrained is not None
    assert untrained.own_kl_per_token is not None
    for figures, model, done in zip((student, untrained), students.values(), written, strict=True):
        assert figures.own_kl_per_token is not None
        wanted = enumerated(model, teacher, done, rows, vocabulary)
        assert figures.own_kl_per_token.value == pytest.approx(wanted, rel=1e-4)
    ratio = found.differences.student_over_untrained_own_kl
    assert ratio is not None and ratio.ci95 is not None
    assert ratio.value == pytest.approx(
        student.own_kl_per_token.value / untrained.own_kl_per_token.value
    )
    # What is kept of each prompt comes to the same figures, and nothing of it is of other text.
    items = Items(resamples=CONFIG.resamples, seed=3, sampled=found.sampled)
    made = figures_of(items, trimmed=trimmed)
    assert made.models["student"]["own_kl_per_token"] == student.own_kl_per_token
    assert made.differences["student_over_untrained_own_kl"] == ratio
    read = [len(done.token_ids) for done in written[0]]
    assert [response for _, response in found.read["student"]][-len(read) :] == read
    assert len(found.read["teacher"]) >= 2 * len(read)


def test_without_being_asked_nothing_is_measured(
    teacher: LoadedModel, sampled: list[HeldOut]
) -> None:
    found = evaluate(
        teacher,
        {"student": teacher},
        sampled,
        [],
        vocabulary=None,
        config=CONFIG,
        directories={},
        seed=3,
        progress=Silent(),
    )
    assert found.models.student.own_kl_per_token is None
    assert found.sampled.students["student"].own_kl is None
