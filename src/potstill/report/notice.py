"""Notices as Markdown and as pages: both are made of one list of parts."""

from __future__ import annotations

from potstill.report.frame import PageHead, document
from potstill.report.tables import moment
from potstill.text.markdown import plain
from potstill.work.notice import Notice


def markdown_of(title: str, created: str, notice: Notice) -> str:
    """Return a notice as Markdown, in which no name can be more than text.

    `created` is when, in ISO 8601.
    """
    lines = [f"# Notice: {plain(title)}", "", plain(f"{moment(created)}, made by potstill"), ""]
    for part in notice.parts:
        lines += [f"## {plain(part.heading)}", ""]
        for text in part.paragraphs:
            lines += [plain(text), ""]
        if part.points:
            lines += [*(f"- {plain(text)}" for text in part.points), ""]
        if part.commands:
            lines += ["```", *part.commands, "```", ""]
    return "\n".join(lines)


def page_of(title: str, kind: str, created: str, notice: Notice) -> str:
    """Return a notice as a page; `kind` is what it is, in full."""
    head = PageHead(title=f"Notice: {title}", noun="notice", kind=kind, created=moment(created))
    return document("notice.html.j2", head, notice)
