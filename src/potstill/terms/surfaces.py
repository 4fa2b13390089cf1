"""The terms of a served model, from its host and its name: there are no files to read."""

from __future__ import annotations

from potstill.terms.facts import TermsFacts, packaged_facts
from potstill.terms.statements import Evidence, found
from potstill.terms.use import SurfaceKind
from potstill.text.address import host_of, is_own_host


def evidence_of_endpoint(
    url: str, model: str, facts: TermsFacts | None = None
) -> tuple[Evidence, ...]:
    """Return what the address and the name of a served model state; nothing is asked.

    A hosted service's own terms count, and what the model's name tells beside them. On a host of
    one's own (this machine, a private network) the model's licence alone decides, as its name
    tells it; a name that tells none is unknown.
    """
    facts = facts or packaged_facts()
    host = host_of(url)
    told = evidence_of_name(model, facts)
    if is_own_host(host):
        return told or (_untold(model),)
    return (_service(host, facts), *told)


def evidence_of_name(model: str, facts: TermsFacts | None = None) -> tuple[Evidence, ...]:
    """Return the licence, or the service, that each matching family of names stands for."""
    facts = facts or packaged_facts()
    evidence = []
    for entry in facts.told_by(model):
        known = facts.entry(entry)
        stated = known.source if known and entry.startswith("surface-") else entry
        evidence.append(found(stated, _called(model), entry if known else None, "name"))
    return tuple(evidence)


def evidence_of_service(
    name: str, where: str, surface: SurfaceKind | None = None, facts: TermsFacts | None = None
) -> tuple[Evidence, ...]:
    """Return the terms of a service, by a user's name of it or of its provider.

    Of a provider all services count, or those of one `surface`. Empty where none is known.
    """
    services = (facts or packaged_facts()).services(name, surface)
    return tuple(found(service.source, where, service.id, "service") for service in services)


def _service(host: str, facts: TermsFacts) -> Evidence:
    surface = next((s for s in facts.surfaces if s.serves(host)), None)
    if surface is None:
        return found("terms of its own", host, None, "service")
    return found(surface.source, host, surface.id, "service")


def _untold(model: str) -> Evidence:
    return found("no family of models that is known", _called(model), None, "name")


def _called(model: str) -> str:
    return f"the model name {model[:80]}"
