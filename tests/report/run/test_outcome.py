"""What is said where training lost or changed nothing, where figures lack prompts or intervals."""

from __future__ import annotations

import re
from typing import Any

import pytest
from rich.console import Console

from potstill.cli import run_view
from potstill.report.run import names
from potstill.report.run.fidelity import differences
from potstill.report.run.headline import headline, training_outcome
from potstill.report.run.limits import limits
from potstill.report.run.page import page
from potstill.work.evaluation import Evaluation
from potstill.work.evaluation_file import evaluation_of

KL, NLL = "student_minus_untrained_kl", "student_minus_untrained_nll"


def measured(value: float, *ends: float, n: int = 20) -> dict[str, Any]:
    return {"value": value, "ci95": list(ends) or None, "n": n}


def shown(evaluation: Evaluation) -> str:
    """Return what the command line prints of an evaluation, in one line."""
    console = Console(width=200)
    with console.capture() as found:
        console.print(run_view._fidelity(evaluation), run_view._cost(evaluation))
    return " ".join(found.get().split())


@pytest.mark.parametrize(
    ("key", "change", "kept", "said"),
    [
        (KL, measured(0.109, 0.08, 0.14), 8, "made it worse: its distance to the teacher grew by"),
        (NLL, measured(0.2, 0.1, 0.3), 8, "made it worse: the negative log-likelihood of these"),
        (KL, measured(0.002, -0.01, 0.02), 8, "cannot be told from these prompts: its distance"),
        (NLL, measured(-0.002, -0.01, 0.02), 4, "cannot be told from these prompts: the negative"),
        (KL, measured(0.0), 8, "changed by 0 nats a token (no interval: all 20 prompts alike)"),
        (KL, measured(-0.3, n=1), 8, "changed by −0.300 nats a token (no interval: one prompt)"),
        (KL, measured(0.0), 0, "did not make it better on validation prompts, so that the student"),
        (KL, measured(-0.2, -0.3, -0.1), 8, None),
        (NLL, measured(-0.2, -0.3, -0.1), 5, None),
    ],
)
def test_training_that_lost_or_changed_nothing_is_in_the_headline(
    key: str, change: Any, kept: int, said: str | None, content: dict[str, Any]
) -> None:
    content["differences"] = {key: change}
    content["training"] |= {"kept_step": kept}
    evaluation = evaluation_of(content)
    found = training_outcome(evaluation)
    if said is None:
        assert found is None
        return
    assert found is not None and said in found
    assert found in headline(evaluation)
    assert found in page(evaluation).replace("&#39;", "'")


def test_the_figures_on_validation_prompts_are_said_with_it(content: dict[str, Any]) -> None:
    content["training"] |= {
        "kept_step": 0, "validated_by": "kl", "validation_before": 0.01, "validation_last": 0.119,
    }  # fmt: skip
    said = "(0.0100 nats of KL a token before it, 0.119 after it)"
    evaluation = evaluation_of(content)
    assert said in headline(evaluation)
    assert differences(evaluation)[0].startswith("The student is the untrained one")
    assert not any("the untrained student" in text for text in differences(evaluation)[1:])


@pytest.mark.parametrize("before", [0.0, -1e-9, 3e-8, 9e-6])
def test_there_is_no_ratio_to_a_student_that_was_its_teacher(
    before: float, content: dict[str, Any]
) -> None:
    models = content["models"]
    del models["pruned"]
    models["untrained"]["kl_per_token"] = measured(before)
    evaluation = evaluation_of(content)
    text = headline(evaluation)
    assert "; before training it could not be told from it" in text
    assert "times what" not in text
    models["student"]["kl_per_token"] = measured(before)
    text = headline(evaluation_of(content))
    assert "is less than 0.00001 nats a token away" in text


