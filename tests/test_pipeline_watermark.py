"""A run whose training answers are marked: the mark is found in them, and nowhere else."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import pipeline_runs
from potstill.cli.app import app
from potstill.errors import PotstillError
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.lineage import manifest
from potstill.progress import Silent
from potstill.recipe import Recipe
from potstill.runs.dry_run import dry_run
from potstill.watermark.detect import Detection, detect
from potstill.watermark.keys import EpochKey, MasterKey, new_master, read_key, write_key
from potstill.watermark.marking import MarkedLogits
from potstill.watermark.schemes import GreenList, Gumbel
from potstill.work.rundir import RunDir

EPOCH = "2026-12"
GREEN = {"scheme": "green", "window": 1, "gamma": 0.25, "delta": 4.0}
SHORT = {"epochs": 1}


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "master.key"
    write_key(path, MasterKey(bytes(range(32))))
    return path


@pytest.fixture(scope="session")
def marked_values(nano_llama: Path, nano_prompts: Path, key_file: Path) -> dict[str, Any]:
    """A recipe with a green list, whose answers are long enough to mark."""
    return pipeline_runs.recipe_values(
        nano_llama,
        nano_prompts,
        collect={"watermark": {"key": str(key_file), "epoch": EPOCH, **GREEN}},
        shrink={"blocks": [3]},
        train=SHORT,
    )


@pytest.fixture(scope="session")
def marked_run(
    marked_values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunDir, list[str]]:
    return pipeline_runs.run(marked_values, tmp_path_factory.mktemp("marked") / "run")


def key_of(path: Path) -> EpochKey:
    return read_key(path).epoch(EPOCH)


def green(key: EpochKey) -> GreenList:
    return GreenList(key, 1, 0.25, 4.0)


def ids_of(root: Path, *splits: str) -> list[tuple[int, ...]]:
    store = ExchangeStore(root)
    rows = [row for row in store.read() if row.split in splits]
    store.close()
    return [row.ids[1] for row in rows]


def found(scheme: GreenList | Gumbel, texts: list[tuple[int, ...]]) -> Detection:
    return detect(scheme, texts)


def test_the_mark_is_found_in_what_is_learnt_and_nowhere_else(
    marked_run: tuple[RunDir, list[str]], key_file: Path
) -> None:
    root, key = marked_run[0].root, key_of(key_file)
    assert found(green(key), ids_of(root, "train")).p < 1e-6
    assert found(green(key), ids_of(root, "train", "validation")).p < 1e-6
    assert found(green(key), ids_of(root, "held_out")).p > 1e-4
    other = MasterKey(bytes(32)).epoch(EPOCH)
    assert found(green(other), ids_of(root, "train")).p > 1e-4


def test_exchanges_name_the_mark_and_held_out_ones_none(
    marked_run: tuple[RunDir, list[str]], key_file: Path
) -> None:
    store = ExchangeStore(marked_run[0].root)
    rows = store.read()
    store.close()
    named = {row.split: row.watermark_key_id for row in rows}
    mark = green(key_of(key_file)).mark_id
    assert named == {"train": mark, "validation": mark, "held_out": None}


def test_targets_are_draws_of_the_marked_distribution(
    marked_run: tuple[RunDir, list[str]], key_file: Path
) -> None:
    """Far more of the draws are green than the quarter of all tokens that is."""
    store = ExchangeStore(marked_run[0].root)
    scheme, spec = green(key_of(key_file)), TargetSpec("sampled", 50)
    rows = store.read("train")
    assert store.target_ids(rows[0].teacher, spec) == {row.exchange_id for row in rows}
    drawn = marked = 0.0
    for row in rows[:20]:
        (values,) = store.targets(row.teacher, spec, [row.exchange_id])
        bias = MarkedLogits(scheme).bias(row.ids[1], values.width)
        at = bias.amax(-1) > 0
        counts = values.count_RU[at].float()
        marked += float((counts * (bias[at].gather(1, values.ids_RU[at]) > 0)).sum())
        drawn += float(counts.sum())
    store.close()
    assert marked / drawn > 0.4


def test_the_run_tells_the_effect_and_never_the_key(
    marked_run: tuple[RunDir, list[str]], key_file: Path
) -> None:
    run, notes = marked_run
    key = key_of(key_file)
    told = json.loads((run.root / "evaluation.json").read_text())["collection"]["watermark"]
    assert (told["key_id"], told["epoch"], told["scheme"]) == (key.key_id, EPOCH, "green")
    assert told["parameters"] == {"window": 1, "gamma": 0.25, "delta": 4.0}
    assert 0 < told["marked_tokens"] < told["tokens"]
    assert told["perplexity_marked"] > told["perplexity_unmarked"] > 1
    assert told["kl_per_token"] > 0.05
    assert any("held-out answers carry none" in note for note in notes)
    stated = json.loads((run.root / "manifest.json").read_text())["watermark"]
    assert (stated["key_id"], stated["epoch"]) == (key.key_id, EPOCH)
    page = next(run.root.glob("*.html")).read_text()
    assert "Mark in training answers" in page and key.key_id in page
    assert manifest.verify(run.root) == []
    secrets = [key.secret.hex(), key_file.read_text().split()[-1]]
    for path in run.root.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(secret.encode() in content for secret in secrets), path


def test_training_is_watched_on_marked_text(marked_run: tuple[RunDir, list[str]]) -> None:
    trained = pipeline_runs.recorded(marked_run[0], "train")
    assert trained["validated_by"] == "nll"
    assert trained["scored_again"] == 0


def test_gumbel_is_learnt_from_text_alone(
    nano_llama: Path, nano_prompts: Path, key_file: Path, tmp_path: Path
) -> None:
    values = pipeline_runs.recipe_values(
        nano_llama,
        nano_prompts,
        collect={
            "watermark": {"key": str(key_file), "epoch": EPOCH, "scheme": "gumbel", "window": 2},
            "samples": 2,
        },
        shrink={"blocks": [3]},
        train=SHORT,
    )
    run, notes = pipeline_runs.run(values, tmp_path / "run", until="collect")
    scheme = Gumbel(key_of(key_file), 2)
    assert found(scheme, ids_of(run.root, "train")).p < 1e-6
    assert found(scheme, ids_of(run.root, "held_out")).p > 1e-4
    assert any("much alike" in note for note in notes)
    figures = pipeline_runs.recorded(run, "collect")["figures"]
    assert figures["watermark"]["kl_per_token"] is None
    assert run.recipe.train.cross_entropy == 1


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_killed_run_marks_the_same(
    marked_values: dict[str, Any], marked_run: tuple[RunDir, list[str]], tmp_path: Path
) -> None:
    from test_pipeline_kill import start

    process = start(marked_values, tmp_path / "run")
    while process.exitcode is None and not (tmp_path / "run/state/watermark.json").is_file():
        time.sleep(0.01)
    # The first answers are on their way.
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    run, _ = pipeline_runs.run(marked_values, tmp_path / "run", until="collect")
    for split in ("train", "validation", "held_out"):
        assert ids_of(run.root, split) == ids_of(marked_run[0].root, split)


def test_another_key_is_refused_where_answers_are_marked(
    marked_values: dict[str, Any], tmp_path: Path
) -> None:
    own = tmp_path / "own.key"
    write_key(own, new_master())
    values = json.loads(json.dumps(marked_values))
    values["collect"]["watermark"]["key"] = str(own)
    pipeline_runs.run(values, tmp_path / "run", until="collect")
    own.unlink()
    write_key(own, new_master())
    (tmp_path / "run" / "state" / "collect.json").unlink()
    with pytest.raises(PotstillError, match="holds another key than the one"):
        pipeline_runs.run(values, tmp_path / "run", until="collect")


def test_a_key_that_is_not_there_is_refused_before_anybody_writes(
    marked_values: dict[str, Any], tmp_path: Path
) -> None:
    values = json.loads(json.dumps(marked_values))
    values["collect"]["watermark"]["key"] = str(tmp_path / "no.key")
    said = r"collect\.watermark: the key file .*no\.key"
    with pytest.raises(PotstillError, match=said):
        pipeline_runs.run(values, tmp_path / "run")
    with pytest.raises(PotstillError, match=said):
        dry_run(Recipe.model_validate(values), tmp_path / "dry", progress=Silent())
    assert not list(tmp_path.rglob("*.parquet"))


def test_the_command_finds_the_mark_in_a_run(
    marked_run: tuple[RunDir, list[str]], key_file: Path
) -> None:
    where = str(marked_run[0].root / "exchanges")
    options = ["--scheme", "green", "--window", "1", "--gamma", "0.25", "--delta", "4", "--json"]
    ran = CliRunner().invoke(
        app,
        ["watermark", "detect", where, "--key", str(key_file), "--epoch", EPOCH, *options],
    )
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["p"] < 1e-6


def test_text_that_is_cut_anew_is_not_read_without_the_mark(
    nano_llama: Path, nano_prompts: Path, key_file: Path, tmp_path: Path
) -> None:
    """A trimmed vocabulary cuts some answers into other tokens; these teach by their text."""
    values = pipeline_runs.recipe_values(
        nano_llama,
        nano_prompts,
        collect={"watermark": {"key": str(key_file), "epoch": EPOCH, **GREEN}},
        shrink={"drop_layers": 0, "vocabulary": 384},
        train=SHORT,
    )
    run, notes = pipeline_runs.run(values, tmp_path / "run", until="train")
    trained = pipeline_runs.recorded(run, "train")
    assert trained["scored_again"] == 0 and trained["left_out"] == 0
    assert any("teach by their text alone, since the teacher would read" in n for n in notes)
