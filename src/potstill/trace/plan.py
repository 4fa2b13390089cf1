"""A plan: everything about a trace that is fixed before anything is asked.

Its digest is that of its canonical JSON, which is how `plan.json` lies in a bundle; every coin and
seed of the tests follows from it. What was tried before, with the same teacher, is counted from the
chain of plans and stands in it too, so that nobody can try often and show the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError, model_validator

from potstill.canonical import canonical_json, parsed
from potstill.durable import no_file
from potstill.errors import PotstillError
from potstill.trace.chain import custody_digest
from potstill.trace.finding import Tier, TraceRecord
from potstill.trace.kinds import kind_of_test, tier_of
from potstill.trace.limits import DetectionLimit
from potstill.trace.registry import PlannedTest
from potstill.trace.suspect import Capability

PLAN_FILE = "plan.json"
_REMEDY = "get the bundle as it was from whoever made it"


class TeacherFacts(TraceRecord):
    """Whose outputs are meant: the name that its owner gives it, and what identifies it."""

    name: str
    identity: str
    tokenizer: str | None = None
    vocabulary: int | None = None


class SuspectFacts(TraceRecord):
    """Who is tested, as the plan's author states it; never an address.

    `identity` is the digest of its weights, where they are at hand; `digests` are those of files of
    texts. `parameters` is its size, where it is known.
    """

    kind: Literal["weights", "endpoint", "texts"]
    name: str
    identity: str | None = None
    tokenizer: str | None = None
    parameters: int | None = Field(None, ge=1)
    digests: tuple[str, ...] = ()
    can: tuple[Capability, ...] = ()


class ControlFacts(TraceRecord):
    """A model that is known not to be distilled from the teacher, asked in the same way.

    `tests` are the places, in the plan, of the tests that it goes through beside the suspect.
    """

    name: str
    identity: str | None = None
    tests: tuple[int, ...] = ()


class PlanSource(TraceRecord):
    """What a plan rests on, by digest: the key of an epoch, the served log, prompts, texts."""

    kind: Literal["key", "served-log", "prompts", "texts"]
    name: str
    digest: str


class Computing(TraceRecord):
    """What changes logits by rounding: they are read again in the same way."""

    dtype: str
    device: str = "cpu"
    slots: int = Field(1, ge=1)
    wave: int = Field(1, ge=1)


class Tried(TraceRecord):
    """How much was tried with one teacher before a plan, as its chain counts it.

    `proof`, `descent` and `support` count tests by the tier of their claims.
    """

    plans: int = Field(0, ge=0)
    suspects: int = Field(0, ge=0)
    checkpoints: int = Field(0, ge=0)
    keys: int = Field(0, ge=0)
    proof: int = Field(0, ge=0)
    descent: int = Field(0, ge=0)
    support: int = Field(0, ge=0)

    def of(self, tier: Tier) -> int:
        """Return how many tests of a tier there were."""
        return {"proof": self.proof, "descent": self.descent, "support": self.support}[tier]


class ChainPlace(TraceRecord):
    """Where a plan stands in its teacher's chain: after so many records, the last with `head`."""

    records: int = Field(ge=0)
    head: str
    tried: Tried


class JointTest(TraceRecord):
    """Two tests of a plan, by their places in it, whose p-values Fisher's method combines.

    Their joint null is that the suspect depends neither on the key nor on which answer of several
    was served. `read_elsewhere` states that the watermark is read on texts outside the twins' log.
    """

    watermark: int = Field(ge=0)
    twins: int = Field(ge=0)
    read_elsewhere: bool = False


def _as_planned(value: Any) -> Any:
    """Return a planned test of its own class."""
    if isinstance(value, TraceRecord):
        return value
    test = value.get("test") if isinstance(value, dict) else None
    if not isinstance(test, str):
        raise ValueError("a planned test has a name")
    try:
        return kind_of_test(test).planned.model_validate(value)
    except PotstillError as error:
        raise ValueError(str(error)) from None


AnyPlanned = Annotated[SerializeAsAny[TraceRecord], BeforeValidator(_as_planned)]


