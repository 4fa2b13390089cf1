"""Answers that can be checked without a model.

A verifier takes an answer and the gold one, if there is one, and says whether the answer is right,
or why not, or that nobody can tell. Reasons name the rule, never the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, DecimalException, localcontext
from functools import partial
from typing import Any

from potstill.curate.normal import bare_answer
from potstill.errors import PotstillError
from potstill.recipe import VerifyConfig
from potstill.recipe.json_schema import mismatch_of, schema_problem
from potstill.text.same_json import same_json

_NUMBER = re.compile(
    r"(?:(?<![\w.,)\]])[-+\N{MINUS SIGN}])?[$€£¥]?"
    r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<!\d)\.\d+)(?:[eE][-+]?\d{1,4}(?!\w))?"
)
_DIGITS = 60  # of a difference


@dataclass(frozen=True)
class Verdict:
    """`correct` is None where there is no gold answer to compare with; `reason` says what is
    wrong, and is empty where nothing is."""

    correct: bool | None
    reason: str = ""


Verifier = Callable[[str, str | None], Verdict]
_RIGHT = Verdict(True)
_UNKNOWN = Verdict(None)


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
        allowed = _labels(config.labels)
        names = ", ".join(config.labels)
        _refuse_gold(answers, lambda t: bare_answer(t) in allowed, f"are no labels ({names})")
        return partial(allowed_label, labels=allowed)
    if config.kind == "json":
        fits = _schema_fits(config.json_schema if config.json_schema is not None else {})
        _refuse_gold(
            answers,
            lambda text: fitting_json(text, None, fits=fits).correct is True,
            "are not JSON that fits curate.verify.json_schema",
        )
        return partial(fitting_json, fits=fits)
    return same_answer


def last_number(text: str) -> Decimal | None:
    """Return the last number in a text; thousands may be set apart by commas."""
    found = [match[0] for match in _NUMBER.finditer(text)]
    if not found:
        return None
    plain = re.sub(r"[$€£¥,+]", "", found[-1].replace("\N{MINUS SIGN}", "-"))
    try:
        return Decimal(plain)
    except DecimalException:
        return None


def same_number(answer: str, gold: str | None, *, tolerance: Decimal) -> Verdict:
    """Compare the last number of an answer with the gold one's."""
    found = last_number(answer)
    if found is None:
        return Verdict(False, "no number")
    wanted = last_number(gold) if gold is not None else None
    if wanted is None:
        return _UNKNOWN
    return _RIGHT if _near(found, wanted, tolerance) else Verdict(False, "another number")


def allowed_label(answer: str, gold: str | None, *, labels: frozenset[str]) -> Verdict:
    """Compare an answer with the allowed labels, and with the gold one."""
    found = bare_answer(answer)
    if found not in labels:
        return Verdict(False, "no allowed label")
    if gold is not None and found != bare_answer(gold):
        return Verdict(False, "another label")
    return _RIGHT


def fitting_json(answer: str, gold: str | None, *, fits: Callable[[Any], str | None]) -> Verdict:
    """Parse an answer (all of it), hold it against the schema, and compare with the gold value.

    Values are compared as JSON: the order of keys is free, 1 is 1.0, and 1 is not true.
    """
    try:
        value = _parsed(answer)
    except (ValueError, RecursionError):
        fenced = answer.strip().startswith("```")
        return Verdict(False, "JSON inside a code fence" if fenced else "no JSON")
    mismatch = fits(value)
    if mismatch is not None:
        return Verdict(False, f"JSON against the schema's {mismatch}")
    try:
        same = gold is None or same_json(value, _parsed(gold))
    except RecursionError:
        return Verdict(False, "JSON nested too deeply")
    return _RIGHT if same else Verdict(False, "another value")


def same_answer(answer: str, gold: str | None) -> Verdict:
    """Compare an answer with the gold one, but for case, spacing, outer quotes and full stop."""
    if gold is None:
        return _UNKNOWN
    if bare_answer(answer) == bare_answer(gold):
        return _RIGHT
    return Verdict(False, "another answer")


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


def _labels(labels: Sequence[str]) -> frozenset[str]:
    allowed = frozenset(map(bare_answer, labels))
    if len(allowed) < len(labels) or "" in allowed:
        raise PotstillError(
            "curate.verify.labels holds a blank label, or two that differ only in case, spacing, "
            "quotes or full stop; give labels that can be told apart"
        )
    return allowed


def _refuse_gold(answers: Sequence[str], possible: Callable[[str], bool], complaint: str) -> None:
    wrong = sum(not possible(answer) for answer in answers)
    if wrong:
        raise PotstillError(
            f"{wrong} of {len(answers)} gold answers {complaint}; correct them, or curate.verify"
        )


def _parsed(text: str) -> Any:
    return json.loads(text, parse_constant=_no_constant)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
