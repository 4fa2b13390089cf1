"""Terms of stored calls: what is stated of whoever wrote the responses."""

from __future__ import annotations

from collections.abc import Sequence

from potstill.terms.facts import TermsFacts, packaged_facts
from potstill.terms.statements import Evidence, read_statement
from potstill.terms.surfaces import evidence_of_service

_MOST_NAMED = 3


def evidence_of_calls(
    stated_source: str | None,
    models: Sequence[str],
    facts: TermsFacts | None = None,
    *,
    setting: str = "source",
) -> tuple[Evidence, ...]:
    """Return what is stated of the terms of stored calls, for `decide`.

    `stated_source` is what the user says of them, in what is called `setting`: a licence, or a
    service (`openai-api`, `chatgpt`; of a provider's name alone all its services count). `models`
    are the names in the log, which permit nothing and are only named. A source that the facts do
    not know, or none, leaves the terms unknown, so that an authorisation is needed.
    """
    facts = facts or packaged_facts()
    if stated_source is None or not stated_source.strip():
        named = ", ".join(models[:_MOST_NAMED]) or "none"
        more = f" and {len(models) - _MOST_NAMED} more" if len(models) > _MOST_NAMED else ""
        words = f"no terms (models: {named}{more})"
        return (Evidence(words, "the log of calls", None, "calls", read=True),)
    service = evidence_of_service(stated_source, setting, facts=facts)
    return service or tuple(read_statement(stated_source, setting, facts, "calls"))
