"""A student measured on its own answers while it is trained, and kept by that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from on_policy_runs import Case, Row, case, moved, run, settings

from potstill.models.generate import Request
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.progress import Silent
from potstill.recipe import OnPolicyConfig
from potstill.train.best import measures_of
from potstill.train.live_teacher import LiveTeacher
from potstill.train.own_answers import written_by
from potstill.train.own_validation import OwnValidation, own_kl, validation_requests, with_own
from training_inputs import ORDER

CONFIG = OnPolicyConfig(max_tokens=12)
REQUESTS = [Request(f"key {n}", tuple(range(5, 9 + n))) for n in range(5)]


def oracle(student: Any, teacher: Any, texts: Sequence[tuple[Any, Any]]) -> float:
    """Return KL(student || teacher) a token over given texts, in float64 from whole logits."""
    total, tokens = 0.0, 0
    for prompt, response in texts:
        ids_BT = torch.tensor([[*prompt, *response]])
        with torch.no_grad():
            logq_TV, logp_TV = (
                network(input_ids=ids_BT).logits[0].double().log_softmax(-1)
                for network in (student, teacher)
            )
        rows = slice(len(prompt) - 1, len(prompt) + len(response) - 1)
        total += float((logq_TV.exp() * (logq_TV - logp_TV)).sum(-1)[rows].sum())
        tokens += len(response)
    return total / tokens


@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_it_is_the_divergence_of_all_tokens_along_what_the_student_writes(
    family: str, nano_model: Any
) -> None:
    path = str(nano_model(family))
    teacher = load(path, precision="fp32")
    student = moved(load(path, precision="fp32"))
    live = LiveTeacher.of(teacher, None, torch.float32)
    found = own_kl(student, REQUESTS, live, CONFIG)
    written = written_by(student, REQUESTS, CONFIG)
    texts = [(r.prompt_ids, w.token_ids) for r, w in zip(REQUESTS, written, strict=True)]
    assert found == pytest.approx(oracle(student.network, teacher.network, texts), rel=1e-4)
    assert found > 0.01
    # Its numbers are those of the keys, whatever is written beside or before it.
    assert own_kl(student, REQUESTS[::-1], live, CONFIG) == pytest.approx(found, rel=1e-5)
    assert own_kl(teacher, REQUESTS, live, CONFIG) == pytest.approx(0.0, abs=1e-6)


def worse_on_the_teachers_text() -> Any:
    """Return what finds each student a little worse than the one before it."""
    seen = [0.0]

    def measured(student: LoadedModel) -> dict[str, float]:
        seen[0] += 0.001
        return {"kl": seen[0]}

    return measured


def validated(made: Case, on_stored: Any) -> OwnValidation:
    own = made.config.on_policy
    assert own is not None and isinstance(made.rollouts.teacher, LiveTeacher)
    teacher = made.rollouts.teacher
    return OwnValidation(on_stored, made.rollouts.student, REQUESTS, teacher, own)


@pytest.mark.parametrize("keep_by", ["own", "teacher", None])
def test_the_student_better_by_the_chosen_measure_is_kept_also_after_a_kill(
    keep_by: str | None, nano_llama: Path, tmp_path: Path
) -> None:
    chosen = settings(
        {"keep_by": keep_by}, learning_rate=2e-3, epochs=2, checkpoint_every=2, validate_every=3
    )
    whole = case(nano_llama, chosen)
    unbroken = run(
        whole, tmp_path / "whole", validate=validated(whole, worse_on_the_teachers_text())
    )
    found = {entry["step"]: entry["own_kl"] for entry in unbroken if "own_kl" in entry}
    assert list(found)[:2] == [0, 3] and list(found)[-1] == unbroken[-1]["step"]
    decides = {"own": "own_kl", "teacher": "kl", None: "kl_both"}[keep_by]
    kept = min((e for e in unbroken if decides in e), key=lambda e: e[decides])["step"]
    assert (kept == 0) == (keep_by == "teacher")
    assert all(e["kl_both"] == (e["kl"] + e["own_kl"]) / 2 for e in unbroken if "kl" in e)
    broken = case(nano_llama, chosen)
    before: list[Row] = []
    on_stored = worse_on_the_teachers_text()

    def log(entry: Row) -> None:
        before.append(entry)
        if entry["step"] == 5:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        run(broken, tmp_path / "broken", log, validated(broken, on_stored))
    gone_on = case(nano_llama, chosen)
    again = run(gone_on, tmp_path / "broken", validate=validated(gone_on, on_stored))
    later = {entry["step"]: entry["own_kl"] for entry in again if "own_kl" in entry}
    assert later and min(later) > 3
    assert later == pytest.approx({step: found[step] for step in later}, abs=1e-6)
    for made in (whole, gone_on):
        (teacher,) = (made.rollouts.teacher,)
        assert isinstance(teacher, LiveTeacher)
        value = own_kl(replace(made.student), REQUESTS, teacher, chosen.on_policy or CONFIG)
        assert value == pytest.approx(found[kept], abs=1e-5)


def test_a_server_leaves_it_to_the_teachers_text_and_it_is_said(nano_llama: Path) -> None:
    class Server:
        told = 4

    class Notes(Silent):
        def note(self, text: str) -> None:
            said.append(text)

    said: list[str] = []
    made = case(nano_llama, settings(), own=Server())  # type: ignore[arg-type]
    measure = worse_on_the_teachers_text()
    nobody: Any = None
    assert with_own(measure, made.rollouts, made.student, nobody, None, nobody, Notes()) is measure
    (note,) = said
    assert "is not measured" in note and "by the teacher's text" in note


def test_prompts_are_answered_in_turn_by_numbers_of_their_own() -> None:
    prompts = {"b": (1, 2), "a": (3,), "c": (4,)}
    asked = validation_requests(prompts, ORDER, 5)
    assert [request.prompt_ids for request in asked] == [(3,), (1, 2), (4,), (3,), (1, 2)]
    assert len({request.key for request in asked}) == 5
    assert validation_requests(prompts, ORDER, 2) == asked[:2]


def test_what_decides() -> None:
    assert measures_of(None) == ("kl", "nll")
    assert measures_of(OnPolicyConfig()) == ("kl_both", "own_kl", "kl", "nll")
    assert measures_of(OnPolicyConfig(keep_by="own")) == ("own_kl", "kl", "nll")
    assert measures_of(OnPolicyConfig(keep_by="teacher")) == ("kl", "nll")
