"""Answers that can be checked without a model.

A verifier takes a response and the gold answer, if there is one, and says whether the response is
right, or why not, or that nobody can tell. Answers are read as tasks read them
(`potstill.text.answers`). Reasons name the rule, never the text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, DecimalException, localcontext
from functools import partial
from typing import Any

from potstill.canonical import parsed
from potstill.errors import PotstillError
from potstill.recipe import VerifyConfig
from potstill.recipe.json_schema import mismatch_of, schema_problem
from potstill.recipe.plain import labels_problem
from potstill.text.answers import read_json, read_label, read_number, read_text
from potstill.text.forms import short_answer
from potstill.text.labels import LabelReader
from potstill.text.same_json import same_value
from potstill.text.values import last_number

_DIGITS = 60  # of a difference


@dataclass(frozen=True)
class AnswerVerdict:
    """`correct` is None where there is no gold answer to compare with; `reason` says what is
    wrong, and is empty where nothing is."""

    correct: bool | None
    reason: str = ""


Verifier = Callable[[str, str | None], AnswerVerdict]
_RIGHT = AnswerVerdict(True)
_UNKNOWN = AnswerVerdict(None)


def verifier(config: VerifyConfig, gold: Mapping[str, str] | None) -> Verifier | None:
    """Return what checks an answer against its gold one; None where nothing is to be checked.

    `gold` maps prompt_id to the gold answer. Raises PotstillError where the schema is malformed,
    where a gold answer is not one that could be right, and where the kind needs gold answers and
    there are none.
    """
    if config.kind == "none":
        return None
    answers = list((gold or {}).values())
    if config.kind in ("number", "exact") and not answers:
        raise PotstillError(
            f"curate.verify.kind {config.kind} compares with gold answers, and there are none; "
            "give them, or take another kind"
        )
    if config.kind == "number":
        _refuse_gold(answers, lambda text: last_number(text) is not None, "hold no number")
        return partial(same_number, tolerance=Decimal(repr(config.tolerance)))
    if config.kind == "label":
        problem = labels_problem(config.labels)
        if problem is not None:
            raise PotstillError(f"curate.verify.labels {problem}")
        labels, names = LabelReader(config.labels), ", ".join(config.labels)
        _refuse_gold(answers, lambda t: labels.whole(t) is not None, f"are no labels ({names})")
        return partial(allowed_label, labels=labels)
    if config.kind == "json":
        fits = _schema_fits(config.json_schema if config.json_schema is not None else {})
        _refuse_gold(
            answers,
            lambda text: fitting_json(text, None, fits=fits).correct is True,
            "are not JSON that fits curate.verify.json_schema",
        )
        return partial(fitting_json, fits=fits)
    return same_answer


def same_number(response: str, gold: str | None, *, tolerance: Decimal) -> AnswerVerdict:
    """Compare the last number of a response with the gold one's."""
    found = read_number(response)
    if found is None:
        return AnswerVerdict(False, "no number")
    wanted = last_number(gold) if gold is not None else None
    if wanted is None:
        return _UNKNOWN
    return _RIGHT if _near(found, wanted, tolerance) else AnswerVerdict(False, "another number")


def allowed_label(response: str, gold: str | None, *, labels: LabelReader) -> AnswerVerdict:
    """Compare the label that a response gives with the gold one."""
    found = read_label(response, labels)
    if found is None:
        return AnswerVerdict(False, "no allowed label, or several")
    if gold is not None and found != labels.whole(gold):
        return AnswerVerdict(False, "another label")
    return _RIGHT


def fitting_json(
    response: str, gold: str | None, *, fits: Callable[[Any], str | None]
) -> AnswerVerdict:
    """Hold the JSON of a response against the schema, compare it with the gold value, and see
    that nothing stands around it: what is learnt from is what the student will write.

    Values are compared as tasks compare them: the order of keys is free, texts are in their plain
    form, 1 is 1.0, and 1 is not true.
    """
    found = read_json(response)
    if found is None:
        return AnswerVerdict(False, "no JSON")
    mismatch = fits(found.value)
    if mismatch is not None:
        return AnswerVerdict(False, f"JSON against the schema's {mismatch}")
    try:
        same = gold is None or same_value(found.value, parsed(gold))
    except RecursionError:
        return AnswerVerdict(False, "JSON nested too deeply")
    if not same:
        return AnswerVerdict(False, "another value")
    return AnswerVerdict(False, f"not bare JSON: {found.around}") if found.around else _RIGHT


def same_answer(response: str, gold: str | None) -> AnswerVerdict:
    """Compare the short text of a response with the gold one's, both in their plain form."""
    if gold is None:
        return _UNKNOWN
    if read_text(response) == short_answer(gold):
        return _RIGHT
    return AnswerVerdict(False, "another answer")


def _near(one: Decimal, other: Decimal, tolerance: Decimal) -> bool:
    if one == other:
        return True
    with localcontext() as context:
        context.prec = _DIGITS
        try:
            return abs(one - other) <= tolerance
        except DecimalException:
            return False


def _schema_fits(schema: dict[str, Any]) -> Callable[[Any], str | None]:
    problem = schema_problem(schema)
    if problem is not None:
        raise PotstillError(f"curate.verify.json_schema is no JSON schema: {problem}")
    return mismatch_of(schema)


def _refuse_gold(answers: Sequence[str], possible: Callable[[str], bool], complaint: str) -> None:
    wrong = sum(not possible(answer) for answer in answers)
    if wrong:
        raise PotstillError(
            f"{wrong} of {len(answers)} gold answers {complaint}; correct them, or curate.verify"
        )
