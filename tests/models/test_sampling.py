"""What survives truncation, and how a token of it is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from potstill.models.sampling import Candidates, Sampling, draw, drawn, surviving


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


def oracle(logits: np.ndarray, sampling: Sampling) -> np.ndarray:
    """Probabilities of one row in float64, token by token as the definitions say."""
    if sampling.temperature == 0:
        return np.eye(len(logits))[int(np.argmax(logits))]
    p = np.exp((logits - logits.max()) / sampling.temperature)
    if 0 < sampling.top_k < len(p):
        p[p < np.sort(p)[-sampling.top_k]] = 0
    p /= p.sum()
    kept, mass = np.zeros_like(p), 0.0
    for token in np.argsort(-p, kind="stable"):
        if mass >= sampling.top_p:
            break
        kept[token] = p[token]
        mass += p[token]
    return kept / kept.sum()


@given(data=st.data())
def test_what_survives_is_what_the_definitions_say(data: st.DataObject) -> None:
    rows, width = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 40))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    # Steps of 1/8 keep ties from hanging on rounding; each row has every value once.
    logits = np.stack([rng.permutation(width) for _ in range(rows)]) / 8
    sampling = Sampling(
        temperature=data.draw(st.sampled_from([0.0, 0.5, 1.0, 2.0])),
        top_p=data.draw(st.sampled_from([0.03, 0.37, 0.83, 1.0])),
        top_k=data.draw(st.integers(0, 45)),
    )
    weight = surviving(torch.from_numpy(logits).float(), sampling).double()
    expected = np.stack([oracle(row, sampling) for row in logits])
    assert ((weight > 0).numpy() == (expected > 0)).all()
    np.testing.assert_allclose((weight / weight.sum(-1, keepdim=True)).numpy(), expected, atol=1e-6)


@given(data=st.data())
def test_only_what_survives_is_drawn(data: st.DataObject) -> None:
    width = data.draw(st.integers(1, 600))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    logits = torch.from_numpy(rng.normal(0, 4, (3, width))).float()
    sampling = Sampling(
        temperature=data.draw(st.sampled_from([0.0, 0.7, 1.0])),
        top_p=data.draw(st.sampled_from([0.1, 0.9, 1.0])),
        top_k=data.draw(st.integers(0, 20)),
    )
    uniform = torch.tensor(
        data.draw(st.lists(st.floats(0, 1, exclude_max=True), min_size=3, max_size=3))
    )
    token = draw(logits, uniform, sampling)
    assert (surviving(logits, sampling).gather(1, token[:, None]) > 0).all()


def test_a_token_is_cut_off_once_the_mass_before_it_is_top_p() -> None:
    """Four equal tokens: two of them are half of the mass, and the third begins where it ends."""
    for top_p, left in [(0.25, 1), (0.5, 2), (0.51, 3), (1.0, 4)]:
        assert int((surviving(torch.zeros(1, 4), Sampling(top_p=top_p)) > 0).sum()) == left


@pytest.mark.parametrize("width", [300, 700, 5000])
def test_a_number_that_rounds_to_1_draws_the_last_token_with_mass(width: int) -> None:
    """In fp32, one number in 30 million: whole blocks behind that token have no mass."""
    rounded = torch.tensor([1 - 2.0**-30])
    assert rounded.item() == 1
    logits = torch.full((1, width), float("-inf"))
    logits[0, [3, 7, 21]] = torch.tensor([1.0, 2.0, 0.5])
    assert draw(logits, rounded, Sampling()).tolist() == [21]
    assert draw(logits, rounded, Sampling(top_k=2)).tolist() == [7]


def made_candidates(prompts: list[list[int]], responses: list[list[int]]) -> Candidates:
    rows = len(prompts)
    generator = torch.Generator().manual_seed(5)
    return Candidates(
        logits_SV=torch.randn(rows, 50, generator=generator),
        sampling=Sampling(temperature=0.9, top_p=0.8),
        keys=[f"key-{i}" for i in range(rows)],
        uniforms=[0.1 + 0.8 * i / rows for i in range(rows)],
        prompts=prompts,
        responses=responses,
    )


@given(
    prompt=st.lists(st.integers(0, 9), max_size=6),
    response=st.lists(st.integers(0, 9), max_size=6),
    count=st.integers(0, 15),
)
def test_the_ids_before_are_the_last_of_prompt_and_response(
    prompt: list[int], response: list[int], count: int
) -> None:
    candidates = made_candidates([prompt], [response])
    whole = [*prompt, *response]
    expected = tuple(whole[max(0, len(whole) - count) :])
    assert candidates.before(count) == [expected]
    assert candidates.positions == (len(response),)


def test_the_plain_chooser_draws_each_row_by_its_own_number() -> None:
    candidates = made_candidates([[1], [2], [3]], [[], [4], [5, 6]])
    together = drawn(candidates)
    for row in range(3):
        alone = Candidates(
            logits_SV=candidates.logits_SV[row : row + 1],
            sampling=candidates.sampling,
            keys=candidates.keys[row : row + 1],
            uniforms=candidates.uniforms[row : row + 1],
            prompts=candidates.prompts[row : row + 1],
            responses=candidates.responses[row : row + 1],
        )
        assert drawn(alone).tolist() == [together[row].item()]
