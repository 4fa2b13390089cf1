"""The whole way where a server only reads answers that come in files: past calls, gold ones."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pipeline_runs
from fault_server import FaultServer
from pipeline_runs import PLACES, THINGS
from potstill.errors import PotstillError
from potstill.exchanges.store import ExchangeStore
from potstill.models.load import load
from potstill.models.teacher_tokens import TeacherTokens
from potstill.progress import Silent
from potstill.recipe import Recipe
from potstill.runs.dry_run import dry_run
from reading_server import ReadingServer
from scoring_server import COUNT, ScoringServer
from served_runs import loss_by_hand, opened


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    return pipeline_runs.write_calls(tmp_path / "calls.jsonl")


def asked(values: Any, root: Path) -> Any:
    """Return what a dry run says is left to ask."""
    recipe = Recipe.model_validate(values)
    return dry_run(recipe, root, progress=Silent()).asked


def values_for(url: str, student: Path, calls: Path, **train: Any) -> dict[str, Any]:
    values = pipeline_runs.recipe_values(
        "smollm2-nano",
        "unused",
        student={"model": str(student)},
        collect={
            "calls": {"path": str(calls), "source": "apache-2.0"},
            "targets": "top-k",
            "top_k_targets": COUNT,
        },
        train={"cross_entropy": 0.0, "batch_tokens": 100_000} | train,
    )
    # A student of fewer blocks, so that there is something to learn.
    values["shrink"] = {"blocks": [2], "heal": "none", "calibration_tokens": 256}
    values["teacher"]["endpoint"] = {
        "url": url,
        "provider": "test",
        "top_logprobs": COUNT,
        "scores_text": True,
        "price_in": 2.0,
        "price_out": 4.0,
    }
    return values


@pytest.mark.slow
def test_past_calls_are_learnt_from_by_what_a_server_tells_of_them(
    nano_llama: Path, calls: Path, tmp_path: Path
) -> None:
    reader = load(str(nano_llama), device="cpu", precision="fp32")
    with ReadingServer(reader) as server:
        values = values_for(server.url, nano_llama, calls)
        run, notes = pipeline_runs.run(values, tmp_path / "run")
        asked = list(server.bodies)
    parts, rows, targets = opened(values, run.root)
    # Only training text is read, none of it is written, and each is read once.
    assert len(asked) == len(rows) == len(targets) == 60 and all("prompt" in b for b in asked)
    student = parts.opened.student(parts.untrained)
    texts = parts.corpus.texts(rows, student)
    assert all(text.unchanged for text in texts)
    for text in texts:
        assert len(targets[text.exchange.exchange_id]) == len(text.response_ids)
        assert [*text.prompt_ids, *text.response_ids] in [body["prompt"] for body in asked]
    trained = pipeline_runs.recorded(run, "train")
    assert trained["first_loss"] == pytest.approx(loss_by_hand(student, texts, targets), rel=1e-4)
    parts.store.close()

    read = sum(len(body["prompt"]) for body in asked)
    charged = pipeline_runs.recorded(run, "curate")["reading"]["money"]
    assert charged == pytest.approx((2 * read + 4 * 60) / 1e6)
    said = f"60 of 60 answers that were read have the server's likeliest tokens ({read + 60} tokens"
    assert any(said in note for note in notes)
    evaluation = json.loads(run.evaluation_path.read_text())
    assert evaluation["cost"]["collection"]["money"] >= charged
    assert any(said in note for note in evaluation["collection"]["notes"])
    assert "60 of 60 answers that were read have" in run.report_path.read_text()
    # The answers are another model's; the server that read them is named beside it.
    manifest = json.loads(run.manifest_path.read_text())
    assert list(manifest["teacher"]) == ["identity"]
    assert manifest["teacher"]["identity"].startswith("calls/unknown@")
    assert manifest["terms"]["licences"] == ["apache-2.0"]
    assert manifest["reader"]["identity"] == "test/smollm2-nano"
    assert manifest["reader"]["terms"]["licences"] == ["apache-2.0"]
    assert json.loads((run.student / "potstill-source.json").read_text())["license"] == "apache-2.0"


def test_it_goes_on_where_the_budget_ended_it(
    nano_llama: Path, calls: Path, tmp_path: Path
) -> None:
    reader = load(str(nano_llama), device="cpu", precision="fp32")
    with ReadingServer(reader) as server:
        values = values_for(server.url, nano_llama, calls)
        values["teacher"]["endpoint"]["budget_tokens"] = 900
        for _ in range(2):
            with pytest.raises(PotstillError, match="the budget is used up before all text was"):
                pipeline_runs.run(values, tmp_path / "run", until="train")
            charged = sum(len(body["prompt"]) + 1 for body in server.bodies)
            assert 0 < len(server.bodies) < 60 and charged <= 900
        (estimate,) = asked(values, tmp_path / "run")
        assert estimate[1].prompts == 60 - len(server.bodies)
        values["teacher"]["endpoint"]["budget_tokens"] = 10**6
        run, _ = pipeline_runs.run(values, tmp_path / "run", until="curate")
        assert len(server.bodies) == 60
        read = sum(len(body["prompt"]) for body in server.bodies)
    # What the first calls paid for is part of the price, and training needs no server.
    assert pipeline_runs.recorded(run, "curate")["reading"]["money"] == pytest.approx(
        (2 * read + 4 * 60) / 1e6
    )
    run, _ = pipeline_runs.run(values, tmp_path / "run", until="train")
    assert pipeline_runs.recorded(run, "train")["left_out"] == 0


def test_right_answers_are_learnt_from_by_what_a_server_tells_of_them(
    nano_llama: Path, tmp_path: Path
) -> None:
    draw, rows = random.Random(0), {}
    while len(rows) < 120:
        thing, place = draw.choice(THINGS), draw.choice(PLACES)
        text = f"{draw.randrange(2, 999)} {thing}s wait near the {place}"
        rows[text] = {"text": text, "kind": "goods" if thing < "l" else "other"}
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows.values()), encoding="utf-8")
    reader = load(str(nano_llama), device="cpu", precision="fp32")
    with ReadingServer(reader) as server:
        values = values_for(server.url, nano_llama, path, cross_entropy=0.3)
        values["collect"] |= {"gold": True, "calls": None}
        values["prompts"] |= {"source": str(path), "template": "Sort this: {text}"}
        values["task"] = {"kind": "label", "labels": ["goods", "other"], "gold": "kind"}
        run, _ = pipeline_runs.run(values, tmp_path / "run")
        assert all("prompt" in body for body in server.bodies)
    parts, stored, targets = opened(values, run.root)
    assert len(stored) == len(targets) == 60
    student = parts.opened.student(parts.untrained)
    expected = loss_by_hand(student, parts.corpus.texts(stored, student), targets, 0.3)
    parts.store.close()
    assert pipeline_runs.recorded(run, "train")["first_loss"] == pytest.approx(expected, rel=1e-4)
    evaluation = json.loads(run.evaluation_path.read_text())
    # Held-out answers are the gold ones; the server has done nothing that could be priced.
    assert evaluation["task"]["teacher"] is None and evaluation["payback"] is None


def test_a_student_learns_on_its_own_text_by_what_a_server_tells_of_it(
    nano_llama: Path, calls: Path, tmp_path: Path
) -> None:
    own = {"stored_first": 0.5, "share": 1.0, "prompts": 3, "max_tokens": 8, "refresh_every": 1}
    own |= {"objective": "reverse_kl", "cut_at_most": 1.0}
    more = {"batch_tokens": 200, "checkpoint_every": 50, "steps": 6, "on_policy": own}
    reader = load(str(nano_llama), device="cpu", precision="fp32")
    with ReadingServer(reader) as server:
        values = values_for(server.url, nano_llama, calls, **more)
        values["prompts"]["limit"] = 20
        estimated = dict(asked(values, tmp_path / "run"))
        assert estimated["own answers to read"].prompts > 0
        run, _ = pipeline_runs.run(values, tmp_path / "run", until="curate")
        stored = len(server.bodies)
        # The budget holds on own text too, and nothing that came is asked for again.
        values["teacher"]["endpoint"]["budget_tokens"] = 180 + sum(
            len(body["prompt"]) + 1 for body in server.bodies
        )
        with pytest.raises(PotstillError, match="the budget is used up before all text was"):
            pipeline_runs.run(values, tmp_path / "run")
        del values["teacher"]["endpoint"]["budget_tokens"]
        run, notes = pipeline_runs.run(values, tmp_path / "run")
        bodies = [tuple(body["prompt"]) for body in server.bodies]
    assert len(set(bodies)) == len(bodies) and len(bodies) > stored + 3
    buckets = f"the divergence is that of {COUNT + 1} buckets"
    assert any(buckets in note for note in notes)
    read = bodies[stored:]
    trained = pipeline_runs.recorded(run, "train")["on_policy"]
    served = trained["served"]
    assert (served["likeliest"], served["texts"]) == (COUNT, len(read))
    assert served["prompt_tokens"] == sum(map(len, read))
    paid = (2 * sum(map(len, read)) + 4 * len(read)) / 1e6
    assert served["money"] == pytest.approx(paid)
    # What was paid for own text is none of what was paid for stored answers.
    reading = pipeline_runs.recorded(run, "curate")["reading"]
    assert reading["prompt_tokens"] == sum(map(len, bodies[:stored]))
    evaluation = json.loads(run.evaluation_path.read_text())
    assert evaluation["cost"]["training"]["money"] >= paid
    assert evaluation["training"]["on_policy"]["served"] == served
    page = run.report_path.read_text()
    assert f"of {COUNT + 1} buckets: the server" in page and "Own answers that the server" in page
    assert "own answers to read" not in dict(asked(values, tmp_path / "run"))


@pytest.mark.slow
def test_a_servers_own_answers_without_numbers_are_read_afterwards(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    reader, tokens = (
        load(str(nano_llama), device="cpu", precision="fp32"),
        TeacherTokens.of(nano_llama),
    )

    class Both(ReadingServer, ScoringServer):
        def __init__(self) -> None:
            ScoringServer.__init__(self, tokens)
            self._reader, self._shift = reader, 0

        def _answer(self, body: dict[str, Any], model: str) -> dict[str, Any]:
            kind = ReadingServer if "prompt" in body else ScoringServer
            return kind._answer(self, body, model)

    with Both() as server:
        values = values_for(server.url, nano_llama, nano_prompts)
        values["prompts"]["source"] = str(nano_prompts)
        values["collect"] |= {"calls": None, "max_tokens": 24}
        values["evaluate"]["greedy"] = False
        pipeline_runs.run(values, tmp_path / "run", until="collect")
        estimated = dict(asked(values, tmp_path / "run"))
        assert estimated["answers to read"].prompts == 60  # the first look is none of them
        run, _ = pipeline_runs.run(values, tmp_path / "run", until="train")
        read = [body for body in server.bodies if "prompt" in body]
    parts, rows, targets = opened(values, run.root)
    own = [row for row in rows if row.response_token_ids is not None]
    # The first is read to see whether the server can, before it is asked anything.
    assert server.bodies[0] is read[0]
    assert 0 < len(own) < 60 and len(targets) == 60 and len(read) == 1 + 60 - len(own)
    student = parts.opened.student(parts.untrained)
    texts = parts.corpus.texts(rows, student)
    parts.store.close()
    assert all(text.unchanged for text in texts)
    expected = loss_by_hand(student, texts, targets)
    assert pipeline_runs.recorded(run, "train")["first_loss"] == pytest.approx(expected, rel=1e-4)


def test_answers_with_reasoning_are_not_read(nano_llama: Path, calls: Path, tmp_path: Path) -> None:
    """Targets stand at all of an answer's tokens, and what is around it is not given."""
    reader = load(str(nano_llama), device="cpu", precision="fp32")
    with ReadingServer(reader) as server:
        values = values_for(server.url, nano_llama, calls)
        values["curate"] = {"reasoning": "leave_out"}
        pipeline_runs.run(values, tmp_path / "run", until="collect")
        parts, rows, _ = opened(values, tmp_path / "run")
        parts.store.append(
            [
                replace(rows[0], exchange_id="d" * 64, response="<think>hm</think>Near it."),
                replace(rows[1], exchange_id="e" * 64, reasoning="hm"),
            ]
        )
        parts.store.close()
        _, notes = pipeline_runs.run(values, tmp_path / "run", until="train")
        assert len(server.bodies) == 60
    parts, rows, targets = opened(values, tmp_path / "run")
    parts.store.close()
    left = {row.exchange_id for row in rows} - set(targets)
    assert len(rows) == 62 and left == {"d" * 64, "e" * 64}
    assert any("; 2 with reasoning or tool calls were not read" in note for note in notes)
    said = "2 of 62 answers have no likeliest tokens and teach by their text"
    assert any(said in note for note in notes)


