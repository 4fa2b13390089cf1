"""Whatever form targets are kept in, the loss gets the teacher's distribution, in order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline_runs import Noted
from potstill.exchanges.codecs import decode, encode
from potstill.exchanges.exchange import Exchange
from potstill.exchanges.forming import formed
from potstill.exchanges.specs import HIDDEN_FP16, HIDDEN_INT8, TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.exchanges.targets import LikeliestTokens
from potstill.losses.chunked import distillation_loss
from potstill.losses.divergence import Divergence
from potstill.losses.targets import DenseTargets, SampledTargets, Targets, TopKTargets
from potstill.models.load import head_of, load
from potstill.models.loaded import LoadedModel
from potstill.models.score import response_hidden
from potstill.models.vocabulary import VocabularyMap
from potstill.progress import Silent
from potstill.recipe.learning import OBJECTIVES
from potstill.train.examples import TrainingExample
from potstill.train.target_sources import Scorer, StoredTargets
from top_k_layouts import first_layout

SPECS = [HIDDEN_FP16, HIDDEN_INT8, TargetSpec("sampled", 400), TargetSpec("top-k", 60)]


def examples_of(count: int = 6) -> list[TrainingExample]:
    generator = torch.Generator().manual_seed(0)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(5, 200, (n,), generator=generator).tolist())

    return [TrainingExample(f"e{i}", ids(3 + i % 2), ids(2 + i % 4)) for i in range(count)]


def stored(
    root: Path, teacher: LoadedModel, examples: Sequence[TrainingExample], spec: TargetSpec
) -> ExchangeStore:
    store = ExchangeStore(root)
    states = response_hidden(teacher, [(e.prompt_ids, e.response_ids) for e in examples])
    head = head_of(teacher)
    store.append(
        [
            Exchange(
                exchange_id=e.exchange_id,
                prompt_id="p",
                split="train",
                messages=(),
                response="",
                prompt_token_ids=e.prompt_ids,
                response_token_ids=e.response_ids,
                tokenizer=None,
                finish_reason="length",
                teacher=teacher.identity,
                sampling={},
                sample_index=0,
                terms_decision="allow",
                source="test",
                created_at="",
            )
            for e in examples
        ],
        [
            formed(e.exchange_id, teacher.identity, hidden_RD, head, spec)
            for e, hidden_RD in zip(examples, states, strict=True)
        ],
    )
    return store


@torch.no_grad()
def loss_of(targets: Targets, student: LoadedModel, examples: Sequence[TrainingExample]) -> float:
    states = response_hidden(student, [(e.prompt_ids, e.response_ids) for e in examples])
    label_N = torch.tensor([i for e in examples for i in e.response_ids])
    loss, _ = distillation_loss(
        torch.cat(states), head_of(student), targets, label_N, normaliser=len(label_N)
    )
    return float(loss)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_stored_and_scored_targets_give_the_same_loss_in_the_order_asked(
    spec: TargetSpec, nano_llama: Path, nano_neox: Path, tmp_path: Path
) -> None:
    teacher = load(str(nano_llama), precision="fp32")
    examples = examples_of()
    store = stored(tmp_path, teacher, examples, spec)
    scorer = Scorer(teacher.identity, head_of(teacher), model=teacher)
    keys = store.target_ids(teacher.identity, spec)
    assert keys == {e.exchange_id for e in examples}
    asked = [examples[i] for i in (4, 0, 5)]
    student = load(str(nano_llama), precision="fp32")
    # Always the same: stored states are rounded, which moves a draw now and then.
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in student.network.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    found = []
    for chosen in (keys, {"e0"}, set()):
        source = StoredTargets(store, spec, chosen, scorer, torch.float32)
        source.prepare(examples, Silent())
        found.append(loss_of(source.targets(asked), student, asked))
    assert found[1] == pytest.approx(found[0], rel=2e-3)
    assert found[2] == pytest.approx(found[0], rel=2e-3)
    whole = DenseTargets(
        torch.cat(response_hidden(teacher, [(e.prompt_ids, e.response_ids) for e in asked])),
        head_of(teacher),
    )
    exact = loss_of(whole, student, asked)
    if spec.kind == "top-k":
        assert found[0] < exact
    assert found[0] == pytest.approx(exact, rel=0.1)
    store.close()


@pytest.mark.parametrize("kind", list(OBJECTIVES))
@pytest.mark.parametrize("old", [False, True], ids=["new", "old"])
def test_likeliest_tokens_of_a_sure_teacher_bound_every_divergence(
    kind: str, old: bool, nano_llama: Path, tmp_path: Path
) -> None:
    """Their rest is 1e-4 to 1e-12, which fp16 and subtraction take for none."""
    teacher = load(str(nano_llama), precision="fp32")
    head = replace(head_of(teacher), scale=40.0)
    examples, spec, values = examples_of(), TargetSpec("top-k", 8), []
    states = response_hidden(teacher, [(e.prompt_ids, e.response_ids) for e in examples])
    for example, hidden_RD in zip(examples, states, strict=True):
        row = formed(example.exchange_id, teacher.identity, hidden_RD, head, spec)
        assert isinstance(row.values, LikeliestTokens)
        data = first_layout(row.values) if old else encode(row).data
        values.append(decode(spec, len(row.values), row.values.width, data))
    rest_N = torch.cat([v.rest_R for v in values if isinstance(v, LikeliestTokens)])
    assert bool(rest_N.isfinite().all()) and (old or float(rest_N.min()) < math.log(1e-7))
    notes = Noted()
    source = StoredTargets(
        ExchangeStore(tmp_path), spec, set(), Scorer(teacher.identity, head), torch.float32
    )
    source.prepare([], notes)
    source._fresh = {e.exchange_id: v for e, v in zip(examples, values, strict=True)}
    targets = source.targets(examples)
    assert [len(source.targets(examples).ids_NK), len(notes.notes)] == [len(rest_N), int(old)]
    # Always the same: at this scale rounding alone moves a forward KL by 5e-5 of it now and then.
    noise_VD = torch.randn(head.weight_VD.shape, generator=torch.Generator().manual_seed(0))
    student = replace(head, weight_VD=head.weight_VD + 0.01 * noise_VD)
    label_N = torch.zeros(len(rest_N), dtype=torch.long)
    found = []
    for given in (targets, DenseTargets(torch.cat(states), head)):
        loss, _ = distillation_loss(
            torch.cat(states), student, given, label_N, normaliser=1, divergence=Divergence(kind)
        )
        found.append(float(loss.detach()))
    assert math.isfinite(found[0])
    # The rest of an old store is known up to fp16's rounding of the tokens' mass.
    assert 0 <= found[0] <= found[1] * (1.02 if old else 1 + 1e-5) + 1e-5


def test_draws_of_removed_tokens_go_to_their_receivers(nano_llama: Path, tmp_path: Path) -> None:
    """The student's draws are those of the mapped distribution."""
    teacher = load(str(nano_llama), precision="fp32")
    examples, spec = examples_of(), TargetSpec("sampled", 2000)
    store = stored(tmp_path, teacher, examples, spec)
    head = head_of(teacher)
    width = head.tokens or len(head.weight_VD)
    kept_K = torch.arange(0, width, 2)
    receiver_V = torch.full((len(head.weight_VD),), -1)
    receiver_V[:width] = torch.arange(width) // 2
    vocabulary = VocabularyMap(kept_K, receiver_V)
    source = StoredTargets(
        store,
        spec,
        store.target_ids(teacher.identity, spec),
        Scorer(teacher.identity, head, vocabulary),
        torch.float32,
    )
    got = source.targets(examples)
    assert isinstance(got, SampledTargets)
    states = torch.cat(response_hidden(teacher, [(e.prompt_ids, e.response_ids) for e in examples]))
    with torch.no_grad():
        expected_NV = vocabulary.probabilities(head.logits(states).softmax(-1), len(kept_K))
    share_NV = torch.zeros_like(expected_NV).scatter_add_(1, got.ids_NK, got.weight_NK)
    assert torch.allclose(share_NV, expected_NV, atol=2 / 2000 + 1e-5)
    assert torch.allclose(share_NV.sum(1), torch.ones(len(share_NV)), atol=1e-5)
    store.close()


