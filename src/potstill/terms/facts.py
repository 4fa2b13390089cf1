"""The facts: which licence lets outputs train another model, read from data/terms.yaml."""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from importlib import resources
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from potstill.terms.use import Intent, Role, StudentKind, SurfaceKind, Use

TermsOutcome = Literal["allow", "conditions", "unknown", "deny"]
STRICTNESS: tuple[TermsOutcome, ...] = ("allow", "conditions", "unknown", "deny")
ObligationKind = Literal[
    "licence-copy",
    "notice-copy",
    "policy-copy",
    "display",
    "notice",
    "name-prefix",
    "flow-down",
    "limit",
    "narrow",
    "keep-in",
]


class Obligation(BaseModel):
    """What is to be done under a licence, and for which intents.

    `of` tells whether only a student that is made from the weights owes it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ObligationKind
    text: str
    intents: tuple[Intent, ...] = Field(("distribute",), min_length=1)
    of: Literal["any", "weights"] = "any"

    @property
    def said(self) -> str:
        """What is to be done, in words."""
        if self.kind == "name-prefix":
            return f"the student's name begins with {self.text}"
        if self.kind in ("display", "notice"):
            return f'show "{self.text}"'
        if self.kind in ("licence-copy", "notice-copy", "policy-copy"):
            return f"ship {self.text}"
        return f"pass on {self.text}" if self.kind == "flow-down" else self.text


class UseCase(BaseModel):
    """Another decision for some students; empty `student` or `intents` mean any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    student: tuple[StudentKind, ...] = ()
    intents: tuple[Intent, ...] = ()
    decision: TermsOutcome
    conditions: str
    obligations: tuple[Obligation, ...] = ()

    def fits(self, intent: Intent, kind: StudentKind) -> bool:
        """Tell whether a student is one of this case."""
        return intent in (self.intents or (intent,)) and kind in (self.student or (kind,))


class Licence(BaseModel):
    """What one licence says about its model's outputs, and of training its weights (`base`).

    `recheck_after` is None where the text cannot change any more. `also` is what the holder says
    elsewhere; `policy` tells that a policy of use belongs to the licence.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    decision: TermsOutcome
    base: TermsOutcome | None = None
    conditions: str
    also: str | None = None
    source: str
    effective: str | None = None
    checked: str | None = None
    confidence: Literal["P", "S", "U"]
    recheck_after: date | None
    aliases: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    policy: bool = False
    cases: tuple[UseCase, ...] = ()
    obligations: tuple[Obligation, ...] = ()

    def outcome(self, today: date, use: Use | None = None, role: Role = "teacher") -> TermsOutcome:
        """Return the decision, or `unknown` where a permission is unverified or out of date."""
        stated = self.stated(use or Use(), role)
        permits = stated in ("allow", "conditions")
        return "unknown" if permits and self.doubt(today) is not None else stated

    def stated(self, use: Use, role: Role = "teacher") -> TermsOutcome:
        """Return the decision as the facts have it, whatever their age."""
        if role == "base":
            return self._of_weights
        found = [(c.decision if c else self.decision) for c in self._cases(use)]
        return max(found, key=STRICTNESS.index)

    def doubt(self, today: date) -> str | None:
        """Return why the facts permit nothing today; None where they may."""
        when = f" (checked {self.checked})" if self.checked else ""
        if self.confidence == "U":
            return f"unverified{when}"
        if self.recheck_after is not None and today > self.recheck_after:
            return f"out of date since {self.recheck_after.isoformat()}{when}"
        return None

    def said(self, use: Use, role: Role = "teacher") -> str:
        """Return the conditions that decide, in words."""
        if role == "base" and self._of_weights == "unknown":
            return "potstill has no fact on training its weights further"
        case = max(self._cases(use), key=lambda c: STRICTNESS.index((c or self).decision))
        return self.conditions if case is None or role == "base" else case.conditions

    def owed(self, use: Use, role: Role = "teacher") -> tuple[Obligation, ...]:
        """Return the obligations of a student, those for other intents than its own included."""
        cases = () if role == "base" else self._cases(use)
        more = [o for case in cases if case for o in case.obligations]
        own = [o for o in self.obligations if role == "base" or o.of == "any"]
        return tuple(dict.fromkeys((*own, *more)))

    @property
    def _of_weights(self) -> TermsOutcome:
        return self.base or "unknown"

    def _cases(self, use: Use) -> tuple[UseCase | None, ...]:
        """Return the case of each intent that a student may have; None where it is none."""
        return tuple(
            next((case for case in self.cases if case.fits(intent, use.kind)), None)
            for intent in use.intents
        )


class Surface(Licence):
    """What the terms of one service say about outputs; `hosts` are names or `*.ends`."""

    provider: str
    surface: SurfaceKind
    hosts: tuple[str, ...] = Field(min_length=1)

    @property
    def _of_weights(self) -> TermsOutcome:
        # What was learnt from the service's outputs stays under its terms.
        return self.decision

    def serves(self, host: str) -> bool:
        """Tell whether a host, in lower case, is one of this service's."""
        return any(
            host == name or (name.startswith("*.") and host.endswith(name[1:]))
            for name in self.hosts
        )

    def called(self, name: str) -> bool:
        """Tell whether a user's name of a service is this one's, or its provider's."""
        return normalised(name) in (self.id, self.provider, *self.aliases)


class Family(BaseModel):
    """Model names that tell their licence, or the service that they come from.

    `pattern` is searched in the name in lower case, without its folders. `entry` is the id of a
    licence or of a surface.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern: str
    entry: str


class KnownWeights(BaseModel):
    """A model that is known by the values of its last norm, whatever it is called."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str = Field(pattern="^[0-9a-f]{32}$")
    model: str
    entry: str


class TermsFacts(BaseModel):
    """The tables of licences and services; `version` is stored with every decision."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    licences: tuple[Licence, ...] = Field(min_length=1)
    surfaces: tuple[Surface, ...] = ()
    families: tuple[Family, ...] = ()
    weights: tuple[KnownWeights, ...] = ()

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

    def services(self, name: str, surface: SurfaceKind | None = None) -> tuple[Surface, ...]:
        """Return the services that a user's name stands for: one, or all of a provider's."""
        return tuple(s for s in self.surfaces if s.called(name) and surface in (None, s.surface))

    def told_by(self, model: str) -> tuple[str, ...]:
        """Return the ids of the licences or services that a model's name tells."""
        name = model.strip().rstrip("/").replace("\\", "/").rpartition("/")[2].lower()
        name = name.replace(" ", "-")
        found = [family.entry for family in self.families if re.search(family.pattern, name)]
        return tuple(dict.fromkeys(found))


def normalised(name: str) -> str:
    """Return a licence's name in lower case, with dashes for spaces and underscores."""
    return re.sub(r"[\s_]+", "-", name.strip().lower())


@lru_cache(maxsize=1)
def packaged_facts() -> TermsFacts:
    """Return the facts that ship with potstill."""
    text = (resources.files("potstill") / "data" / "terms.yaml").read_text(encoding="utf-8")
    return TermsFacts.model_validate(yaml.safe_load(text))
