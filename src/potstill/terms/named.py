"""The terms of what somebody names: a model at hand, a service, a provider, a licence, a name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from potstill.errors import PotstillError
from potstill.models.reference import local_path
from potstill.terms.facts import TermsFacts, packaged_facts
from potstill.terms.licences import licence_of
from potstill.terms.statements import Evidence, read_statement
from potstill.terms.surfaces import evidence_of_endpoint, evidence_of_name, evidence_of_service
from potstill.terms.use import SurfaceKind
from potstill.text.address import host_of

_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
# The files of a model on the hub that state terms.
_READ = ("README.md", "LICENSE", "LICENSE.txt", "LICENSE.md", "USE_POLICY.md", "config.json")


@dataclass(frozen=True)
class NamedTerms:
    """What states the terms of something, and what was looked at, in words."""

    evidence: tuple[Evidence, ...]
    looked_at: str


def terms_of(
    named: str, surface: SurfaceKind | None = None, facts: TermsFacts | None = None
) -> NamedTerms:
    """Return what states the terms of a model, a service, a provider or a licence.

    Nothing is asked of a network. `surface` says which of a provider's services is meant, or that
    weights are. Raises PotstillError for what potstill knows nothing of.
    """
    facts = facts or packaged_facts()
    if _ADDRESS.match(named):
        _require_host(named)
        return NamedTerms(evidence_of_endpoint(named, "", facts), "the address of a server")
    services = evidence_of_service(named, "the name of a service", None, facts)
    here = Path(named).expanduser().exists() or named.startswith("package:")
    if services and not here:
        return _of_service(named, surface, facts)
    if surface in ("api", "app"):
        raise PotstillError(
            f"potstill knows no service called {named}; name its provider, or leave --surface out"
        )
    if here:
        path = local_path(named)
        assert path is not None
        what = "the model's GGUF file" if path.is_file() else "the files of the model's directory"
        return NamedTerms(licence_of(path, facts), what)
    return _of_word(named, facts)


def _require_host(address: str) -> None:
    try:
        host = host_of(address)
    except ValueError:
        host = ""
    if not host:
        raise PotstillError(f"{address} is the address of no server; give one with its host")


def _of_service(named: str, surface: SurfaceKind | None, facts: TermsFacts) -> NamedTerms:
    if surface == "weights":
        raise PotstillError(
            f"{named} is a service; weights have licences of their own: name the model, or its "
            "directory"
        )
    evidence = evidence_of_service(named, f"the name {named}", surface, facts)
    if not evidence:
        raise PotstillError(
            f"potstill has no facts on a service of {named} that is an {surface}; leave --surface "
            "out to see those that it knows"
        )
    several = len(evidence) > 1 and surface is None
    more = "; the strictest decides, --surface names one" if several else ""
    return NamedTerms(evidence, f"the provider's services{more}" if several else "the service")


def _of_word(named: str, facts: TermsFacts) -> NamedTerms:
    """Return what a licence's name or a model's name tells; a cached model's files are read."""
    stated = read_statement(named, "the name of a licence", facts)
    if all(one.licence is not None for one in stated):
        return NamedTerms(tuple(stated), "the licence")
    cached = _cached(named)
    if cached is not None:
        return NamedTerms(licence_of(cached, facts), "the model's files, as they were fetched")
    told = evidence_of_name(named, facts)
    if not told:
        raise PotstillError(
            f"potstill knows no model, service or licence called {named}; give a model's directory "
            "or .gguf file, a provider such as openai, or a licence such as apache-2.0"
        )
    return NamedTerms(told, "the name alone: a run reads the files, which are not here")


def _cached(named: str) -> Path | None:
    """Return the folder of a hub model's files that were fetched before, whole or in part."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = [try_to_load_from_cache(named, name) for name in _READ]
    except HFValidationError:
        return None
    return next((Path(path).parent for path in found if isinstance(path, str)), None)
