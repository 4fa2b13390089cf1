"""What the zoo's findings come to: who is accused, how often each kind is seen, by which rule.

Pure functions of the rows that `run.py` writes. One rule for all of them: a p-value is multiplied
by the number of served configurations. For one test these are its own (schemes, or logs); whoever
is asked whether a suspect is *accused* at all is told after all of the tests that accuse, as a
verdict does (`trace/verdict.py`). A test that a suspect's tokenizer forbids is counted with the
others. Weights, order and agreement accuse nobody; their tiers stand apart.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from potstill.stats.exact import clopper_pearson
from potstill.stats.multiple import bonferroni_log10
from potstill.trace.verdict import ACCUSING

ALPHA = 1e-4
# Kinds of relatives, by which their ancestry is told, with what is true of them.
KIN = {
    "base of the teacher": "base",
    "sibling: the teacher's base, trained on other text": "sibling",
    "fine-tuned copy of the teacher": "tuned",
    "pruned copy of the teacher": "pruned",
}
# An answer that ends by itself this much more seldom than the teacher's: a degraded model.
DEGRADED = 0.5

Row = Mapping[str, Any]


def test_of(name: str) -> str:
    """Return the test of a configuration's name: `twins` of `twins plain`."""
    return name.partition(" ")[0]


def configurations(rows: Sequence[Row]) -> dict[str, int]:
    """Return how many configurations of each test were planned: what any suspect was asked."""
    names = {name for row in rows for name in row["tests"]}
    return dict(Counter(test_of(name) for name in sorted(names)))


def finding(row: Row, name: str) -> Mapping[str, Any] | None:
    """Return a suspect's finding; None where it was left out or nothing follows from it."""
    found = row["tests"].get(name, {}).get("finding")
    return None if found is None or found["void"] is not None else found


def corrected(row: Row, name: str, times: int) -> float | None:
    """Return log10 p of a suspect's finding, multiplied by the number of configurations."""
    found = finding(row, name)
    return None if found is None else bonferroni_log10(found["log10_p"], times)


def least(row: Row, tests: frozenset[str], planned: Mapping[str, int]) -> float:
    """Return the least log10 p over some tests' configurations, after Bonferroni over them."""
    times = sum(planned.get(test, 0) for test in tests)
    found = [corrected(row, name, times) for name in row["tests"] if test_of(name) in tests]
    return min((p for p in found if p is not None), default=0.0)


def accused(row: Row, tests: frozenset[str], planned: Mapping[str, int], alpha: float) -> bool:
    """Tell whether a suspect is accused by some of the tests that accuse."""
    return 10 ** least(row, tests & ACCUSING, planned) <= alpha


def zero_of(n: int) -> float:
    """Return the one-sided 95% upper bound of a chance of which none of n were seen."""
    return clopper_pearson(0, n, 0.9)[1]


def counted(rows: Sequence[Row], tests: frozenset[str], alpha: float = ALPHA) -> dict[str, Any]:
    """Return the claim of how many innocents are accused by some tests, with its bound."""
    planned = configurations(rows)
    innocents = [row for row in rows if row["innocent"]]
    names = [row["name"] for row in innocents if accused(row, tests, planned, alpha)]
    upper = clopper_pearson(len(names), len(innocents), 0.9)[1] if innocents else 1.0
    return {
        "value": len(names),
        "unit": f"innocents of {len(innocents)} at alpha {alpha:g}",
        "runs": len(innocents),
        "who": names,
        "upper_95": upper,
        "times": sum(planned.get(test, 0) for test in tests & ACCUSING),
        "least_log10_p": min((least(row, tests, planned) for row in innocents), default=0.0),
    }


def resembling(rows: Sequence[Row], alpha: float = ALPHA) -> dict[str, Any]:
    """Return the claim of how many innocents agreement finds, which is support and no accusation.

    Counted are those that share no weights with the teacher; of `void` ones nothing follows.
    """
    strangers = [row for row in rows if row["innocent"] and not row["claims"]]
    asked = [row for row in strangers if "finding" in row["tests"].get("agreement", {})]
    told = [row for row in asked if finding(row, "agreement") is not None]
    found = [row["name"] for row in told if row["tests"]["agreement"]["finding"]["p"] <= alpha]
    unit = f"innocents of {len(asked)} that share no weights: support at {alpha:g}, no accusation"
    void = len(asked) - len(told)
    return {"value": len(found), "unit": unit, "runs": len(asked), "void": void, "who": found}


