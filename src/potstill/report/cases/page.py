"""The pages of cases: the list of a run, one case, and the packet of one account."""

from __future__ import annotations

from potstill.report.cases.listing import appeal_view, cases_view
from potstill.report.cases.view import case_view
from potstill.report.frame import PageHead, document
from potstill.report.tables import moment
from potstill.watch.case.models import Appeal, Case, CasesOfRun


def cases_page(of_run: CasesOfRun) -> str:
    """Return the list of a run's cases as a page."""
    head = PageHead(
        title="Cases",
        noun="list",
        kind="watch cases",
        created=moment(of_run.created_at),
    )
    return document("cases/cases.html.j2", head, cases_view(of_run))


def case_page(case: Case) -> str:
    """Return a case as a page; it holds no time but those of the traffic."""
    head = PageHead(title=f"Case {case.case_id}", noun="case", kind="watch case")
    return document("cases/case.html.j2", head, case_view(case))


def appeal_page(appeal: Appeal) -> str:
    """Return what one account may be told, as a page."""
    head = PageHead(title="About your account", noun="notice", kind="notice to a customer")
    return document("cases/appeal.html.j2", head, appeal_view(appeal))
