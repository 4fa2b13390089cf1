"""Answers in int8: measured beside the teacher first, refused where too far, told apart after."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from opened_models import made_plan
from pipeline_runs import Noted
from potstill.collect import rounded
from potstill.collect.rounded import kl_sums
from potstill.collect.stage import Asking, decoded_answers
from potstill.errors import PotstillError
from potstill.exchanges.specs import HIDDEN_FP16
from potstill.exchanges.store import ExchangeStore
from potstill.exchanges.targets import HiddenStates
from potstill.models.int8 import require_bytes
from potstill.models.load import head_of, load
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Sampling
from potstill.models.score import response_hidden
from potstill.progress import Silent
from potstill.recipe import CollectConfig, EvaluateConfig, PromptsConfig
from potstill.terms.gate import Stated, decide
from potstill.terms.licences import Evidence
from potstill.work.samplings import Samplings
from potstill.work.stage_records import DecodedAnswers

ALLOWED = decide("nano", (Evidence("mit", "test", "mit"),), Stated())


@pytest.fixture(autouse=True)
def able() -> None:
    """Skip where no bytes are multiplied."""
    try:
        require_bytes(torch.device("cpu"))
    except PotstillError as error:
        pytest.skip(str(error))


def asking(*, int8: bool, greedy: bool = False) -> Asking:
    """Return how short answers are drawn."""
    drawn = Sampling(max_tokens=8, seed=4)
    return Asking(
        CollectConfig(max_tokens=8, slots=4, wave=1),
        EvaluateConfig(greedy=greedy, fidelity_prompts=2),
        PromptsConfig(),
        Samplings(drawn, drawn, replace(drawn, temperature=0.0)),
        temperature=1.0,
        seed=4,
        int8=int8,
    )


@pytest.fixture
def teacher(nano_llama: Path) -> LoadedModel:
    return load(str(nano_llama), device="cpu", precision="fp32")


def test_what_is_learnt_from_is_in_int8_and_what_is_measured_on_is_not(
    teacher: LoadedModel, store: ExchangeStore
) -> None:
    progress = Noted()
    how = asking(greedy=True, int8=True)
    found = decoded_answers(teacher, made_plan(), how, store, ALLOWED, progress)
    assert isinstance(found.figures, DecodedAnswers) and found.figures.int8 is not None
    assert found.figures.computed == 8 and store.stats()["splits"]["held_out"] == 4
    assert {(r.split == "held_out", r.dtype) for r in store.read()} == {
        (True, "float32"),
        (False, "int8"),
    }
    assert {r.sampling.get("precision") for r in store.read("train")} == {"int8"}
    measured = found.figures.int8
    assert 0 < measured.kl_per_token.value < 0.01 and measured.kl_per_token.n == 2
    assert any(n.startswith("teacher in int8: ") for n in progress.notes)
    # The states are those of what wrote them, not of the teacher as it is.
    rows = store.read("train")
    states = store.targets(teacher.identity, HIDDEN_FP16, [r.exchange_id for r in rows])
    own = response_hidden(teacher, [r.ids for r in rows])
    for state, own_RD in zip(states, own, strict=True):
        assert isinstance(state, HiddenStates)
        assert float((state.hidden_RD - own_RD).abs().max()) > 1e-3


def test_answers_in_int8_are_none_of_the_teachers_own(
    teacher: LoadedModel, store: ExchangeStore
) -> None:
    plan = made_plan()
    decoded_answers(teacher, plan, asking(int8=False), store, ALLOWED, Silent())
    before = store.ids()
    again = decoded_answers(teacher, plan, asking(int8=True), store, ALLOWED, Silent())
    assert again.figures.computed == 8 and len(store.ids() - before) == 8
    third = decoded_answers(teacher, plan, asking(int8=True), store, ALLOWED, Silent())
    assert third.figures.computed == 0


def test_nothing_is_learnt_from_what_is_too_far(
    teacher: LoadedModel, store: ExchangeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounded, "FURTHEST", 1e-9)
    with pytest.raises(PotstillError, match=r"nats a token from itself .* leave teacher.precision"):
        decoded_answers(teacher, made_plan(), asking(int8=True), store, ALLOWED, Silent())
    assert not store.read("train")


def test_the_kl_is_that_of_the_two_distributions(teacher: LoadedModel) -> None:
    generator = torch.Generator().manual_seed(5)
    width = head_of(teacher).weight_VD.shape[1]
    own = [torch.randn(n, width, generator=generator) for n in (3, 1, 6)]
    other = [states + 0.1 * torch.randn(states.shape, generator=generator) for states in own]
    found = kl_sums(teacher, own, other, [[0] * len(states) for states in own])
    head = head_of(teacher)
    for total, p_ND, q_ND in zip(found, own, other, strict=True):
        p_NV, q_NV = (
            torch.softmax(head.logits(s).detach().double(), -1).numpy() for s in (p_ND, q_ND)
        )
        assert np.isclose(total, (p_NV * np.log(p_NV / q_NV)).sum(), rtol=1e-4)
    assert kl_sums(teacher, own, own, [[0] * len(states) for states in own]).max() == 0