def test_a_servers_ids_are_not_mixed_with_those_that_text_is_cut_into(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    with ScoringServer(TeacherTokens.of(nano_llama), broken=10**6) as server:
        values = values_for(server.url, nano_llama, nano_prompts)
        values["teacher"]["endpoint"]["scores_text"] = False
        values["prompts"]["source"] = str(nano_prompts)
        values["collect"] |= {"calls": None, "max_tokens": 24}
        values["evaluate"]["greedy"] = False
        pipeline_runs.run(values, tmp_path / "run", until="collect")
    parts, rows, targets = opened(values, tmp_path / "run")
    endpoint = parts.recipe.teacher.endpoint.model_copy(update={"scores_text": True})
    teacher = parts.recipe.teacher.model_copy(update={"endpoint": endpoint})
    parts.recipe = parts.recipe.model_copy(update={"teacher": teacher})
    assert len(targets) == len(rows)
    assert all(text.unchanged for text in parts.corpus.texts(rows, parts.opened.parent))
    other = [replace(row, tokenizer="blake3:other") for row in rows]
    assert not any(text.unchanged for text in parts.corpus.texts(other, parts.opened.parent))
    parts.store.close()


def test_the_terms_of_the_server_that_reads_are_asked_for_too(
    nano_llama: Path, calls: Path, tmp_path: Path
) -> None:
    with FaultServer() as server:
        values = values_for(server.url, nano_llama, calls)
        values["teacher"]["model"] = "nobody-knows"
        with pytest.raises(PotstillError, match="nobody-knows may not be distilled yet"):
            pipeline_runs.run(values, tmp_path / "run", until="train")
        assert server.requests == 0


def test_a_dry_run_says_what_would_be_read(nano_llama: Path, calls: Path, tmp_path: Path) -> None:
    with FaultServer() as server:
        values = values_for(server.url, nano_llama, calls)
        ((label, read),) = asked(values, tmp_path / "run")
        assert (label, read.prompts, read.most_response_tokens) == ("answers to read", 60, 60)
        assert read.prompt_tokens > 60 * 10 and read.money is not None and read.money > 0
        own = values | {"collect": values["collect"] | {"calls": None, "max_tokens": 24}}
        own["prompts"] = values["prompts"] | {"source": "starter"}
        found = dict(asked(own, tmp_path / "run"))
        assert found["responses"].responses == 66 and found["answers to read"].prompts == 60
        assert server.requests == 0


def test_damaged_readings_are_read_again_and_both_terms_are_kept(
    nano_llama: Path, calls: Path, tmp_path: Path
) -> None:
    """The student's weights state a licence; the answers' terms have conditions of their own."""
    reader = load(str(nano_llama), device="cpu", precision="fp32")
    with ReadingServer(reader) as server:
        values = values_for(server.url, nano_llama, calls)
        values["collect"]["calls"]["source"] = "gemma"
        run, _ = pipeline_runs.run(values, tmp_path / "run", until="curate")
        assert len(server.bodies) == 60
        store = ExchangeStore(run.root)
        store.compact()
        store.close()
        files = sorted((run.root / "targets").glob("*.parquet"))
        assert files
        for path in files:
            content = path.read_bytes()
            path.write_bytes(
                content[: len(content) // 2] + b"\0" + content[len(content) // 2 + 1 :]
            )
        run, notes = pipeline_runs.run(values, tmp_path / "run", until="train")
        assert any("was damaged and set aside" in note for note in notes)
        again = [json.dumps(body["prompt"]) for body in server.bodies[60:]]
        assert again and len(set(again)) == len(again)
        assert set(again) <= {json.dumps(body["prompt"]) for body in server.bodies[:60]}
    parts, rows, targets = opened(values, run.root)
    parts.store.close()
    assert len(targets) == len(rows) == 60
    assert pipeline_runs.recorded(run, "train")["left_out"] == 0
    # What the student learnt from has conditions: no single licence is stated for its weights.
    assert not (run.student / "potstill-source.json").exists()
    run, _ = pipeline_runs.run(values, tmp_path / "run")
    shown = run.report_path.read_text(encoding="utf-8")
    shown = shown[shown.index('id="provenance"') : shown.index("<summary>Recipe")]
    assert re.search(r"Terms licences</dt><dd>[^<]*gemma", shown)
    assert re.search(r"Terms conditions</dt><dd>[^<]+<", shown)
    assert re.search(r"Reader terms licences</dt><dd>[^<]*apache-2\.0", shown)
