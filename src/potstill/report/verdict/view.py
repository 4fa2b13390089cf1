"""What the page of a verdict shows, in words: from its claim down to how it is checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from potstill.report import words
from potstill.report.charts import Chart, DotRow, dots, nice_ticks, said, span_of
from potstill.report.tables import Cell, FactList, Table, TableRow, moment
from potstill.text.counts import many
from potstill.trace.finding import Finding
from potstill.trace.plan import FixedPlan, SuspectFacts
from potstill.trace.verdict import Claim, Verdict
from potstill.trace.wording import e_text, figures_sentence, p_text, test_name

_MOST_CONTROLS = 40
TIERS = {
    "proof": "proof: what is found accuses",
    "descent": "descent: derived weights, and no sign of training on outputs",
    "support": "support: accuses nobody",
}


@dataclass(frozen=True)
class ClaimShown:
    """One claim: its test and what came of it, its sentence, its tier in words, its effect, how
    strong it is, and an example."""

    head: str
    sentence: str
    tier: str
    effect: str
    strength: str
    example: str


@dataclass(frozen=True)
class VerdictShown:
    """What the template of the page calls by these names."""

    headline: str
    strength: str
    accused: str
    claims: Sequence[ClaimShown]
    tested: FactList
    results: Table
    joint: str
    charts: Sequence[Chart]
    no_controls: str
    limits: Sequence[str]
    explanations: Sequence[str]
    assumptions: Sequence[str]
    custody: Table
    order_of_events: str
    tried: str
    packages: FactList
    commands: Sequence[str]
    checking: str


def view(fixed: FixedPlan, verdict: Verdict) -> VerdictShown:
    """Return what is shown of a verdict and the plan that it is about."""
    charts = [
        chart for finding in verdict.findings if (chart := _chart(verdict, finding)) is not None
    ]
    return VerdictShown(
        headline=verdict.headline,
        strength=verdict.strength,
        accused=accused_words(verdict),
        claims=[
            _claim(claim, finding)
            for claim, finding in zip(verdict.claims, verdict.findings, strict=True)
        ],
        tested=_tested(fixed, verdict),
        results=_results(verdict),
        joint=_joint(verdict),
        charts=charts,
        no_controls="" if charts else "No control was asked beside the suspect.",
        limits=verdict.limits,
        explanations=verdict.explanations,
        assumptions=verdict.assumptions,
        custody=_custody(verdict),
        order_of_events=verdict.order_of_events,
        tried=verdict.tried_before,
        packages=sorted(fixed.plan.packages.items()),
        commands=commands(verdict),
        checking=checking_words(verdict),
    )


def accused_words(verdict: Verdict) -> str:
    """Return whether the verdict accuses, in a sentence."""
    if verdict.accused:
        return "This verdict accuses: a claim of the tier proof holds at the level of the plan."
    return "This verdict accuses nobody of training on outputs."


def commands(verdict: Verdict) -> list[str]:
    """Return the commands that check a bundle: the last one with a key, where there are marks."""
    found = [f"pip install potstill=={verdict.potstill}", "potstill trace verify BUNDLE"]
    if _disclosed(verdict):
        texts = " --texts TEXTS" if _reads(verdict) else ""
        found.append(f"potstill trace verify BUNDLE --key KEY{texts}")
    return found


def checking_words(verdict: Verdict) -> str:
    """Return in sentences what each of `commands` needs."""
    needed = _disclosed(verdict)
    if not needed:
        return "The commands need nothing else."
    return (
        f"The first two commands need nothing else. The third needs {needed}, which the owner may "
        "disclose; it makes every score of the marks again."
    )


def _disclosed(verdict: Verdict) -> str:
    """Return what a check of the marks needs of their owner; nothing where there are none."""
    if not any(claim.test.startswith("watermark") for claim in verdict.claims):
        return ""
    return "the key file and the marked texts" if _reads(verdict) else "the key file"


def _reads(verdict: Verdict) -> bool:
    return any(claim.test == "watermark-reading" for claim in verdict.claims)


def _claim(claim: Claim, finding: Finding) -> ClaimShown:
    span = _effect_span(finding)
    return ClaimShown(
        head=f"{test_name(claim.test, claim.configuration)}: {claim.outcome}",
        sentence=claim.sentence,
        tier=TIERS[claim.tier],
        effect=f"{words.significant(finding.effect)} {finding.effect_unit}"
        + (f" ({span})" if span else ""),
        strength=strength_words(claim, finding),
        example=claim.example or "",
    )


def strength_words(claim: Claim, finding: Finding) -> str:
    """Return how strong a claim is, in figures, or why nothing follows."""
    if claim.outcome == "void":
        return claim.strength
    return figures_sentence(
        claim.log10_p, claim.times, claim.log10_e, sequential=finding.sequential
    )


def _tested(fixed: FixedPlan, verdict: Verdict) -> FactList:
    plan, suspect = fixed.plan, verdict.suspect
    kinds = {"weights": "its weights", "endpoint": "a server", "texts": "texts that it wrote"}
    facts = [
        ("Suspect", suspect.name),
        ("Asked through", kinds[suspect.kind]),
        _known_as(suspect),
        ("Teacher", verdict.teacher.name),
        ("Teacher's identity", verdict.teacher.identity),
        ("Plan fixed", moment(verdict.planned_at.isoformat())),
        ("Plan's digest", verdict.plan),
        ("Level (alpha)", f"{verdict.alpha:g} over all that is ever tried of one tier"),
        ("Computed in", f"{plan.computing.dtype} on {plan.computing.device}"),
    ]
    if suspect.parameters is not None:
        facts.insert(3, ("Suspect's size", f"{words.count_in_words(suspect.parameters)} weights"))
    return facts


def _known_as(suspect: SuspectFacts) -> tuple[str, str]:
    """Return what tells the suspect apart, and what that is called: a server tells no digest."""
    if suspect.kind == "endpoint":
        return "Model, as the server is asked for it", suspect.identity or "not known"
    if suspect.kind == "texts":
        return "Digests of its texts", ", ".join(suspect.digests) or "not known"
    return "Suspect's digest", suspect.identity or "not known"


def _results(verdict: Verdict) -> Table:
    heads = ("Test", "Outcome", "n", "Effect", "p", "p adjusted", "e adjusted")
    rows = [
        TableRow(
            test_name(finding.test, finding.configuration),
            [
                Cell(claim.outcome, claim.tier),
                Cell(words.whole(finding.n), _of_n(finding)),
                Cell(words.significant(finding.effect), _effect_span(finding)),
                Cell(p_text(finding.log10_p), "sequential" if finding.sequential else "fixed n"),
                Cell(p_text(claim.log10_p), f"times {claim.times:,}"),
                Cell(e_text(claim.log10_e), "of p" if claim.e_from_p else "of the test"),
            ],
            "total" if claim.outcome == "found" else "plain",
        )
        for finding, claim in zip(verdict.findings, verdict.claims, strict=True)
    ]
    return Table(heads, rows)


def _of_n(finding: Finding) -> str:
    if finding.clusters is not None:
        return f"in {many(finding.clusters, 'cluster')}"
    return f"{finding.coins:,} of them coins" if finding.coins else ""


def _effect_span(finding: Finding) -> str:
    if finding.effect_low is None or finding.effect_high is None:
        return ""
    low, high = words.significant(finding.effect_low), words.significant(finding.effect_high)
    return f"95% {low} to {high}"


def _joint(verdict: Verdict) -> str:
    if verdict.joint is None:
        return ""
    return (
        f"Watermark and twins together (Fisher): p = {p_text(verdict.joint.log10_p)}, where the "
        f"null hypothesis is that {verdict.joint.null}."
    )


def _chart(verdict: Verdict, finding: Finding) -> Chart | None:
    """Return the suspect and the controls of a test as dots on one axis; None without controls."""
    names = (finding.test, finding.configuration)
    controls = [one for one in verdict.controls if (one.test, one.configuration) == names]
    if not controls:
        return None
    rows = [_row(verdict.suspect.name, finding.effect, finding.effect_low, finding.effect_high)]
    rows = [DotRow(**{**vars(rows[0]), "kind": "student"})]
    rows += [_row(one.name, one.effect, one.low, one.high) for one in controls[:_MOST_CONTROLS]]
    title = test_name(finding.test, finding.configuration)
    low, high = span_of(rows)
    svg = dots(
        rows,
        title=said(title, rows),
        ticks=nice_ticks(low, high),
        spell=lambda tick: words.significant(tick),
    )
    left = len(controls) - _MOST_CONTROLS
    more = f"; {left} more controls in verdict.json" if left > 0 else ""
    return Chart(title, f"{finding.effect_unit}; suspect first, then controls{more}", svg)


def _row(name: str, effect: float, low: float | None, high: float | None) -> DotRow:
    return DotRow(name, effect, words.significant(effect), low, high)


def _custody(verdict: Verdict) -> Table:
    rows = [TableRow("plan.json", [Cell("the plan", verdict.plan)])]
    rows += [
        TableRow(log.file, [Cell(many(log.records, "record"), log.head)]) for log in verdict.logs
    ]
    for stamp in verdict.stamps:
        when = moment(stamp.time.isoformat()) if stamp.time is not None else "not checked"
        by = f", {stamp.authority}" if stamp.authority else ""
        about = f"{stamp.subject or 'a timestamp'}: {when}{by}"
        rows.append(TableRow(stamp.file, [Cell(about, stamp.digest)]))
    return Table(("File", "What it is, and its digest or that of its last record"), rows)
