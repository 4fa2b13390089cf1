"""`report.html` of a verdict."""

from __future__ import annotations

from potstill.report.frame import PageHead, document
from potstill.report.tables import moment
from potstill.report.verdict.view import view
from potstill.trace.plan import FixedPlan
from potstill.trace.verdict import Verdict


def verdict_page(fixed: FixedPlan, verdict: Verdict) -> str:
    """Return the page as text; it holds no time but the verdict's own."""
    head = PageHead(
        title=f"{verdict.suspect.name} and {verdict.teacher.name}",
        noun="verdict",
        kind="trace verdict",
        created=moment(verdict.created_at.isoformat()),
    )
    return document("verdict/page.html.j2", head, view(fixed, verdict))
