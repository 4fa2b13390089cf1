"""How the student came about: curves, facts, and what is said of answers."""

from __future__ import annotations

from typing import Any

import pytest

from potstill.report.run.page import page
from potstill.report.run.process import curve, training
from potstill.work.evaluation_file import evaluation_of

NLL, KL = "Negative log-likelihood on validation prompts", "KL on validation prompts"


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


@pytest.mark.parametrize(("measure", "title"), [("nll", NLL), ("kl", KL)])
def test_a_run_has_its_validation_curve_whatever_it_was_measured_by(
    content: dict[str, Any], measure: str, title: str
) -> None:
    content["training"] |= {
        "kept_step": 4, "validated_by": measure, "validation_before": 2.5, "validation_kept": 1.5,
        "validation_last": 1.5, "validation_left_out": {"too_long": 2},
    }  # fmt: skip
    metrics = [
        {"step": 0, measure: 2.5},
        {"step": 1, "loss": 2.25},
        {"step": 2, "loss": 2.0, measure: 2.125},
        {"step": 2, measure: 9.0, "student": "cross_entropy"},
        {"step": 4, measure: 1.5},
    ]
    evaluation = evaluation_of(content)
    charts = {chart.title: chart for chart in training(evaluation, metrics).charts}
    assert (NLL in charts, KL in charts) == (measure == "nll", measure == "kl")
    chart = charts[title]
    assert chart.note.startswith("nats a token, prompts kept out of training (2 more left out: ")
    assert f"{title}: 2.50 at step 0, 1.50 at step 4" in chart.svg
    assert chart.svg.count("<circle") == 3
    text = page(evaluation, metrics)
    assert title in text and "9.00" not in text
    by = "KL" if measure == "kl" else "negative log-likelihood"
    assert f"Validation {by} a token, before training</dt><dd>2.50<" in text


def test_a_single_measurement_is_no_curve(content: dict[str, Any]) -> None:
    assert training(evaluation_of(content), [{"step": 0, "nll": 1.0}]).charts == []


def test_matched_states_are_named_with_the_way_that_their_distance_went(
    content: dict[str, Any],
) -> None:
    metrics = [{"step": n, "loss": 3.0 / n, "hidden_loss": 0.5 / n} for n in (1, 2, 4)]
    assert "Distance of hidden states" not in page(evaluation_of(content), metrics[:1])
    content["training"]["hidden_matching"] = {
        "last": True, "pairs": [[0, 1], [2, 5]], "projection_weights": 12, "first": 0.5,
        "final": 0.125,
    }  # fmt: skip
    evaluation = evaluation_of(content)
    charts = {chart.title: chart for chart in training(evaluation, metrics).charts}
    assert "0.500 at step 1, 0.125 at step 4" in charts["Distance of hidden states"].svg
    text = page(evaluation, metrics)
    assert "teacher&#39;s</dt><dd>behind the last norm; 0 to 1, 2 to 5<" in text
    assert "Distance of hidden states, last step</dt><dd>0.125<" in text


def test_what_was_odd_is_said_as_text(content: dict[str, Any]) -> None:
    content["collection"]["notes"] = ["the server called its model <b>nano</b>"]
    content["curation"] = {
        "train": 9, "train_kept": 8, "dropped": {}, "alone": {}, "notes": ["counts overlap"],
    }  # fmt: skip
    text = page(evaluation_of(content))
    assert "<li>The server called its model &lt;b&gt;nano&lt;/b&gt;</li>" in text
    assert "<li>Counts overlap</li>" in text
    del content["collection"]["notes"], content["curation"]
    assert "Counts overlap" not in page(evaluation_of(content))