def last_epoch(rows: Sequence[Row]) -> int:
    """Return the epoch that students end with."""
    return max((row["epoch"] for row in rows if row["share"]), default=1)


def marked(rows: Sequence[Row], share: float) -> list[Row]:
    """Return the students of text of which a share is marked, last epoch, nothing after it."""
    last = last_epoch(rows)
    direct = {f"{scheme}, {share:.0%} marked" for scheme in ("green", "gumbel")}
    return [row for row in rows if row["kind"] in direct and row["epoch"] == last]


def learnt_all(rows: Sequence[Row], log: str) -> list[Row]:
    """Return students of all served exchanges of a log, last epoch: `plain` or a scheme's."""
    if log != "plain":
        return [row for row in marked(rows, 1.0) if row["served"] == log]
    last = last_epoch(rows)
    return [row for row in rows if row["kind"] == "unmarked answers" and row["epoch"] == last]


def greatest(
    pairs: Sequence[tuple[Row, str]], planned: Mapping[str, int], target: float
) -> dict[str, Any]:
    """Return the claim of the greatest p over (suspect, configuration), beside its target."""
    found = {
        f"{row['name']}: {name}": corrected(row, name, planned[test_of(name)])
        for row, name in pairs
    }
    known = {who: p for who, p in found.items() if p is not None}
    if not known:
        return {"value": None, "unit": "p, no such suspect yet", "runs": 0}
    worst = max(known, key=lambda who: known[who])
    return {
        "value": 10 ** known[worst],
        "unit": "p, after Bonferroni over the test's configurations",
        "runs": len(known),
        "log10": known[worst],
        "who": worst,
        "below": target,
        "reached": len(known) == len(found) and known[worst] < math.log10(target),
        "log10_each": known,
    }


def power(rows: Sequence[Row], alpha: float = ALPHA) -> list[dict[str, Any]]:
    """Return for each kind, epoch and configuration the median log10 p and the share found."""
    planned, found = configurations(rows), []
    for kind, epoch in dict.fromkeys((_kind(row), row["epoch"]) for row in rows):
        members = [row for row in rows if (_kind(row), row["epoch"]) == (kind, epoch)]
        for name in dict.fromkeys(name for row in members for name in row["tests"]):
            asked = [corrected(row, name, planned[test_of(name)]) for row in members]
            ps = [p for p in asked if p is not None]
            if not ps:
                continue
            found.append(
                {
                    "kind": kind,
                    "epoch": epoch,
                    "test": name,
                    "tiers": sorted({f["tier"] for r in members if (f := finding(r, name))}),
                    "n": len(ps),
                    "of": len(members),
                    "median_log10_p": statistics.median(ps),
                    "found": sum(10**p <= alpha for p in ps) / len(ps),
                }
            )
    return found


def _kind(row: Row) -> str:
    """Return a suspect's kind, with the mark that it learnt where the kind does not name it."""
    kind, served = str(row["kind"]), row["served"]
    return kind if not row["share"] or kind.startswith(served) else f"{kind} ({served})"


def ancestry(rows: Sequence[Row], alpha: float = ALPHA) -> list[dict[str, Any]]:
    """Return what is said of the teacher's relatives, tier by tier, and what they are called."""
    planned, found = configurations(rows), []
    for row in rows:
        if row["kind"] not in KIN:
            continue
        told = {}
        for name in ("weights", "order"):
            if (one := finding(row, name)) is not None:
                told[name] = {key: one[key] for key in ("tier", "log10_p", "effect")}
        found.append(
            {
                "name": row["name"],
                "kind": KIN[row["kind"]],
                "true": row["claims"],
                "told": told,
                "called": called(row, planned, alpha),
            }
        )
    return found


def called(row: Row, planned: Mapping[str, int], alpha: float = ALPHA) -> list[str]:
    """Return what a verdict calls a suspect, each tier by itself: outputs, descent, resemblance."""
    said = []
    if accused(row, ACCUSING, planned, alpha):
        said.append("distilled outputs")
    for name, word in (("weights", "derived weights"), ("order", "descends from the run")):
        one = finding(row, name)
        if one is not None and one["tier"] == "descent" and one["p"] <= alpha:
            said.append(word)
        elif one is not None and one["p"] <= alpha:
            said.append(f"{word} (support alone)")
    return said


def degraded(stops: float | None, teacher: float | None) -> bool | None:
    """Tell whether answers end by themselves less than half as often as the teacher's."""
    if stops is None or teacher is None:
        return None
    return stops < DEGRADED * teacher
