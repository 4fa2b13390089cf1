"""Weights of nano models: copies are found, models with weights of their own are not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nano_relatives import with_channels, without_blocks

from potstill.errors import PotstillError
from potstill.models.load import blocks_of, load
from potstill.models.loaded import LoadedModel
from potstill.models.parts import feed_forward_of
from potstill.trace.finding import Finding
from potstill.trace.gather.weights import gather_weights, matched, plan_weights
from potstill.trace.weights import WeightsItem, weights_finding


@pytest.fixture(scope="module")
def teacher(nano_model: Callable[[str], Path]) -> LoadedModel:
    return load(str(nano_model("llama")), precision="fp32")


def another(model: LoadedModel, seed: int) -> LoadedModel:
    """Return a network of the same shape with weights of its own."""
    torch.manual_seed(270_000 + seed)
    return replace(model, network=type(model.network)(model.network.config).eval())


def changed(model: LoadedModel, noise: float) -> LoadedModel:
    """Return a copy whose weights were moved by a share of their size, as by tuning."""
    network = copy.deepcopy(model.network)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in network.parameters():
            weight += noise * weight.std() * torch.randn(weight.shape, generator=generator)
    return replace(model, network=network)


def compared(one: LoadedModel, other: LoadedModel, **plan: Any) -> Finding:
    planned = plan_weights(one, other, **plan)
    items: list[WeightsItem] = []
    gather_weights(planned, one, other, [], items.append)
    return weights_finding(planned, items, "aa")


def test_copies_are_found_whichever_came_first(teacher: LoadedModel) -> None:
    copies = {"tuned": changed(teacher, 0.5), "cut": without_blocks(changed(teacher, 0.5), (1, 3))}
    for suspect in copies.values():
        for found in (compared(teacher, suspect), compared(suspect, teacher)):
            assert found.tier == "descent"
            assert found.effect > 0.9 and found.log10_p < -200


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_weights_of_their_own_are_not(teacher: LoadedModel, seed: int) -> None:
    suspect = another(teacher, seed)
    for found in (
        compared(teacher, suspect),
        compared(teacher, without_blocks(suspect, (0, 4))),
        compared(teacher, suspect, how="shuffled"),
    ):
        assert found.p > 0.001


def test_shuffled_units_are_support(teacher: LoadedModel) -> None:
    units = np.random.default_rng(1).permutation(160).tolist()
    suspect = with_channels(changed(teacher, 0.2), units)
    assert compared(teacher, suspect).p > 0.001
    found = compared(teacher, suspect, how="shuffled")
    assert found.tier == "support" and found.effect > 0.9


def test_kept_channels_are_support(teacher: LoadedModel) -> None:
    units = np.sort(np.random.default_rng(2).choice(160, 96, replace=False)).tolist()
    suspect = with_channels(changed(teacher, 0.2), units)
    for found in (compared(teacher, suspect), compared(suspect, teacher)):
        assert found.tier == "support" and found.log10_p < -100
    assert compared(teacher, with_channels(another(teacher, 4), units)).p > 0.001


@pytest.mark.parametrize("family", ["qwen3", "gemma", "neox"])
def test_other_architectures_are_read(family: str, nano_model: Callable[[str], Path]) -> None:
    model = load(str(nano_model(family)), precision="fp32")
    assert compared(model, changed(model, 0.3)).log10_p < -100
    assert compared(model, another(model, 5)).p > 0.001


def test_some_of_the_units_are_enough(teacher: LoadedModel) -> None:
    found = compared(teacher, changed(teacher, 0.2), units=40)
    assert found.statistic == 240 and found.effect == 1


def test_a_match_is_the_assignment_of_greatest_sum() -> None:
    similarity = np.array([[0.9, 0.8, 0.0], [0.95, 0.1, 0.0], [0.0, 0.0, 0.1]])
    assert matched(similarity) == (1, 0, 2)
    assert matched(np.array([[0.1, 0.2, 0.9], [0.8, 0.2, 0.85]])) == (2, 0)


def test_what_was_gathered_is_not_gathered_again(teacher: LoadedModel) -> None:
    planned = plan_weights(teacher, teacher)
    whole: list[WeightsItem] = []
    gather_weights(planned, teacher, teacher, [], whole.append)
    rest: list[WeightsItem] = []
    gather_weights(planned, teacher, teacher, whole[:4], rest.append)
    assert whole[:4] + rest == whole


def test_networks_that_cannot_be_compared_are_refused(
    teacher: LoadedModel, nano_model: Callable[[str], Path]
) -> None:
    neox = load(str(nano_model("neox")), precision="fp32")
    with pytest.raises(PotstillError, match="cannot be compared row by row; take the weights"):
        plan_weights(teacher, neox)
    planned = plan_weights(teacher, teacher)
    with pytest.raises(PotstillError, match="the suspect's network is not the one of the plan"):
        gather_weights(planned, teacher, without_blocks(teacher, (2,)), [], print)
    broken = changed(teacher, 0.0)
    with torch.no_grad():
        part = feed_forward_of(blocks_of(broken.network)[2])
        assert part is not None
        part.readers[0].weight[3, 3] = float("nan")
    with pytest.raises(PotstillError, match="block 2 of the suspect holds weights that are no num"):
        gather_weights(planned, teacher, broken, [], lambda item: None)
    blocks_of(broken.network)[0].mlp = torch.nn.Identity()
    with pytest.raises(PotstillError, match="built in a way that potstill does not know"):
        plan_weights(teacher, broken)
