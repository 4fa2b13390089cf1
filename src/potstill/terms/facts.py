"""The facts: which licence lets outputs train another model, read from data/terms.yaml."""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from importlib import resources
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

TermsOutcome = Literal["allow", "conditions", "unknown", "deny"]
STRICTNESS: tuple[TermsOutcome, ...] = ("allow", "conditions", "unknown", "deny")


class Licence(BaseModel):
    """What one licence says about its model's outputs.

    `recheck_after` is None where the text cannot change any more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    decision: TermsOutcome
    conditions: str
    source: str
    confidence: Literal["P", "S", "U"]
    recheck_after: date | None
    aliases: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()

    def outcome(self, today: date) -> TermsOutcome:
        """Return the decision, or `unknown` where a permission is unverified or out of date."""
        stale = self.recheck_after is not None and today > self.recheck_after
        if self.decision in ("allow", "conditions") and (self.confidence == "U" or stale):
            return "unknown"
        return self.decision


class Surface(Licence):
    """What the terms of one hosted service say about outputs; `hosts` are names or `*.ends`."""

    hosts: tuple[str, ...] = Field(min_length=1)

    def serves(self, host: str) -> bool:
        """Tell whether a host, in lower case, is one of this service's."""
        return any(
            host == name or (name.startswith("*.") and host.endswith(name[1:]))
            for name in self.hosts
        )


class Family(BaseModel):
    """Model names that tell their licence, or the service that they come from.

    `pattern` is searched in the name in lower case, without its folders. `entry` is the id of a
    licence or of a surface.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern: str
    entry: str


class TermsFacts(BaseModel):
    """The tables of licences and hosted services; `version` is stored with every decision."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    licences: tuple[Licence, ...] = Field(min_length=1)
    surfaces: tuple[Surface, ...] = ()
    families: tuple[Family, ...] = ()

    def entry(self, known_id: str) -> Licence | None:
        """Return the licence or surface that evidence names, or None."""
        found = (surface for surface in self.surfaces if surface.id == known_id)
        return next(found, None) or self.find(known_id)

    def find(self, name: str) -> Licence | None:
        """Return the licence that a spelling of its name stands for, or None."""
        wanted = normalised(name)
        for licence in self.licences:
            if wanted == licence.id or wanted in licence.aliases:
                return licence
        return None


def normalised(name: str) -> str:
    """Return a licence's name in lower case, with dashes for spaces and underscores."""
    return re.sub(r"[\s_]+", "-", name.strip().lower())


@lru_cache(maxsize=1)
def packaged_facts() -> TermsFacts:
    """Return the facts that ship with potstill."""
    text = (resources.files("potstill") / "data" / "terms.yaml").read_text(encoding="utf-8")
    return TermsFacts.model_validate(yaml.safe_load(text))
