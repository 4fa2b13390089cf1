"""The whole measurement on nano models."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from potstill.errors import PotstillError
from potstill.evaluate import measure, text
from potstill.evaluate.measure import evaluate
from potstill.evaluate.samples import choose
from potstill.evaluate.text import HeldOut, measure_text
from potstill.models.chat import prompt_ids, response_text
from potstill.models.generate import Request, decode
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Sampling
from potstill.models.vocabulary import VocabularyMap
from potstill.progress import Silent
from potstill.recipe import EvaluateConfig

PROMPTS = ("What is red?", "Count to three.", "Say hello.", "Name a fish.", "List two trees.")
CONFIG = EvaluateConfig(max_tokens=12, resamples=200, sample_pairs=3, speed_tokens=4)


def answered(teacher: LoadedModel, *, temperature: float) -> list[HeldOut]:
    """Have the teacher answer, states kept, as collection does."""
    messages = [({"role": "user", "content": p},) for p in PROMPTS]
    ids = [tuple(prompt_ids(teacher, m)) for m in messages]
    requests = [Request(f"key-{i}", p) for i, p in enumerate(ids)]
    sampling = Sampling(temperature=temperature, max_tokens=12)
    done = {
        c.key: c
        for batch in decode(teacher, requests, sampling, slots=3, keep_hidden=True)
        for c in batch
    }
    return [
        HeldOut(
            prompt_id=f"prompt-{i}",
            messages=messages[i],
            prompt_ids=ids[i],
            response_ids=done[f"key-{i}"].token_ids,
            response=response_text(teacher, done[f"key-{i}"].token_ids),
            teacher_prompt_ids=ids[i],
            teacher_response_ids=done[f"key-{i}"].token_ids,
            teacher_hidden_RD=done[f"key-{i}"].hidden_RD,
        )
        for i in range(len(PROMPTS))
    ]


def noisy(model: LoadedModel, amount: float) -> LoadedModel:
    network = copy.deepcopy(model.network)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter += amount * parameter.std().nan_to_num() * noise
    return replace(model, network=network)


@pytest.fixture(scope="module")
def teacher(nano_llama: Path) -> LoadedModel:
    return load(str(nano_llama), device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def sampled(teacher: LoadedModel) -> list[HeldOut]:
    return answered(teacher, temperature=1.0)


def test_the_whole_measurement(
    teacher: LoadedModel, sampled: list[HeldOut], nano_llama: Path
) -> None:
    students = {"student": noisy(teacher, 0.03), "pruned": noisy(teacher, 0.3)}
    found = evaluate(
        teacher,
        students,
        sampled,
        answered(teacher, temperature=0.0),
        vocabulary=None,
        config=CONFIG,
        directories={"teacher": nano_llama},
        seed=0,
        progress=Silent(),
    )
    models = found.models
    assert models.student is not None
    assert models.pruned is not None
    assert models.untrained is None
    assert models.student.kl_per_token is not None
    assert models.pruned.kl_per_token is not None
    assert 0 < models.student.kl_per_token.value < models.pruned.kl_per_token.value
    assert models.student.kl_per_token.n == len(PROMPTS)
    assert models.student.greedy is not None
    assert models.teacher.kl_per_token is None
    assert models.teacher.perplexity.value < models.pruned.perplexity.value
    ratio = found.differences.student_over_pruned_kl
    assert ratio is not None
    assert ratio.value == pytest.approx(
        models.student.kl_per_token.value / models.pruned.kl_per_token.value
    )
    assert found.differences.student_over_untrained_kl is None
    assert models.teacher.bytes >= (nano_llama / "model.safetensors").stat().st_size
    assert models.student.bytes == models.student.params * 4
    assert models.student.decode_tok_s == models.pruned.decode_tok_s > 0
    assert len(found.samples) == 3
    shown = {row.messages[0]["content"] for row in sampled}
    assert all(pair.messages[0]["content"] in shown for pair in found.samples)
    tokens = sum(len(row.response_ids) for row in sampled)
    assert found.held_out.tokens == tokens
    assert found.read["teacher"] == []
    assert sum(r for _, r in found.read["student"][: len(sampled)]) == tokens
    bits = sum_nll_bits(teacher, sampled) / sum(len(row.response.encode()) for row in sampled)
    assert models.teacher.bits_per_byte.value == pytest.approx(bits, rel=1e-3)


def sum_nll_bits(model: LoadedModel, rows: list[HeldOut]) -> float:
    """Bits of all responses, by the plain forward pass of transformers."""
    total = 0.0
    for row in rows:
        ids = torch.tensor([[*row.teacher_prompt_ids, *row.teacher_response_ids]])
        with torch.no_grad():
            logits = model.network(ids).logits[0].double()
        logits = logits[:, : len(model.tokenizer)].log_softmax(-1)
        first = len(row.teacher_prompt_ids)
        total -= sum(logits[t - 1, ids[0, t]].item() for t in range(first, ids.shape[1]))
    return total / math.log(2)


@pytest.mark.parametrize("family", ["qwen3", "gemma", "neox"])
def test_a_teacher_equals_itself_in_every_family(
    nano_model: Callable[[str], Path], family: str
) -> None:
    teacher = load(str(nano_model(family)), device="cpu", precision="fp32")
    rows = answered(teacher, temperature=1.0)
    figures = measure_text(
        teacher, {"student": teacher}, rows, None, progress=Silent(), name="held-out text"
    )
    sums = figures.sums["student"]
    # States that decoding kept differ from states read again by rounding alone.
    assert sums.kl.max() < 1e-4
    assert sums.agree.sum() == pytest.approx(sums.tokens.sum(), abs=1)
    assert figures.teacher_nll.sum() / math.log(2) == pytest.approx(
        sum_nll_bits(teacher, rows), rel=1e-4
    )


def permuted(teacher: LoadedModel, removed: int) -> tuple[LoadedModel, VocabularyMap, list[int]]:
    """A student like the teacher whose vocabulary lacks one token and is in another order."""
    width = len(teacher.tokenizer)
    order = [v for v in np.random.default_rng(0).permutation(width).tolist() if v != removed]
    network = copy.deepcopy(teacher.network)
    rows = teacher.network.get_input_embeddings().weight.detach()[torch.tensor(order)]
    network.resize_token_embeddings(len(order), mean_resizing=False)
    network.get_input_embeddings().weight.data.copy_(rows)
    network.tie_weights()
    student_ids = [0] * width
    for k, v in enumerate(order):
        student_ids[v] = k
    teacher_rows = teacher.network.get_input_embeddings().num_embeddings
    student_ids += [-1] * (teacher_rows - width)
    vocabulary = VocabularyMap(torch.tensor(order), torch.tensor(student_ids))
    return replace(teacher, network=network), vocabulary, student_ids


def test_a_trimmed_vocabulary_reads_again_only_what_changed(
    teacher: LoadedModel, sampled: list[HeldOut], monkeypatch: pytest.MonkeyPatch
) -> None:
    used = {i for row in sampled for i in (*row.prompt_ids, *row.response_ids)}
    changed_token = sampled[2].response_ids[0]
    removed = next(v for v in range(len(teacher.tokenizer)) if v not in used)
    student, vocabulary, to_student = permuted(teacher, removed)
    # As if the text of the third response had been cut into other tokens.
    stand_in = next(v for v in used if v not in (changed_token, removed))
    rows = [
        replace(
            row,
            prompt_ids=tuple(to_student[i] for i in row.prompt_ids),
            response_ids=tuple(
                to_student[stand_in if j == 2 and n == 0 else i]
                for n, i in enumerate(row.response_ids)
            ),
        )
        for j, row in enumerate(sampled)
    ]
    reads: list[int] = []
    original = text.response_hidden

    def counting(model: LoadedModel, sequences: object, **kwargs: object) -> object:
        if model is teacher:
            reads.append(len(sequences))  # type: ignore[arg-type]
        return original(model, sequences, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(text, "response_hidden", counting)
    figures = measure_text(
        teacher, {"student": student}, rows, vocabulary, progress=Silent(), name="text"
    )
    assert reads == [1]
    # The teacher's own nll stays that of what it wrote, whatever the student's tokens are.
    assert figures.teacher_nll.sum() / math.log(2) == pytest.approx(
        sum_nll_bits(teacher, sampled), rel=1e-4
    )
    # The student is the teacher but for one token, so only that token's mass parts them.
    sums = figures.sums["student"]
    assert 0 < sums.mass_removed.sum() / sums.tokens.sum() < 0.1
    assert sums.kl.sum() / sums.tokens.sum() < 0.1


def test_without_stored_states_the_teacher_reads_its_text(
    teacher: LoadedModel, sampled: list[HeldOut]
) -> None:
    bare = [replace(row, teacher_hidden_RD=None) for row in sampled]
    student = {"student": noisy(teacher, 0.1)}
    read = measure_text(teacher, student, bare, None, progress=Silent(), name="text")
    kept = measure_text(teacher, student, sampled, None, progress=Silent(), name="text")
    np.testing.assert_allclose(read.sums["student"].kl, kept.sums["student"].kl, rtol=1e-3)
    assert len(read.read["teacher"]) == len(sampled)


def test_nothing_to_measure_on_is_said(teacher: LoadedModel, sampled: list[HeldOut]) -> None:
    silent = [replace(row, response="") for row in sampled]
    for rows, message in (([], "no held-out exchange"), (silent, "is empty")):
        with pytest.raises(PotstillError, match=message):
            evaluate(
                teacher,
                {"student": teacher},
                rows,
                [],
                vocabulary=None,
                config=CONFIG,
                directories={},
                seed=0,
                progress=Silent(),
            )


def test_samples_are_drawn_by_the_seed_and_not_by_quality() -> None:
    assert choose(6, 200, seed=1) == choose(6, 200, seed=1) != choose(6, 200, seed=2)
    assert choose(6, 4, seed=1) == [0, 1, 2, 3]


def test_samples_without_greedy_text_have_the_teacher_write(
    teacher: LoadedModel, sampled: list[HeldOut]
) -> None:
    pairs = measure._samples(teacher, teacher, sampled, [], CONFIG, 0)
    assert len(pairs) == 3
    assert all(pair.teacher == pair.student for pair in pairs)
