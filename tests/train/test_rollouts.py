"""Steps on the student's own answers: exact, the same after a kill, and safe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from on_policy_runs import Row, case, own_alone, run, settings

from potstill.errors import PotstillError
from potstill.models.generate import Request
from potstill.models.load import head_of, load
from potstill.train import rollouts as rollouts_module
from potstill.train.as_computed import as_computed
from potstill.train.checkpoint import stored_checkpoints
from potstill.train.compute import ComputeBody
from potstill.train.live_teacher import LiveTeacher, check_ends
from potstill.train.rollouts import own_steps


def losses(logged: list[Row]) -> list[float]:
    return [entry["loss"] for entry in logged]


def test_stored_steps_come_first_and_own_ones_fall_evenly_after_them() -> None:
    chosen = settings({"stored_first": 0.25, "share": 0.6}).on_policy
    assert chosen is not None
    owns = own_steps(40, chosen)
    assert not any(owns[:10])
    assert sum(owns) == 18
    for start in range(10, 35):
        assert sum(owns[start : start + 5]) == 3
    everything = chosen.model_copy(update={"stored_first": 0.0, "share": 1.0})
    assert own_steps(7, everything) == [True] * 7


def test_a_run_of_both_kinds_learns_and_logs_its_safeguards(
    nano_llama: Path, tmp_path: Path
) -> None:
    made = case(nano_llama, settings(epochs=6, learning_rate=2e-3))
    logged = run(made, tmp_path)
    own = [entry for entry in logged if "own_answers" in entry]
    assert len(own) == sum(made.rollouts._owns)
    assert all(entry["own_answers"] == 3 for entry in own)
    drawn = [entry for entry in own if "own_cut" in entry]
    assert len(drawn) == -(-len(own) // 2) == len(made.rollouts.draws)
    assert sum(losses(own)[-4:]) < 0.7 * sum(losses(own)[:4])
    assert drawn[-1]["own_overlap"] > drawn[0]["own_overlap"]
    record = made.rollouts.record()
    assert record.steps + record.stored_steps == len(logged)
    assert sum(response for _, response in record.lengths) > 0
    assert 0.5 < record.slots_busy <= 1.0


def test_shares_are_of_the_steps_that_are_taken(nano_llama: Path, tmp_path: Path) -> None:
    made = case(nano_llama, settings({"stored_first": 0.5, "share": 1.0}, steps=4))
    logged = run(made, tmp_path)
    assert ["own_answers" in entry for entry in logged] == [False, False, True, True]
    assert made.rollouts.record().steps == made.rollouts.record().stored_steps == 2


class Killed(Exception):
    pass


@pytest.mark.parametrize("stop", [5, 6])
@pytest.mark.parametrize("where", ["between steps", "in a draw", "in a step", "by Ctrl-C"])
def test_a_killed_run_goes_on_with_the_losses_of_an_unbroken_one(
    where: str, stop: int, nano_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(checkpoint_every=3, epochs=2)
    unbroken = run(case(nano_llama, chosen), tmp_path / "whole")
    before: list[Row] = []
    broken = case(nano_llama, chosen)
    error = KeyboardInterrupt if where == "by Ctrl-C" else Killed

    def log(entry: Row) -> None:
        before.append(entry)
        if where in ("between steps", "by Ctrl-C") and entry["step"] == stop:
            raise error

    with monkeypatch.context() as patched:
        if where == "in a draw":
            _raise_in(patched, rollouts_module, "own_answers", broken, stop, error)
        elif where == "in a step":
            _raise_in(patched, type(broken.rollouts), "targets", broken, stop, error)
        with pytest.raises(error):
            run(broken, tmp_path / "broken", log)
    again = run(case(nano_llama, chosen), tmp_path / "broken")
    # The next draw or reading of targets may be some steps later.
    assert again[0]["step"] in ([stop + 1] if where == "by Ctrl-C" else [4, 7])
    found = losses(before)[: again[0]["step"] - 1] + losses(again)
    assert found == pytest.approx(losses(unbroken), abs=1e-6)


def _raise_in(
    patched: pytest.MonkeyPatch, owner: Any, name: str, broken: Any, stop: int, error: Any
) -> None:
    """Have a function fail the first time that it is called in the step `stop` or later."""
    plain, step = getattr(owner, name), broken.rollouts.step
    at = [0]

    def counted(number: int) -> Any:
        at[0] = number
        return step(number)

    def failing(*args: Any, **options: Any) -> Any:
        found = plain(*args, **options)
        if at[0] + 1 >= stop:
            raise error
        return found

    broken.rollouts.step = counted
    patched.setattr(owner, name, failing)


def test_the_company_in_a_batch_changes_nobodys_random_numbers(nano_llama: Path) -> None:
    chosen = settings({"refresh_every": 4, "prompts": 6, "max_tokens": 12})
    made = case(nano_llama, chosen)
    made.rollouts.follow(lambda: made.student, 1)
    numbers = [n for n, own in enumerate(made.rollouts._owns) if own][:4]
    together = {e.exchange_id: e for n in numbers for e in made.rollouts.step(n)}
    alone: dict[str, Any] = {}
    for number in numbers:
        for request in made.rollouts._requests(number):
            (done,) = rollouts_module.own_answers(
                made.student, [request], made.rollouts._teacher, chosen.on_policy, number
            ).completions
            alone[request.key] = done.token_ids
    assert {key: e.response_ids for key, e in together.items()} == alone
    assert len(together) == 24


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma", "neox"])
def test_what_writes_is_the_compute_body_itself(
    family: str, precision: str, nano_model: Any
) -> None:
    """Its weights are the same memory, and it gives the states that the loss is formed of."""
    student = load(str(nano_model(family)), precision=precision, trainable=True)
    body = ComputeBody(student.network, student.compute_dtype, 32)
    with torch.no_grad():
        for parameter in student.network.parameters():
            parameter += 0.01
    body.refresh()
    asked = as_computed(student, body)
    working = {p.data_ptr() for p in body.weights().values()}
    own = {p.data_ptr() for p in asked.network.base_model.parameters()}
    assert working <= own
    ids_BT = torch.arange(5, 25)[None]
    with torch.no_grad():
        theirs = asked.network.base_model(input_ids=ids_BT).last_hidden_state.float()
        mine = body.hidden(ids_BT).float()
    rounding = 1e-5 if precision == "fp32" else 0.05
    assert float((theirs - mine).norm() / mine.norm()) < rounding
    assert head_of(asked).weight_VD.dtype == student.compute_dtype


def test_cross_entropy_never_teaches_the_students_own_text(
    nano_llama: Path, tmp_path: Path
) -> None:
    """With the weight of 0.9 an own step's loss and gradient are those without any."""
    plain = run(case(nano_llama, own_alone()), tmp_path / "a")
    mixed = run(case(nano_llama, own_alone(cross_entropy=0.9)), tmp_path / "b")
    assert losses(mixed) == losses(plain)
    assert [e["grad_norm"] for e in mixed] == [e["grad_norm"] for e in plain]


