"""A file of few prompts: what is said, what fits, and what the how-to's table says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nano_text
import pytest

from potstill.collect.prompts import plan_prompts
from potstill.collect.small_files import fitting_counts, way_out
from potstill.errors import PotstillError
from potstill.recipe import PromptsConfig
from potstill.work.shared_prompts import shared_prompts

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "prompts.md"
ROWS = re.findall(
    r"^\| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
)


def write(path: Path, count: int) -> Path:
    lines = [json.dumps({"prompt": text}) for text in nano_text.prompts()[:count]]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_pages_table_adds_up_and_is_what_the_message_says(row: tuple[str, ...]) -> None:
    prompts, held_out, validation, left = map(int, row)
    assert held_out + validation + left == prompts
    standard = PromptsConfig()
    if prompts > standard.held_out_count + standard.validation_count:
        assert (held_out, validation) == (standard.held_out_count, standard.validation_count)
    else:
        assert (held_out, validation) == fitting_counts(prompts)


def test_the_page_has_the_rows_that_people_ask_for() -> None:
    assert [int(row[0]) for row in ROWS] == [10, 40, 100, 200, 500]
    standard = PromptsConfig()
    least = standard.held_out_count + standard.validation_count + 1
    assert f"fewer\nthan {least} prompts" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("count", [3, 4, 10, 40, 100, 230])
def test_counts_that_are_named_leave_prompts_to_train_on(count: int, tmp_path: Path) -> None:
    source = str(write(tmp_path / "p.jsonl", count))
    with pytest.raises(PotstillError, match=rf"which fit {count} prompts$") as refused:
        plan_prompts(PromptsConfig(source=source), seed=0)
    named = re.findall(r"prompts\.(\w+) to (\d+)", str(refused.value))
    counts = {field: int(count) for field, count in named}
    plan = plan_prompts(PromptsConfig.model_validate({"source": source, **counts}), seed=0)
    assert plan.train and plan.validation and plan.held_out


@pytest.mark.parametrize(("count", "own"), [(1, False), (2, False), (1, True)])
def test_too_few_for_any_counts_says_how_many_are_needed(
    count: int, own: bool, tmp_path: Path
) -> None:
    values = {"source": str(write(tmp_path / "p.jsonl", count))}
    if own:
        values["held_out"] = "starter-held-out"
    with pytest.raises(PotstillError, match=rf"give at least {2 if own else 3} prompts"):
        plan_prompts(PromptsConfig.model_validate(values), seed=0)


def test_with_a_held_out_file_only_validation_is_lowered() -> None:
    assert way_out(24, own_held_out=True) == (
        "give more prompts, or set prompts.validation_count to 2, which fit 24 prompts"
    )


BODIES = (
    "Loved every minute",
    "Dull wooden acting",
    "My children laughed",
    "I walked out",
    "Beautiful pictures, superb",
    "The best meal",
    "Cold soup, never",
    "Fast fair delivery",
    "It broke twice",
    "Works as described",
)
TEMPLATES = (
    "Classify the sentiment of this review as positive or negative. Review: {body}",
    "{body}\n\nIs the review above positive or negative? Answer with one of these two words.",
    "You label reviews {{as JSON}} for a shop; the shop is {shop}.\n\nReview: {body}\nLabel of it:",
    "\n  Label a review of the shop {shop}{body} as either positive or negative, please. \n",
)


def templated(path: Path, bodies: tuple[str, ...], template: str) -> PromptsConfig:
    rows = [json.dumps({"body": body, "shop": "Corner & Sons"}) for body in bodies]
    path.write_text("\n".join(rows), encoding="utf-8")
    counts = {"held_out_count": 4, "validation_count": 1}
    return PromptsConfig.model_validate({"source": str(path), "template": template, **counts})


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_templates_own_words_make_no_prompts_alike(template: str, tmp_path: Path) -> None:
    plan = plan_prompts(templated(tmp_path / "p.jsonl", BODIES, template), seed=0)
    assert (len(plan.held_out), len(plan.validation), len(plan.train)) == (4, 1, 5)
    assert "template" in plan.overlap.method


@pytest.mark.parametrize("template", TEMPLATES)
def test_columns_that_are_alike_still_count(template: str, tmp_path: Path) -> None:
    words = "the same long review of the same film in the same words all over again until"
    alike = tuple(f"{words} {number}" for number in range(10))
    with pytest.raises(PotstillError, match=r"[56] dropped") as refused:
        plan_prompts(templated(tmp_path / "p.jsonl", alike, template), seed=0)
    assert "too alike" in str(refused.value)
    assert "_count" not in str(refused.value)  # they are set to what would fit


@pytest.mark.parametrize("template", TEMPLATES)
def test_equal_words_under_a_template_count(template: str, tmp_path: Path) -> None:
    same = tuple(f"{body}{mark}" for body in BODIES for mark in ("", "!"))
    plan = plan_prompts(templated(tmp_path / "p.jsonl", same, template), seed=0)
    held_out = {p.messages[0]["content"].replace("!", "") for p in plan.held_out}
    assert plan.overlap.exact
    assert not held_out & {p.messages[0]["content"].replace("!", "") for p in plan.train}


def test_counts_that_are_too_large_are_named_where_prompts_are_alike_too() -> None:
    assert "held_out_count to 4" in way_out(10, own_held_out=False, taken=10)
    assert "too alike" in way_out(10, own_held_out=True, taken=9)


def test_a_runs_report_leaves_the_same_words_out() -> None:
    template = TEMPLATES[0]
    messages = [[{"role": "user", "content": template.format(body=body)}] for body in BODIES]
    assert shared_prompts(messages[:6], messages[6:], None).near
    found = shared_prompts(messages[:6], messages[6:], template)
    assert (found.exact, found.near) == (0, 0)
    assert shared_prompts(messages[:6], messages[5:], template).exact == 1
    # What the template did not make is compared as it stands.
    others = [[{"role": "user", "content": f"{body}, and so I said at home"}] for body in BODIES]
    assert shared_prompts(others[:3], others[2:], template).exact == 1
