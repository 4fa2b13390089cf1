"""The sentences of a verdict: what each test may claim, and what else could explain it.

They follow one table (docs/methods/trace.md). Copied weights are never called training on outputs,
resemblance never accuses, and what was not detected names what would have been.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from potstill.text.counts import many
from potstill.trace.finding import Finding, TestName
from potstill.trace.limits import DetectionLimit, LimitPoint
from potstill.trace.plan import Tried
from potstill.trace.spending import share_after

PRIOR = 0.01
# Controls of one size say nothing of suspects that are larger by more than this.
_LARGER = 10
_FOUND: dict[TestName, str] = {
    "watermark-text": "The training data of {suspect} held text that carries the mark "
    "of {teacher}'s key ({configuration}): directly, through another model, or through a published "
    "copy.",
    "watermark-reading": "The training data of {suspect} held text that carries the mark "
    "of {teacher}'s key ({configuration}): directly, through another model, or through a published "
    "copy.",
    "twins": "{suspect} was trained on answers that {teacher} served ({configuration}).",
    "order": "{suspect} descends from the training run of {teacher} that was tested "
    "({configuration}): it is that run's model, or was tuned from it. That is no sign of training "
    "on outputs.",
    "weights": "The weights of {suspect} and of {teacher} have a common origin "
    "({configuration}): derived weights. The test has no direction, and is no sign of training on "
    "outputs.",
    "agreement": "{suspect} resembles {teacher} more than each control does ({configuration}). "
    "That supports a suspicion, and accuses nobody.",
}
_NOT_FOUND: dict[TestName, str] = {
    "watermark-text": "No mark of {teacher}'s key ({configuration}) was found in what {suspect} "
    "wrote.",
    "watermark-reading": "No mark of {teacher}'s key ({configuration}) was found in what "
    "{suspect} chooses when it reads marked text.",
    "twins": "Nothing was found that tells the answers that {teacher} served from others that it "
    "could have served ({configuration}).",
    "order": "No trace of the order of the tested training run was found ({configuration}).",
    "weights": "No common origin of the weights was found ({configuration}).",
    "agreement": "{suspect} does not resemble {teacher} more than each control does "
    "({configuration}).",
}
_EXPLAINS: dict[TestName, tuple[str, ...]] = {
    "watermark-text": (
        "Marked text may have been published, or another model that learnt it may have written "
        "what the suspect was trained on.",
        "A suspect that passes questions on to the teacher's own service shows its mark without "
        "any training.",
        "Whoever has the key can write marked text: who had it is the owner's word.",
    ),
    "watermark-reading": (
        "Marked text may have been published, or another model that learnt it may have written "
        "what the suspect was trained on.",
        "Whoever has the key can write marked text: who had it is the owner's word.",
    ),
    "twins": (
        "The served answers may have been published, and learnt from there.",
        "A log that was filtered by what users did (regenerate, thumbs) is not exchangeable with "
        "its twins: that it was filtered by the text alone is the owner's word.",
    ),
    "order": (
        "Two runs of one secret cannot be told apart; that the secret was drawn for this run alone "
        "is the owner's word.",
    ),
    "weights": (
        "Both may come from a third model that was published.",
        "The teacher may come from the suspect: the test has no direction.",
    ),
    "agreement": (
        "The same base model, the same public data or the same way of tuning make models alike.",
    ),
}
_ALWAYS = (
    "That the suspect was not asked before the plan was fixed is the owner's word.",
    "That the chain of plans is the only one of this teacher is the owner's word.",
)


def p_text(log10_p: float) -> str:
    """Return a p-value of any size: 1, 0.031, 3.2e-12."""
    if log10_p >= 0:
        return "1"
    if log10_p > -3:
        return f"{10**log10_p:.2g}"
    whole = math.floor(log10_p)
    mantissa = f"{10 ** (log10_p - whole):.1f}"
    if mantissa == "10.0":
        mantissa, whole = "1.0", whole + 1
    return f"{mantissa}e{whole}"


def e_text(log10_e: float) -> str:
    """Return an e-value of any size: 0.5, 42, 1.3e12."""
    if -3 < log10_e < 4:
        return f"{10**log10_e:.3g}" if log10_e < 3 else f"{10**log10_e:,.0f}"
    whole = math.floor(log10_e)
    return f"{10 ** (log10_e - whole):.1f}e{whole}"


def test_name(test: TestName, configuration: str) -> str:
    """Return what a test is called where there may be several of its kind."""
    return test if test == configuration else f"{test} ({configuration})"


def claim_sentence(finding: Finding, suspect: str, teacher: str, *, found: bool) -> str:
    """Return what a finding claims, or that it claims nothing."""
    if finding.void is not None:
        return f"Nothing follows from the test {test_name(finding.test, finding.configuration)}."
    words = (_FOUND if found else _NOT_FOUND)[finding.test]
    if finding.configuration == finding.test:
        words = words.replace(" ({configuration})", "")
    said = words.format(suspect=suspect, teacher=teacher, configuration=finding.configuration)
    return said + _among_controls(finding) if found else said


def _among_controls(finding: Finding) -> str:
    """Return how often somebody is nearest among so many, which no number of prompts changes."""
    if finding.controls is None:
        return ""
    return (
        f" Among {many(finding.controls, 'control')} and one more model of their kind, that one is "
        f"nearest in 1 of {finding.controls + 1} cases, however many prompts are asked: p speaks "
        "of these models, and not of how often such models resemble one another."
    )


def strength_sentence(log10_p: float, times: int, log10_e: float, *, sequential: bool) -> str:
    """Return how strong a finding is; `log10_p` and `log10_e` are after everything tried."""
    figures = figures_sentence(log10_p, times, log10_e, sequential=sequential)
    return (
        f"{figures} p is the chance of as much where the claim is false; it is not the chance that "
        "the suspect is innocent."
    )


def figures_sentence(log10_p: float, times: int, log10_e: float, *, sequential: bool) -> str:
    """Return the figures of `strength_sentence` alone, where what p is was said."""
    looks = ", however often it was looked at" if sequential else ""
    return (
        f"p = {p_text(log10_p)} after multiplying by {times:,} for everything that was tried{looks}"
        f", e = {e_text(log10_e)}."
    )


def example_sentence(log10_e: float) -> str:
    """Return what the e-value would come to for a reader who began at 1%."""
    after = share_after(log10_e, PRIOR)
    words = f"{100 * after:.2g}%" if after < 0.99 else f"{_nines(log10_e)}%"
    return (
        f"Example: whoever held the claim to be {PRIOR:.0%} likely before, and takes the e-value "
        f"for the odds that the evidence is worth, ends at {words}."
    )


def _nines(log10_e: float) -> str:
    """Return a percentage above 99 with no more nines than it has, at most six behind the dot."""
    left = min(6, max(0, math.floor(log10_e - math.log10(1 / PRIOR - 1)) - 2))
    # What is left to 100 is never nothing, also where the share itself is 1 in floating point.
    short = max(1, math.ceil(100 * (1 - share_after(log10_e, PRIOR)) * 10**left))
    return f"more than {100 - short / 10**left:.{left}f}"


def limit_sentence(
    what: str, limits: Sequence[DetectionLimit], parameters: int | None, n: int | None = None
) -> str:
    """Return what a test would find, as far as its controls say, and where that is unknown.

    `what` names the test, `parameters` is the suspect's size; `n` is how much was scored of it,
    where that is known already.
    """
    if not limits:
        return (
            f"{what}: no control of a stated size was measured for it, so that what it would have "
            "seen is unknown."
        )
    own = "" if n is None else f" Here n is {n:,}."
    seen = "; ".join(_seen(limit) for limit in limits)
    most = max(limit.parameters for limit in limits)
    return f"{what}: found were, {seen}.{own} {_reach(most, parameters)}"


def _seen(limit: DetectionLimit) -> str:
    """Return what was found in controls of one size."""
    learnt = "" if limit.tokens is None else f" that learnt {limit.tokens:,} tokens of text"
    told = [_point(one) for one in limit.points]
    if limit.innocents:
        told.append(f"{limit.innocents_found} of {limit.innocents} innocents")
    return (
        f"at p {limit.alpha:g} of controls with {limit.parameters:,} parameters{learnt}: "
        f"{', '.join(told)} ({limit.measured})"
    )


def _point(point: LimitPoint) -> str:
    return f"{point.found} of {point.of} {point.what} (n {point.scores:,})"


def _reach(most: int, parameters: int | None) -> str:
    """Return how far what controls show reaches, beside the size of the suspect."""
    if parameters is None:
        return "The suspect's size is not known, and so neither is its limit."
    if parameters > _LARGER * most:
        return (
            "The suspect is more than ten times the largest of these sizes, and its limit is "
            "unknown."
        )
    return (
        "A suspect that learnt less may go unseen; beyond ten times these sizes, of models or of "
        "texts, the limit is unknown."
    )


def explanations(findings: Sequence[Finding]) -> tuple[str, ...]:
    """Return what else could explain what was found, each once."""
    return tuple(dict.fromkeys(text for one in findings for text in _EXPLAINS[one.test]))


def assumptions(findings: Sequence[Finding]) -> tuple[str, ...]:
    """Return what a reader has to grant, each once."""
    return tuple(dict.fromkeys([*(text for one in findings for text in one.assumes), *_ALWAYS]))


def tried_sentence(tried: Tried) -> str:
    """Return how much was tried with the teacher before."""
    if not tried.plans:
        return "Nothing was tried with this teacher before, as its chain of plans says."
    return (
        "Tried with this teacher before, as its chain of plans says: "
        f"{many(tried.plans, 'plan')}, {many(tried.suspects, 'suspect')}, "
        f"{many(tried.checkpoints, 'checkpoint')}, {many(tried.keys, 'key')}; "
        f"{many(tried.proof, 'test')} of the tier proof, {tried.descent} of descent and "
        f"{tried.support} of support."
    )