def test_own_text_may_have_a_divergence_of_its_own(nano_llama: Path, tmp_path: Path) -> None:
    forward = run(case(nano_llama, own_alone()), tmp_path / "a")
    reverse = run(case(nano_llama, own_alone({"objective": "reverse_kl"})), tmp_path / "b")
    same = run(case(nano_llama, own_alone(objective="reverse_kl")), tmp_path / "c")
    assert losses(reverse) == losses(same)
    assert losses(reverse)[0] != losses(forward)[0]


def test_too_many_answers_cut_off_stop_the_training(nano_llama: Path, tmp_path: Path) -> None:
    own = {"max_tokens": 1, "cut_at_most": 0.5, "prompts": 8}
    with pytest.raises(PotstillError, match=r"of the student's last 16 own answers were cut off"):
        run(case(nano_llama, settings(own)), tmp_path)
    # What was learnt before is not lost.
    assert [path.name for path in stored_checkpoints(tmp_path)] == ["step-00000003"]


def test_no_step_on_own_answers_is_refused(nano_llama: Path) -> None:
    with pytest.raises(PotstillError, match="none of the 2 steps would learn"):
        case(nano_llama, settings({"share": 0.4, "stored_first": 0.0}, epochs=0.5))


def test_a_request_has_a_key_of_its_own_even_where_prompts_come_again(nano_llama: Path) -> None:
    made = case(nano_llama, settings({"prompts": 60}))
    requests: list[Request] = made.rollouts._requests(made.rollouts._owns.index(True))
    assert len({r.key for r in requests}) == 60
    assert {r.prompt_ids for r in requests} == set(made.rollouts._prompts)


def test_other_ends_than_the_teachers_are_refused_with_the_fix(nano_llama: Path) -> None:
    teacher = LiveTeacher.of(load(str(nano_llama), precision="fp32"), None, torch.float32)
    student = load(str(nano_llama), precision="fp32", trainable=True)
    check_ends(student, teacher)
    with pytest.raises(PotstillError, match=r"with <\|endoftext\|> and the teacher with <\|im_end"):
        check_ends(replace(student, eos_ids=(0,)), teacher)
