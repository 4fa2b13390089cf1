"""Answers are stored whole, once, and the same whether or not a run was cut short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from potstill.collect import answers
from potstill.collect.answers import CollectionFigures, collect, plan_waves, questions
from potstill.collect.magpie import usable, written_prompts
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Prompt
from potstill.exchanges.specs import HIDDEN_FP16
from potstill.exchanges.store import ExchangeStore
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Sampling
from potstill.progress import Silent
from potstill.recipe import CollectConfig, MagpieConfig
from potstill.terms.gate import Stated, TermsDecision, decide
from potstill.terms.licences import licence_of
from potstill.text.turns import prompt_id_of
from potstill.work.target_specs import target_specs

SAMPLING = Sampling(max_tokens=16, seed=4)


def prompts(count: int = 30) -> list[Prompt]:
    made = []
    for i in range(count):
        messages = ({"role": "user", "content": f"Count from {i} to {i + 3}."},)
        made.append(Prompt(prompt_id_of(messages), messages, "train", "test"))
    return made


def gate(path: Path) -> TermsDecision:
    return decide("nano", licence_of(path), Stated())


def collected(
    model: LoadedModel, root: Path, decision: TermsDecision, **options: Any
) -> CollectionFigures:
    wanted = questions(model, prompts(), SAMPLING, samples=options.pop("samples", 1))
    store = ExchangeStore(root)
    try:
        return collect(
            model,
            wanted,
            plan_waves(wanted, 4, 2),
            SAMPLING,
            store,
            decision,
            slots=4,
            targets=target_specs(CollectConfig(), 1.0),
            progress=Silent(),
        )
    finally:
        store.close()


def contents(root: Path) -> dict[str, Any]:
    store = ExchangeStore(root)
    rows = {r.exchange_id: (r.response_token_ids, r.response, r.sample_index) for r in store.read()}
    store.close()
    return rows


def test_every_row_is_whole(nano_llama: Path, tmp_path: Path) -> None:
    model = load(str(nano_llama), precision="fp32")
    figures = collected(model, tmp_path, gate(nano_llama))
    store = ExchangeStore(tmp_path)
    rows = store.read("train")
    assert len(rows) == figures.exchanges == figures.computed == 30
    states = store.targets(model.identity, HIDDEN_FP16, [r.exchange_id for r in rows])
    for row, state in zip(rows, states, strict=True):
        assert len(state) == len(row.response_token_ids or ())
        assert row.teacher == model.identity
        assert row.tokenizer == model.tokenizer_id
        assert row.terms_decision.startswith("allow: ")
        assert row.sampling == SAMPLING.key()
        assert row.usage["completion_tokens"] == len(row.response_token_ids)
    store.close()
    assert 0 < figures.slots_busy <= 1
    assert figures.slots_busy_before_last_wave is not None


def test_a_second_call_asks_nothing(
    nano_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(str(nano_llama), precision="fp32")
    collected(model, tmp_path, gate(nano_llama))

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the teacher was asked again")

    monkeypatch.setattr(answers, "decode", refuse)
    assert collected(model, tmp_path, gate(nano_llama)).computed == 0


def test_a_run_cut_short_in_a_wave_ends_with_the_same_rows(
    nano_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(str(nano_llama), precision="fp32")
    collected(model, tmp_path / "whole", gate(nano_llama))
    plain = answers.decode
    monkeypatch.setattr(answers, "_COMMIT_ROWS", 3)

    def cut(*args: Any, **kwargs: Any) -> Any:
        for number, done in enumerate(plain(*args, **kwargs)):
            if number == 4:
                raise RuntimeError("killed")
            yield done

    with monkeypatch.context() as patched:
        patched.setattr(answers, "decode", cut)
        with pytest.raises(RuntimeError, match="killed"):
            collected(model, tmp_path / "cut", gate(nano_llama))
    assert 0 < len(contents(tmp_path / "cut")) < 30
    collected(model, tmp_path / "cut", gate(nano_llama))
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_samples_of_one_prompt_differ(nano_llama: Path, tmp_path: Path) -> None:
    model = load(str(nano_llama), precision="fp32")
    collected(model, tmp_path, gate(nano_llama), samples=3)
    rows = contents(tmp_path)
    assert len(rows) == 90
    assert len({response for _, response, _ in rows.values()}) > 40


def test_the_teacher_is_not_asked_without_permission(
    nano_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(str(nano_llama), precision="fp32")
    monkeypatch.setattr(answers, "decode", None)
    unknown = decide("nano", (), Stated())
    with pytest.raises(PotstillError, match="may not be distilled yet"):
        collected(model, tmp_path, unknown)


def test_a_prompt_without_room_is_named_and_not_quoted(nano_llama: Path) -> None:
    model = load(str(nano_llama), precision="fp32")
    messages = ({"role": "user", "content": "secret words " * 300},)
    prompt = Prompt(prompt_id_of(messages), messages, "train", "file:mine.jsonl")
    with pytest.raises(PotstillError, match=prompt.prompt_id) as caught:
        questions(model, [prompt], SAMPLING)
    assert "secret" not in str(caught.value)


def test_waves_hold_every_question_once(nano_llama: Path) -> None:
    model = load(str(nano_llama), precision="fp32")
    wanted = questions(model, prompts(), SAMPLING)
    waves = plan_waves(wanted[::1], 4, 2)
    assert [len(w) for w in waves] == [8, 8, 8, 6]
    assert sorted(i for w in waves for i in w) == [q.exchange_id for q in wanted]
    assert questions(model, prompts()[::-1], SAMPLING) == wanted


def test_the_teacher_writes_prompts_of_its_own(nano_llama: Path) -> None:
    model = load(str(nano_llama), precision="fp32")
    config = MagpieConfig(count=6, max_tokens=24)

    def written(seed: int) -> list[str]:
        return written_prompts(
            model,
            config,
            gate(nano_llama),
            seed=seed,
            slots=8,
            system=None,
            progress=Silent(),
        )

    first = written(1)
    assert len(first) == len(set(first)) == 6
    assert all(usable(text) for text in first)
    assert written(1) == first
    assert written(2) != first


def test_a_teacher_without_a_chat_template_writes_none(nano_neox: Path) -> None:
    model = load(str(nano_neox), precision="fp32")
    with pytest.raises(PotstillError, match="no chat template"):
        written_prompts(
            model,
            MagpieConfig(count=2),
            gate(nano_neox),
            seed=0,
            slots=2,
            system=None,
            progress=Silent(),
        )
