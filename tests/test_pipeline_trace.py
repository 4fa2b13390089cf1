"""A marked run, its student as the suspect, and every test of a trace on it, end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from traced_runs import KEY, WATERMARK, clean_models, write_rows

from pipeline_runs import recipe_values, run
from potstill.errors import PotstillError
from potstill.recipe.io import read_trace
from potstill.runs.verdict import plan_trace, run_trace
from potstill.trace.registry import Disclosed
from potstill.trace.verify import Trust, checks_of
from potstill.watermark.keys import write_key
from potstill.work.order_secret import new_secret, read_order_secret


@pytest.mark.slow
def test_every_test_goes_through_on_a_run_of_our_own(
    tmp_path: Path,
    nano_llama: Path,
    nano_prompts: Path,
) -> None:
    write_key(tmp_path / "epoch.key", KEY)
    watermark = {**WATERMARK, "key": str(tmp_path / "epoch.key")}
    served = tmp_path / "served"
    collect = {"max_tokens": 24, "slots": 24, "wave": 1, "watermark": watermark}
    values = recipe_values(nano_llama, nano_prompts, collect=collect, train={"epochs": 2})
    del values["train"]["order_secret"]
    run(values, served)
    rows = [{"prompt": f"Where is the {word}?"} for word in ("boat", "map", "bell", "rose")]
    write_rows(tmp_path / "prompts.jsonl", rows)
    model = str(served / "student")
    settings = {
        "name": "whole",
        "chain": str(tmp_path / "chain.jsonl"),
        "device": "cpu",
        "precision": "fp32",
        "teacher": {"name": "ours", "model": str(nano_llama)},
        "suspect": {"name": "theirs", "model": model},
        "controls": clean_models(tmp_path, nano_llama, 3),
        "watermark": watermark,
        "prompts": {"source": str(tmp_path / "prompts.jsonl")},
        "tests": {
            "watermark_text": {"samples": 2, "max_tokens": 16, "least_answers": 1},
            "watermark_reading": {"texts": str(served), "positions": 300},
            "twins": {"log": str(served), "exchanges": 8, "twins": 3, "reference": str(nano_llama)},
            "order": {"run": str(served), "reference": str(nano_llama), "redraws": 99},
            "weights": {},
            "agreement": {"longest": 8},
        },
    }
    (tmp_path / "trace.yaml").write_text(yaml.safe_dump(settings))
    config, root = read_trace(tmp_path / "trace.yaml"), tmp_path / "trace"
    plan_trace(config, root)
    verdict = run_trace(root)
    assert [claim.test for claim in verdict.claims] == [
        "watermark-text",
        "watermark-reading",
        "twins",
        "order",
        "weights",
        "agreement",
    ]
    outcomes = {claim.test: claim.outcome for claim in verdict.claims}
    # Its blocks are the teacher's own, which no text says.
    assert outcomes["weights"] == "found"
    assert {c.test for c in verdict.controls} == {"watermark-text", "watermark-reading", "twins"}
    assert len(verdict.logs) == 6 + 9
    secret = read_order_secret(served / "order.secret")
    checks = list(checks_of(root / "bundle", Trust(Disclosed(key=KEY, secret=secret))))
    states = {check.what: check.state for check in checks}
    assert states["steps of order (order)"] == "holds"
    with pytest.raises(PotstillError, match="not the secret of the plan's training order"):
        list(checks_of(root / "bundle", Trust(Disclosed(secret=new_secret()))))
    assert {check.what for check in checks if check.state == "holds"} >= {"arithmetic", "verdict"}
    assert json.loads((root / "bundle" / "verdict.json").read_bytes())["name"] == "whole"
