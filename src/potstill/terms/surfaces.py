"""The terms of a served model, from its host and its name: there are no files to read."""

from __future__ import annotations

import re

from potstill.terms.facts import Facts, packaged_facts
from potstill.terms.licences import Evidence
from potstill.text.address import host_of, is_own_host


def evidence_of_endpoint(url: str, model: str, facts: Facts | None = None) -> tuple[Evidence, ...]:
    """Return what the address and the name of a served model state; nothing is asked.

    A hosted service's own terms count, and what the model's name tells beside them. On a host of
    one's own (this machine, a private network) the model's licence alone decides, as its name
    tells it; a name that tells none is unknown.
    """
    facts = facts or packaged_facts()
    host = host_of(url)
    told = _told_by_name(model, facts)
    if is_own_host(host):
        where = f"the model name {model[:80]}"
        return told or (Evidence("no family of models that is known", where, None),)
    return (_service(host, facts), *told)


def _service(host: str, facts: Facts) -> Evidence:
    surface = next((s for s in facts.surfaces if s.serves(host)), None)
    if surface is None:
        return Evidence("terms of its own", host, None)
    return Evidence(surface.source, host, surface.id)


def _told_by_name(model: str, facts: Facts) -> tuple[Evidence, ...]:
    """Return the licence, or the service, that each matching family stands for."""
    name = model.strip().rstrip("/").replace("\\", "/").rpartition("/")[2].lower()
    where = f"the model name {model[:80]}"
    entries = [family.entry for family in facts.families if re.search(family.pattern, name)]
    found = []
    for entry in dict.fromkeys(entries):
        known = facts.entry(entry)
        stated = known.source if known and entry.startswith("surface-") else entry
        found.append(Evidence(stated, where, entry if known else None))
    return tuple(found)
