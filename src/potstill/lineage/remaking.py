"""What a run or a student says of itself made again from what lies in it: figures, data, overlap.

No model is asked. Each function returns what holds, or raises PotstillError for what differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from potstill.canonical import parsed_once
from potstill.errors import PotstillError
from potstill.evaluate.again import (
    MadeFigures,
    figures_in,
    figures_of,
    first_difference,
    without_intervals,
)
from potstill.lineage.data import AnsweredPrompt, data_facts, stored_answers
from potstill.lineage.document import MANIFEST_FILE, Manifest
from potstill.text.counts import many
from potstill.work.check_result import CheckResult
from potstill.work.evaluation_file import read_evaluation
from potstill.work.items import ITEMS_FILE, Items

EVALUATION_FILE = "evaluation.json"
# A hundred times what recipes ask for: more would keep whoever verifies busy for hours.
_MOST_RESAMPLES = 200_000
_FEW_RESAMPLES = 200
_REMEDY = "get the directory as it was from whoever made it"


def check_figures(student: Path, manifest: Manifest) -> Iterator[CheckResult]:
    """Yield that the figures which a manifest states follow from the items that were measured.

    Raises PotstillError, naming the figure, where one does not.
    """
    if manifest.figures is None:
        yield CheckResult("figures", "not checked", f"{MANIFEST_FILE} states none")
        return
    path = student / ITEMS_FILE
    if not path.is_file():
        detail = f"{ITEMS_FILE} is not there, from which they follow: an older version kept none"
        yield CheckResult("figures", "not checked", detail)
        return
    stated = _parsed(MadeFigures, manifest.figures, MANIFEST_FILE)
    items = _parsed(Items, _json(path), ITEMS_FILE)
    many_draws = items.resamples > _MOST_RESAMPLES
    if many_draws:
        items = items.model_copy(update={"resamples": _FEW_RESAMPLES})
    made = _made(items, trimmed=stated.teacher_mass_removed is not None)
    differs = first_difference(stated, made)
    numpy = manifest.packages.get("numpy")
    elsewhere = numpy != version("numpy")
    if many_draws or (differs is not None and elsewhere):
        # Another numpy may draw other resamples; what they are drawn from stays.
        differs = first_difference(without_intervals(stated), without_intervals(made))
        if differs is None:
            yield CheckResult(
                "intervals",
                "not checked",
                f"{ITEMS_FILE} asks for more than {_MOST_RESAMPLES:,} resamples"
                if many_draws
                else f"numpy {numpy} drew their resamples, and this is {version('numpy')}",
            )
    if differs is not None:
        raise PotstillError(
            f"{ITEMS_FILE} does not come to the figures of {MANIFEST_FILE} (its {differs}); "
            f"{_REMEDY}"
        )
    prompts = 0 if items.sampled is None else len(items.sampled.bytes)
    detail = f"made again from what was measured of {many(prompts, 'held-out prompt')}"
    yield CheckResult("figures", "holds", detail)


def _made(items: Items, *, trimmed: bool) -> MadeFigures:
    """Return the figures of items. Raises PotstillError for items that have none."""
    if items.resamples < 1 or items.seed < 0:
        raise PotstillError(
            f"{ITEMS_FILE} asks for {items.resamples} resamples by the seed {items.seed}, which no "
            f"run draws; {_REMEDY}"
        )
    try:
        return figures_of(items, trimmed=trimmed)
    # Columns of unequal lengths, none at all, numbers of which no mean is finite.
    except (ValueError, ArithmeticError, LookupError, StopIteration):
        raise PotstillError(
            f"no figures follow from what {ITEMS_FILE} holds of each prompt; {_REMEDY}"
        ) from None


def check_evaluation(root: Path, manifest: Manifest) -> CheckResult:
    """Return that evaluation.json says what its run's manifest says."""
    found = read_evaluation(root / EVALUATION_FILE)
    if found is None or manifest.figures is None:
        return CheckResult(EVALUATION_FILE, "not checked", "there is none, or no figures of it")
    stated = _parsed(MadeFigures, manifest.figures, MANIFEST_FILE)
    differs = first_difference(stated, figures_in(found))
    for name, value in (("cost", found.cost), ("overlap", found.overlap)):
        if differs is None and getattr(manifest, name) != value.model_dump(mode="json"):
            differs = name
    if differs is not None:
        raise PotstillError(
            f"{EVALUATION_FILE} does not say what {MANIFEST_FILE} says (its {differs}); {_REMEDY}"
        )
    return CheckResult(EVALUATION_FILE, "holds", f"says what {MANIFEST_FILE} says")


def check_data(root: Path, manifest: Manifest) -> Iterator[CheckResult]:
    """Yield that a run's answers have the digests that it states, and share no held-out prompt.

    Raises PotstillError where they have others, or the overlap is another.
    """
    if manifest.data is None or manifest.overlap is None:
        yield CheckResult("overlap", "not checked", f"{MANIFEST_FILE} states none")
        return
    rows = list(stored_answers(root))
    if data_facts(rows) != manifest.data:
        raise PotstillError(
            f"the answers in exchanges/ are not those that {MANIFEST_FILE} names; {_REMEDY}"
        )
    splits = ", ".join(f"{one.rows} {name}" for name, one in manifest.data.splits.items())
    yield CheckResult("data", "holds", f"answers with the digests that are stated: {splits}")
    yield _overlap(root, manifest.overlap, rows)


def _overlap(root: Path, stated: dict[str, Any], rows: list[AnsweredPrompt]) -> CheckResult:
    from potstill.recipe.io import read_recipe
    from potstill.work.records import Prompts
    from potstill.work.shared_prompts import shared_prompts

    try:
        planned = Prompts.from_json((root / "state" / "prompts.json").read_bytes())
    except (OSError, ValueError):
        raise PotstillError(f"state/prompts.json cannot be read; {_REMEDY}") from None
    held_out = {p.prompt_id: p.messages for p in planned.prompts if p.split == "held_out"}
    train = [row.messages for row in rows if row.split == "train"]
    template = read_recipe(root / "recipe.yaml").prompts.template
    found = shared_prompts(train, list(held_out.values()), template).record()
    for name in ("held_out", "train", "exact", "near", "method", "threshold"):
        if found[name] != stated.get(name):
            raise PotstillError(
                f"the overlap of training and held-out prompts is another than {EVALUATION_FILE} "
                f"says (its {name}); {_REMEDY}"
            )
    detail = (
        f"looked for again: of {found['held_out']} held-out prompts {found['exact']} are equal and "
        f"{found['near']} nearly equal to one of {found['train']} training prompts"
    )
    return CheckResult("overlap", "holds", detail)


def _json(path: Path) -> Any:
    try:
        return parsed_once(path.read_text(encoding="utf-8"))
    except ValueError:
        raise PotstillError(f"{path.name} cannot be read as JSON; {_REMEDY}") from None


def _parsed(kind: Any, values: Any, name: str) -> Any:
    try:
        return kind.model_validate(values)
    except ValidationError:
        raise PotstillError(
            f"{name} holds something else than this version of potstill reads; {_REMEDY}"
        ) from None
