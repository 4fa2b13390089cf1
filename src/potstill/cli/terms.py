"""`potstill terms`: may this model's or service's outputs train another model, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, cast

import typer

from potstill.cli.common import AsJson, Debug, echo_json, handled
from potstill.errors import PotstillError

if TYPE_CHECKING:
    from potstill.terms.use import Intent, StudentKind, SurfaceKind, Use

_SETTING = "--authorisation"
Surface = Annotated[
    str | None,
    typer.Option(
        "--surface",
        metavar="weights|api|app",
        help="Which of a provider's terms is meant: of weights, of an API, of an app for people.",
    ),
]
IntentOption = Annotated[
    str | None,
    typer.Option(
        "--intent",
        metavar="internal|distribute|host",
        help="What the student is for; without it, the one counts that permits least.",
    ),
]


@handled
def terms(
    named: Annotated[
        str,
        typer.Argument(
            metavar="MODEL_OR_PROVIDER",
            help="A model's directory, .gguf file, package:NAME or hub id; a provider or service "
            "(openai, chatgpt); a server's URL; or a licence.",
        ),
    ],
    surface: Surface = None,
    intent: IntentOption = None,
    student: Annotated[
        str,
        typer.Option(
            "--student", metavar="general|classifier", help="What kind of model learns from it."
        ),
    ] = "general",
    base: Annotated[
        str | None,
        typer.Option(
            "--base", metavar="MODEL", help="The weights that the student is made from, judged too."
        ),
    ] = None,
    authorisation: Annotated[
        str | None,
        typer.Option(_SETTING, metavar="FILE", help="The rights holder's permission."),
    ] = None,
    json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Explain whether a teacher's outputs may train a student: document, dates, confidence.

    Exits with 2 where they may not. A run asks the same gate before it asks a teacher.
    """
    from datetime import UTC, datetime

    from potstill.terms.explain import explanation
    from potstill.terms.gate import Stated, decide
    from potstill.terms.named import terms_of

    use = _use(intent, student)
    day, stated = datetime.now(UTC).date(), Stated(authorisation, _SETTING, use)
    found = terms_of(named, _surface(surface))
    decisions = [decide(named, found.evidence, stated, today=day)]
    looked_at = [found.looked_at]
    if base is not None:
        of_base = terms_of(base, "weights")
        decisions.append(decide(base, of_base.evidence, Stated(use=use), role="base", today=day))
        looked_at.append(of_base.looked_at)
    explained = [explanation(decision, day) for decision in decisions]
    if json:
        pairs = zip(explained, looked_at, strict=True)
        echo_json([{**asdict(one), "looked_at": what} for one, what in pairs])
    else:
        for number, (one, what) in enumerate(zip(explained, looked_at, strict=True)):
            lines = one.lines()
            last = number == len(explained) - 1
            # Said once, at the end.
            typer.echo("\n".join([f"looked at: {what}", *(lines if last else lines[:-1])]))
    for decision in decisions:
        decision.require()


def intent_override(overrides: list[str], intent: str | None) -> list[str]:
    """Return the overrides of a recipe with what its student is for, where that is stated."""
    return overrides if intent is None else [*overrides, f"student.intent={intent}"]


def _use(intent: str | None, student: str) -> Use:
    from potstill.terms.use import INTENTS, KINDS, Use

    _one_of("--student", student, KINDS)
    if intent is not None:
        _one_of("--intent", intent, INTENTS)
    return Use(cast("Intent | None", intent), cast("StudentKind", student))


def _surface(surface: str | None) -> SurfaceKind | None:
    from potstill.terms.use import SURFACES

    if surface is not None:
        _one_of("--surface", surface, SURFACES)
    return cast("SurfaceKind | None", surface)


def _one_of(option: str, given: str, known: Sequence[str]) -> None:
    if given not in known:
        raise PotstillError(f"{option} is {given}; it is one of {', '.join(known)}")
