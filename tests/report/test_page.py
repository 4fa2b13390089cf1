"""The page as text: complete, safe and small, whatever the run left out."""

from __future__ import annotations

import copy
import errno
import json
import os
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from potstill.errors import PotstillError
from potstill.report.fidelity import differences
from potstill.report.page import MOST_BYTES, page, render
from potstill.report.process import curve
from potstill.report.tables import clean, flatten, moment
from potstill.report.view import samples


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "action")]
        assert not any(name.startswith("on") or name == "style" for name, _ in attrs)


def test_page_links_nowhere(evaluation: dict[str, Any], metrics: list[dict[str, Any]]) -> None:
    text = page(evaluation, metrics, "name: demo\n", {"teacher": {"licence": "apache-2.0"}})
    parsed = Tags(text)
    assert set(parsed.links) == {"#main", "data:,"}
    assert "script" not in parsed.tags
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text
    assert len(text.encode()) < 60_000


SECTIONS = (
    "machine", "held_out", "models", "differences", "vocabulary", "overlap", "collection",
    "shrink", "training", "cost", "samples", "peak_memory_bytes", "run", "created_at",
)  # fmt: skip


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("how", ["missing", "null"])
def test_any_section_may_be_absent(evaluation: dict[str, Any], section: str, how: str) -> None:
    if how == "missing":
        del evaluation[section]
    else:
        evaluation[section] = None
    assert "What was not measured" in page(evaluation)


def test_empty_evaluation_still_renders() -> None:
    assert "What was not measured" in page({})


def paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, child in items:
        yield (*path, key)
        if isinstance(child, dict | list):
            yield from paths(child, (*path, key))


@pytest.mark.parametrize("instead", [None, float("nan"), 0, -1.0])
def test_any_figure_may_be_missing_or_odd(evaluation: dict[str, Any], instead: Any) -> None:
    for *parents, key in paths(evaluation):
        changed = copy.deepcopy(evaluation)
        node: Any = changed
        for parent in parents:
            node = node[parent]
        if instead is not None and not isinstance(node[key], int | float):
            continue
        node[key] = instead
        text = page(changed)
        assert "What was not measured" in text and not re.search(r"\bnan\b", text)


@given(st.text(st.characters(codec=None)))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_model_text_is_only_text(evaluation: dict[str, Any], text: str) -> None:
    evaluation["samples"] = [
        {"messages": [{"role": "user", "content": text}], "teacher": text, "student": text}
    ]
    plain = Tags(page({**evaluation, "samples": [{"teacher": "x", "messages": [{}]}]})).tags
    rendered = page(evaluation)
    rendered.encode("utf-8")
    assert sorted(Tags(rendered).tags) == sorted(plain)


def test_huge_runs_stay_small(evaluation: dict[str, Any]) -> None:
    sample = {"messages": [{"role": "user", "content": "<&" * 5_000}], "teacher": "<&" * 50_000}
    evaluation["samples"] = [sample] * 500
    evaluation["machine"]["packages"] = {f"package-{n}": "1.0" for n in range(300)}
    metrics = [{"step": step, "loss": 1 / (step + 1), "kl": 0.5} for step in range(100_000)]
    text = page(evaluation, metrics, "x: 1\n" * 100_000)
    assert len(text.encode()) < MOST_BYTES
    assert "more in evaluation.json" in text


def test_samples_say_what_was_cut() -> None:
    shown = samples({"samples": [{"messages": [], "teacher": "a" * 1_300, "student": "b"}]})
    assert shown["pairs"][0]["teacher"].endswith("… [100 more characters]")
    assert shown["left_out"] == 0


def test_resumed_steps_count_once() -> None:
    metrics = [
        {"step": 1, "loss": 3.0},
        {"step": 2, "loss": 9.0},
        {"step": 2, "loss": 2.0, "kl": 0.4},
        {"step": 3, "loss": float("nan")},
        {"step": 4, "loss": 1.0, "student": "cross_entropy"},
        {"stage": "collect"},
    ]
    assert curve(metrics, ("loss",)) == [(1.0, 3.0), (2.0, 2.0)]
    assert curve(metrics, ("kl",)) == [(2.0, 0.4)]


def test_differences_say_who_is_closer() -> None:
    def say(low: float, high: float) -> str:
        figure = {"value": (low + high) / 2, "ci95": [low, high], "n": 200}
        return differences({"differences": {"student_minus_untrained_kl": figure}})[0]

    assert say(-0.2, -0.1).endswith("(95% interval −0.200 to −0.100): the student is closer to "
                                    "the teacher.")  # fmt: skip
    assert say(0.1, 0.2).endswith("further from the teacher.")
    assert say(-0.1, 0.2).endswith("no difference beyond chance.")


def test_small_helpers() -> None:
    assert clean("a\x00b\ud800c\n\t") == "a\ufffdb\ufffdc\n\t"
    assert flatten({"teacher": {"file_name": "x", "none": None}, "seeds": [1, 2]}) == [
        ("Teacher file name", "x"),
        ("Seeds", "1, 2"),
    ]
    assert moment("2026-11-25T10:20:30+00:00") == "25 November 2026, 10:20 UTC"
    assert moment("yesterday\x00") == "yesterday\ufffd"


def test_render_is_the_same_twice(run_dir: Path) -> None:
    first = render(run_dir).read_bytes()
    assert render(run_dir).read_bytes() == first
    assert sorted(path.name for path in run_dir.iterdir()) == [
        "evaluation.json", "metrics.jsonl", "recipe.yaml", "report.html"
    ]  # fmt: skip


def test_provenance_of_the_evaluation_is_the_default(
    run_dir: Path, evaluation: dict[str, Any]
) -> None:
    evaluation["provenance"] = {"teacher": {"licence": "from the evaluation"}}
    (run_dir / "evaluation.json").write_text(json.dumps(evaluation))
    assert "from the evaluation" in render(run_dir).read_text()
    assert "from the evaluation" not in render(run_dir, {}).read_text()


def test_no_evaluation(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match="no evaluation yet; run `potstill evaluate`"):
        render(tmp_path)
    (tmp_path / "evaluation.json").write_text("{half")
    with pytest.raises(PotstillError, match="not readable JSON"):
        render(tmp_path)


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


def test_what_was_odd_is_said_as_text(
    evaluation: dict[str, Any], metrics: list[dict[str, Any]]
) -> None:
    evaluation["collection"]["notes"] = ["the server called its model <b>nano</b>"]
    evaluation["curation"] = {"train": 9, "train_kept": 8, "notes": ["counts overlap"]}
    text = page(evaluation, metrics, "name: demo\n", {})
    assert "<li>The server called its model &lt;b&gt;nano&lt;/b&gt;</li>" in text
    assert "<li>Counts overlap</li>" in text
    del evaluation["collection"]["notes"], evaluation["curation"]
    assert "Counts overlap" not in page(evaluation, metrics, "name: demo\n", {})
