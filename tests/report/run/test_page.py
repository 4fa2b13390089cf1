"""The page as text: complete, safe and small, whatever the run left out."""

from __future__ import annotations

import copy
import errno
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from rich.console import Console

from html_tags import Tags
from potstill.cli import run_view
from potstill.errors import PotstillError
from potstill.report.frame import MOST_BYTES
from potstill.report.run.headline import headline
from potstill.report.run.page import page, render
from potstill.work.evaluation import Evaluation
from potstill.work.evaluation_file import evaluation_of


def test_page_links_nowhere(evaluation: Evaluation, metrics: list[dict[str, Any]]) -> None:
    text = page(evaluation, metrics, "name: demo\n", {"teacher": {"licence": "apache-2.0"}})
    parsed = Tags(text)
    assert set(parsed.links) == {"#main", "data:,"}
    assert "script" not in parsed.tags
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text
    assert len(text.encode()) < 60_000


def paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, child in items:
        yield (*path, key)
        if isinstance(child, dict | list):
            yield from paths(child, (*path, key))


@pytest.mark.parametrize("instead", [None, float("nan"), 0, -1.0, "odd", [], {}, "gone"])
def test_whatever_can_be_read_makes_a_page(content: dict[str, Any], instead: Any) -> None:
    content["training"] |= {
        "kept_step": 0, "validated_by": "kl", "validation_before": 0.1, "validation_kept": 0.1,
        "validation_last": 0.3, "validation_left_out": {"too_long": 1},
    }  # fmt: skip
    content["cost"] |= {"parent": {"model": "m", "parameters": 1, "flops": 1.0}}
    content["cost"] |= {"ratio_flops_with_parent": 1.5}
    content["held_out"]["left_out"] = {"no_answer": 2}
    read = 0
    for *parents, key in paths(content):
        changed = copy.deepcopy(content)
        node: Any = changed
        for parent in parents:
            node = node[parent]
        if isinstance(instead, float) and not isinstance(node[key], int | float):
            continue
        if instead == "gone":
            del node[key]
        else:
            node[key] = instead
        try:
            evaluation = evaluation_of(changed)
        except ValidationError:
            continue
        read += 1
        text = page(evaluation)
        assert "What was not measured" in text and not re.search(r"\bnan\b", text)
        assert headline(evaluation)
        console = Console(width=200, file=io.StringIO())
        console.print(run_view._fidelity(evaluation), run_view._cost(evaluation))
    assert read > 10 or isinstance(instead, float)


@given(st.text(st.characters(codec=None)), st.text(st.characters(codec="utf-8")))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_model_text_is_only_text(content: dict[str, Any], prompt: str, text: str) -> None:
    def with_sample(prompt: str, text: str) -> Evaluation:
        message = {"role": "user", "content": prompt}
        sample = {"messages": [message], "teacher": text, "student": text}
        return evaluation_of(content | {"samples": [sample]})

    plain = Tags(page(with_sample("x", "x"))).tags
    rendered = page(with_sample(prompt, text))
    rendered.encode("utf-8")
    assert sorted(Tags(rendered).tags) == sorted(plain)


def test_huge_runs_stay_small(content: dict[str, Any]) -> None:
    sample = {"messages": [{"role": "user", "content": "<&" * 5_000}], "teacher": "<&" * 50_000}
    content["samples"] = [sample | {"student": ""}] * 500
    content["machine"]["packages"] = {f"package-{n}": "1.0" for n in range(300)}
    metrics = [{"step": step, "loss": 1 / (step + 1), "kl": 0.5} for step in range(100_000)]
    text = page(evaluation_of(content), metrics, "x: 1\n" * 100_000)
    assert len(text.encode()) < MOST_BYTES
    assert "more in evaluation.json" in text


def test_render_is_the_same_twice(run_dir: Path) -> None:
    first = render(run_dir).read_bytes()
    assert render(run_dir).read_bytes() == first
    assert sorted(path.name for path in run_dir.iterdir()) == [
        "evaluation.json", "metrics.jsonl", "recipe.yaml", "report.html"
    ]  # fmt: skip


def test_no_evaluation(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match="no evaluation yet; run `potstill evaluate`"):
        render(tmp_path)
    (tmp_path / "evaluation.json").write_text("{half")
    with pytest.raises(PotstillError, match="not readable JSON"):
        render(tmp_path)
    (tmp_path / "evaluation.json").write_text('{"schema": "potstill/evaluation/2"}')
    with pytest.raises(PotstillError, match="is no evaluation that this version"):
        render(tmp_path)


def test_where_it_came_from_is_what_the_caller_says(run_dir: Path) -> None:
    facts = {"teacher": {"licence": "apache-2.0"}, "seeds": [1, 2], "empty": ""}
    text = render(run_dir, facts).read_text()
    assert "<dt>Teacher licence</dt><dd>apache-2.0</dd>" in text and "Seeds</dt><dd>1, 2<" in text
    assert "Empty" not in text and "Teacher licence" not in render(run_dir).read_text()


def test_full_disk_leaves_the_old_report(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = render(run_dir)
    before, names = path.read_bytes(), sorted(run_dir.iterdir())

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PotstillError, match="disk is full"):
        render(run_dir, {"changed": "yes"})
    assert path.read_bytes() == before
    assert sorted(run_dir.iterdir()) == names
