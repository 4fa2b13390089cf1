"""`kill -9` at any moment, and the same call goes on to the same end."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import pipeline_runs
from potstill.exchanges.store import ExchangeStore
from potstill.lineage import manifest

SEED = 20_261_125


def worker(values: dict[str, Any], out: str) -> None:
    """Run the recipe in a process that may be killed."""
    os.environ["OMP_NUM_THREADS"] = "1"
    pipeline_runs.run(values, Path(out))


def start(values: dict[str, Any], out: Path) -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["potstill.runs.distill", "transformers", "pipeline_runs"])
    process = context.Process(target=worker, args=(values, str(out)))
    process.start()
    return process


def outcome(root: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the exchanges (by id, token ids and text) and the student's measured figures."""
    store = ExchangeStore(root)
    rows = {
        r.exchange_id: (r.prompt_token_ids, r.response_token_ids, r.response) for r in store.read()
    }
    store.close()
    evaluation = json.loads((root / "evaluation.json").read_text())
    student = evaluation["models"]["student"]
    return rows, {k: student[k] for k in ("kl_per_token", "top1_agreement", "perplexity")}


def stored_ids(root: Path) -> list[str]:
    """Return the exchange ids of all shards as they lie on disk, doubled ones included."""
    found: list[str] = []
    for path in sorted((root / "exchanges").glob("*.parquet")):
        found += pq.read_table(path, columns=["exchange_id"]).column(0).to_pylist()
    return found


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_kills_change_nothing(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path, kills: int
) -> None:
    values = pipeline_runs.recipe_values(
        nano_llama, nano_prompts, shrink={"blocks": [3]}, train={"epochs": 3}
    )
    began = time.monotonic()
    process = start(values, tmp_path / "whole")
    process.join(120)
    assert process.exitcode == 0
    whole_run = time.monotonic() - began
    expected = outcome(tmp_path / "whole")

    moments = random.Random(SEED)
    killed = runs = 0
    while killed < kills:
        out = tmp_path / f"killed-{runs}"
        runs += 1
        while killed < kills:
            process = start(values, out)
            process.join(moments.uniform(0.05, 0.6) * whole_run)
            if process.exitcode is not None:
                assert process.exitcode == 0
                break
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            killed += 1
        process = start(values, out)
        process.join(120)
        assert process.exitcode == 0
        rows, figures = outcome(out)
        assert rows == expected[0]
        assert figures == expected[1]
        assert sorted(stored_ids(out)) == sorted(expected[0])
        assert manifest.verify(out) == []
