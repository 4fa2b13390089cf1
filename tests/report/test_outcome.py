"""What is said where training lost or changed nothing, where figures lack prompts or intervals."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from potstill.cli import run_view
from potstill.report import words
from potstill.report.fidelity import differences
from potstill.report.headline import headline, training_outcome
from potstill.report.limits import limits
from potstill.report.page import page

KL, NLL = "student_minus_untrained_kl", "student_minus_untrained_nll"


def measured(value: float, *ends: float, n: int = 20) -> dict[str, Any]:
    return {"value": value, "ci95": list(ends) or None, "n": n}


def shown(evaluation: dict[str, Any]) -> str:
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
    key: str, change: Any, kept: int, said: str | None, evaluation: dict[str, Any]
) -> None:
    evaluation["differences"] = {key: change}
    evaluation["training"] |= {"kept_step": kept}
    found = training_outcome(evaluation)
    if said is None:
        assert found is None
        return
    assert found is not None and said in found
    assert found in headline(evaluation)
    assert found in page(evaluation).replace("&#39;", "'")


def test_the_figures_on_validation_prompts_are_said_with_it(evaluation: dict[str, Any]) -> None:
    evaluation["training"] |= {
        "kept_step": 0, "validated_by": "kl", "validation_before": 0.01, "validation_last": 0.119,
    }  # fmt: skip
    said = "(0.0100 nats of KL a token before it, 0.119 after it)"
    assert said in headline(evaluation)
    assert differences(evaluation)[0].startswith("The student is the untrained one")
    assert not any("the untrained student" in text for text in differences(evaluation)[1:])


@pytest.mark.parametrize("before", [0.0, -1e-9, 3e-8, 9e-6])
def test_there_is_no_ratio_to_a_student_that_was_its_teacher(
    before: float, evaluation: dict[str, Any]
) -> None:
    models = evaluation["models"]
    del models["pruned"]
    models["untrained"]["kl_per_token"] = measured(before)
    text = headline(evaluation)
    assert "; before training it could not be told from it" in text
    assert "times what" not in text
    models["student"]["kl_per_token"] = measured(before)
    assert "is less than 0.00001 nats a token away" in headline(evaluation)


def test_what_figures_lack_is_said_where_they_stand(evaluation: dict[str, Any]) -> None:
    evaluation["held_out"]["left_out"] = {"no_answer": 2, "too_long": 1, "odd_<b>": 1}
    evaluation["task"] = {
        "kind": "label", "n": 9, "score": "exact", "left_out": {"no_answer": 3}, "slices": [],
        "teacher": {"exact": measured(1.0, 0.8, 1.0)},
        "student": {"exact": measured(0.9, 0.7, 0.95)},
        "comparison": {
            "difference": -0.1, "interval": [-0.2, 0.0], "confidence": 0.95, "margin": 0.03, "n": 9,
            "word": "inconclusive", "sentence": "inconclusive",
        },
    }  # fmt: skip
    said = "4 more left out: 2 without an answer, 1 longer than the student reads, 1 odd <b>"
    assert f"On 200 prompts kept out of training ({said}) it agrees" in headline(evaluation)
    assert f"Fidelity on 200 held-out prompts ({said}), with" in shown(evaluation)
    text = page(evaluation)
    assert "1 odd &lt;b&gt;" in text and "<b>)" not in text
    assert "On 9 held-out rows of the task (3 more left out: 3 without an answer)" in text
    assert words.left_out({}) == words.left_out(None) == words.left_out({"too_long": 0}) == ""


def test_unknown_money_and_tokens_are_said_to_be_so(evaluation: dict[str, Any]) -> None:
    for stage in ("collection", "total"):
        evaluation["cost"][stage] |= {"money": None, "tokens": None}
    assert "(what its server charged is not known) and 1/5,900" in headline(evaluation)
    assert "0 USD" not in shown(evaluation).replace(".0", "")
    assert "0.019 USD" not in page(evaluation)


def test_the_training_of_a_parent_counts(evaluation: dict[str, Any]) -> None:
    evaluation["cost"] |= {
        "parent": {"model": "maker/<i>small", "parameters": 5, "flops": 1.3e18},
        "ratio_flops_with_parent": 0.96,
    }
    text = headline(evaluation)
    assert "and, with the training of maker/<i>small, which it began as, 0.96 times the" in text
    whole = page(evaluation)
    assert "maker/&lt;i&gt;small counted in" in whole and "<i>small" not in whole
    assert "1/5,900" not in whole and "0.96 times</" not in whole
    assert "Training of the model that it began as, estimated" in whole
    assert "which is counted in" in " ".join(limits(evaluation))
    assert "the model it began as (estimated) 1.3 × 10¹⁸" in shown(evaluation)


def test_right_answers_have_no_teacher(evaluation: dict[str, Any]) -> None:
    figures = {
        k: v
        for k, v in evaluation["models"]["student"].items()
        if k not in ("kl_per_token", "top1_agreement", "greedy")
    }
    evaluation |= {"answers": "gold", "models": {"student": figures}, "differences": {}}
    evaluation |= {"shrink": None, "vocabulary": None}
    evaluation["cost"]["parent"] = {"model": "small", "parameters": 5, "flops": 1.3e18}
    evaluation["held_out"]["sampling"] = {}
    evaluation["task"] = {
        "kind": "text", "n": 9, "score": "f1", "slices": [], "teacher": None,
        "student": {"exact": measured(1.0, 0.6, 1.0), "f1": measured(0.5)}, "comparison": None,
    }  # fmt: skip
    text = page(evaluation, recipe="", provenance={})
    inside = text[text.index("<main") :]
    assert not re.findall(".*teacher.*", inside, re.IGNORECASE)
    assert "the student scores an F1 of 50.0% (no interval: all 20 prompts alike)" in headline(
        evaluation
    )


def test_what_was_not_healed_is_not_called_healed(evaluation: dict[str, Any]) -> None:
    evaluation["shrink"] |= {"heal": "none", "healed": None}
    text = page(evaluation)
    assert "Cut, untrained" in text and "healed, untrained" not in text
    assert "Cut and healed" not in text and "Healing</dt><dd>none<" in text


def test_counts_of_curation_are_those_of_training_answers(evaluation: dict[str, Any]) -> None:
    evaluation["curation"] = {
        "train": 60, "train_kept": 55, "dropped": {"too_long": 5}, "alone": {}, "verified": None,
        "judge": None, "notes": [], "elsewhere": {"held_out": {"too_long": 2}},
    }  # fmt: skip
    text = page(evaluation)
    assert "Training answers learnt from</dt><dd>55 of 60<" in text
    assert "Dropped: too long</dt><dd>5<" in text
    assert "Left out of held-out answers: too long</dt><dd>2<" in text


def test_an_interval_says_where_it_lies_or_why_there_is_none() -> None:
    assert words.interval(measured(0.5, 0.4, 0.6)) == "95% interval 0.400 to 0.600"
    assert words.interval(measured(0.5, n=1)) == "no interval: one prompt"
    assert words.interval(measured(0.5, n=1200)) == "no interval: all 1,200 prompts alike"
    assert words.interval(measured(0.5, 0.5, 0.5)) == "no interval: all 20 prompts alike"
    assert words.interval({"value": 0.5}) == words.interval(None) == ""
    # Places enough to tell the ends apart.
    assert words.span(measured(0.9998, 0.9996, 0.99995), words.percent) == "99.96% to 100.00%"
    assert words.span(measured(1, 1.00001, 1.00002)) == "1.00001 to 1.00002"


def every_path(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from every_path(value, (*path, key))


@pytest.mark.parametrize("instead", [None, "odd", float("nan"), [], {}])
def test_odd_figures_break_no_page(evaluation: dict[str, Any], instead: Any) -> None:
    new: dict[str, dict[str, Any]] = {
        "held_out": {"left_out": {"no_answer": 2}},
        "training": {
            "kept_step": 0, "validated_by": "kl", "validation_before": 0.1, "validation_kept": 0.1,
            "validation_last": 0.3, "validation_left_out": {"too_long": 1},
        },
        "cost": {"parent": {"model": "m", "flops": 1.0}, "ratio_flops_with_parent": 1.5},
    }  # fmt: skip
    for section, fields in new.items():
        for path in every_path(fields):
            odd = copy.deepcopy(evaluation)
            odd[section] |= copy.deepcopy(fields)
            node = odd[section]
            for key in path[:-1]:
                node = node[key]
            node[path[-1]] = instead
            assert "</html>" in page(odd)
            assert isinstance(headline(odd), str)
            shown(odd)
