"""What to say where a server's answers stay away, or come and cannot be used."""

from __future__ import annotations

from potstill.collect.served.figures import EndpointFigures
from potstill.endpoint.refusals import TOO_LONG
from potstill.endpoint.wire import ANSWERED_IN_VAIN, NO_FINISH_REASON, SERVER_GAVE_UP

# So many answers in a row that came and cannot be used, and none that can, mean that none will.
_NO_USE = 16


def hopeless(unusable_in_a_row: int, reason: str, *, some_usable: bool) -> str | None:
    """Return why nothing more is asked where no answer so far can be used; None to go on.

    A refused or blank answer may be its prompt's fault: of these more are awaited elsewhere.
    """
    if some_usable or reason in ANSWERED_IN_VAIN or unusable_in_a_row < _NO_USE:
        return None
    return (
        f"none of the server's first {unusable_in_a_row} answers can be used ({reason}), and each "
        f"may have been charged for; {way_out(reason)}"
    )


def way_out(reason: str) -> str:
    """Return what to do about answers that fail for a reason; the same command goes on then."""
    again = "run the same command again"
    if reason == SERVER_GAVE_UP:
        return f"look into the server's log for why it breaks answers off, mend it and {again}"
    if reason in NO_FINISH_REASON:
        return (
            "only an answer whose end is known can be learnt: have the server state finish_reason "
            f"as stop or length (another version, or another server), and {again}"
        )
    if reason in ANSWERED_IN_VAIN:
        return (
            "look at the server's answers to some of the prompts, and give others, another "
            f"prompts.system or another teacher.model, and {again}"
        )
    if reason == TOO_LONG:
        return (
            "start the server with a longer context, shorten the prompts or lower "
            f"collect.max_tokens, and {again}"
        )
    return f"look after the server, or check teacher.endpoint.extra, and {again}"


def why_stopped(figures: EndpointFigures) -> str:
    """Return why a call stopped before everything was asked, and the way out."""
    stored = f"{figures.before + figures.stored} of {figures.wanted} responses are stored"
    if figures.stopped == "budget":
        return (
            f"the budget is used up: {stored}; raise teacher.endpoint.budget or budget_tokens, or "
            "lower prompts.limit, and run the same command again to go on"
        )
    # What failed last is what stopped it.
    reason = figures.failures[-1][1] if figures.failures else "no answer"
    return (
        f"the server gives no answer any more that can be used ({reason}): {stored}; "
        f"{way_out(reason)}"
    )


def no_training_answer(figures: EndpointFigures) -> str:
    """Return that a call got no answer to any training prompt, why, and the way out."""
    reasons = ", ".join(f"{reason} ({count})" for reason, count in figures.failed.items())
    most = next(iter(figures.failed), "")
    return (
        "there is no training answer: no training prompt got one that can be used"
        f"{f' ({reasons})' if reasons else ''}; {way_out(most)}"
    )
