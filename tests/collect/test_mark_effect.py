"""What a mark comes to is exact; marked answers are the same in any company and after any stop."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from potstill.collect.answers import collect, plan_waves, questions
from potstill.collect.mark_effect import kl_of_mark, mark_effect
from potstill.exchanges.exchange import Prompt
from potstill.exchanges.specs import HIDDEN_FP16, TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Sampling
from potstill.progress import Silent
from potstill.recipe import CollectConfig, WatermarkConfig
from potstill.terms.gate import Stated, decide
from potstill.terms.licences import licence_of
from potstill.text.turns import prompt_id_of
from potstill.watermark.keys import EpochKey
from potstill.watermark.schemes import GreenList, Gumbel
from potstill.work.mark import TrainingMark
from potstill.work.target_specs import target_specs

KEY = EpochKey("2026-12", bytes(range(32)))
GREEN = GreenList(KEY, 1, 0.5, 2.0)
SAMPLING = Sampling(max_tokens=16, seed=4)
MARKED = CollectConfig(watermark=WatermarkConfig(key="a.key", epoch="2026-12"))


def test_the_kl_of_a_mark_is_that_of_the_two_distributions() -> None:
    rng = np.random.default_rng(0)
    weight_NV = torch.from_numpy(rng.exponential(size=(4, 40)))
    weight_NV[:, 30:] = 0
    windows = [(n,) for n in range(4)]
    found = kl_of_mark(GREEN, weight_NV, windows)
    for n, p in enumerate(weight_NV / weight_NV.sum(-1, keepdim=True)):
        bits = GREEN.green((np.full(30, n), np.arange(30)))
        q = p[:30].numpy() * np.exp(2.0 * bits)
        q /= q.sum()
        expected = float((q * np.log(q / p[:30].numpy())).sum())
        assert math.isclose(float(found[n]), expected, rel_tol=1e-6)


@pytest.fixture(scope="module")
def teacher(nano_llama: Path) -> LoadedModel:
    return load(str(nano_llama), precision="fp32")


def prompts() -> list[Prompt]:
    found = []
    for i in range(24):
        messages = ({"role": "user", "content": f"Count from {i} to {i + 3}."},)
        found.append(Prompt(prompt_id_of(messages), messages, "train", "test"))
    return found


def collected(
    teacher: LoadedModel,
    root: Path,
    scheme: GreenList | Gumbel | None,
    config: CollectConfig,
    waves: int | None = None,
) -> list[Any]:
    mark_id = None if scheme is None else scheme.mark_id
    wanted = questions(teacher, prompts(), SAMPLING, mark_id=mark_id)
    decision = decide("nano", licence_of(Path(teacher.source)), Stated())
    store = ExchangeStore(root)
    try:
        collect(
            teacher,
            wanted,
            plan_waves(wanted, 4, 2)[:waves],
            SAMPLING,
            store,
            decision,
            slots=4,
            targets=target_specs(config, 1.0),
            progress=Silent(),
            scheme=scheme,
        )
        return [(r.exchange_id, r.ids, r.watermark_key_id) for r in store.read()]
    finally:
        store.close()


def test_a_run_that_was_cut_short_marks_the_same(teacher: LoadedModel, tmp_path: Path) -> None:
    whole = collected(teacher, tmp_path / "whole", GREEN, MARKED)
    assert {mark for _, _, mark in whole} == {GREEN.mark_id}
    begun = collected(teacher, tmp_path / "cut", GREEN, MARKED, waves=1)
    assert 0 < len(begun) < len(whole)
    assert collected(teacher, tmp_path / "cut", GREEN, MARKED) == whole


def test_marked_answers_have_ids_of_their_own(teacher: LoadedModel, tmp_path: Path) -> None:
    marked = {q.exchange_id for q in questions(teacher, prompts(), SAMPLING, mark_id="blake3:a")}
    plain = {q.exchange_id for q in questions(teacher, prompts(), SAMPLING)}
    assert len(marked | plain) == len(marked) + len(plain)
    rows = collected(teacher, tmp_path, None, CollectConfig())
    assert {mark for _, _, mark in rows} == {None}


def test_marked_validation_text_gets_no_states_and_training_draws() -> None:
    specs = target_specs(MARKED, 1.0)
    assert specs["train"] == TargetSpec("sampled", MARKED.draws, 1.0)
    assert specs["validation"] is None
    assert specs["held_out"] == HIDDEN_FP16


@pytest.mark.parametrize("scheme", [GREEN, Gumbel(KEY, 2)])
def test_the_effect_counts_marked_tokens_and_its_cost(
    teacher: LoadedModel, tmp_path: Path, scheme: GreenList | Gumbel
) -> None:
    config = MARKED if isinstance(scheme, GreenList) else CollectConfig(targets="none")
    rows = collected(teacher, tmp_path, scheme, config)
    store = ExchangeStore(tmp_path)
    effect = mark_effect(
        teacher,
        questions(teacher, prompts(), SAMPLING, mark_id=scheme.mark_id),
        SAMPLING,
        TrainingMark(scheme),
        store,
        decide("nano", licence_of(Path(teacher.source)), Stated()),
        slots=4,
        samples=1,
        progress=Silent(),
    )
    store.close()
    assert (effect.answers, effect.sample) == (24, 24)
    assert effect.tokens == sum(len(ids[1]) for _, ids, _ in rows)
    assert 0 < effect.marked_tokens <= effect.tokens - 24 * scheme.window
    assert (effect.kl_per_token is None) == isinstance(scheme, Gumbel)
    assert effect.key_id == KEY.key_id and effect.doubts == []
