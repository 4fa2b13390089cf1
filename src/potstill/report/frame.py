"""What every page of potstill is made of: one file that opens from disk and asks no network.

The frame knows nothing of what is shown. A kind of page is a folder beside it (`run/`), with

- a frozen dataclass of what it shows, whose fields are what its template calls them: words as
  `str`, and what `tables` and `charts` make (facts, tables, charts); nothing else is needed;
- a template that extends `frame.html.j2`, fills its block `main`, and draws with the macros of
  `parts.html.j2` (tiles, facts, table, charts, notes, and where all of it came from).

A str is text wherever it comes from: it is escaped, and characters that no HTML may hold are
replaced. Only charts are markup. So a page never marks a string as safe, has no script and no
style of its own, and `document` gives its text. How large it gets is its own matter: `fitting` and
`tables.cut` keep what others wrote (answers, logs, evidence) within `MOST_BYTES`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from potstill.report.tables import clean

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MOST_BYTES = 300_000
T = TypeVar("T")


@dataclass(frozen=True)
class PageHead:
    """What stands at the top of a page."""

    title: str
    noun: str  # what the page is, in a word: `report`
    kind: str  # and in full: `distillation report`
    created: str = ""  # when, in words


def document(template: str, head: PageHead, content: DataclassInstance) -> str:
    """Return a page as text: no script, no outside reference.

    `template` is a path below `report/`; `content` holds, by name, what it shows. The content
    security policy allows the frame's own style sheet, by digest, and nothing else, so that not
    even a mistake in escaping could run or load anything.
    """
    style = resources.files("potstill.report").joinpath("style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    shown = {field.name: getattr(content, field.name) for field in fields(content)}
    return (
        _environment()
        .get_template(template)
        .render(
            **shown,
            head=head,
            style=Markup(style),  # ours, not a model's
            policy=f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
            "base-uri 'none'; form-action 'none'",
        )
    )


def fitting(items: Sequence[T], texts: Callable[[T], Iterable[str]], most: int) -> list[T]:
    """Return as many of the first items as take at most `most` bytes, as they stand in a page."""
    kept: list[T] = []
    spent = 0
    for item in items:
        spent += sum(len(escape(clean(text)).encode()) for text in texts(item))
        if spent > most:
            break
        kept.append(item)
    return kept


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("potstill.report", ""),
        autoescape=True,
        finalize=_as_text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _as_text(value: Any) -> Any:
    """Return text as a page may hold it; markup, which is ours, and numbers as they are."""
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value