def test_what_has_no_targets_teaches_by_its_text_beside_what_has_some(
    nano_llama: Path, tmp_path: Path
) -> None:
    """Its rows add cross-entropy, and the others what they add by themselves."""
    teacher = load(str(nano_llama), precision="fp32")
    examples, spec = examples_of(), TargetSpec("top-k", 60)
    store = stored(tmp_path, teacher, examples, spec)
    student = load(str(nano_llama), precision="fp32")
    with torch.no_grad():
        for parameter in student.network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    known = {"e0", "e3"}
    server = Scorer(teacher.identity, None)
    source = StoredTargets(store, spec, known, server, torch.float32, from_text=True)
    source.prepare(examples, Silent())
    having = [e for e in examples if e.exchange_id in known]
    without = [e for e in examples if e.exchange_id not in known]
    labels = torch.tensor([i for e in without for i in e.response_ids])
    with torch.no_grad():
        states = response_hidden(student, [(e.prompt_ids, e.response_ids) for e in without])
        logp_NV = head_of(student).logits(torch.cat(states)).double().log_softmax(-1)
    nll = float(-logp_NV.gather(1, labels[:, None]).sum())
    tokens = sum(len(e.response_ids) for e in having)
    expected = loss_of(source.targets(having), student, having) * tokens + nll
    mixed = loss_of(source.targets(examples), student, examples)
    assert mixed * (tokens + len(labels)) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="text gives no hidden-fp16 targets"):
        StoredTargets(store, HIDDEN_FP16, known, server, torch.float32, from_text=True)
    with pytest.raises(ValueError, match="need the scorer's head"):
        StoredTargets(store, HIDDEN_FP16, known, server, torch.float32)
    store.close()


def test_each_form_gives_the_loss_its_own_kind(nano_llama: Path, tmp_path: Path) -> None:
    teacher = load(str(nano_llama), precision="fp32")
    kinds = [DenseTargets, DenseTargets, SampledTargets, TopKTargets]
    for spec, kind in zip(SPECS, kinds, strict=True):
        store = stored(tmp_path / spec.name, teacher, examples_of(), spec)
        keys = store.target_ids(teacher.identity, spec)
        scorer = Scorer(teacher.identity, head_of(teacher))
        source = StoredTargets(store, spec, keys, scorer, torch.float32)
        assert isinstance(source.targets(examples_of()), kind)
        with pytest.raises(ValueError, match="no teacher is loaded"):
            source.targets([TrainingExample("unknown", (5,), (6,))])
        store.close()