def test_what_figures_lack_is_said_where_they_stand(content: dict[str, Any]) -> None:
    content["held_out"]["left_out"] = {"no_answer": 2, "too_long": 1, "odd_<b>": 1}
    content["task"] = {
        "kind": "label", "n": 9, "score": "exact", "left_out": {"no_answer": 3}, "slices": [],
        "teacher": {"readable": measured(1.0), "exact": measured(1.0, 0.8, 1.0)},
        "student": {"readable": measured(1.0), "exact": measured(0.9, 0.7, 0.95)},
        "comparison": {
            "difference": -0.1, "interval": [-0.2, 0.0], "confidence": 0.95, "margin": 0.03, "n": 9,
            "word": "inconclusive", "sentence": "inconclusive",
        },
    }  # fmt: skip
    said = "4 more left out: 2 without an answer, 1 longer than the student reads, 1 odd <b>"
    evaluation = evaluation_of(content)
    assert f"On 200 prompts kept out of training ({said}) it agrees" in headline(evaluation)
    assert f"Fidelity on 200 held-out prompts ({said}), with" in shown(evaluation)
    text = page(evaluation)
    assert "1 odd &lt;b&gt;" in text and "<b>)" not in text
    assert "On 9 held-out rows of the task (3 more left out: 3 without an answer)" in text
    assert names.left_out({}) == names.left_out({"too_long": 0}) == ""


def test_unknown_money_and_tokens_are_said_to_be_so(content: dict[str, Any]) -> None:
    for stage in ("collection", "total"):
        content["cost"][stage] |= {"money": None, "tokens": None}
    evaluation = evaluation_of(content)
    assert "(what its server charged is not known) and 1/5,900" in headline(evaluation)
    assert "0 USD" not in shown(evaluation).replace(".0", "")
    assert "0.019 USD" not in page(evaluation)


def test_the_training_of_a_parent_counts(content: dict[str, Any]) -> None:
    content["cost"] |= {
        "parent": {"model": "maker/<i>small", "parameters": 5, "flops": 1.3e18},
        "ratio_flops_with_parent": 0.96,
    }
    evaluation = evaluation_of(content)
    text = headline(evaluation)
    assert "and, with the training of maker/<i>small, which it began as, 0.96 times the" in text
    whole = page(evaluation)
    assert "maker/&lt;i&gt;small counted in" in whole and "<i>small" not in whole
    assert "1/5,900" not in whole and "0.96 times</" not in whole
    assert "Training of the model that it began as, estimated" in whole
    assert "which is counted in" in " ".join(limits(evaluation))
    assert "the model it began as (estimated) 1.3 × 10¹⁸" in shown(evaluation)


def test_right_answers_have_no_teacher(content: dict[str, Any]) -> None:
    figures = {
        k: v
        for k, v in content["models"]["student"].items()
        if k not in ("kl_per_token", "top1_agreement", "greedy")
    }
    content |= {"answers": "gold", "models": {"student": figures}, "differences": {}}
    content |= {"shrink": None, "vocabulary": None}
    content["cost"]["parent"] = {"model": "small", "parameters": 5, "flops": 1.3e18}
    content["held_out"]["sampling"] = {}
    content["task"] = {
        "kind": "text", "n": 9, "score": "f1", "slices": [], "teacher": None,
        "comparison": None,
        "student": {
            "readable": measured(1.0), "exact": measured(1.0, 0.6, 1.0), "f1": measured(0.5),
        },
    }  # fmt: skip
    evaluation = evaluation_of(content)
    text = page(evaluation, recipe="", provenance={})
    inside = text[text.index("<main") :]
    assert not re.findall(".*teacher.*", inside, re.IGNORECASE)
    assert "the student scores an F1 of 50.0% (no interval: all 20 prompts alike)" in headline(
        evaluation
    )


def test_what_was_not_healed_is_not_called_healed(content: dict[str, Any]) -> None:
    content["shrink"] |= {"heal": "none", "healed": None}
    evaluation = evaluation_of(content)
    text = page(evaluation)
    assert "Cut, untrained" in text and "healed, untrained" not in text
    assert "Cut and healed" not in text and "Healing</dt><dd>none<" in text


def test_counts_of_curation_are_those_of_training_answers(content: dict[str, Any]) -> None:
    content["curation"] = {
        "train": 60, "train_kept": 55, "dropped": {"too_long": 5}, "alone": {}, "verified": None,
        "judge": None, "notes": [], "elsewhere": {"held_out": {"too_long": 2}},
    }  # fmt: skip
    evaluation = evaluation_of(content)
    text = page(evaluation)
    assert "Training answers learnt from</dt><dd>55 of 60<" in text
    assert "Dropped: too long</dt><dd>5<" in text
    assert "Left out of held-out answers: too long</dt><dd>2<" in text
