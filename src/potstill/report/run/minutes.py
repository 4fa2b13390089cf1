"""The minutes of a run: what was foretold, what was taken, what more would have bought."""

from __future__ import annotations

from potstill.report import words
from potstill.report.run.process import FactSection
from potstill.report.tables import FactList, capital
from potstill.work.evaluation import Evaluation
from potstill.work.time_part import MoreTime


def minutes(evaluation: Evaluation) -> FactSection | None:
    """Return the section; None for a run whose time nobody planned."""
    found = evaluation.time
    if found is None:
        return None
    facts: FactList = []
    if found.minutes is not None:
        facts.append(("Minutes that it was given", words.significant(found.minutes)))
    facts.append(("Foretold at the start", words.duration(found.estimate)))
    facts.append(("Used until this page was written", words.duration(found.used)))
    for stage in found.stages:
        taken = "" if stage.taken is None else f", taken {words.duration(stage.taken)}"
        foretold = f"foretold {words.duration(stage.at_start)} at the start"
        facts.append((capital(stage.stage), f"{stage.amount}: {foretold}{taken}"))
    if found.replanned:
        facts.append(("Changes of the number of steps", words.whole(found.replanned)))
    return FactSection(facts, [], [_more(found.more)])


def _more(found: MoreTime | None) -> str:
    """Say what more training would have bought."""
    if found is None:
        return (
            "What more time would have bought cannot be told from this training: its validation "
            "curve has too few points, or does not fall less and less."
        )
    return (
        f"What more time would have bought: as many training steps again ("
        f"{words.whole(found.steps)}, {words.duration(found.seconds)}) would lower the measure on "
        f"validation prompts, {words.significant(found.measure)} at the end, by at most about "
        f"{words.significant(found.last_doubling)}, which is what the last doubling of the steps "
        f"brought; the one before brought {words.significant(found.doubling_before)}. This holds "
        "for the same prompts, up to twice the steps, as long as doublings go on to bring less and "
        "less; it says nothing beyond, and nothing of more answers or a longer repair."
    )
