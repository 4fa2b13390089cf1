"""Speed: the order of rounds with a fake clock, and real models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from potstill.evaluate import speed
from potstill.evaluate.speed import SECONDS, measure_speed, rates, tokens_within
from potstill.models.load import load


class Clock:
    """Time that passes only while a task runs."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ran: list[str] = []

    def task(self, name: str, durations: list[float], done: int):
        remaining = iter(durations)

        def run() -> int:
            self.ran.append(name)
            self.now += next(remaining)
            return done

        return run


def test_rates_are_medians_of_interleaved_rounds():
    clock = Clock()
    tasks = {
        "fast": clock.task("f", [1, 2, 1], 10),
        "slow": clock.task("s", [4, 5, 100], 20),
    }
    found = rates(tasks, repeats=3, clock=lambda: clock.now)
    assert found == {"fast": 10, "slow": 4}
    assert "".join(clock.ran) == "fs" + "sf" + "fs"


@pytest.mark.parametrize(
    ("seconds_a_token", "measured"),
    [
        (SECONDS / 512, 512),  # just in time
        (SECONDS / 200, 200),  # as many as there is time for
        (SECONDS, 64),  # too slow for even the fewest
    ],
)
def test_slow_models_are_measured_on_fewer_tokens(seconds_a_token: float, measured: int):
    clock = Clock()

    def making(slower: float):
        # The first call of a task takes long: it warms up, and says nothing.
        return lambda tokens: clock.task(
            "t", [99, tokens * seconds_a_token * slower, *[0.0] * 9], tokens
        )

    makings = {"fast": making(0.1), "slow": making(1.0)}
    assert tokens_within(makings, 512, 64, clock=lambda: clock.now) == measured
    assert tokens_within(makings, 10, 64, clock=lambda: clock.now) == min(10, measured)
    assert len(clock.ran) == 8


def test_models_of_one_shape_are_measured_once(nano_llama: Path, nano_qwen3: Path, monkeypatch):
    llama = load(str(nano_llama), device="cpu", precision="fp32")
    qwen = load(str(nano_qwen3), device="cpu", precision="fp32")
    measured = []
    original = speed.rates
    monkeypatch.setattr(
        speed, "rates", lambda tasks, **k: measured.append(list(tasks)) or original(tasks, **k)
    )
    models = {"teacher": qwen, "student": llama, "pruned": replace(llama, source="elsewhere")}
    found = measure_speed(models, decode_tokens=3, repeats=1)
    assert measured == [["teacher", "student"], ["teacher", "student"]]
    assert set(found) == {"teacher", "student", "pruned"}
    assert found["student"] == found["pruned"]
    assert all(s.prefill_tok_s > 0 and s.decode_tok_s > 0 for s in found.values())


def test_decoding_runs_to_the_asked_length_whatever_the_model_says(nano_llama: Path):
    model = load(str(nano_llama), device="cpu", precision="fp32")
    # Every token ends a response, and yet each task decodes all it was asked for.
    always = replace(model, eos_ids=tuple(range(len(model.tokenizer))))
    assert speed._writing(always, 5)() == 5


def test_short_contexts_are_respected(nano_llama: Path):
    model = load(str(nano_llama), device="cpu", precision="fp32")
    context = model.network.config.max_position_embeddings
    assert speed._reading(model, 512)() <= max(1, context // 2)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("repeats", [1, 2])
def test_a_clock_without_resolution_gives_a_number(repeats: int):
    assert rates({"a": lambda: 1}, repeats=repeats, clock=lambda: 0.0)["a"] > 0
