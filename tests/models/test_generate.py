"""Decoding: transformers' own greedy text, random numbers of each row's own, states that fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from potstill.models.generate import Completion, Request, SlotUse, decode
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Sampling, draw, uniforms
from potstill.models.score import response_hidden

FAMILIES = ["llama", "qwen3", "gemma", "neox"]


def requests(count: int = 9) -> list[Request]:
    generator = torch.Generator().manual_seed(3)
    lengths = [4, 30, 9, 17, 5, 40, 12, 3, 26][:count]
    return [
        Request(f"key-{i}", tuple(torch.randint(5, 250, (n,), generator=generator).tolist()))
        for i, n in enumerate(lengths)
    ]


def decoded(
    model: LoadedModel, wanted: Sequence[Request], sampling: Sampling, slots: int
) -> dict[str, Completion]:
    found = decode(model, wanted, sampling, slots=slots, keep_hidden=True)
    return {c.key: c for done in found for c in done}


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_text_is_that_of_transformers(
    family: str, nano_model: Callable[[str], Path]
) -> None:
    model = load(str(nano_model(family)), precision="fp32")
    found = decoded(model, requests(), Sampling(temperature=0, max_tokens=40), slots=3)
    for request in requests():
        ids = torch.tensor([request.prompt_ids])
        whole = model.network.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=40,
            do_sample=False,
            eos_token_id=list(model.eos_ids),
            pad_token_id=0,
        )
        expected = whole[0, len(request.prompt_ids) :].tolist()
        assert list(found[request.key].token_ids) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_states_are_those_that_reading_the_text_gives(
    family: str, nano_model: Callable[[str], Path]
) -> None:
    model = load(str(nano_model(family)), precision="fp32")
    found = decoded(model, requests(), Sampling(max_tokens=30), slots=4)
    pairs = [(r.prompt_ids, found[r.key].token_ids) for r in requests()]
    for request, read in zip(requests(), response_hidden(model, pairs), strict=True):
        kept = found[request.key].hidden_RD
        assert kept is not None
        assert kept.shape == read.shape
        assert torch.allclose(kept, read, atol=2e-4, rtol=1e-3)


def test_a_row_draws_the_same_alone_and_in_any_company(nano_llama: Path) -> None:
    model = load(str(nano_llama), precision="fp32")
    sampling = Sampling(max_tokens=24)
    together = decoded(model, requests(), sampling, slots=4)
    reverse = decoded(model, requests()[::-1], sampling, slots=2)
    for request in requests():
        alone = decoded(model, [request], sampling, slots=1)[request.key]
        assert alone.token_ids == together[request.key].token_ids
        assert alone.token_ids == reverse[request.key].token_ids


def test_the_same_requests_give_the_same_states_bit_by_bit(nano_llama: Path) -> None:
    model = load(str(nano_llama), precision="fp32")
    one = decoded(model, requests(), Sampling(max_tokens=24), slots=4)
    two = decoded(model, requests(), Sampling(max_tokens=24), slots=4)
    for key, completion in one.items():
        assert completion.token_ids == two[key].token_ids
        assert torch.equal(completion.hidden_RD, two[key].hidden_RD)


def test_slots_are_refilled_and_counted(nano_llama: Path) -> None:
    model = load(str(nano_llama), precision="fp32")
    use = SlotUse()
    many = [Request(f"k{i}", r.prompt_ids) for i in range(6) for r in requests()]
    done = [
        c for group in decode(model, many, Sampling(max_tokens=24), slots=8, use=use) for c in group
    ]
    assert sorted({c.key for c in done}) == sorted({r.key for r in many})
    assert use.busy_while_queued > 0.85 * use.offered_while_queued
    # The first token of each comes from reading its prompt, every other from one busy slot.
    assert use.busy == sum(len(c.token_ids) - 1 for c in done)


def test_a_response_ends_with_its_end_of_sequence_or_at_the_limit(nano_llama: Path) -> None:
    model = load(str(nano_llama), precision="fp32")
    for completion in decoded(model, requests(), Sampling(max_tokens=20), slots=4).values():
        if completion.finish_reason == "stop":
            assert completion.token_ids[-1] in model.eos_ids
        else:
            assert len(completion.token_ids) == 20
            assert not set(completion.token_ids) & set(model.eos_ids)


def test_draws_follow_the_distribution() -> None:
    generator = torch.Generator().manual_seed(11)
    logits = torch.randn(700, generator=generator) * 2
    p = torch.softmax(logits.double(), dim=-1).numpy()
    count = 60_000
    uniform = torch.tensor(np.random.default_rng(5).random(count))
    drawn = draw(logits.expand(count, -1), uniform, Sampling())
    observed = np.bincount(drawn.numpy(), minlength=700)
    often = p * count >= 5
    expected = np.append(p[often], p[~often].sum()) * count
    counted = np.append(observed[often], observed[~often].sum())
    assert stats.chisquare(counted, expected).pvalue > 1e-3


def test_the_rarest_tokens_of_a_large_vocabulary_can_be_drawn() -> None:
    logits = torch.zeros(1, 151_936)
    logits[0, 0] = 18.0
    assert int(draw(logits, torch.tensor([0.0]), Sampling())) == 0
    assert int(draw(logits, torch.tensor([1 - 1e-12]), Sampling())) == 151_935


@pytest.mark.parametrize("uniform", [0.0, 0.3, 0.999999999])
def test_truncation_keeps_only_the_likeliest(uniform: float) -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0, -1.0]])
    u = torch.tensor([uniform])
    assert int(draw(logits, u, Sampling(top_k=1))) == 0
    assert int(draw(logits, u, Sampling(top_k=2))) in (0, 2)
    assert int(draw(logits, u, Sampling(top_p=0.5))) == 0
    assert int(draw(logits, u, Sampling(temperature=0))) == 0
    assert int(draw(logits, u, Sampling(top_p=0.9))) in (0, 2)


def test_random_numbers_depend_on_key_and_position_alone() -> None:
    assert uniforms("a", 8).tolist() == uniforms("a", 20)[:8].tolist()
    assert uniforms("a", 8).tolist() != uniforms("b", 8).tolist()
    assert (
        stats.kstest(np.concatenate([uniforms(str(i), 50) for i in range(200)]), "uniform")[1]
        > 1e-3
    )
