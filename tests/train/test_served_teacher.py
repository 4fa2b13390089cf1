"""Own steps with a served teacher: the coarse divergence, exactly, and no call made twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import loss_oracle
import pytest
import torch
from on_policy_runs import Row, case, first_step, moved, own_alone, run, settings
from test_on_policy_exact import in_float64

from own_readers import own_reader
from potstill.errors import PotstillError
from potstill.exchanges.targets import LikeliestTokens
from potstill.losses.divergence import Divergence
from potstill.models.load import head_of, load
from potstill.models.loaded import LoadedModel
from potstill.models.score import response_hidden
from potstill.models.teacher_tokens import TeacherTokens
from potstill.train.checkpoint import stored_checkpoints
from potstill.train.own_answers import compared
from potstill.train.served_teacher import AnswerEnd, ServedTeacher, answer_end, check_served_ends
from reading_server import ReadingServer

WHOLE = 448  # all tokens of the nano Llama


@pytest.fixture(scope="module")
def model(nano_llama: Path) -> LoadedModel:
    return load(str(nano_llama), device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def tokens(nano_llama: Path) -> TeacherTokens:
    return TeacherTokens.of(nano_llama)


def losses(logged: list[Row]) -> list[float]:
    return [entry["loss"] for entry in logged]


@pytest.mark.parametrize("objective", ["forward_kl", "reverse_kl"])
def test_with_all_tokens_told_the_loss_is_the_local_one(
    objective: str, nano_llama: Path, model: LoadedModel, tokens: TeacherTokens, tmp_path: Path
) -> None:
    config = own_alone({"objective": objective})
    local = first_step(case(nano_llama, config), tmp_path / "a")
    with ReadingServer(model) as server:
        teacher = ServedTeacher(own_reader(server, tokens, tmp_path, WHOLE))
        served = first_step(case(nano_llama, config, own=teacher), tmp_path / "b")
    assert served.examples == local.examples
    assert served.loss == pytest.approx(local.loss, abs=1e-5)
    for name, gradient in local.gradient.items():
        torch.testing.assert_close(served.gradient[name], gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("objective", ["forward_kl", "reverse_kl"])
def test_the_gradient_is_that_of_the_enumerated_coarse_divergence(
    objective: str, nano_llama: Path, model: LoadedModel, tokens: TeacherTokens, tmp_path: Path
) -> None:
    """In float64 through the whole network, with the k tokens that the server named."""
    count = 4
    student = moved(load(str(nano_llama), precision="fp32", trainable=True))
    exact, teacher = in_float64(student), in_float64(model)
    config = own_alone({"objective": objective, "temperature": 1.3, "prompts": 6})
    with ReadingServer(model) as server:
        reader = own_reader(server, tokens, tmp_path, count)
        made = case(nano_llama, config, student=student, own=ServedTeacher(reader))
        step = first_step(made, tmp_path / "a")
        texts = [(e.prompt_ids, e.response_ids) for e in step.examples]
        told = reader.read(texts, 0)
    coarse, whole, positions = torch.zeros(()).double(), 0.0, 0
    spec = Divergence(objective)
    for (prompt, response), values in zip(texts, told, strict=True):
        rows = slice(len(prompt) - 1, len(prompt) + len(response) - 1)
        ids_BT = torch.tensor([[*prompt, *response]])
        q_RV = exact.network(input_ids=ids_BT).logits[0, rows].softmax(-1)
        with torch.no_grad():
            p_RV = teacher.network(input_ids=ids_BT).logits[0, rows].softmax(-1)
        for p_V, q_V, ids in zip(p_RV, q_RV, values.ids_RK.tolist(), strict=True):
            both = loss_oracle.coarse(p_V, ids), loss_oracle.coarse(q_V, ids)
            coarse = coarse + loss_oracle.divergence(spec, *both)
            whole += float(loss_oracle.divergence(spec, p_V, q_V).detach())
            positions += 1
    (coarse / positions).backward()
    wanted = {n: p.grad for n, p in exact.network.named_parameters()}
    mine = torch.cat([step.gradient[n].double().flatten() for n in wanted])
    theirs = torch.cat([g.flatten() for g in wanted.values() if g is not None])
    assert 0 < step.loss == pytest.approx(float(coarse.detach()) / positions, rel=1e-4)
    assert step.loss < whole / positions
    assert float(torch.cosine_similarity(mine, theirs, dim=0)) >= 0.9999
    assert float(mine.norm() / theirs.norm()) == pytest.approx(1, abs=1e-3)


class Killed(Exception):
    pass


def test_a_killed_run_asks_nothing_twice_and_has_the_losses_of_an_unbroken_one(
    nano_llama: Path, model: LoadedModel, tokens: TeacherTokens, tmp_path: Path
) -> None:
    chosen = settings(checkpoint_every=3, epochs=2)
    with ReadingServer(model) as server:
        folder = tmp_path / "a"
        own = ServedTeacher(own_reader(server, tokens, folder, 6))
        unbroken = run(case(nano_llama, chosen, own=own), folder / "checkpoints")
        asked = [tuple(body["prompt"]) for body in server.bodies]
        server.bodies.clear()
        before: list[Row] = []

        def log(entry: Row) -> None:
            before.append(entry)
            if entry["step"] in stops:
                stops.remove(entry["step"])
                raise Killed

        folder, stops, found = tmp_path / "b", [5, 8], []
        while True:
            made = case(
                nano_llama, chosen, own=ServedTeacher(own_reader(server, tokens, folder, 6))
            )
            try:
                run(made, folder / "checkpoints", log)
            except Killed:
                continue
            finally:
                found.append(len(before))
            break
        again = [tuple(body["prompt"]) for body in server.bodies]
    last = {entry["step"]: entry["loss"] for entry in before}
    assert len(found) == 3 and len(before) > len(unbroken)
    assert list(last.values()) == pytest.approx(losses(unbroken), abs=1e-6)
    assert sorted(again) == sorted(asked) == sorted(set(asked))
    record = made.rollouts.record().served
    assert record is not None
    assert (record.likeliest, record.texts) == (6, len(asked))
    assert record.prompt_tokens == sum(map(len, asked))
    assert record.untold_first is not None and 0 < record.untold_first < 1
    own = [entry for entry in unbroken if "own_untold" in entry]
    assert own and all(0 < entry["own_untold_teacher"] < 1 for entry in own)
    assert {entry["own_buckets"] for entry in own} == {7}
    # Of groups that no checkpoint needs nothing is left.
    assert len(list((folder / "read").iterdir())) <= 3


def test_an_outage_loses_no_step_and_no_answer_that_came(
    nano_llama: Path, model: LoadedModel, tokens: TeacherTokens, tmp_path: Path
) -> None:
    class Failing(ReadingServer):
        def _answer(self, body: dict[str, Any], name: str) -> dict[str, Any]:
            if 8 < self.requests <= 10:
                return {"error": {"code": "down"}}
            return super()._answer(body, name)

    chosen, logged = settings(checkpoint_every=50, epochs=2), list[Row]()
    with Failing(model) as server:
        asks = {"tries": 1, "max_in_flight": 1}
        own = ServedTeacher(own_reader(server, tokens, tmp_path, 6, **asks))
        with pytest.raises(PotstillError, match="did not answer for 2 texts"):
            run(case(nano_llama, chosen, own=own), tmp_path / "checkpoints", logged.append)
        (kept,) = stored_checkpoints(tmp_path / "checkpoints")
        assert int(kept.name.removeprefix("step-")) == len(logged) > 2
        own = ServedTeacher(own_reader(server, tokens, tmp_path, 6, **asks))
        rest = run(case(nano_llama, chosen, own=own), tmp_path / "checkpoints")
        asked = [tuple(body["prompt"]) for body in server.bodies]
    assert rest[0]["step"] == len(logged) + 1
    # Two were asked for twice: those that had no answer.
    assert len(asked) == len(set(asked)) + 2
    whole = case(nano_llama, chosen, own=_Plain(model, 6))
    assert losses([*logged, *rest]) == pytest.approx(losses(run(whole, tmp_path / "c")), abs=1e-5)


class _Plain(ServedTeacher):
    """What the server would tell, without a server."""

    def __init__(self, model: LoadedModel, count: int) -> None:
        super().__init__(_Reads(model, count))


class _Reads:
    def __init__(self, model: LoadedModel, count: int) -> None:
        self._model, self.count = model, count

    def check(self, prompt_ids: Any, response_ids: Any) -> None:
        raise AssertionError

    def read(self, texts: Any, group: int) -> list[LikeliestTokens]:
        found = []
        for text in texts:
            (hidden_RD,) = response_hidden(self._model, [text])
            logp_RV = head_of(self._model).logits(hidden_RD).double().log_softmax(-1)
            ids_RK = logp_RV.topk(self.count).indices.sort(-1).values
            logp_RK = logp_RV.gather(1, ids_RK)
            rest_R = (-logp_RK.exp().sum(-1)).log1p().float()
            found.append(LikeliestTokens(ids_RK, logp_RK.float(), rest_R, logp_RV.shape[1]))
        return found

    def forget_before(self, group: int) -> None:
        pass

    def figures(self) -> Any:
        raise AssertionError


def test_other_ends_than_the_servers_are_refused_with_the_fix(nano_llama: Path) -> None:
    student = load(str(nano_llama), precision="fp32", trainable=True)
    (end,) = student.eos_ids
    foreign = [AnswerEnd(end, (0, 40 + n, 90)) for n in range(16)]
    with pytest.raises(PotstillError, match=r"with <\|im_end\|>, .* of none of 16 .* <\|endoftext"):
        check_served_ends(student, foreign)
    # One that it likes, too few, and answers that were cut off say nothing.
    check_served_ends(student, [*foreign, AnswerEnd(end, (7, end))])
    check_served_ends(student, foreign[:15])
    check_served_ends(student, [replace(one, token=50) for one in foreign])


def test_an_end_is_what_the_server_likes_at_the_last_token() -> None:
    ids_RK, logp_RK = torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([[-1.0] * 3, [-3, -1, -2]])
    told = LikeliestTokens(ids_RK, logp_RK, torch.zeros(2), 9)
    assert answer_end((8, 7), told) == AnswerEnd(7, (5, 6, 4))


def test_likeliest_tokens_are_compared_as_far_as_they_are_told() -> None:
    mine_NV = torch.tensor([[0.5, 0.3, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4]]).log()
    ids_NK = torch.tensor([[0, 2], [1, 3]])
    logp_NK = torch.tensor([[0.6, 0.1], [0.2, 0.7]]).log()
    found = compared(mine_NV, ids_NK, logp_NK)
    assert found.overlap == pytest.approx((1 + 1) / 4)
    assert found.untold == pytest.approx((0.4 + 0.4) / 2)
    assert found.untold_teacher == pytest.approx((0.3 + 0.1) / 2)
