"""Decoding: transformers' own greedy text, random numbers of each row's own, states that fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from potstill.errors import PotstillError
from potstill.models.counter import uniforms
from potstill.models.generate import Completion, Request, SlotUse, completions, decode
from potstill.models.load import head_of, load
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Candidates, Sampling, drawn
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


def test_completions_come_in_the_order_of_their_requests(nano_llama: Path) -> None:
    model = load(str(nano_llama), precision="fp32")
    sampling = Sampling(max_tokens=24)
    known = decoded(model, requests(), sampling, slots=9)
    # The longest first: it is the last that is done.
    wanted = sorted(requests(), key=lambda r: -len(known[r.key].token_ids))
    as_finished = [c.key for done in decode(model, wanted, sampling, slots=9) for c in done]
    assert as_finished != [r.key for r in wanted]
    step = Counting()
    found = completions(model, wanted, sampling, step=step)
    assert [c.key for c in found] == [r.key for r in wanted]
    assert [c.token_ids for c in found] == [known[r.key].token_ids for r in wanted]
    assert step.done == len(requests())
    assert all(c.hidden_RD is None for c in found)
    assert completions(model, [], sampling) == []


def test_states_are_given_where_they_are_asked_for(nano_llama: Path) -> None:
    model = load(str(nano_llama), precision="fp32")
    for c in completions(model, requests(), Sampling(max_tokens=6), keep_hidden=True):
        assert c.hidden_RD is not None
        assert c.hidden_RD.shape == (len(c.token_ids), 64)


def test_two_requests_with_one_key_are_a_bug(nano_llama: Path) -> None:
    model = load(str(nano_llama), precision="fp32")
    twice = [Request("same", (5, 6)), Request("same", (7, 8))]
    with pytest.raises(ValueError, match="same key"):
        completions(model, twice, Sampling(max_tokens=2))


def test_a_chooser_decides_every_token_and_sees_each_row_as_it_stands(nano_llama: Path) -> None:
    model = load(str(nano_llama), precision="fp32")
    sampling = Sampling(top_k=7, max_tokens=12)
    asked = {r.key: r for r in requests()}
    seen: dict[str, list[tuple[int, ...]]] = {key: [] for key in asked}

    def least_likely_survivor(given: Candidates) -> torch.Tensor:
        weight_SV = given.surviving()
        assert ((weight_SV > 0).sum(-1) == 7).all()
        for key, position, number, prompt, response in zip(
            given.keys, given.positions, given.uniforms, given.prompts, given.responses, strict=True
        ):
            assert prompt == asked[key].prompt_ids
            assert position == len(response) == len(seen[key])
            assert number == uniforms(key, position + 1)[position]
            seen[key].append(tuple(response))
        return weight_SV.masked_fill(weight_SV == 0, float("inf")).argmin(-1)

    found = completions(model, requests(), sampling, slots=4, choose=least_likely_survivor)
    for request, completion in zip(requests(), found, strict=True):
        written = completion.token_ids
        assert seen[request.key] == [written[:i] for i in range(len(written))]
        (hidden,) = response_hidden(model, [(request.prompt_ids, written)])
        ranks = head_of(model).logits(hidden).argsort(-1, descending=True)
        assert written == tuple(ranks[:, 6].tolist())


def test_the_plain_chooser_is_what_decoding_does_without_one(nano_llama: Path) -> None:
    model = load(str(nano_llama), precision="fp32")
    sampling = Sampling(temperature=0.8, top_p=0.9, max_tokens=20)
    alone = completions(model, requests(), sampling, slots=4)
    named = completions(model, requests(), sampling, slots=4, choose=drawn)
    assert [c.token_ids for c in alone] == [c.token_ids for c in named]


def test_a_prompt_that_leaves_no_room_is_refused(nano_llama: Path) -> None:
    model = load(str(nano_llama), precision="fp32")
    with pytest.raises(PotstillError, match=r"a prompt has 256 tokens, and .* reads 256 at once"):
        completions(model, [Request("long", tuple([7] * 256))], Sampling(max_tokens=2))


class Counting:
    """A step that only counts."""

    def __init__(self) -> None:
        self.done = 0

    def advance(self, amount: int = 1, **_: object) -> None:
        self.done += amount
