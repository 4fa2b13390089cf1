"""How a run speaks: the renderer that it began with, and the day that its templates write."""

from __future__ import annotations

from datetime import date
from typing import Any

from potstill.errors import PotstillError
from potstill.models.conversation import VERSION
from potstill.work.rundir import RunDir


def spoken_since(run: RunDir) -> str:
    """Return the day on which a run began to speak, which its chat templates write throughout.

    Raises PotstillError for a run whose prompts an older potstill rendered in another way.
    """
    known = run.done("conversation")
    if known is None and run.done("prompts") is None and run.done("teacher") is None:
        known = {"version": VERSION, "date": date.today().isoformat()}
        run.finish("conversation", known)
    if known is None or known.get("version") != VERSION or not _is_day(known.get("date")):
        raise PotstillError(
            f"{run.root} was begun by a version of potstill that rendered conversations in another "
            "way, so that what it has stored would not fit what is trained now; finish it with "
            "that version, or start over with --fresh"
        )
    return str(known["date"])


def _is_day(value: Any) -> bool:
    try:
        return bool(date.fromisoformat(value))
    except (TypeError, ValueError):
        return False
