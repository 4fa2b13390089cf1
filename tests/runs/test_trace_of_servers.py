"""Traces of suspects behind a server on loopback: one that only writes, one that reads too."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gathered import killed
from traced_runs import KEY, SCHEME, config_of, prepared, write_rows

from learnt_stores import answered
from potstill.errors import PotstillError
from potstill.models.generate import Request, completions
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Sampling
from potstill.runs.verdict import plan_trace, preview_trace, run_trace
from potstill.trace.chain import Chain
from potstill.trace.gather.remote import Spool
from potstill.trace.marked_texts import read_texts
from potstill.trace.registry import Disclosed
from potstill.trace.served import read_served_log
from potstill.trace.verdict import Verdict
from potstill.trace.verify import Trust, checks_of
from potstill.watermark.marking import marking
from speaking_server import SpeakingServer

TEXT = {"watermark_text": {"samples": 8, "max_tokens": 24, "least_answers": 1}}


@pytest.fixture(scope="module")
def llama(nano_llama: Path) -> LoadedModel:
    return load(str(nano_llama), device="cpu", precision="fp32", date="2026-01-31")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, nano_llama: Path) -> Path:
    """A key, prompts and marked answers, and a run whose answers were served."""
    folder = prepared(tmp_path_factory.mktemp("servers"), nano_llama, count=12)
    sections = {"collect": {"max_tokens": 12, "targets": "none"}, "train": {"cross_entropy": 1}}
    answered(nano_llama, folder / "served", **sections)
    return folder


@pytest.fixture
def server(llama: LoadedModel) -> Iterator[SpeakingServer]:
    with SpeakingServer(llama, choose=marking(SCHEME)) as running:
        assert isinstance(running, SpeakingServer)
        yield running


@pytest.fixture
def clean(nano_qwen3: Path, nano_gemma: Path, nano_neox: Path) -> list[str]:
    return [str(nano_qwen3), str(nano_gemma), str(nano_neox)]


def behind(server: SpeakingServer, **more: Any) -> dict[str, Any]:
    endpoint = {"url": server.url, "provider": "someone", "max_in_flight": 4, "tries": 1, **more}
    return {"name": "theirs", "model": "smollm2-nano", "endpoint": endpoint}


def config(files: Path, nano_llama: Path, folder: Path, **more: Any) -> Any:
    return config_of(files, nano_llama, chain=str(folder / "our.chain.jsonl"), **more)


class Ended(BaseException):
    """The end of a run, from outside."""


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stop() -> None:
    raise Ended


def run_until(root: Path, kind: type, method: str, calls: int, end: Callable[[], None]) -> None:
    """Run a trace that ends right after so many calls of a method."""
    plain, left = getattr(kind, method), [calls]

    def ending(self: Any, *given: Any) -> Any:
        done = plain(self, *given)
        left[0] -= 1
        if not left[0]:
            end()
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, method, ending)
        run_trace(root)


def states(root: Path, **disclosed: Any) -> dict[str, str]:
    found = checks_of(root / "bundle", Trust(Disclosed(**disclosed)))
    return {check.what: check.state for check in found}


def test_a_server_that_only_writes_is_asked_once_and_found_by_its_mark(
    files: Path, nano_llama: Path, tmp_path: Path, server: SpeakingServer
) -> None:
    root = tmp_path / "run"
    plan_trace(config(files, nano_llama, tmp_path, suspect=behind(server), tests=TEXT), root)
    assert server.requests == 0
    # Some of what was asked is kept, and none of it is an item yet.
    killed(lambda: run_until(root, Spool, "add", 3, kill))
    kept = (root / "own" / "spool-0.jsonl").read_bytes()
    assert 0 < len(kept.splitlines()) < 40
    assert not list((root / "bundle" / "raw").glob("*"))
    verdict = run_trace(root)
    assert (root / "own" / "spool-0.jsonl").read_bytes().startswith(kept)
    # What was on its way at the kill alone was asked again.
    assert 40 <= server.requests <= 40 + 4
    assert len({body["seed"] for body in server.bodies}) == 40
    assert verdict.accused and verdict.findings[0].coins == 0
    assert states(root, key=KEY)["scores of watermark-text (2026-12)"] == "holds"
    # No address is told to whoever gets the bundle.
    plan = (root / "bundle" / "plan.json").read_text()
    assert server.url not in plan and json.loads(plan)["suspect"]["kind"] == "endpoint"


def test_a_server_that_only_writes_is_not_asked_to_read(
    files: Path, nano_llama: Path, tmp_path: Path, server: SpeakingServer, clean: list[str]
) -> None:
    for tests, need in (
        ({"watermark_reading": {"texts": str(files / "marked.jsonl")}}, "next token"),
        ({"twins": {"log": str(files / "served")}}, "log-probabilities of given text"),
    ):
        settings = config(
            files, nano_llama, tmp_path, suspect=behind(server), tests=tests, controls=clean
        )
        with pytest.raises(PotstillError, match=f"needs .*{need}.* suspect.endpoint.scores_text"):
            plan_trace(settings, tmp_path / "run", fresh=True)
    assert server.requests == 0 and not (tmp_path / "our.chain.jsonl").exists()


def reading_tests(files: Path, **twins: Any) -> dict[str, Any]:
    return {
        "watermark_reading": {"texts": str(files / "marked.jsonl"), "positions": 60},
        "twins": {"log": str(files / "served"), "exchanges": 6, "twins": 3, **twins},
    }


def test_a_server_that_reads_takes_twins_and_reading_once_each(
    files: Path, nano_llama: Path, tmp_path: Path, server: SpeakingServer, clean: list[str]
) -> None:
    root = tmp_path / "run"
    suspect = behind(server, scores_text=True)
    tests = reading_tests(files)
    plan_trace(
        config(files, nano_llama, tmp_path, suspect=suspect, tests=tests, controls=clean), root
    )
    # A few texts were read, then a few prompts' answers; each end in the middle of a log.
    texts = read_texts(root / "own" / "marked-0.jsonl")
    with pytest.raises(Ended):
        run_until(root, Chain, "append", 2, stop)
    assert server.requests == len(texts) > 2
    with pytest.raises(Ended):
        run_until(root, Chain, "append", len(texts) - 2 + 3, stop)
    verdict = run_trace(root)
    assert server.requests == len(texts) + 6 * 4
    reading, twins = verdict.findings
    assert reading.n == 60 and twins.n == 6 and twins.coins == 0
    assert [c.test for c in verdict.controls] == ["twins"] * 3
    found = states(root, key=KEY, texts={"2026-12": texts})
    assert found["scores of watermark-reading (2026-12)"] == "holds"
    assert found["raw/twins-1.jsonl"] == found["arithmetic"] == "holds"


@pytest.mark.parametrize("test", ["watermark_reading", "twins"])
def test_a_server_with_other_tokens_is_told_by_their_text(
    test: str,
    files: Path,
    nano_llama: Path,
    tmp_path: Path,
    clean: list[str],
    llama: LoadedModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with SpeakingServer(llama) as server:
        assert isinstance(server, SpeakingServer)
        plain = server._entry

        def other(logp_V: Any, token_id: int) -> dict[str, Any]:
            return plain(logp_V, token_id) | {"decoded_token": f"other {token_id}"}

        monkeypatch.setattr(server, "_entry", other)
        tests = {test: reading_tests(files)[test]}
        suspect = behind(server, scores_text=True)
        settings = config(files, nano_llama, tmp_path, suspect=suspect, tests=tests, controls=clean)
        plan_trace(settings, tmp_path / "run")
        name = test.replace("_", "-")
        with pytest.raises(PotstillError, match=f"has another tokenizer; take {name} out"):
            run_trace(tmp_path / "run")


def drawn_by_hand(llama: LoadedModel, wanted: Path, path: Path) -> None:
    """Answer each request for a twin, as an engine that is not potstill would."""
    rows = []
    for line in wanted.read_text().splitlines():
        one = json.loads(line)
        request = Request(str(one["seed"]), tuple(one["prompt_token_ids"]))
        sampling = Sampling(one["temperature"], one["top_p"], one["top_k"], one["max_tokens"])
        (done,) = completions(llama, [request], sampling)
        rows.append({"exchange": one["exchange"], "twin": one["twin"], "ids": done.token_ids})
    write_rows(path, rows)


def test_twins_that_the_engine_that_served_drew_are_waited_for(
    files: Path,
    nano_llama: Path,
    tmp_path: Path,
    server: SpeakingServer,
    clean: list[str],
    llama: LoadedModel,
) -> None:
    log, drawn, root = tmp_path / "served.jsonl", tmp_path / "drawn.jsonl", tmp_path / "run"
    served = read_served_log(str(files / "served")).rows
    rows = [row.model_dump(mode="json", by_alias=True) for row in served]
    write_rows(log, [{**row, "engine": {"name": "vllm", "version": "0.33.0"}} for row in rows])

    def settings(**more: Any) -> Any:
        tests = {"twins": reading_tests(files, log=str(log), **more)["twins"]}
        suspect = behind(server, scores_text=True, price_in=2.0, price_out=4.0)
        return config(files, nano_llama, tmp_path, suspect=suspect, tests=tests, controls=clean)

    with pytest.raises(PotstillError, match=r"was served by vllm.* in tests\.twins\.drawn"):
        plan_trace(settings(), root)
    assert not (tmp_path / "our.chain.jsonl").exists()
    # The owner is told of their own readers too, and pays for the suspect's answers alone.
    told, power, *_ = preview_trace(settings(drawn=str(drawn)))
    assert told.startswith("twins: 18 twins to draw, and 24 answers that suspect and controls read")
    assert " in money" in told and "minutes" not in told and "chance to find" in power
    plan_trace(settings(drawn=str(drawn)), root, fresh=True)
    with pytest.raises(PotstillError, match="the twins are not drawn yet: have the engine"):
        run_trace(root)
    assert server.requests == 0
    drawn_by_hand(llama, root / "own" / "twins-wanted-0.jsonl", drawn)
    verdict: Verdict = run_trace(root)
    assert server.requests == 6 * 4
    (finding,) = verdict.findings
    assert finding.n == 6 and finding.coins == 0
    assert any("that is the owner's word" in said for said in finding.assumes)
    assert states(root)["arithmetic"] == "holds"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"response_token_ids": [99_999]}, "tests.twins.log holds the token id 99,999, and the"),
        ({"snapshot": "x"}, "twins are drawn from the model that served, x, and this one is"),
        ({"dtype": "bfloat16"}, "was computed in bfloat16, and the model here computes in float32"),
    ],
)
def test_a_log_that_no_twins_can_be_drawn_for_is_refused_before_a_plan_is_fixed(
    files: Path,
    nano_llama: Path,
    tmp_path: Path,
    clean: list[str],
    changed: dict[str, Any],
    said: str,
) -> None:
    served = read_served_log(str(files / "served")).rows
    rows = [row.model_dump(mode="json", by_alias=True) for row in served]
    write_rows(tmp_path / "served.jsonl", [{**row, **changed} for row in rows])
    tests = {"twins": reading_tests(files, log=str(tmp_path / "served.jsonl"))["twins"]}
    suspect = {"name": "theirs", "model": str(nano_llama)}
    settings = config(files, nano_llama, tmp_path, suspect=suspect, tests=tests, controls=clean)
    with pytest.raises(PotstillError, match=said):
        plan_trace(settings, tmp_path / "run")
    assert not (tmp_path / "our.chain.jsonl").exists()


def test_what_twins_take_and_leave_out_is_told_before_a_plan_is_fixed(
    files: Path, nano_llama: Path, tmp_path: Path, clean: list[str]
) -> None:
    served = read_served_log(str(files / "served")).rows
    rows = [row.model_dump(mode="json", by_alias=True) for row in served]
    # The first of them stands twice, and one more was drawn greedily.
    greedy = {**rows[0], "sampling": {**rows[0]["sampling"], "temperature": 0}}
    write_rows(tmp_path / "served.jsonl", [*rows, rows[0], greedy])
    tests = {"twins": reading_tests(files, log=str(tmp_path / "served.jsonl"))["twins"]}
    server = {"url": "http://127.0.0.1:9/v1", "provider": "p", "scores_text": True}
    suspect = {
        "name": "theirs",
        "model": "m",
        "endpoint": {**server, "price_in": 1e6, "price_out": 0},
    }
    settings = config(files, nano_llama, tmp_path, suspect=suspect, tests=tests, controls=clean)
    told = preview_trace(settings)
    # 6 exchanges of 4 answers are read by the server, which is paid for them, and by 3 controls.
    longest = rows[0]["sampling"]["max_tokens"]
    tokens = sum(len(row["prompt_token_ids"]) + longest for row in rows[:6]) * 4
    assert "96 questions, at most " in told[0] and f"at most {tokens:.2f} in money" in told[0]
    left_out = "of 10 rows of tests.twins.log these are left out: 1 temperature 0"
    assert left_out in told[2] and "1 a prompt that an" in told[2]


def test_texts_of_another_vocabulary_are_refused(
    files: Path, nano_llama: Path, tmp_path: Path
) -> None:
    write_rows(tmp_path / "marked.jsonl", [{"prompt_ids": [1], "ids": [2, 99_999]}])
    tests = {"watermark_reading": {"texts": str(tmp_path / "marked.jsonl"), "positions": 5}}
    suspect = {"name": "theirs", "model": str(nano_llama)}
    settings = config(files, nano_llama, tmp_path, suspect=suspect, tests=tests)
    with pytest.raises(PotstillError, match=r"watermark_reading\.texts holds the token id 99,999"):
        plan_trace(settings, tmp_path / "run")
