"""The page in a real browser: readable, quiet, and deaf to the network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from potstill.report.run.page import render


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (400, False), (1280, True)])
def test_page_is_whole_and_asks_nothing(
    browser: Any, run_dir: Path, provenance: dict[str, Any], width: int, dark: bool
) -> None:
    path = render(run_dir, provenance)
    shot = run_dir / "report.png"
    seen = browser.open(path, width=width, dark=dark, shot=shot)
    assert seen.complaints == []
    assert [url for url in seen.requests if url != path.as_uri() and url != "data:,"] == []
    assert seen.overflow <= 0
    for text in (
        "79.6% of its teacher's 134.5 million",
        "KL divergence from the teacher",
        "Leaves turn red when they stop making chlorophyll",
        "From scratch, estimated",
        "What was not measured",
        "apache-2.0",
    ):
        assert text in seen.text
    assert seen.elements["svg"] == 6
    assert shot.stat().st_size > 50_000


OVERLAPS = """
[...document.querySelectorAll('main svg')].flatMap(svg => {
  const texts = [...svg.querySelectorAll('text')]
  const boxes = texts.map(t => [t.textContent, t.getBoundingClientRect()])
  const frame = svg.getBoundingClientRect()
  const out = boxes.filter(([, b]) => b.left < frame.left - 1 || b.right > frame.right + 1)
  const hit = (a, b) => a.left < b.right - 1 && b.left < a.right - 1
    && a.top < b.bottom - 1 && b.top < a.bottom - 1
  const pairs = boxes.flatMap(([s, a], i) =>
    boxes.slice(i + 1).filter(([, b]) => hit(a, b)).map(([t]) => s + ' | ' + t))
  return [...pairs, ...out.map(([s]) => s + ' is cut off')]
})
"""


@pytest.mark.parametrize("width", [1280, 400])
def test_no_text_of_a_chart_lies_on_another(
    browser: Any, run_dir: Path, content: dict[str, Any], width: int
) -> None:
    content["cost"] |= {
        "parent": {"model": "maker/small", "parameters": 107_060_544, "flops": 1.375e18},
        "ratio_flops_with_parent": 1.0,
    }
    content["training"] |= {"kept_step": 0, "validated_by": "kl"}
    content["held_out"]["left_out"] = {"no_answer": 3}
    figure = content["models"]["student"]["top1_agreement"]
    figure |= {"value": 1.0, "ci95": None}
    (run_dir / "evaluation.json").write_text(json.dumps(content))
    metrics = [{"step": 0, "kl": 0.31}, {"step": 1, "loss": 0.4}, {"step": 2, "loss": 0.4, "kl": 9}]
    lines = "".join(json.dumps(record) + "\n" for record in metrics)
    (run_dir / "metrics.jsonl").write_text(lines)
    seen = browser.open(render(run_dir), width=width)
    assert "Training of the model that it began as, estimated" in seen.text
    assert "KL on validation prompts" in seen.text
    assert browser.evaluate(OVERLAPS) == []


def test_style_sheet_passes_the_pages_own_policy(browser: Any, run_dir: Path) -> None:
    browser.open(render(run_dir))
    assert browser.evaluate("getComputedStyle(document.querySelector('main')).maxWidth") == "960px"
    # And the policy is alive: a script put into the page does not run.
    browser.evaluate(
        "var s=document.createElement('script');s.textContent='window.ran=1';"
        "document.body.append(s)"
    )
    assert browser.evaluate("window.ran === undefined")


def test_hostile_text_stays_text(browser: Any, run_dir: Path, content: dict[str, Any]) -> None:
    hostile = (
        "</p></script></style><script>window.ran=1</script><img src=http://x.invalid/a "
        "onerror=window.ran=1><iframe src='//x.invalid'></iframe><!-- {{ 7*7 }} \ud800 \x00 &lt;"
    )
    content["run"] = hostile
    content["models"][hostile] = content["models"]["student"]
    content["machine"]["cpu"] = hostile
    content["machine"]["packages"] = {hostile: hostile}
    content["cost"]["currency"] = hostile
    content["samples"] = [
        {
            "messages": [{"role": hostile, "content": hostile}],
            "teacher": hostile,
            "student": hostile,
        }
    ]
    (run_dir / "evaluation.json").write_text(json.dumps(content))
    (run_dir / "recipe.yaml").write_text(hostile.replace("\ud800", ""))
    path = render(run_dir, {hostile: hostile})
    seen = browser.open(path)
    assert seen.elements["script"] == seen.elements["img"] == seen.elements["iframe"] == 0
    assert seen.elements["style"] == 1
    assert seen.complaints == []
    assert [url for url in seen.requests if "invalid" in url] == []
    assert browser.evaluate("window.ran === undefined")
    assert "</p></script></style><script>window.ran=1</script>" in seen.text
    assert "{{ 7*7 }}" in seen.text
