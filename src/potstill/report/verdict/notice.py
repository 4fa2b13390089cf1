"""A verdict in plain words, for a lawyer or a regulator: as Markdown and as a page.

Both are made of one list of parts: what is claimed, how strong that is, what else could explain it,
what could not be seen, and how anybody checks it.
"""

from __future__ import annotations

from potstill.report.notice import markdown_of, page_of
from potstill.report.tables import moment
from potstill.report.verdict.view import accused_words, checking_words, commands, strength_words
from potstill.trace.verdict import Verdict
from potstill.trace.wording import test_name
from potstill.work.notice import Notice, NoticePart

_WHAT_A_TEST_IS = (
    "Each test was fixed in a written plan before the suspect was asked. It asks how often chance "
    "alone would give as much as was found, if the claim were false. That is a p-value. A small "
    "one is evidence; it is not the probability that anybody is innocent."
)
_CHECKING = (
    "Anybody can check the figures with the bundle that came with this notice, on a machine of "
    "their own and without trusting its author."
)


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
    return markdown_of(_title(verdict), verdict.created_at.isoformat(), notice_of(verdict))


def notice_page(verdict: Verdict) -> str:
    """Return the notice as a page."""
    created = verdict.created_at.isoformat()
    return page_of(_title(verdict), "trace notice", created, notice_of(verdict))


def _title(verdict: Verdict) -> str:
    return f"{verdict.suspect.name} and {verdict.teacher.name}"
