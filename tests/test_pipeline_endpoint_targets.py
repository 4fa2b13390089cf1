"""The whole way from a server's log-probabilities to a student that learns from them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pipeline_runs
from fault_server import Behaviour, FaultServer
from llama_server import MODEL, PACKAGE
from potstill.collect.served import answers as endpoint
from potstill.endpoint.wire import ScoredToken
from potstill.errors import PotstillError
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.models.teacher_tokens import TeacherTokens
from scoring_server import COUNT, ScoringServer
from served_runs import loss_by_hand, opened


def values_for(url: str, student: str, prompts: Path, **train: Any) -> Any:
    values = pipeline_runs.recipe_values(
        "smollm2-nano",
        prompts,
        student={"model": student},
        collect={"targets": "top-k", "top_k_targets": COUNT, "max_tokens": 24},
        train={"cross_entropy": 0.0} | train,
        evaluate={"greedy": False},
    )
    values["shrink"] = {}
    values["teacher"]["endpoint"] = {"url": url, "provider": "test", "top_logprobs": COUNT}
    return values


@pytest.mark.parametrize("weight", [0.0, 0.4])
def test_rows_with_and_without_targets_are_learnt_from(
    weight: float, nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    train = {"cross_entropy": weight, "batch_tokens": 100_000}
    with ScoringServer(TeacherTokens.of(nano_llama)) as server:
        values = values_for(server.url, str(nano_llama), nano_prompts, **train)
        run, notes = pipeline_runs.run(values, tmp_path / "run", until="train")
        asked = [body.get("top_logprobs") for body in server.bodies]
    assert sorted(asked, key=str) == [COUNT] * 66 + [None] * 12  # none for held-out text
    parts, rows, targets = opened(values, run.root)
    assert len(rows) == 60 and 0 < len(targets) < 60
    (note,) = [
        n for n in pipeline_runs.recorded(run, "collect")["figures"]["notes"] if "likeliest" in n
    ]
    stored = len(parts.store.target_ids(parts.author_identity, TargetSpec("top-k", COUNT)))
    assert note == (
        f"{stored} of 66 answers have the server's likeliest tokens; the others have none: the "
        f"server gave no log-probabilities ({66 - stored})"
    )
    said = f"{60 - len(targets)} of 60 answers have no likeliest tokens and teach by their text"
    assert any(said in line for line in notes)

    student = parts.opened.student(parts.untrained)
    texts = parts.corpus.texts(rows, student)
    other = 0
    for text in texts:
        row = text.exchange
        assert row.response  # kept as text, whatever else there is
        assert text.unchanged == (row.exchange_id in targets)
        cut_up = student.tokenizer(row.response, add_special_tokens=False)["input_ids"]
        cut_up = (*cut_up, student.eos_ids[0])
        assert text.response_ids == (row.response_token_ids if text.unchanged else cut_up)
        other += text.unchanged and text.response_ids != cut_up
    assert other > 10
    # One step reads everything: its loss is that of the untrained student.
    trained = pipeline_runs.recorded(run, "train")
    assert (trained["steps"], trained["left_out"], trained["scored_again"]) == (1, 0, 0)
    expected = loss_by_hand(student, texts, targets, weight)
    assert trained["first_loss"] == pytest.approx(expected, rel=1e-4)
    parts.store.close()


def test_where_text_cannot_give_the_objective_it_is_left_out(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    with ScoringServer(TeacherTokens.of(nano_llama)) as server:
        values = values_for(server.url, str(nano_llama), nano_prompts, objective="reverse_kl")
        values["evaluate"]["cross_entropy_baseline"] = True
        run, notes = pipeline_runs.run(values, tmp_path / "run")
    parts, rows, targets = opened(values, run.root)
    parts.store.close()
    trained = pipeline_runs.recorded(run, "train")
    assert trained["left_out"] == len(rows) - len(targets) > 0
    assert len(trained["lengths"]) == len(targets)
    assert any("are left out, since reverse_kl cannot be had from text" in n for n in notes)
    # What learns from text alone has all of it.
    assert len(trained["cross_entropy"]["lengths"]) == len(rows)
    evaluation = json.loads(run.evaluation_path.read_text())
    assert any("likeliest tokens" in note for note in evaluation["collection"]["notes"])
    assert evaluation["training"]["left_out"] == trained["left_out"]
    assert "Answers left out for want of likeliest tokens" in run.report_path.read_text()


def test_text_alone_may_be_learnt_with_a_trimmed_vocabulary(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    """Then the server's ids are not the student's, and its text is cut up anew."""
    with ScoringServer(TeacherTokens.of(nano_llama)) as server:
        values = values_for(server.url, str(nano_llama), nano_prompts, cross_entropy=1.0)
        values["shrink"] = {"vocabulary": 400, "calibration_tokens": 1500}
        run, _ = pipeline_runs.run(values, tmp_path / "run", until="train")
    parts, rows, targets = opened(values, run.root)
    student = parts.opened.student(parts.run.student)
    assert targets and len(student.tokenizer) == 400
    texts = parts.corpus.texts(rows, student, parts.vocabulary)
    parts.store.close()
    assert not any(text.unchanged for text in texts)
    assert max(i for text in texts for i in text.response_ids) < 400


def test_reasoning_that_is_left_out_is_learnt_without_targets(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    """Targets stand at all of a response's tokens, so that they do not fit a part of it."""
    with ScoringServer(TeacherTokens.of(nano_llama), broken=10**6) as server:
        values = values_for(server.url, str(nano_llama), nano_prompts)
        values["curate"] = {"reasoning": "leave_out"}
        pipeline_runs.run(values, tmp_path / "run", until="collect")
    parts, rows, targets = opened(values, tmp_path / "run")
    student = parts.opened.parent
    assert all(text.unchanged for text in parts.corpus.texts(rows, student)) and len(targets) == 60
    thought = replace(rows[0], response=f"<think>hm</think>{rows[0].response}")
    (text,) = parts.corpus.texts([thought], student)
    assert not text.unchanged
    parts.store.close()


