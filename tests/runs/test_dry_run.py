"""What a run would do is said without a question, and without a trace."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import pipeline_runs
from fault_server import Behaviour, FaultServer
from potstill.cli.app import app
from potstill.collect.served.pending import AskingEstimate
from potstill.errors import PotstillError
from potstill.progress import Silent
from potstill.recipe import Recipe
from potstill.recipe.io import dump_recipe
from potstill.runs.dry_run import DryRun, dry_run
from potstill.runs.order import training_begun

NAME = "smollm2-nano"


def dry(values: dict[str, Any], root: Path, **options: Any) -> DryRun:
    return dry_run(Recipe.model_validate(values), root, progress=Silent(), **options)


def served(url: str, student: Path, prompts: Path, **endpoint: Any) -> dict[str, Any]:
    """Return a recipe that has a server answer few prompts, shortly."""
    values = pipeline_runs.recipe_values(
        NAME,
        prompts,
        student={"model": str(student)},
        prompts={"limit": 20, "held_out_count": 6, "validation_count": 4},
        collect={"targets": "none", "max_tokens": 16, "samples": 2},
        train={"cross_entropy": 1.0},
        evaluate={"greedy": True, "fidelity_prompts": 3, "max_tokens": 8},
    )
    values["shrink"] = {}
    values["teacher"]["endpoint"] = {"url": url, "provider": "test", **endpoint}
    permission = prompts.with_name("permission.txt")
    permission.write_text("You may.", encoding="utf-8")
    values["teacher"]["terms"] = {"authorisation": str(permission)}
    return values


@pytest.fixture
def prompts(nano_prompts: Path, tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(nano_prompts.read_bytes())
    return path


def test_a_teacher_at_hand_costs_nothing_to_ask(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    found = dry(pipeline_runs.recipe_values(nano_llama, nano_prompts), tmp_path / "run")
    assert found == DryRun({"train": 60, "validation": 6, "held_out": 12}, ())
    assert not (tmp_path / "run").exists()


def test_prompts_that_the_teacher_would_write_are_not_known(
    nano_llama: Path, tmp_path: Path
) -> None:
    values = pipeline_runs.recipe_values(nano_llama, "magpie")
    assert dry(values, tmp_path / "run").prompts is None


def test_a_server_is_asked_set_by_set_but_for_what_is_stored(
    nano_llama: Path, prompts: Path, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    with FaultServer(Behaviour(model=NAME)) as server:
        values = served(server.url, nano_llama, prompts, price_in=0.0, price_out=5.0)
        found = dry(values, root)
        assert server.requests == 0 and not root.exists()
        counts = {label: (e.prompts, e.responses) for label, e in found.asked}
        assert found.prompts is not None
        asked = found.prompts["train"] + found.prompts["validation"]
        assert counts == {
            "responses": (asked, 2 * asked),
            "held-out responses": (3, 3),
            "held-out greedy responses": (3, 3),
        }
        first = dict(found.asked)["responses"]
        assert first.most_response_tokens == 2 * asked * 16
        assert first.money == pytest.approx(first.most_response_tokens * 5 / 1e6)
        # With a task every held-out row is answered greedily, at the task's length.
        task = dry(values | {"task": {"kind": "text", "max_tokens": 4}}, root)
        assert dict(task.asked)["held-out greedy responses"].responses == 6

        pipeline_runs.run(values, root, until="collect")
        assert dry(values, root).asked == ()
        fresh = dict(dry(values, root, fresh=True).asked)
        assert fresh["responses"] == first


@pytest.mark.parametrize("kind", ["own", "calls", "gold"])
def test_what_a_server_would_read_is_estimated(
    nano_llama: Path, prompts: Path, tmp_path: Path, kind: str
) -> None:
    values = served("http://127.0.0.1:9/v1", nano_llama, prompts, scores_text=True, top_logprobs=4)
    values["collect"] |= {"targets": "top-k", "top_k_targets": 4, "samples": 1}
    values["train"]["cross_entropy"] = 0.0
    if kind == "calls":
        calls = pipeline_runs.write_calls(tmp_path / "calls.jsonl")
        values["collect"]["calls"] = {"path": str(calls), "source": "apache-2.0"}
        values["prompts"]["source"] = "unused"
    if kind == "gold":
        prompts.write_text(
            "\n".join(
                line[:-1] + f', "right": "{number}"}}'
                for number, line in enumerate(prompts.read_text().splitlines())
            )
        )
        values["collect"]["gold"] = True
        values["task"] = {"kind": "text", "gold": "right"}
    found = dry(values, tmp_path / "run")
    asked: dict[str, AskingEstimate] = dict(found.asked)
    assert ("responses" in asked) == (kind == "own")
    read = asked["answers to read"]
    # Calls that come with their answers are planned as they are stored.
    assert (found.prompts is None) == (kind == "calls")
    assert read.prompts == (found.prompts["train"] if found.prompts else 20)
    # Nobody knows how long a server's own answers will be: the longest count.
    assert (read.prompt_tokens >= read.prompts * 16) == (kind == "own")


def test_training_has_begun_where_anything_of_it_is_there(tmp_path: Path) -> None:
    assert not training_begun(tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "train.json").write_text("{}")
    assert training_begun(tmp_path)
    other = tmp_path / "other"
    (other / "checkpoints").mkdir(parents=True)
    assert training_begun(other)


def test_a_directory_that_is_no_runs_is_refused(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    (tmp_path / "letters.txt").write_text("Mine.")
    with pytest.raises(PotstillError, match="is not empty and not a run directory"):
        dry(pipeline_runs.recipe_values(nano_llama, nano_prompts), tmp_path)


Break = Callable[[], str]


@pytest.fixture(params=["none", "full", "closed"])
def broken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Break:
    """Return a function that makes temporary files impossible, and returns what is said of that."""

    def _broken() -> str:
        if request.param == "none":

            def nowhere() -> str:
                raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in []")

            monkeypatch.setattr(tempfile, "gettempdir", nowhere)
            return "no folder for temporary files can be written; set TMPDIR to one that can"
        full = request.param == "full"
        number = errno.ENOSPC if full else errno.EACCES

        def unwritable(*_: Any, **__: Any) -> str:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(tempfile, "mkdtemp", unwritable)
        if full:
            return "the disk is full or a size limit is reached; free some space"
        return "permission denied; set TMPDIR to a folder that you may write"

    return _broken


def test_without_a_place_for_temporary_files_it_is_one_sentence(
    nano_llama: Path, tmp_path: Path, broken: Break
) -> None:
    calls = pipeline_runs.write_calls(tmp_path / "calls.jsonl")
    values = pipeline_runs.recipe_values("big", "unused", student={"model": str(nano_llama)})
    values["shrink"], values["train"]["cross_entropy"] = {}, 1.0
    values["collect"] |= {
        "calls": {"path": str(calls), "source": "apache-2.0"},
        "targets": "none",
    }
    run, _ = pipeline_runs.run(values, tmp_path / "run", until="collect")
    values["train"]["learning_rate"] = 1e-4
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(Recipe.model_validate(values)), encoding="utf-8")
    words = broken()
    # A changed recipe is checked apart, before what it has done again is put away.
    for more in (["--dry-run"], []):
        arguments = ["distill", str(path), "--out", str(run.root), "--quiet", *more]
        said = CliRunner().invoke(app, arguments)
        assert said.exit_code == 2, said.output
        assert words in " ".join(said.output.split())
        assert "Traceback" not in said.output
    assert pipeline_runs.recorded(run, "collect") is not None
