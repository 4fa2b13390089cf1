"""The pages of a verdict in its bundle: written by a run, and made again where one is verified."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from potstill.errors import PotstillError
from potstill.report.verdict.notice import notice_markdown, notice_page
from potstill.report.verdict.page import verdict_page
from potstill.trace.plan import FixedPlan
from potstill.trace.verdict import VERDICT_FILE, Verdict
from potstill.work.check_result import CheckResult


def verdict_pages(fixed: FixedPlan, verdict: Verdict) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of each page of a verdict."""
    yield "report.html", verdict_page(fixed, verdict).encode()
    yield "notice.md", notice_markdown(verdict).encode()
    yield "notice.html", notice_page(verdict).encode()


def check_pages(bundle: Path, fixed: FixedPlan, verdict: Verdict, version: str) -> CheckResult:
    """Return whether the pages of a bundle say what its verdict says.

    The chain notes their digests, but whoever holds the chain can write those anew. Pages of
    another potstill than `version` are spelt otherwise, and are not checked. Raises PotstillError,
    naming the page, where one says something else.
    """
    made = dict(verdict_pages(fixed, verdict))
    there = [name for name in made if (bundle / name).is_file()]
    if verdict.potstill != version:
        detail = (
            f"potstill {verdict.potstill} made them, and this is {version}: what they say is not "
            "compared with the verdict"
        )
        return CheckResult("pages", "not checked", detail)
    for name in there:
        if (bundle / name).read_bytes() != made[name]:
            raise PotstillError(
                f"{name} does not say what {VERDICT_FILE} says; get the bundle as it was from "
                "whoever made it"
            )
    missing = ", ".join(name for name in made if name not in there)
    if missing:
        return CheckResult("pages", "not checked", f"{missing} is not in the bundle")
    return CheckResult("pages", "holds", f"{', '.join(made)} say what the verdict says")
