"""The whole way with a teacher behind a server: what it costs, what fails, what stops it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import pipeline_runs
from fault_server import Behaviour, FaultServer, error
from potstill.cli.app import app
from potstill.errors import PotstillError
from potstill.exchanges.store import ExchangeStore
from potstill.recipe import Recipe
from potstill.recipe.io import dump_recipe
from potstill.work.evaluation import Evaluation

KEY = "sk-very-secret-0123456789"


def values_for(server: FaultServer, student: Path, prompts: Path, **endpoint: Any) -> Any:
    values = pipeline_runs.recipe_values(
        "smollm2-nano",
        prompts,
        student={"model": str(student)},
        collect={"targets": "none"},
        train={"cross_entropy": 1.0},
        evaluate={"greedy": False},
    )
    values["teacher"]["endpoint"] = {
        "url": server.url,
        "provider": "test",
        "key_env": "NANO_KEY",
        "tries": 4,
        "price_in": 2.0,
        "price_out": 8.0,
        **endpoint,
    }
    return values


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANO_KEY", KEY)


def behaviour(**more: Any) -> Behaviour:
    return Behaviour(model="smollm2-nano", key=KEY, **more)


def test_a_student_learns_from_a_server(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    with FaultServer(behaviour()) as server:
        values = values_for(server, nano_llama, nano_prompts)
        run, _ = pipeline_runs.run(values, tmp_path / "run")
        asked = server.requests
        pipeline_runs.run(values, tmp_path / "run")
        assert server.requests == asked
    evaluation = Evaluation.model_validate_json(run.evaluation_path.read_text())
    assert evaluation.models.teacher is None and evaluation.shrink is not None
    below = evaluation.differences.student_minus_untrained_nll
    assert below is not None and below.value < 0
    collection = evaluation.collection
    assert collection is not None and collection.exchanges == 78 and collection.slots_busy is None
    assert collection.money is not None and collection.money > 0
    assert evaluation.cost.collection is not None
    assert evaluation.cost.collection.money >= collection.money
    manifest = json.loads(run.manifest_path.read_text())
    assert manifest["teacher"]["identity"] == "test/smollm2-nano"
    assert manifest["terms"]["licences"] == ["apache-2.0"]
    for path in run.root.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()


def test_a_budget_stops_the_run_and_the_next_one_goes_on(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    with FaultServer(behaviour()) as server:
        poor = values_for(server, nano_llama, nano_prompts, budget_tokens=500)
        with pytest.raises(PotstillError, match=r"the budget is used up: \d+ of 66 responses"):
            pipeline_runs.run(poor, tmp_path / "run", until="collect")
        store = ExchangeStore(tmp_path / "run")
        before = store.ids()
        store.close()
        assert 0 < len(before) < 66
        assert server.requests == len(before)
        rich = values_for(server, nano_llama, nano_prompts, budget_tokens=10**6)
        pipeline_runs.run(rich, tmp_path / "run", until="collect")
        assert server.requests == 78


@pytest.mark.slow
def test_a_run_goes_the_whole_way_with_few_open_files(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    limit = pytest.importorskip("resource", reason="needs a limit of open files")
    with FaultServer(behaviour(latency_s=0.05)) as server:
        values = values_for(server, nano_llama, nano_prompts, max_in_flight=256)
        path = tmp_path / "recipe.yaml"
        path.write_text(dump_recipe(Recipe.model_validate(values)), encoding="utf-8")
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "potstill",
                "distill",
                str(path),
                "--out",
                str(tmp_path / "run"),
            ],
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=lambda: limit.setrlimit(limit.RLIMIT_NOFILE, (64, 64)),
        )
        assert done.returncode == 0, done.stderr
        assert "requests in flight in place of 256: this process may have 64" in done.stderr
        assert server.requests == 78 and server.most_in_flight < 64


def test_prompts_that_failed_are_said_and_asked_again(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    faulty = behaviour(rate=0.6, faults=("200 with an error",), seed=3)
    with FaultServer(faulty) as server:
        values = values_for(server, nano_llama, nano_prompts, tries=1)
        run, notes = pipeline_runs.run(values, tmp_path / "run", until="collect")
        figures = pipeline_runs.recorded(run, "collect")["figures"]
        assert figures["failures"] and figures["exchanges"] + len(figures["failures"]) == 78
        assert any("no answer to" in note for note in notes)
        server.behaviour = behaviour()
        run, _ = pipeline_runs.run(values, tmp_path / "run", until="collect")
        figures = pipeline_runs.recorded(run, "collect")["figures"]
        assert figures["exchanges"] == 78 and not figures["failures"]


@pytest.mark.parametrize(
    ("finish", "way_out"),
    [
        ("error", "the server gave the response up), and each"),
        ("abort", "look into the server's log"),
        ("cancelled", "look into the server's log"),
        ("no-such-word", "no known finish reason), and each"),
        (None, "have the server state finish_reason"),
        ("", "no finish reason), and each"),
    ],
)
def test_a_server_whose_answers_are_all_of_no_use_is_not_asked_on(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path, finish: str | None, way_out: str
) -> None:
    with FaultServer(behaviour(finish=finish)) as server:
        said = collected_by_command(server, nano_llama, nano_prompts, tmp_path, max_in_flight=1)
        assert "none of the server's first 16 answers can be used" in said and way_out in said
        assert server.requests == 16
        server.behaviour = behaviour()
        values = values_for(server, nano_llama, nano_prompts)
        run, _ = pipeline_runs.run(values, tmp_path / "run", until="collect")
        assert pipeline_runs.recorded(run, "collect")["figures"]["exchanges"] == 78


@pytest.mark.parametrize(
    ("how", "reason", "way_out"),
    [
        ({"finish": "content_filter"}, "refused, or withheld", "another prompts.system"),
        ({"text": '" "'}, "white space alone, no answer (14)", "another teacher.model"),
        ({"finish": "abort"}, "the server gave the response up (14)", "the server's log"),
        ({"status": (400, error("bad", "no"))}, "status 400 (bad) (14)", "look after the server"),
        (
            {"status": (400, error("exceed_context_size_error", "too long"))},
            "does not fit the server's context (14)",
            "a longer context",
        ),
    ],
)
def test_a_collection_without_a_training_answer_is_none(
    nano_llama: Path,
    nano_prompts: Path,
    tmp_path: Path,
    how: dict[str, Any],
    reason: str,
    way_out: str,
) -> None:
    """Few prompts: too few for the stop in mid-collection."""
    few = {"limit": 12, "held_out_count": 4, "validation_count": 2}
    with FaultServer(behaviour(**how)) as server:
        said = collected_by_command(server, nano_llama, nano_prompts, tmp_path, few=few)
        assert "there is no training answer" in said and reason in said and way_out in said
        # Held-out prompts are not asked, which would be paid for in vain.
        assert server.requests == 14 or "status" in reason


def collected_by_command(
    server: FaultServer,
    student: Path,
    prompts: Path,
    root: Path,
    **more: Any,
) -> str:
    """Return what `potstill collect` says where it ends with exit code 2."""
    few = more.pop("few", {})
    values = values_for(server, student, prompts, **more)
    values["prompts"] |= few
    path = root / "recipe.yaml"
    path.write_text(dump_recipe(Recipe.model_validate(values)), encoding="utf-8")
    done = CliRunner().invoke(app, ["collect", str(path), "--out", str(root / "run")])
    assert done.exit_code == 2, done.output
    assert "done" not in done.stdout
    return done.stderr


def test_a_dry_run_asks_nothing_and_writes_nothing(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    with FaultServer(behaviour()) as server:
        recipe = Recipe.model_validate(values_for(server, nano_llama, nano_prompts))
        path = tmp_path / "recipe.yaml"
        path.write_text(dump_recipe(recipe), encoding="utf-8")
        arguments = ["collect", str(path), "--out", str(tmp_path / "run"), "--dry-run"]
        said = CliRunner().invoke(app, [*arguments, "--budget", "0.5"])
        assert said.exit_code == 0, said.output
        assert "nothing was asked" in said.output and "USD" in said.output
        assert server.requests == 0 and not (tmp_path / "run").exists()


def test_a_servers_task_has_all_its_answers_though_fidelity_takes_few(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    with FaultServer(behaviour()) as server:
        values = values_for(server, nano_llama, nano_prompts)
        values["task"] = {"kind": "text", "max_tokens": 24}
        values["evaluate"]["fidelity_prompts"] = 5
        run, _ = pipeline_runs.run(values, tmp_path / "run")
    evaluation = Evaluation.model_validate_json(run.evaluation_path.read_text(encoding="utf-8"))
    assert evaluation.held_out.prompts == 5
    assert evaluation.task is not None and evaluation.task.n == 12
    assert evaluation.payback is not None
    store = ExchangeStore(tmp_path / "run")
    drawn = Counter(row.sampling["temperature"] for row in store.read("held_out"))
    store.close()
    assert drawn == {1.0: 5, 0.0: 12}
