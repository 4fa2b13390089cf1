"""Terms of stored calls: what the recipe states, never what a model is called."""

from __future__ import annotations

from datetime import date

import pytest

from potstill.terms import Stated, decide
from potstill.terms.calls import evidence_of_calls

TODAY = date(2026, 11, 25)


@pytest.mark.parametrize(
    ("source", "models", "outcome"),
    [
        ("apache-2.0", ["big"], "allow"),
        ("Apache 2.0", [], "allow"),
        ("llama3.1", ["big"], "conditions"),
        ("llama3", ["big"], "deny"),
        ("somebody's service", ["big"], "unknown"),
        (None, ["big"], "unknown"),
        (" ", [], "unknown"),
        (None, ["apache-2.0"], "unknown"),
    ],
)
def test_only_a_stated_source_decides(source, models, outcome) -> None:
    evidence = evidence_of_calls(source, models, setting="collect.calls.source")
    assert decide("calls", evidence, Stated(), today=TODAY).outcome == outcome


def test_reasons_say_what_is_stated_and_where() -> None:
    def reason(source, models) -> str:
        evidence = evidence_of_calls(source, models, setting="collect.calls.source")
        return decide("calls", evidence, Stated(), today=TODAY).reason

    assert reason("a service", []).startswith("collect.calls.source states a service, which")
    words = "the log of calls states no terms (models: a, b, c and 1 more)"
    assert reason(None, ["a", "b", "c", "d"]).startswith(words)
    assert "(models: none)" in reason(None, [])