class TracePlan(TraceRecord):
    """Everything that a trace fixes before it asks; `tests` are of the classes of the registry."""

    # Aliased, since pydantic has a method of that name.
    form: Literal["potstill/trace-plan/1"] = Field("potstill/trace-plan/1", alias="schema")
    name: str
    created_at: datetime
    teacher: TeacherFacts
    suspect: SuspectFacts
    alpha: float = Field(gt=0, lt=1)
    tests: tuple[AnyPlanned, ...] = Field(min_length=1)
    joint: JointTest | None = None
    controls: tuple[ControlFacts, ...] = ()
    sources: tuple[PlanSource, ...] = ()
    limits: tuple[DetectionLimit, ...] = ()
    computing: Computing
    packages: dict[str, str] = Field(default_factory=dict)
    chain: ChainPlace

    @model_validator(mode="after")
    def _told_apart(self) -> TracePlan:
        names = [(one.test, one.configuration) for one in self.planned]
        if len(set(names)) < len(names):
            raise ValueError("two tests of one plan have the same name and configuration")
        if any(not 0 <= at < len(names) for control in self.controls for at in control.tests):
            raise ValueError("a control goes through a test that the plan has not")
        _require_clean(self.suspect, self.controls)
        return self

    @property
    def planned(self) -> tuple[PlannedTest, ...]:
        """The tests, by what every one says of itself."""
        found = tuple(one for one in self.tests if isinstance(one, PlannedTest))
        assert len(found) == len(self.tests)
        return found

    def count(self, tier: Tier) -> int:
        """Return how many of its tests make claims of a tier."""
        return sum(tier_of(one) == tier for one in self.planned)

    def as_bytes(self) -> bytes:
        """Return the plan as it lies in a bundle: canonical JSON."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))

    @property
    def digest(self) -> str:
        """The digest that names the plan, and that every coin follows from."""
        return custody_digest(self.as_bytes())


def _require_clean(suspect: SuspectFacts, controls: Sequence[ControlFacts]) -> None:
    """Raise PotstillError for a control that is the suspect, and for one that stands twice.

    Models count, not names: twins are tried on so many that are known to be clean.
    """
    seen: dict[str, str] = {}
    for control in controls:
        if control.identity is None:
            continue
        if control.identity == suspect.identity:
            raise PotstillError(
                f"the control {control.name} is the suspect itself, and a control is known not to "
                "be distilled from the teacher; take it out of controls"
            )
        if control.identity in seen:
            raise PotstillError(
                f"the controls {seen[control.identity]} and {control.name} are one model, which "
                "counts once; name another one in controls"
            )
        seen[control.identity] = control.name


class FixedPlan(NamedTuple):
    """A plan as it lies in a file, with the digest of its bytes."""

    plan: TracePlan
    digest: str


def read_plan(path: Path) -> FixedPlan:
    """Return the plan of a file. Raises PotstillError where it is none that this version reads."""
    if (fault := no_file(path)) is not None:
        raise PotstillError(f"the plan {path} {fault}; {_REMEDY}")
    content = path.read_bytes()
    try:
        plan = TracePlan.model_validate(parsed(content.decode("utf-8")))
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        key = ".".join(map(str, first["loc"])) or "the whole"
        raise PotstillError(
            f"the plan {path} cannot be used ({key}: {first['msg'][:200]}); {_REMEDY}, and use the "
            "version of potstill that it names"
        ) from None
    except ValueError:
        raise PotstillError(f"the plan {path} cannot be read as JSON; {_REMEDY}") from None
    if plan.as_bytes() != content:
        raise PotstillError(
            f"the plan {path} was edited: it is not spelt as potstill spells it; {_REMEDY}"
        )
    return FixedPlan(plan, custody_digest(content))


def raw_name(test: str, number: int, control: int | None = None) -> str:
    """Return the file of a raw log, below the bundle: of the test at a place of the plan.

    It is the suspect's, or that of the plan's control of a number.
    """
    of_control = "" if control is None else f".control-{control}"
    return f"raw/{test}-{number}{of_control}.jsonl"
