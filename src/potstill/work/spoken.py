"""How a run speaks: the renderer that it began with, and the day that its templates write."""

from __future__ import annotations

from datetime import date

from potstill.errors import PotstillError
from potstill.models.conversation import VERSION
from potstill.work.records import Prompts, Spoken, Teacher
from potstill.work.rundir import RunDir


def spoken_since(run: RunDir) -> str:
    """Return the day on which a run began to speak, which its chat templates write throughout.

    Raises PotstillError for a run whose prompts an older potstill rendered in another way.
    """
    known = run.done(Spoken)
    if known is None and not run.has(Prompts) and not run.has(Teacher):
        known = Spoken(version=VERSION, date=date.today())
        run.finish(known)
    if known is None or known.version != VERSION:
        raise PotstillError(
            f"{run.root} was begun by a version of potstill that rendered conversations in another "
            "way, so that what it has stored would not fit what is trained now; finish it with "
            "that version, or start over with --fresh"
        )
    return known.date.isoformat()
