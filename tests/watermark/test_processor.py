"""Marks in what transformers' own generate writes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from made_keys import key_of
from transformers import LogitsProcessorList

from potstill.models.load import load
from potstill.models.sampling import Sampling, surviving
from potstill.watermark.detect import detect
from potstill.watermark.processor import MarkProcessor
from potstill.watermark.schemes import GreenList, Gumbel
from potstill.watermark.survivors import OwnScheme, tilted, winners

KEY = key_of("processor")
GREEN, GUMBEL = GreenList(KEY, 1, 0.25, 3.0), Gumbel(KEY, 1)


@pytest.mark.parametrize("scheme", [GREEN, GUMBEL], ids=["green", "gumbel"])
def test_scores_are_the_marked_distribution_of_what_survives(scheme: OwnScheme) -> None:
    sampling = Sampling(temperature=0.8, top_p=0.9, top_k=12)
    processor = MarkProcessor(scheme, sampling)
    scores_BV = torch.randn(3, 40, generator=torch.Generator().manual_seed(1)) * 2
    prompt = torch.tensor([[1, 2], [0, 2], [3, 4]])
    weight_BV = surviving(scores_BV, sampling)
    torch.testing.assert_close(processor(prompt, scores_BV), weight_BV.log())
    response = torch.cat([prompt, torch.tensor([[5], [6], [7]])], 1)
    found = processor(response, scores_BV).double().softmax(-1)
    windows = [(5,), (6,), (7,)]
    if isinstance(scheme, GreenList):
        expected = tilted(scheme, weight_BV, windows)
    else:
        expected = torch.eye(40, dtype=torch.float64)[winners(scheme, weight_BV, windows)]
    torch.testing.assert_close(
        found, expected / expected.sum(-1, keepdim=True), rtol=1e-5, atol=1e-9
    )
    again = torch.cat([response, torch.tensor([[5], [8], [9]])], 1)
    found = processor(again, scores_BV)
    torch.testing.assert_close(found[0], weight_BV[0].log())
    assert not torch.allclose(found[1], weight_BV[1].log())


@pytest.mark.parametrize("scheme", [GREEN, GUMBEL], ids=["green", "gumbel"])
def test_generated_text_carries_the_mark(
    scheme: OwnScheme, nano_model: Callable[[str], Path]
) -> None:
    model = load(str(nano_model("llama")), precision="fp32")
    processor = MarkProcessor(scheme)
    texts: list[list[int]] = []
    torch.manual_seed(3)
    for first in (5, 60):
        ids = torch.tensor([[first + i, 40, 3 + i] for i in range(4)])
        whole = model.network.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=50,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            eos_token_id=list(model.eos_ids),
            pad_token_id=0,
            logits_processor=LogitsProcessorList([processor]),
        )
        texts += whole[:, 3:].tolist()
    assert detect(scheme, texts).p < 1e-8
    assert detect(scheme.decoy(1), texts).p > 1e-4


def test_what_speaks_against_marking_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="temperature 0"):
        MarkProcessor(GREEN, Sampling(temperature=0))
    twice = torch.tensor([[1, 2], [1, 2]])
    with pytest.warns(UserWarning, match="several answers to one prompt"):
        MarkProcessor(GUMBEL)(twice, torch.zeros(2, 9))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MarkProcessor(GREEN)(twice, torch.zeros(2, 9))
        MarkProcessor(GUMBEL)(torch.tensor([[1, 2], [1, 3]]), torch.zeros(2, 9))


def test_at_temperature_0_the_likeliest_token_alone_is_left() -> None:
    with pytest.warns(UserWarning, match="temperature 0"):
        processor = MarkProcessor(GREEN, Sampling(temperature=0))
    scores = torch.tensor([[0.0, 2.0, 1.0]])
    for ids in ([[1]], [[1, 2]], [[1, 2, 0]]):
        assert processor(torch.tensor(ids), scores).softmax(-1).tolist() == [[0, 1, 0]]
