"""Terms of stored calls: what is stated of whoever wrote the responses."""

from __future__ import annotations

from collections.abc import Sequence

from potstill.terms.facts import TermsFacts, packaged_facts
from potstill.terms.licences import Evidence, read_statement

_MOST_NAMED = 3


def evidence_of_calls(
    stated_source: str | None,
    models: Sequence[str],
    facts: TermsFacts | None = None,
    *,
    setting: str = "source",
) -> tuple[Evidence, ...]:
    """Return what is stated of the terms of stored calls, for `decide`.

    `stated_source` is what the user says of them, in what is called `setting`; `models` are the
    names in the log, which say nothing of terms and are only named. A source that the facts do not
    know, or none, leaves the terms unknown, so that an authorisation is needed.
    """
    if stated_source is None or not stated_source.strip():
        named = ", ".join(models[:_MOST_NAMED]) or "none"
        more = f" and {len(models) - _MOST_NAMED} more" if len(models) > _MOST_NAMED else ""
        return (Evidence(f"no terms (models: {named}{more})", "the log of calls", None),)
    return tuple(read_statement(stated_source, setting, facts or packaged_facts()))
