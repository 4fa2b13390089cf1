"""A verdict in plain words, for a lawyer or a regulator: as Markdown and as a page.

Both are made of one list of parts: what is claimed, how strong that is, what else could explain it,
what could not be seen, and how anybody checks it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from potstill.report.frame import PageHead, document
from potstill.report.tables import clean, moment
from potstill.report.verdict.view import accused_words, checking_words, commands, strength_words
from potstill.trace.verdict import Verdict
from potstill.trace.wording import test_name

# What Markdown or HTML in it would take for more than a letter.
_MARKS = re.compile(r"([\\`*_\[\]<>#|~&])")
# What at a line's beginning would make a list of it.
_LISTS = re.compile(r"^(\d*)([-+.)])(?=\s|$)")
_WHAT_A_TEST_IS = (
    "Each test was fixed in a written plan before the suspect was asked. It asks how often chance "
    "alone would give as much as was found, if the claim were false. That is a p-value. A small "
    "one is evidence; it is not the probability that anybody is innocent."
)
_CHECKING = (
    "Anybody can check the figures with the bundle that came with this notice, on a machine of "
    "their own and without trusting its author."
)


@dataclass(frozen=True)
class NoticePart:
    """A heading with paragraphs, points of a list, and commands."""

    heading: str
    paragraphs: Sequence[str]
    points: Sequence[str] = ()
    commands: Sequence[str] = ()


@dataclass(frozen=True)
class Notice:
    """What the notice says, in order."""

    parts: Sequence[NoticePart]


def notice_of(verdict: Verdict) -> Notice:
    """Return the notice of a verdict."""
    found = [claim for claim in verdict.claims if claim.outcome == "found"]
    strength = [_WHAT_A_TEST_IS]
    points = [
        f"{test_name(claim.test, claim.configuration)}: {strength_words(claim, finding)}"
        for claim, finding in zip(verdict.claims, verdict.findings, strict=True)
    ]
    unexplained = () if verdict.explanations else ("Nothing was found that needs an explanation.",)
    examples = [claim.example for claim in found if claim.example is not None]
    limits = verdict.limits or (
        "Every test of the plan found something or was void; none has a limit to state.",
    )
    return Notice(
        (
            NoticePart(
                "What is claimed",
                (verdict.headline, accused_words(verdict)),
                _claimed(verdict),
            ),
            NoticePart("How strong that is", (*strength, *examples[:1]), points),
            NoticePart(
                "Who and when",
                (
                    f"Suspect: {verdict.suspect.name}. Teacher: {verdict.teacher.name}.",
                    f"The plan was fixed on {moment(verdict.planned_at.isoformat())}, by its "
                    f"author's clock; its digest is {verdict.plan}. {verdict.order_of_events}",
                    verdict.tried_before,
                ),
            ),
            NoticePart("What else could explain it", unexplained, verdict.explanations),
            NoticePart("What a reader has to grant", (), verdict.assumptions),
            NoticePart("What would have been found", (), limits),
            NoticePart(
                "How to check it",
                (f"{_CHECKING} {checking_words(verdict)}",),
                (),
                commands(verdict),
            ),
        )
    )


def _claimed(verdict: Verdict) -> tuple[str, ...]:
    """Return what each test claims, with the tests that claim the same together."""
    tests: dict[str, list[str]] = {}
    for claim in verdict.claims:
        name = test_name(claim.test, claim.configuration)
        tests.setdefault(claim.sentence, []).append(name)
    return tuple(f"{', '.join(names)}: {sentence}" for sentence, names in tests.items())


def notice_markdown(verdict: Verdict) -> str:
    """Return the notice as Markdown, in which no name can be more than text."""
    lines = [f"# Notice: {plain(verdict.suspect.name)} and {plain(verdict.teacher.name)}", ""]
    lines += [plain(f"{moment(verdict.created_at.isoformat())}, made by potstill"), ""]
    for part in notice_of(verdict).parts:
        lines += [f"## {plain(part.heading)}", ""]
        for text in part.paragraphs:
            lines += [plain(text), ""]
        if part.points:
            lines += [*(f"- {plain(text)}" for text in part.points), ""]
        if part.commands:
            lines += ["```", *part.commands, "```", ""]
    return "\n".join(lines)


def notice_page(verdict: Verdict) -> str:
    """Return the notice as a page."""
    head = PageHead(
        title=f"Notice: {verdict.suspect.name} and {verdict.teacher.name}",
        noun="notice",
        kind="trace notice",
        created=moment(verdict.created_at.isoformat()),
    )
    return document("verdict/notice.html.j2", head, notice_of(verdict))


def plain(text: str) -> str:
    """Return text on one line, with what Markdown or HTML would read as markup escaped."""
    one_line = " ".join(clean(text).split())
    return _LISTS.sub(r"\1\\\2", _MARKS.sub(r"\\\1", one_line))
