"""What a step on own answers learns is the definition, to the last places of fp32."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import loss_oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from on_policy_runs import Case, FirstStep, case, first_step, moved, own_alone
from torch import Tensor

from potstill.losses.divergence import Divergence
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.shrink.cut import Cut
from potstill.shrink.making import pruned
from potstill.shrink.vocabulary import choose_tokens, merges_of
from potstill.train.target_sources import WithOwn
from training_inputs import Scored


def oracle(made: Case, step: FirstStep, student: LoadedModel, teacher: LoadedModel) -> Tensor:
    """Return the step's loss in float64, every token of the vocabulary enumerated.

    Each text is read alone and whole; nothing is shared with the loss but the definitions.
    """
    config, vocabulary = made.config, made.rollouts._teacher.vocabulary
    assert config.on_policy is not None
    kind = config.on_policy.objective or config.objective
    spec = Divergence(kind, beta=config.beta, alpha=config.alpha)
    total, tokens = torch.zeros((), dtype=torch.float64), 0
    for example in step.examples:
        ids = [*example.prompt_ids, *example.response_ids]
        read = ids if vocabulary is None else vocabulary.teacher_ids_K[ids].tolist()
        rows = slice(len(example.prompt_ids) - 1, len(ids) - 1)
        q_RV = _probabilities(student, ids)[rows]
        with torch.no_grad():
            p_RV = _probabilities(teacher, read)[rows]
            if vocabulary is not None:
                p_RV = loss_oracle.moved(p_RV, vocabulary, q_RV.shape[1])
        for p_V, q_V in zip(p_RV, q_RV, strict=True):
            t = config.temperature
            one, other = loss_oracle.tempered(p_V, t), loss_oracle.tempered(q_V, t)
            total = total + t * t * loss_oracle.divergence(spec, one, other)
        tokens += len(example.response_ids)
    return total / tokens


def _probabilities(model: LoadedModel, ids: list[int]) -> Tensor:
    logits = model.network(input_ids=torch.tensor([ids])).logits[0]
    return torch.softmax(logits[:, : len(model.tokenizer)], -1)


def _kept(teacher: LoadedModel) -> tuple[int, ...]:
    merges = merges_of(teacher.tokenizer, teacher.eos_ids)
    return tuple(choose_tokens(merges, torch.ones(len(teacher.tokenizer)), 300))


def in_float64(model: LoadedModel) -> LoadedModel:
    double = copy.deepcopy(model.network).double()
    return LoadedModel(**{**vars(model), "network": double})


@pytest.mark.parametrize("trimmed", [False, True])
@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_the_gradient_is_that_of_the_enumerated_divergence(
    family: str, trimmed: bool, nano_model: Any, tmp_path: Path
) -> None:
    teacher = load(str(nano_model(family)), precision="fp32")
    student, vocabulary = pruned(teacher, Cut(kept_tokens=_kept(teacher) if trimmed else None))
    student = moved(student)
    config = own_alone(
        {"objective": "reverse_kl", "temperature": 0.8, "top_p": 0.9}, temperature=1.3
    )
    made = case(nano_model(family), config, student=student, vocabulary=vocabulary)
    exact = in_float64(student)
    step = first_step(made, tmp_path)
    expected = oracle(made, step, exact, in_float64(teacher))
    expected.backward()
    wanted = {n: p.grad for n, p in exact.network.named_parameters()}
    mine = torch.cat([step.gradient[n].double().flatten() for n in wanted])
    theirs = torch.cat([g.flatten() for g in wanted.values() if g is not None])
    assert step.loss == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float(torch.cosine_similarity(mine, theirs, dim=0)) >= 0.9999
    assert float(mine.norm() / theirs.norm()) == pytest.approx(1, abs=1e-4)


KINDS = ("forward_kl", "reverse_kl", "jsd", "skew_forward_kl", "skew_reverse_kl")


@settings(max_examples=8)
@given(
    temperature=st.sampled_from([0.7, 1.0, 1.3]),
    written_at=st.sampled_from([0.7, 1.0, 1.3]),
    top_p=st.sampled_from([1.0, 0.9]),
    objective=st.sampled_from(KINDS),
    packing=st.sampled_from(["buckets", "packed"]),
    micro_batch_tokens=st.sampled_from([1, 40, 4096]),
)
def test_a_student_that_is_its_teacher_learns_nothing(
    written_at: float,
    top_p: float,
    nano_llama: Path,
    tmp_path_factory: pytest.TempPathFactory,
    **values: Any,
) -> None:
    """Whatever it samples by, however its answers are padded, packed and cut into parts."""
    config = own_alone({"temperature": written_at, "top_p": top_p}, **values)
    student = load(str(nano_llama), precision="fp32", trainable=True)
    step = first_step(case(nano_llama, config, student=student), tmp_path_factory.mktemp("equal"))
    assert abs(step.loss) < 1e-6
    # Packed rows are attended to by another kernel than the teacher's, which rounds in another way.
    assert step.largest < 1e-5


def test_the_loss_is_the_same_from_stored_states(nano_llama: Path, tmp_path: Path) -> None:
    live = case(nano_llama, own_alone())
    found = first_step(live, tmp_path / "a")
    stored = case(nano_llama, own_alone())

    class Halved(Scored):
        def targets(self, examples: Any) -> Any:
            whole = super().targets(examples)
            return type(whole)(whole.hidden_ND.half(), whole.head)

    teacher = Halved(load(str(nano_llama), precision="fp32"))
    again = Case(stored.student, stored.rollouts, WithOwn(teacher, teacher), stored.config)
    assert first_step(again, tmp_path / "b").loss == pytest.approx(found.loss, rel=1e-4)
