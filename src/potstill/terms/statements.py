"""What is stated of terms: one name of a licence, or an SPDX expression, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Literal

from license_expression import LicenseSymbol, Licensing

from potstill.terms.facts import STRICTNESS, Licence, TermsFacts

# `model`: of the model itself; `base`: of what it was made from; `policy`: a policy of use beside
# the licence; `service`, `name`, `calls`: of a host, of a name, of stored calls.
About = Literal["model", "base", "policy", "service", "name", "calls"]

_LONGEST_EXPRESSION = 500
_EXPRESSIONS = Licensing()
_SHOWN = 80  # characters of a statement


@dataclass(frozen=True)
class Evidence:
    """One statement of a licence: as it was written, where, and the id it is known under.

    `licence` is None where the statement is not one that the facts know. `offered` are all ids
    among which an expression gives the choice. `read` tells that potstill found it itself; what a
    caller hands in is recorded as such.
    """

    stated: str
    where: str
    licence: str | None
    about: About = field(default="model", compare=False)
    offered: tuple[str, ...] = field(default=(), compare=False)
    read: bool = field(default=False, compare=False)

    @property
    def ids(self) -> frozenset[str]:
        """The licences that the place may mean."""
        return frozenset((*self.offered, *([] if self.licence is None else [self.licence])))


def found(stated: str, where: str, licence: str | None, about: About = "model") -> Evidence:
    """Return a statement that potstill found itself."""
    return Evidence(stated.strip()[:_SHOWN], where, licence, about, read=True)


def read_statement(
    name: str, where: str, facts: TermsFacts, about: About = "model"
) -> list[Evidence]:
    """Return what the name of a licence states, or an SPDX expression such as `MIT AND Apache-2.0`.

    Of an expression each licence that applies is a statement of its own: all that AND joins; of
    those between which OR gives the choice, whichever is the least strict. One with a licence or
    an exception that the facts do not know is not known either, as a whole.
    """
    known = facts.find(name)
    if known is not None:
        return [found(name, where, known.id, about)]
    applying, offered = _of_expression(name, facts)
    stated = [replace(found(name, where, one.id, about), offered=offered) for one in applying]
    return stated or [found(name, where, None, about)]


def _of_expression(text: str, facts: TermsFacts) -> tuple[tuple[Licence, ...], tuple[str, ...]]:
    """Return the licences that apply by an SPDX expression, and the ids of all that it names.

    None where that cannot be told.
    """
    if len(text) > _LONGEST_EXPRESSION:
        return (), ()
    try:
        parsed = _EXPRESSIONS.parse(text)
        named = [facts.find(key) for key in _EXPRESSIONS.license_keys(parsed)]
        return _applying(parsed, facts), tuple(one.id for one in named if one is not None)
    except Exception:  # Whatever it is that a parser raises on what was never meant for it.
        return (), ()


def _applying(expression: Any, facts: TermsFacts) -> tuple[Licence, ...]:
    """Return the licences of a parsed expression; raises KeyError for what is not known."""
    if isinstance(expression, _EXPRESSIONS.AND | _EXPRESSIONS.OR):
        parts = [_applying(part, facts) for part in expression.args]
        if isinstance(expression, _EXPRESSIONS.OR):
            return min(parts, key=lambda licences: max(map(_strictness, licences)))
        return tuple(dict.fromkeys(licence for part in parts for licence in part))
    # A licence WITH an exception is another kind of symbol, and another licence.
    known = facts.find(expression.key) if type(expression) is LicenseSymbol else None
    if known is None:
        raise KeyError(str(expression))
    return (known,)


def _strictness(licence: Licence) -> int:
    """Return how strict a licence is; what is out of date is for the gate, which knows the day."""
    return STRICTNESS.index(licence.outcome(date.min))