def test_a_server_without_log_probabilities_is_found_out_early(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    with FaultServer(Behaviour(model="smollm2-nano")) as server:
        values = values_for(server.url, str(nano_llama), nano_prompts)
        values["teacher"]["endpoint"]["max_in_flight"] = 1
        with pytest.raises(PotstillError) as caught:
            pipeline_runs.run(values, tmp_path / "run", until="train")
        assert str(caught.value) == (
            "none of the first 32 responses has the log-probabilities that were asked for (the "
            "server gave no log-probabilities); take a server that gives them and a student.model "
            "with its tokenizer, or set collect.targets to none, teacher.endpoint.top_logprobs to "
            "0 and train.cross_entropy to 1"
        )
        assert server.requests < 66
        store = ExchangeStore(tmp_path / "run")
        assert len(store.ids()) >= 32  # what came is stored all the same
        store.close()
        values["prompts"]["limit"] = 12
        with pytest.raises(PotstillError, match=r"none of the 12 answers to train on has"):
            pipeline_runs.run(values, tmp_path / "few", until="train")


def test_what_an_earlier_call_stored_keeps_its_targets(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    with ScoringServer(TeacherTokens.of(nano_llama)) as server:
        values = values_for(server.url, str(nano_llama), nano_prompts)
        values["teacher"]["endpoint"]["budget_tokens"] = 500
        with pytest.raises(PotstillError, match="the budget is used up"):
            pipeline_runs.run(values, tmp_path / "run", until="collect")
        parts, rows, before = opened(values, tmp_path / "run")
        assert 0 < len(before) < len(rows) < 60
        parts.store.close()
        values["teacher"]["endpoint"]["budget_tokens"] = 10**6
        run, _ = pipeline_runs.run(values, tmp_path / "run", until="collect")
        assert server.requests == 78
    parts, _, after = opened(values, tmp_path / "run")
    parts.store.close()
    assert before.keys() < after.keys()
    (note,) = [
        n for n in pipeline_runs.recorded(run, "collect")["figures"]["notes"] if "likeliest" in n
    ]
    assert "stored by an earlier call (" in note and "gave no log-probabilities (" in note


@pytest.mark.slow
def test_a_student_learns_from_what_llama_cpp_tells(
    llama_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: dict[str, tuple[ScoredToken, ...] | None] = {}
    plain = endpoint.rows_of

    def overheard(asked: Any, prompt: Any, samples: Any, facts: Any) -> Any:
        for (_, key), choice in zip(samples, asked.answer.choices, strict=False):
            said[key] = choice.scores
        return plain(asked, prompt, samples, facts)

    monkeypatch.setattr(endpoint, "rows_of", overheard)
    asked = ("a colour", "a river in France", "a tree", "a number", "a bird", "a day", "a fish")
    asked = (*asked, "a metal", "a fruit", "a town")
    prompts = tmp_path / "prompts.jsonl"
    lines = [json.dumps({"prompt": f"Name {thing} and say why."}) for thing in asked]
    prompts.write_text("\n".join(lines), encoding="utf-8")
    values = values_for(llama_url, f"package:{PACKAGE}", prompts, batch_tokens=100_000, epochs=2)
    values["teacher"]["model"] = MODEL
    values["prompts"] |= {"limit": 6, "held_out_count": 2, "validation_count": 2}
    # A student of few blocks that learns in seconds: what is tested is what it learns from.
    values["shrink"] = {"blocks": list(range(3, 29)), "heal": "none", "calibration_tokens": 256}
    run, _ = pipeline_runs.run(values, tmp_path / "run", until="train")
    parts, rows, targets = opened(values, run.root)
    assert len(rows) == len(targets) == 6

    for row in rows:
        scores, values_R = said[row.exchange_id], targets[row.exchange_id]
        assert scores is not None and row.response_token_ids is not None
        assert row.response_token_ids == tuple(score.token_id for score in scores)
        for position, score in enumerate(scores):
            best = sorted(score.top, key=lambda entry: -entry[2])[:COUNT]
            ids_K, logp_K = values_R.ids_RK[position].tolist(), values_R.logp_RK[position].tolist()
            kept = dict(zip(ids_K, logp_K, strict=True))
            # fp16 keeps 11 bits.
            assert kept == pytest.approx({i: logp for i, _, logp in best}, rel=2**-11, abs=1e-7)
    student = parts.opened.student(parts.untrained)
    trained = pipeline_runs.recorded(run, "train")
    assert (trained["steps"], trained["left_out"]) == (2, 0)
    expected = loss_by_hand(student, parts.corpus.texts(rows, student), targets)
    assert trained["first_loss"] == pytest.approx(expected, rel=1e-4)
    assert trained["last_loss"] < trained["first_loss"]
    parts.store.close()
